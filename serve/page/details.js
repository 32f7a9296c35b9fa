// The details: what was done to a film's pixels, and which model answered.

import { $, element } from "./element.js";

const WINDOWS = {
  "voi-lut": "the film's own VOI LUT",
  window: "the film's own centre and width",
  "full-range": "none in the film: all grey levels it can hold",
  "min-max": "from the darkest to the brightest pixel",
};
const RECIPES = {
  voi: "voi: as a viewer shows the film",
  minmax: "minmax: stretched to black and white",
  chexpert: "chexpert: as CheXpert's pictures were made",
};
const SYNTAXES = {
  "1.2.840.10008.1.2": "Implicit little endian",
  "1.2.840.10008.1.2.1": "Explicit little endian",
  "1.2.840.10008.1.2.1.99": "Deflated",
  "1.2.840.10008.1.2.2": "Explicit big endian",
  "1.2.840.10008.1.2.4.50": "JPEG baseline",
  "1.2.840.10008.1.2.4.51": "JPEG extended",
  "1.2.840.10008.1.2.4.57": "JPEG lossless",
  "1.2.840.10008.1.2.4.70": "JPEG lossless",
  "1.2.840.10008.1.2.4.80": "JPEG-LS lossless",
  "1.2.840.10008.1.2.4.81": "JPEG-LS near-lossless",
  "1.2.840.10008.1.2.4.90": "JPEG 2000 lossless",
  "1.2.840.10008.1.2.4.91": "JPEG 2000",
  "1.2.840.10008.1.2.4.201": "HTJ2K lossless",
  "1.2.840.10008.1.2.4.203": "HTJ2K",
  "1.2.840.10008.1.2.5": "RLE",
};
const WORDS = {
  format: ["File", (value) => value.toUpperCase()],
  modality: ["Modality", String],
  view_position: ["View", String],
  transfer_syntax: ["Stored as", (value) => SYNTAXES[value] ?? value],
  photometric_interpretation: ["Photometric", String],
  bits_stored: ["Bits stored", String],
  window: ["Window", (value) => WINDOWS[value] ?? value],
  inverted: ["Inverted", (value) => (value ? "yes, air is dark now" : "no")],
  intensity: ["Recipe", (value) => RECIPES[value] ?? value],
};

export function showPixels(result) {
  const { rows, columns } = result.picture;
  const list = document.createDocumentFragment();
  const add = (term, value) => list.append(element("dt", {}, term), element("dd", {}, value));
  add("Size", `${columns} × ${rows} pixels`);
  for (const [key, [term, word]] of Object.entries(WORDS)) {
    const value = result.radiograph[key];
    if (value !== null && value !== undefined) add(term, word(value));
  }
  $("pixels").replaceChildren(list);
  const notes = [...(result.radiograph.notes ?? [])];
  $("notes").replaceChildren(...notes.map((note) => element("li", {}, note)));
}

export function showModel(result) {
  const { name, version, sha256 } = result.model;
  const rows = [["Model", `${name}, version ${version}`], ["Checksum", sha256], ["Ran on", result.provider]];
  $("model").replaceChildren(
    ...rows.flatMap(([term, value]) => [element("dt", {}, term), element("dd", {}, value)]),
  );
}
