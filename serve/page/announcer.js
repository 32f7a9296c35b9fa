// The announcer: tells screen readers and the status line what happened, at most once in a while.

import { $ } from "./element.js";

const PAUSE = 2000; // milliseconds between two announcements, so that two hundred films are no two hundred sentences

let pending = null;
let timer = null;

/** Say something to screen readers; what is said before the pause is over replaces what waits. */
export function say(text) {
  pending = text;
  timer ??= setTimeout(speak, 50);
}

function speak() {
  $("said").textContent = pending;
  pending = null;
  timer = setTimeout(() => {
    timer = null;
    if (pending !== null) say(pending);
  }, PAUSE);
}

/** Show a line at the foot of the page until it is closed or replaced, with a button if there is something to do. */
export function tell(text, action = null) {
  $("toast-text").textContent = text;
  $("toast-action").hidden = !action;
  if (action) {
    $("toast-action").textContent = action.text;
    $("toast-action").onclick = () => {
      hush();
      action.run();
    };
  }
  $("toast").hidden = false;
}

export function hush() {
  $("toast").hidden = true;
}
