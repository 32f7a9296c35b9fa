// The viewer: one film, plain, under its map or beside it; wheel, pinch, drag and keys bring it closer.

import { $ } from "./element.js";

const CLOSEST = 8;

const stage = $("stage");
const panes = [$("pane"), $("pane-beside")];
const pictures = [$("picture"), $("picture-beside")];
const map = $("map");

let view = { scale: 1, x: 0, y: 0 };
let address = null;
const pointers = new Map();

/** Show a picture, a blob, under a name; null shows none. What was there keeps its place if `stay`. */
export function showPicture(blob, name, stay = false) {
  if (address) URL.revokeObjectURL(address);
  address = blob && URL.createObjectURL(blob);
  if (!stay) resetView();
  for (const picture of pictures) {
    picture.hidden = !blob;
    if (blob) picture.src = address;
    else picture.removeAttribute("src");
  }
  pictures[0].alt = name;
  stage.hidden = !blob;
}

/** Show something at once, blurred, while the picture is decoded. */
export function showThumb(thumb) {
  for (const picture of pictures) picture.style.backgroundImage = thumb ? `url("${thumb}")` : "";
}

/** Where the map is: "off", "over" the film or "beside" it; how strong, 0 to 1. */
export function placeMap(where, strength) {
  panes[1].hidden = where !== "beside";
  map.hidden = where === "off";
  const film = (where === "beside" ? panes[1] : panes[0]).querySelector(".film");
  if (map.parentNode !== film) film.append(map);
  map.style.opacity = strength;
  apply();
}

function apply() {
  const { width, height } = panes[0].getBoundingClientRect();
  view.x = Math.min(width * 0.5, Math.max(view.x, width * (0.5 - view.scale)));
  view.y = Math.min(height * 0.5, Math.max(view.y, height * (0.5 - view.scale)));
  if (view.scale === 1) view.x = view.y = 0;
  for (const pane of panes) {
    pane.querySelector(".film").style.transform = view.scale === 1 ? "" : `translate(${view.x}px, ${view.y}px) scale(${view.scale})`;
  }
  stage.classList.toggle("zoomed", view.scale > 1);
}

export function resetView() {
  view = { scale: 1, x: 0, y: 0 };
  apply();
}

/** Come closer by a factor, about a point of the window or the middle. */
export function zoom(factor, centre) {
  const pane = panes.find((one) => !one.hidden && centre && inside(one, centre)) ?? panes[0];
  const frame = pane.getBoundingClientRect();
  const inset = pane.querySelector(".film").offsetLeft;
  const x = (centre ? centre.x - frame.left : frame.width / 2) - inset;
  const y = (centre ? centre.y - frame.top : frame.height / 2) - inset;
  const scale = Math.min(CLOSEST, Math.max(1, view.scale * factor));
  const ratio = scale / view.scale;
  view = { scale, x: x - (x - view.x) * ratio, y: y - (y - view.y) * ratio };
  apply();
}

function inside(pane, { x, y }) {
  const frame = pane.getBoundingClientRect();
  return x >= frame.left && x <= frame.right && y >= frame.top && y <= frame.bottom;
}

stage.addEventListener("wheel", (event) => {
  event.preventDefault();
  zoom(Math.exp(-event.deltaY * 0.002), { x: event.clientX, y: event.clientY });
}, { passive: false });
stage.addEventListener("dblclick", resetView);
stage.addEventListener("dragstart", (event) => event.preventDefault());
stage.addEventListener("pointerdown", (event) => {
  pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
  stage.setPointerCapture(event.pointerId);
  stage.classList.add("dragging");
});
stage.addEventListener("pointermove", (event) => {
  const before = pointers.get(event.pointerId);
  if (!before) return;
  const now = { x: event.clientX, y: event.clientY };
  const other = [...pointers].find(([id]) => id !== event.pointerId)?.[1];
  if (other) {
    const distance = (point) => Math.hypot(point.x - other.x, point.y - other.y) || 1;
    zoom(distance(now) / distance(before), { x: (now.x + other.x) / 2, y: (now.y + other.y) / 2 });
  } else if (view.scale > 1) {
    view.x += now.x - before.x;
    view.y += now.y - before.y;
    apply();
  }
  pointers.set(event.pointerId, now);
});
for (const kind of ["pointerup", "pointercancel"]) {
  stage.addEventListener(kind, (event) => {
    pointers.delete(event.pointerId);
    if (!pointers.size) stage.classList.remove("dragging");
  });
}
