// Shortcuts: single keys that do things, unless a reader has turned them off (WCAG 2.1.4).

import { $ } from "./element.js";

const OFF = "#keys=off"; // in the address, so that a bookmark keeps it and nothing is stored
const TEXTS = "select, textarea, input:not([type=radio], [type=checkbox], [type=range])";

/** Let keys run actions, {key: action}; an action that returns false leaves the key to the browser. Keys that are no characters work in any case, but not where they edit or move something. */
export function listen(actions) {
  const off = $("keys-off");
  off.checked = location.hash === OFF;
  off.addEventListener("change", () => history.replaceState(null, "", off.checked ? OFF : location.pathname));
  addEventListener("keydown", (event) => {
    if (event.altKey || document.querySelector("dialog[open]")) return;
    const name = event.ctrlKey || event.metaKey ? `Control+${event.key}` : event.key;
    const action = actions[name];
    if (!action || (event.key.length === 1 && name === event.key && off.checked) || isMeant(event)) return;
    if (action(event) !== false) event.preventDefault();
  });
}

/** Whether the key belongs to what has the focus: texts take all keys, sliders and radio buttons arrows and Delete. */
function isMeant({ target, key }) {
  if (target.matches(TEXTS)) return true;
  return target.matches("input") && (key.startsWith("Arrow") || key === "Delete");
}
