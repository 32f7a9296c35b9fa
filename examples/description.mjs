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
