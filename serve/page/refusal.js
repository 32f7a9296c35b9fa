// The refusal: a film that was not scored, with its picture, and what can be done about it.

import { look } from "./client.js";
import { button, element } from "./element.js";
import { changed, films } from "./films.js";
import { changedPicture, show, unpacked } from "./picture.js";
import { again } from "./queue.js";

const HEADER = "not-a-radiograph";
const GATE = ["sideways", "upside-down", "inverted", "not-accepted"];
const PASSING = ["unreachable", "deadline", "internal", "page-failed", "stopping", "not-ready", "wrong-tokens"];

/** Get the picture of a refused film, where it has one that can be read: once for each film, while it is looked at. */
export async function fetchPicture(film) {
  if (film.state !== "refused" || film.seen || film.picture || ![HEADER, ...GATE].includes(film.problem.reason)) return;
  film.seen = true;
  try {
    const { value, problem, retryAfter } = await look(film.file);
    if (value && !film.removed) {
      film.original = { ...unpacked(value), change: film.change };
      await show(film, film.original);
    } else if (problem?.status === 503 || problem?.reason === "unreachable") lookLater(film, retryAfter);
  } catch {
    lookLater(film); // without its picture the refusal and its reason are still told
  }
  films.change();
}

function lookLater(film, seconds = 5) {
  setTimeout(() => {
    film.seen = false;
    films.change();
  }, 1000 * seconds);
}

/** What the buttons of a refused film depend on, beside the refusal itself. */
export const standing = (film) => (GATE.includes(film.problem?.reason) ? [Boolean(film.original), settled(film)] : []);

/** What can be done about a refused film, as buttons; changes by hand once its picture is there. */
export function remedies(film) {
  const { reason } = film.problem;
  const buttons = [];
  if (GATE.includes(reason)) {
    buttons.push(...handTools(film));
    const anyway = button("Score it anyway", () => again(film, { body: bodyOf(film), anyFilm: true }));
    anyway.disabled = !settled(film);
    buttons.push(anyway);
  } else if (reason === HEADER) buttons.push(button("Score it anyway", () => again(film, { anyModality: true })));
  else if (PASSING.includes(reason)) buttons.push(button("Try again", () => again(film), "primary"));
  return element("div", { className: "remedies" }, ...buttons);
}

/** Whether the picture on the screen is the one that the changes by hand ask for. */
const settled = (film) => !changed(film) || film.picture?.change === film.change;

const bodyOf = (film) => (changed(film) ? film.picture.blob : film.file);

function handTools(film) {
  const { turn, invert } = film.change;
  const tool = (text, changes) => Object.assign(button(text, () => change(film, changes)), { disabled: !film.original });
  // the file, or the changed picture instead of it; the quality gate judges it anew
  const scoreAgain = button("Score again", () => again(film, { body: bodyOf(film), anyFilm: false }), "primary");
  scoreAgain.disabled = !changed(film) || !settled(film);
  return [
    tool("Turn left", { turn: (turn + 3) % 4, invert }),
    tool("Turn right", { turn: (turn + 1) % 4, invert }),
    tool("Invert", { turn, invert: !invert }),
    scoreAgain,
  ];
}

/** Change the picture; several clicks in a row count all, and the last one's picture stays. */
async function change(film, changes) {
  film.change = changes;
  films.change();
  try {
    const picture = await changedPicture(film.original, changes);
    if (film.change === changes) await show(film, { ...picture, change: changes });
  } catch (error) {
    Object.assign(film, { change: { turn: 0, invert: false } });
    film.problem = { ...film.problem, detail: `The browser could not change the picture: ${error.message}.` };
  }
  films.change();
}

/** Go back to the file as it was added. */
export function undoChange(film) {
  again(film, { body: film.file, change: { turn: 0, invert: false }, anyFilm: false, picture: null, seen: false });
}
