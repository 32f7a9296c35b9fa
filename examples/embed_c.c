/* Score a grey film (binary PGM, 8 bits) with ONNX Runtime's C API, on Linux and macOS (on Windows, CreateSession takes
 * the path in wide characters, and setenv is _putenv_s).
 *
 * Header and library come in ONNX Runtime's release archives (include/, lib/); the library must be found when it runs
 * too (LD_LIBRARY_PATH, or -Wl,-rpath,<lib>). The archives: https://github.com/microsoft/onnxruntime/releases
 *
 *   cc embed_c.c -I <include> -L <lib> -l:libonnxruntime.so.1 -o embed_c
 *   ./embed_c model.onnx film.pgm
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "onnxruntime_c_api.h"

static const char *const OBSERVATIONS[] = {"atelectasis", "cardiomegaly", "consolidation",
                                           "edema",       "no_finding",   "pleural_effusion"};
enum { LARGEST = 100000000 };
static const OrtApi *api;

static void check(OrtStatus *status) {
  if (status != NULL) {
    fprintf(stderr, "onnxruntime: %s\n", api->GetErrorMessage(status));
    exit(3);
  }
}

static void stop(const char *about, const char *reason, int code) {
  fprintf(stderr, "%s: %s\n", about, reason);
  exit(code);
}

/* Returns the next number of a PGM's header, before which there may be white space and comments; 0 if there is none. */
static unsigned header_number(FILE *file) {
  unsigned found = 0;
  int next = fgetc(file);
  while (next == '#' || next == ' ' || next == '\t' || next == '\r' || next == '\n') {
    if (next == '#') {
      while (next != '\n' && next != EOF) next = fgetc(file);
    }
    next = fgetc(file);
  }
  for (; next >= '0' && next <= '9' && found < 1000000; next = fgetc(file)) found = 10 * found + (unsigned)(next - '0');
  return next == ' ' || next == '\t' || next == '\r' || next == '\n' ? found : 0; /* one of these ends the header */
}

/* Returns rows * columns bytes, to be freed; air dark, bone bright. */
static unsigned char *read_pgm(const char *path, int64_t *rows, int64_t *columns) {
  FILE *file = fopen(path, "rb");
  if (file == NULL) {
    perror(path);
    exit(1);
  }
  if (fgetc(file) != 'P' || fgetc(file) != '5') stop(path, "not a binary PGM file", 1);
  const unsigned width = header_number(file), height = header_number(file), largest = header_number(file);
  if (width == 0 || height == 0) stop(path, "not a binary PGM file", 1);
  if (largest != 255) stop(path, "not of 8 bits: convert it first, as docs/model-file.md says", 1);
  size_t size = (size_t)width * height;
  if (size > LARGEST) stop(path, "more than 100 million pixels", 1);
  unsigned char *pixels = malloc(size);
  if (pixels == NULL) stop(path, "not enough memory", 1);
  if (fread(pixels, 1, size, file) != size) stop(path, "cut short", 1);
  fclose(file);
  *rows = height;
  *columns = width;
  return pixels;
}

/* Returns what stands behind the first such key of the model's description, which is JSON; NULL if there is none. */
static const char *find(const char *text, const char *key) {
  for (const char *at = text; (at = strstr(at, key)) != NULL; at += strlen(key)) {
    const char *behind = at + strlen(key);
    behind += strspn(behind, " ");
    if (*behind == ':') return behind + 1 + strspn(behind + 1, " ");
  }
  return NULL;
}

static int is_text(const char *text, const char *key, const char *value) {
  const char *found = find(text, key);
  return found != NULL && strncmp(found, value, strlen(value)) == 0;
}

/* Returns the number that stands behind a key. strtod reads a point only in a locale that writes numbers with one. */
static double number(const char *text, const char *key) {
  const char *found = find(text, key);
  char *end = NULL;
  const double value = found == NULL ? 0 : strtod(found, &end);
  if (found == NULL || end == found || strchr(",]} ", *end) == NULL) {
    stop(key, "the model's description lacks this number, or the program's locale writes numbers otherwise", 3);
  }
  return value;
}

/* Stops where the file asks for what this program does not do. */
static void check_description(const char *model, const char *text) {
  if (text == NULL) stop(model, "no model file of xraytransfer, or a program removed its description", 3);
  if (number(text, "\"schema_version\"") > 3) stop(model, "a newer description; this program understands 1 to 3", 3);
  const char *input = find(text, "\"input\"");
  if (input == NULL || !is_text(input, "\"intensity\"", "\"voi\"")) { /* which takes 8 bits as they are */
    stop(model, "needs grey levels of another recipe; this program makes only voi", 3);
  }
  if (is_text(input, "\"size\"", "\"fixed\"")) stop(model, "takes films of its own resolution alone; use one of any size", 3);
}

static const float *values(OrtValue *answer) {
  float *found;
  check(api->GetTensorMutableData(answer, (void **)&found));
  return found;
}

static OrtValue *tensor(OrtMemoryInfo *memory, unsigned char *pixels, const int64_t *shape) {
  OrtValue *image;
  check(api->CreateTensorWithDataAsOrtValue(memory, pixels, (size_t)(shape[2] * shape[3]), shape, 4,
                                            ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8, &image));
  return image;
}

/* The file's self-test: fine stripes, of which a runtime that leaves out a part of the graph says something else. */
static void check_runtime(OrtSession *session, OrtMemoryInfo *memory, const char *test) {
  const int64_t rows = (int64_t)number(test, "\"rows\""), columns = (int64_t)number(test, "\"columns\"");
  const int64_t detail = (int64_t)number(test, "\"detail\""), shape[4] = {1, 1, rows, columns};
  if (rows < 1 || rows > 8192 || columns < 1 || columns > 8192 || detail < 1) stop("self_test", "wrong sizes", 3);
  unsigned char *pixels = malloc((size_t)(rows * columns));
  if (pixels == NULL) stop("self_test", "not enough memory", 3);
  for (int64_t row = 0; row < rows; row++) {
    for (int64_t column = 0; column < columns; column++) {
      int64_t ground = 160 - 600 * column * (columns - 1 - column) / (columns * columns);
      pixels[row * columns + column] = (unsigned char)(ground + 48 * ((row + column) / detail % 2));
    }
  }
  const char *inputs[] = {"image"}, *outputs[] = {"probability"};
  OrtValue *image = tensor(memory, pixels, shape), *answer = NULL;
  const OrtValue *images[] = {image};
  check(api->Run(session, NULL, inputs, images, 1, outputs, 1, &answer));
  const char *list = find(test, "\"probability\"");
  char *next = list == NULL ? NULL : strchr(list, '[');
  for (int i = 0; next != NULL && i < 6; i++) {
    double difference = values(answer)[i] - strtod(next + 1, &next);
    if (!(difference <= number(test, "\"tolerance\"") && -difference <= number(test, "\"tolerance\""))) next = NULL;
  }
  if (next == NULL) stop("this runtime computes something else", "the model's self-test differs", 3);
  api->ReleaseValue(answer);
  api->ReleaseValue(image);
  free(pixels);
}

int main(int count, char **arguments) {
  if (count != 3) {
    fprintf(stderr, "usage: %s model.onnx film.pgm\n", arguments[0]);
    return 2;
  }
  int64_t shape[4] = {1, 1, 0, 0}; /* any size: the graph resizes */
  unsigned char *pixels = read_pgm(arguments[2], &shape[2], &shape[3]);

  setenv("ORT_DISABLE_TELEMETRY", "1", 0); /* from 1.29 on, CreateEnv tells Microsoft about machine and model */
  api = OrtGetApiBase()->GetApi(ORT_API_VERSION);
  if (api == NULL) {
    fprintf(stderr, "the library is older than the header that this was compiled with\n");
    return 3;
  }
  OrtEnv *environment;
  OrtSessionOptions *options;
  OrtSession *session;
  OrtMemoryInfo *memory;
  OrtModelMetadata *metadata;
  OrtAllocator *allocator;
  OrtValue *answers[4] = {NULL, NULL, NULL, NULL};
  char *text = NULL;
  check(api->CreateEnv(ORT_LOGGING_LEVEL_ERROR, "embed", &environment));
  check(api->CreateSessionOptions(&options));
  /* for int8 files: x86 processors without VNNI add products in 16 bits, which may overflow; others ignore this */
  check(api->AddSessionConfigEntry(options, "session.x64quantprecision", "1"));
  check(api->CreateSession(environment, arguments[1], options, &session));
  check(api->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &memory));
  OrtValue *image = tensor(memory, pixels, shape);
  check(api->GetAllocatorWithDefaultOptions(&allocator));
  check(api->SessionGetModelMetadata(session, &metadata));
  check(api->ModelMetadataLookupCustomMetadataMap(metadata, allocator, "xraytransfer", &text));
  check_description(arguments[1], text);
  const char *rule = find(text, "\"acceptance\""); /* the model has a judge of films */
  const char *test = find(text, "\"self_test\"");
  const char *side = rule == NULL ? NULL : find(rule, "\"minimum_mirrored_probability\"");
  if (test != NULL) check_runtime(session, memory, test);

  const char *inputs[] = {"image"}, *outputs[] = {"probability", "film_kind", "film_distance", "film_mirrored"};
  const OrtValue *images[] = {image};
  check(api->Run(session, NULL, inputs, images, 1, outputs, rule == NULL ? 1 : side == NULL ? 3 : 4, answers));
  /* of what is no upright film of a chest, the probabilities mean nothing */
  int refused = rule != NULL && !(values(answers[1])[0] >= number(rule, "\"minimum_probability\"") &&
                                  values(answers[2])[0] <= number(rule, "\"maximum_distance\""));
  if (refused) {
    fprintf(stderr, "%s: not scored, it is no upright film of a chest, or unlike those the model knows\n", arguments[2]);
  } else {
    if (side != NULL && values(answers[3])[0] >= strtod(side, NULL)) {
      fprintf(stderr, "%s: left and right may be exchanged\n", arguments[2]);
    }
    for (int i = 0; i < 6; i++) printf("%s %.6f\n", OBSERVATIONS[i], values(answers[0])[i]);
  }

  for (int i = 0; i < 4; i++) {
    if (answers[i] != NULL) api->ReleaseValue(answers[i]);
  }
  if (text != NULL) check(api->AllocatorFree(allocator, text));
  api->ReleaseModelMetadata(metadata);
  api->ReleaseValue(image);
  api->ReleaseMemoryInfo(memory);
  api->ReleaseSession(session);
  api->ReleaseSessionOptions(options);
  api->ReleaseEnv(environment);
  free(pixels);
  return refused;
}
