/* Score a grey film (binary PGM, 8 bits) with ONNX Runtime's C API.
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
static const OrtApi *api;

static void check(OrtStatus *status) {
  if (status != NULL) {
    fprintf(stderr, "onnxruntime: %s\n", api->GetErrorMessage(status));
    exit(3);
  }
}

/* Returns rows * columns bytes, to be freed; air dark, bone bright. */
static unsigned char *read_pgm(const char *path, int64_t *rows, int64_t *columns) {
  FILE *file = fopen(path, "rb");
  unsigned width = 0, height = 0, largest = 0;
  if (file == NULL) {
    perror(path);
    exit(1);
  }
  if (fscanf(file, "P5 %u %u %u", &width, &height, &largest) != 3 || largest != 255 ||
      width == 0 || height == 0 || width > 20000 || height > 20000 || fgetc(file) == EOF) {
    fprintf(stderr, "%s: not a binary PGM file of 8 bits\n", path);
    exit(1);
  }
  size_t size = (size_t)width * height;
  unsigned char *pixels = malloc(size);
  if (pixels == NULL || fread(pixels, 1, size, file) != size) {
    fprintf(stderr, "%s: cut short\n", path);
    exit(1);
  }
  fclose(file);
  *rows = height;
  *columns = width;
  return pixels;
}

/* Returns the number that stands behind a key of the model's description. */
static double number(const char *text, const char *key) {
  const char *found = strstr(text, key);
  found = found == NULL ? NULL : strchr(found, ':');
  if (found == NULL) {
    fprintf(stderr, "the model's description lacks %s\n", key);
    exit(3);
  }
  return strtod(found + 1, NULL);
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
  if (rows < 1 || rows > 8192 || columns < 1 || columns > 8192 || detail < 1) exit(3);
  unsigned char *pixels = malloc((size_t)(rows * columns));
  if (pixels == NULL) exit(3);
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
  const char *list = strstr(test, "\"probability\"");
  char *next = list == NULL ? NULL : strchr(list, '[');
  for (int i = 0; next != NULL && i < 6; i++) {
    double difference = values(answer)[i] - strtod(next + 1, &next);
    if (!(difference <= number(test, "\"tolerance\"") && -difference <= number(test, "\"tolerance\""))) next = NULL;
  }
  if (next == NULL) {
    fprintf(stderr, "this runtime computes something else: the model's self-test differs\n");
    exit(3);
  }
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
  OrtValue *answers[3] = {NULL, NULL, NULL};
  char *text = NULL;
  check(api->CreateEnv(ORT_LOGGING_LEVEL_ERROR, "embed", &environment));
  check(api->CreateSessionOptions(&options));
  check(api->CreateSession(environment, arguments[1], options, &session));
  check(api->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &memory));
  OrtValue *image = tensor(memory, pixels, shape);
  check(api->GetAllocatorWithDefaultOptions(&allocator));
  check(api->SessionGetModelMetadata(session, &metadata));
  check(api->ModelMetadataLookupCustomMetadataMap(metadata, allocator, "xraytransfer", &text));
  const char *rule = text == NULL ? NULL : strstr(text, "\"acceptance\""); /* the model has a judge of films */
  const char *test = text == NULL ? NULL : strstr(text, "\"self_test\"");
  if (test != NULL) check_runtime(session, memory, test);

  const char *inputs[] = {"image"}, *outputs[] = {"probability", "film_kind", "film_distance"};
  const OrtValue *images[] = {image};
  check(api->Run(session, NULL, inputs, images, 1, outputs, rule == NULL ? 1 : 3, answers));
  /* of what is no upright film of a chest, the probabilities mean nothing */
  int refused = rule != NULL && (values(answers[1])[0] < number(rule, "\"minimum_probability\"") ||
                                 values(answers[2])[0] > number(rule, "\"maximum_distance\""));
  if (refused) {
    fprintf(stderr, "%s: not scored, it is no upright film of a chest, or unlike those the model knows\n", arguments[2]);
  } else {
    for (int i = 0; i < 6; i++) printf("%s %.6f\n", OBSERVATIONS[i], values(answers[0])[i]);
  }

  for (int i = 0; i < 3; i++) {
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
