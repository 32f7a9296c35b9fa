// What a model file says of itself: ONNX Runtime for JavaScript hands no metadata out, so it is found in the bytes.
export function description(bytes) {
  const key = "\n\x0cxraytransfer\x12"; // protobuf: a string of twelve letters, then another, its length first
  let at = new TextDecoder("latin1").decode(bytes).lastIndexOf(key);
  if (at < 0) throw new Error("no model file of xraytransfer, or a program removed its description");
  at += key.length;
  let length = 0, shift = 0, byte;
  do {
    byte = bytes[at++];
    length |= (byte & 127) << shift;
    shift += 7;
  } while (byte & 128);
  const known = JSON.parse(new TextDecoder().decode(bytes.subarray(at, at + length)));
  if (known.schema_version > 3) {
    throw new Error(`its description has version ${known.schema_version}; this program understands 1 to 3`);
  }
  if (known.input.intensity !== "voi") { // which takes 8 bits as they are; the others change them
    throw new Error(`needs grey levels of the recipe ${known.input.intensity}; this program makes only voi`);
  }
  return known;
}

// The model judges whether this is an upright film of a chest: of any other, its probabilities mean nothing.
// Takes the description's acceptance and the answers; returns what is wrong with the film, or nothing.
export function refusal(rule, { film_kind, film_distance }) {
  if (!rule) return;
  const kinds = Array.from(film_kind.data);
  if (!(kinds[0] >= rule.minimum_probability)) {
    const kind = rule.kinds[kinds.indexOf(Math.max(...kinds.slice(1)), 1)];
    return `not scored, no upright film of a chest: ${kind}`;
  }
  if (!(film_distance.data[0] <= rule.maximum_distance)) {
    return "not scored, it is unlike the films that the model learned from";
  }
}

// Returns whether left and right of an accepted film may be exchanged.
export function mirrored(rule, { film_mirrored }) {
  return film_mirrored?.data[0] >= rule?.minimum_mirrored_probability; // false if one of them is absent
}

export function isPng(bytes) {
  return [0x89, 0x50, 0x4e, 0x47].every((value, i) => bytes[i] === value);
}

const LARGEST = 100_000_000;

// Throws where a picture's first bytes say that it is not one of 8 bits that can be read. A browser and pngjs cut
// sixteen bits to eight, where a film's values may all be small.
export function checkPicture(bytes) {
  if (bytes[0] === 0xff && bytes[1] === 0xd8) return; // a JPEG
  if (!isPng(bytes)) throw new Error("no PNG or JPEG; convert it first");
  if (bytes.length < 33) throw new Error("a PNG that is cut short");
  if (bytes[24] > 8) throw new Error("more than 8 bits: convert it to 8 bits first, as docs/model-file.md says");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  checkSize(view.getUint32(16), view.getUint32(20));
  for (let at = 8; at + 8 <= bytes.length; at += 12 + view.getUint32(at)) {
    const chunk = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    if (chunk === "acTL") throw new Error("more than one picture; a film has one");
    if (chunk === "eXIf") throw new Error("a PNG with Exif data, which may say that it lies on its side: save it without");
  }
}

// Throws where a picture would take too much memory.
export function checkSize(width, height) {
  if (width * height > LARGEST) throw new Error(`${width} x ${height} pixels; at most ${LARGEST} are read`);
}

// Returns the grey levels of decoded pixels (red, green, blue, alpha); throws where they are not certain.
export function greyLevels(rgba) {
  const grey = new Uint8Array(rgba.length / 4);
  for (let i = 0; i < grey.length; i++) {
    const red = rgba[4 * i];
    if (red !== rgba[4 * i + 1] || red !== rgba[4 * i + 2] || rgba[4 * i + 3] !== 255) {
      throw new Error("coloured or transparent pixels: convert it to an opaque grey picture first");
    }
    grey[i] = red;
  }
  return grey;
}

// The file's self-test: fine stripes, of which a runtime that leaves out a part of the graph says something else.
// Call it before the first film; it throws where this runtime does not compute what the model computes.
export async function checkRuntime(session, ort, { input, self_test }) {
  if (input.size === "fixed") throw new Error("the model takes films of its own resolution alone; use one of any size");
  if (!self_test) return;
  const { rows, columns, detail, probability, tolerance } = self_test;
  const stripes = Uint8Array.from({ length: rows * columns }, (_, i) => {
    const column = i % columns, row = (i - column) / columns;
    const ground = 160 - Math.floor((600 * column * (columns - 1 - column)) / (columns * columns));
    return ground + 48 * (Math.floor((row + column) / detail) % 2);
  });
  const image = new ort.Tensor("uint8", stripes, [1, 1, rows, columns]);
  const { data } = (await session.run({ image }, ["probability"])).probability;
  const difference = Math.max(...probability.map((value, i) => Math.abs(value - data[i])));
  if (!(difference <= tolerance)) {
    throw new Error(`this runtime computes something else: the self-test differs by ${difference.toFixed(3)}`);
  }
}
