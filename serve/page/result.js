// The result: probabilities against their thresholds, what was done to the pixels, which model answered.

import { $, element } from "./element.js";
import { NO_FINDING } from "./films.js";
import { SPAN, apart, percent, place, times } from "./numbers.js";

/** Diseases in the model's order, then the observation that is none. */
export function ordered(result) {
  const last = (observation) => Number(observation.identifier === NO_FINDING);
  return [...result.observations].sort((a, b) => last(a) - last(b));
}

/** Each member's calibrated probability, where the server gives it; members before calibration are on another scale. */
const membersOf = (observation) => observation.member_probability ?? [];

export function showBars(result, chosen, choose) {
  const rows = ordered(result);
  $("bars").replaceChildren(...rows.map((observation) => bar(observation, chosen, choose)));
  const relative = rows.some(({ threshold }) => threshold);
  const marks = relative
    ? [[0, `⅛`], [50 - 50 / Math.log2(SPAN), "½"], [50, "threshold"], [50 + 50 / Math.log2(SPAN), "× 2"], [100, `× ${SPAN}`]]
    : [[0, "0 %"], [50, "50 %"], [100, "100 %"]];
  $("axis").replaceChildren(...marks.map(([at, words]) => {
    const mark = element("span", {}, words);
    mark.style.left = `${at}%`;
    return mark;
  }));
  const members = Math.max(...rows.map((row) => membersOf(row).length));
  $("legend").replaceChildren(...(members > 1 ? [element("i", { className: "key dot" }), `each of ${members} members, calibrated`] : []));
}

function bar(observation, chosen, choose) {
  const { identifier, name, probability, threshold, decision, near_threshold: near } = observation;
  const input = element("input", { type: "radio", name: "observation", value: identifier, checked: identifier === chosen });
  input.addEventListener("change", () => choose(identifier));
  const side = decision === null ? "" : decision ? "above threshold" : "below threshold";
  const verdict = near ? `just ${side}` : side;
  const [number, limit] = threshold ? apart(probability, threshold) : [percent(probability), ""];
  const head = element(
    "span", { className: "head" },
    element("span", { className: "name" }, name),
    element("span", { className: "verdict" }, verdict),
    element("span", { className: "number" }, number),
  );
  const against = threshold ? `${times(probability, threshold)} × the threshold of ${limit}` : "no threshold";
  const special = identifier === NO_FINDING ? " apart" : "";
  return element(
    "label", { className: `row${decision ? " above" : ""}${special}` },
    input, head, track(observation), element("span", { className: "against" }, against),
  );
}

/** The bar goes out from the threshold, in the middle: to the right above it, to the left below it. */
function track(observation) {
  const { probability, threshold } = observation;
  const [from, to] = [threshold ? 50 : 0, place(probability, threshold)];
  const fill = element("span", { className: "fill" });
  fill.style.left = `${Math.min(from, to)}%`;
  fill.style.width = `${Math.abs(to - from)}%`;
  const line = element("span", { className: "track", ariaHidden: "true" }, fill);
  if (threshold) line.append(element("span", { className: "mark" }));
  for (const value of membersOf(observation)) {
    const dot = element("i", { className: "dot" });
    dot.style.left = `${place(value, threshold)}%`;
    line.append(dot);
  }
  return line;
}

const POINTS = {
  youden: "The threshold is where sensitivity and specificity together were highest",
};

function pointWords(name) {
  const least = /^sensitivity-(\d+)$/.exec(name ?? "");
  if (least) return `The threshold is the highest that found at least ${least[1]} % of the films with the observation`;
  return POINTS[name] ?? (name ? `The threshold belongs to the operating point ${name}` : "This model has no threshold");
}

/**
 * Say what the threshold of the chosen observation means, with the numbers that the model's description has for it.
 * `model` is the description, null while it is not known.
 */
export function showThreshold(result, chosen, model) {
  const name = ordered(result).find((row) => row.identifier === chosen).name;
  const point = model?.operating_points?.find((row) => row.name === result.operating_point && row.observation === chosen);
  const data = point?.data ? ` (${point.data})` : "";
  const sentences = [`${pointWords(result.operating_point)}${data}.`];
  if (typeof point?.sensitivity === "number") sentences.push(sensitivityWords(point, name));
  const value = predictiveValue(point);
  if (value !== null) {
    sentences.push(`Of the films above it, ${percent(value)} had it; of all ${point.n} films, ${percent(point.positives / point.n)} had it.`);
  }
  $("threshold-note").textContent = sentences.join(" ");
}

function sensitivityWords({ sensitivity, specificity }, name) {
  const without = typeof specificity === "number" ? ` and left ${percent(specificity)} of those without below it` : "";
  return `There it found ${percent(sensitivity)} of the films with ${name}${without}.`;
}

/** The positive predictive value at an operating point, among the films that it was found on; null where not known. */
function predictiveValue(point) {
  if (![point?.sensitivity, point?.specificity, point?.n, point?.positives].every((value) => typeof value === "number")) return null;
  const right = point.sensitivity * point.positives;
  const wrong = (1 - point.specificity) * (point.n - point.positives);
  return right + wrong > 0 ? right / (right + wrong) : null;
}
