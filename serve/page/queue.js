// The queue: sends waiting films, a few at a time; waits for a busy server and for a token.

import { say } from "./announcer.js";
import { score } from "./client.js";
import { films, noteUnintended } from "./films.js";
import { keepPicture } from "./picture.js";
import { summary } from "./summary.js";

const AT_ONCE = 2; // films on their way to the server

export const queue = Object.assign(new EventTarget(), {
  locked: false, // the server wants a token
  sent: 0,
});

/** Send what is due. */
export function work() {
  if (queue.locked) return;
  const now = Date.now();
  const due = films.all.filter((film) => film.state === "waiting" || (film.state === "busy" && film.retryAt <= now));
  const free = AT_ONCE - films.all.filter((film) => film.state === "scoring").length;
  for (const film of due.slice(0, Math.max(0, free))) void send(film);
}

export function again(film, changes = {}) {
  Object.assign(film, changes, { state: "waiting", problem: null, result: null });
  films.change();
  work();
}

/** Begin again after the token was given. */
export function unlock() {
  queue.locked = false;
  films.change();
  work();
}

async function send(film) {
  film.state = "scoring";
  film.problem = null;
  film.stop = new AbortController();
  films.change();
  const stop = film.stop;
  const answer = await answerTo(film, stop.signal);
  if (film.removed || film.stop !== stop) return work();
  film.stop = null;
  noteUnintended(film, (answer.value ?? answer.problem)?.radiograph);
  if (answer.problem?.status === 401) lock(film, answer.problem);
  else Object.assign(film, outcome(answer));
  films.change();
  announce(film);
  work();
}

/** The answer, with the picture put by; whatever fails here is told like a refusal, so that no film waits for ever. */
async function answerTo(film, signal) {
  try {
    const answer = await score(film.body, film, signal);
    if (answer.value && !signal.aborted) await keepPicture(film, answer.value);
    return answer;
  } catch (error) {
    return { problem: { status: 0, reason: "page-failed", title: "the page could not show the answer", detail: String(error) } };
  }
}

function outcome({ value, problem, retryAfter }) {
  if (value) return { state: "scored", result: value };
  if (problem.status === 503) return { state: "busy", problem, retryAt: Date.now() + 1000 * retryAfter };
  return { state: "refused", problem };
}

function lock(film, problem) {
  film.state = "waiting";
  if (queue.locked) return;
  queue.locked = true;
  queue.dispatchEvent(new CustomEvent("locked", { detail: problem }));
}

function announce(film) {
  if (film.state !== "scored" && film.state !== "refused") return;
  const count = films.all.length;
  const what = film.state === "scored" ? summary(film).text : `not scored, ${film.problem.title}`;
  if (count === 1) say(`${film.name}: ${what}.`);
  else say(films.done === count ? `All ${count} films are done. The last, ${film.name}: ${what}.` : `${films.done} of ${count} films are done. ${film.name}: ${what}.`);
}

/** Look every half second whether a busy server may be asked again. */
export function keepWorking(tick) {
  setInterval(() => {
    if (!films.all.some((film) => film.state === "busy")) return;
    work();
    tick();
  }, 500);
}
