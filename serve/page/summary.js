// The summary: one film in a few words, and the warnings that go wherever its numbers go.

import { NO_FINDING, changed } from "./films.js";

const FAULTS = {
  sideways: "it lies on its side",
  "upside-down": "it is upside down",
  inverted: "its grey levels are inverted",
  "not-accepted": "it does not look like one whole frontal chest radiograph",
};
const TURNS = ["", "turned a quarter clockwise", "turned by half", "turned a quarter counter-clockwise"];

/** What was done to the picture by hand, in words; empty where nothing was. */
export function changeWords({ turn, invert }) {
  return [TURNS[turn], invert ? "grey levels inverted" : ""].filter(Boolean).join(", ");
}

/** Sentences that belong over the picture, in every export, and in print. */
export function warnings(film) {
  const found = [];
  const gate = film.result?.acceptance;
  if (gate && !gate.accepted) {
    const fault = FAULTS[gate.reason] ?? gate.reason;
    found.push(`Scored against advice: the model's quality gate refused this film (${fault}). The numbers may mean nothing.`);
  }
  if (film.result && film.anyModality) {
    found.push("Scored against advice: its header does not describe a frontal chest radiograph. The numbers may mean nothing.");
  }
  if (film.result) found.push(...[...film.unintended].map((note) => `Outside the intended use: ${note}.`));
  if (film.result && changed(film)) found.push(`Changed by hand before it was scored: ${changeWords(film.change)}.`);
  return found;
}

const againstAdvice = (film) => film.anyModality || film.result.acceptance?.accepted === false;

/** One line for the list: {text, kind}, kind "above", "wrong" or nothing. */
export function summary(film) {
  if (film.state === "refused") return { text: film.problem.reason === "unreachable" ? "not sent" : "not scored", kind: "wrong" };
  if (film.state !== "scored") return { text: { waiting: "waiting", scoring: "scoring…", busy: "server busy" }[film.state], kind: "" };
  const { text, above } = verdict(film.result);
  if (againstAdvice(film)) return { text: `against advice: ${text}`, kind: "wrong" };
  if (changed(film)) return { text: `changed by hand: ${text}`, kind: "wrong" };
  return { text, kind: above ? "above" : "" };
}

function verdict(result) {
  const above = result.observations.filter((row) => row.decision && row.identifier !== NO_FINDING);
  if (above.length > 1) return { text: `${above.length} above threshold`, above: true };
  if (above.length) return { text: above[0].name, above: true };
  if (result.observations.every((row) => row.decision === null)) return { text: "scored", above: false };
  return { text: "none above threshold", above: false };
}
