// What a model file says of itself: ONNX Runtime for JavaScript hands no metadata out, so it is found in the bytes.
export function description(bytes) {
  const key = "\n\x0cxraytransfer\x12"; // protobuf: a string of twelve letters, then another, its length first
  let at = new TextDecoder("latin1").decode(bytes).lastIndexOf(key);
  if (at < 0) throw new Error("no model file of xraytransfer");
  at += key.length;
  let length = 0, shift = 0, byte;
  do {
    byte = bytes[at++];
    length |= (byte & 127) << shift;
    shift += 7;
  } while (byte & 128);
  return JSON.parse(new TextDecoder().decode(bytes.subarray(at, at + length)));
}

// The model judges whether this is an upright film of a chest: of any other, its probabilities mean nothing.
// Returns what is wrong with the film, or nothing.
export function refusal(rule, film_kind, film_distance) {
  const kinds = Array.from(film_kind.data);
  if (kinds[0] < rule.minimum_probability) {
    const kind = rule.kinds[kinds.indexOf(Math.max(...kinds.slice(1)), 1)];
    return `not scored, no upright film of a chest: ${kind}`;
  }
  if (film_distance.data[0] > rule.maximum_distance) {
    return "not scored, it is unlike the films that the model learned from";
  }
}

// Bits of a PNG's samples; a browser and pngjs cut sixteen to eight where a film's values may all be small.
export function bits(bytes) {
  return bytes[0] === 0x89 ? bytes[24] : 8;
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
