// Shows one result: bars, what was done to the pixels, which model answered.


const NO_FINDING = "no_finding"; // "nothing reported": not a disease, so it stands apart

export function element(name, properties = {}, ...children) {
  const node = Object.assign(document.createElement(name), properties);
  node.append(...children);
  return node;
}

const percent = (fraction) => `${(100 * fraction).toFixed(fraction < 0.0995 ? 1 : 0)} %`;

/** Diseases in the model's order, then the observation that is none. */
export function ordered(result) {
  const apart = (observation) => Number(observation.identifier === NO_FINDING);
  return [...result.observations].sort((a, b) => apart(a) - apart(b));
}

export function showBars(result, chosen, choose) {
  const rows = document.createDocumentFragment();
  for (const observation of ordered(result)) rows.append(bar(observation, chosen, choose));
  document.getElementById("bars").replaceChildren(rows);
  const members = result.observations[0].member_probability.length;
  const legend = document.getElementById("legend");
  legend.replaceChildren();
  if (result.observations.some((observation) => observation.threshold !== null)) {
    const point = result.operating_point ? ` (${result.operating_point})` : "";
    legend.append(element("span", {}, element("i", { className: "key mark" }), `threshold${point}`));
  }
  const what = members === 1 ? "before calibration" : `each of ${members} members, before calibration`;
  legend.append(element("span", {}, element("i", { className: "key dot" }), what));
}

function bar(observation, chosen, choose) {
  const { identifier, name, probability, threshold, decision, member_probability: members, spread } = observation;
  const input = element("input", { type: "radio", name: "observation", value: identifier, checked: identifier === chosen });
  input.addEventListener("change", () => choose(identifier));
  const fill = element("span", { className: "fill" });
  fill.style.width = `${100 * probability}%`;
  const track = element("span", { className: "track" }, fill);
  track.style.display = "block";
  if (threshold !== null) {
    const mark = element("span", { className: "mark", title: `Threshold ${percent(threshold)}` });
    mark.style.left = `${100 * threshold}%`;
    track.append(mark);
  }
  const strip = element("span", { className: "members", title: `Members' standard deviation ${(100 * spread).toFixed(1)} points` });
  strip.style.display = "block";
  const range = element("span", { className: "range" });
  range.style.left = `${100 * Math.min(...members)}%`;
  range.style.width = `${100 * (Math.max(...members) - Math.min(...members))}%`;
  strip.append(range, ...members.map((value) => {
    const dot = element("i");
    dot.style.left = `${100 * value}%`;
    return dot;
  }));
  const verdict = decision === null ? "" : decision ? "above threshold" : "below threshold";
  const head = element(
    "span", { className: "head" },
    element("span", { className: "name" }, name),
    element("span", { className: "verdict" }, verdict),
    element("span", { className: "number" }, percent(probability)),
  );
  const apart = identifier === NO_FINDING ? " apart" : "";
  return element("label", { className: `row${decision ? " above" : ""}${apart}` }, input, head, track, strip);
}

/** One line for the list of films. */
export function summary(result) {
  const above = result.observations.filter((row) => row.decision && row.identifier !== NO_FINDING);
  if (above.length > 1) return { text: `${above.length} above threshold`, above: true };
  if (above.length) return { text: above[0].name, above: true };
  if (result.observations.every((row) => row.decision === null)) return { text: "scored", above: false };
  return { text: "none above threshold", above: false };
}

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
  document.getElementById("pixels").replaceChildren(list);
  const notes = [...(result.radiograph.notes ?? [])];
  if (result.acceptance && !result.acceptance.accepted) {
    notes.unshift("The model's quality gate refused this film; it was scored because you asked for it.");
  }
  document.getElementById("notes").replaceChildren(...notes.map((note) => element("li", {}, note)));
}

export function showModel(result) {
  const { name, version, sha256 } = result.model;
  const rows = [["Model", `${name}, version ${version}`], ["Checksum", sha256], ["Ran on", result.provider]];
  document.getElementById("model").replaceChildren(
    ...rows.flatMap(([term, value]) => [element("dt", {}, term), element("dd", {}, value)]),
  );
}
