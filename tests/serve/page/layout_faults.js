/* Returns what is wrong with the layout: what sticks out sideways, is covered, or is cut off. Runs as a function. */
const found = [];
const seen = (node) => node.checkVisibility({ visibilityProperty: true, opacityProperty: false });
const called = (node) => `${node.tagName.toLowerCase()}#${node.id}.${node.className} "${node.textContent.trim().slice(0, 40)}"`;
const root = document.querySelector("dialog[open]") ?? document.querySelector(".menu[open]") ?? document.body; // what lies on top
const width = document.documentElement.clientWidth;
const height = window.innerHeight;

if (document.documentElement.scrollWidth > width) found.push(`sideways: ${document.documentElement.scrollWidth} of ${width} pixels`);

/* Rows of the list are shortened on purpose: the whole name is their title, the rest is said beside the film. */
const shortened = "#films .name, #films .patient, #films .state";

function clipped(box, node) {
  for (let outer = node; outer && outer !== document.documentElement; outer = outer.parentElement) {
    const style = getComputedStyle(outer);
    const edge = outer.getBoundingClientRect();
    const cuts = (how) => how === "hidden" || how === "clip";
    if (cuts(style.overflowX) && (box.left < edge.left - 1 || box.right > edge.right + 1)) return outer;
    if (cuts(style.overflowY) && (box.top < edge.top - 1 || box.bottom > edge.bottom + 1)) return outer;
    if (style.overflowX === "auto" || style.overflowY === "auto") return null; // can be scrolled to
  }
  return box.left < -1 || box.right > width + 1 ? document.documentElement : null;
}

for (const control of root.querySelectorAll("button, a[href], input, select, summary, [tabindex='0']")) {
  if (!seen(control) || control.closest("#said")) continue;
  const target = control.matches("input[type=radio], input[type=checkbox]") ? (control.closest("label") ?? control) : control;
  target.scrollIntoView({ block: "nearest", inline: "nearest" });
  const box = target.getBoundingClientRect();
  const hit = document.elementFromPoint(
    (Math.max(0, box.left) + Math.min(width, box.right)) / 2,
    (Math.max(0, box.top) + Math.min(height, box.bottom)) / 2,
  );
  if (!target.contains(hit)) found.push(`covered or out of reach: ${called(control)} by ${hit && called(hit)}`);
  if (control.tagName === "SELECT") {
    const alone = control.cloneNode(false);
    alone.append(control.selectedOptions[0].cloneNode(true));
    alone.style.cssText = "position: absolute; width: auto";
    control.parentElement.append(alone);
    if (alone.offsetWidth > control.offsetWidth + 1) found.push(`cut off: ${called(control)}`);
    alone.remove();
  }
}

const words = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
while (words.nextNode()) {
  const node = words.currentNode.parentElement;
  if (!words.currentNode.data.trim() || !seen(node) || node.closest(`select, #said, ${shortened}`)) continue;
  const range = document.createRange();
  range.selectNodeContents(words.currentNode);
  for (const box of range.getClientRects()) {
    const by = clipped(box, node);
    if (by) found.push(`cut off: ${called(node)} by ${called(by)}`);
  }
}
window.scrollTo(0, 0);
return found;
