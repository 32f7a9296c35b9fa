// The list of films: only the rows that can be seen exist, and a row is changed rather than made anew.

import { $, button, element } from "./element.js";
import { films } from "./films.js";
import { patientLine } from "./patient_view.js";
import { summary } from "./summary.js";

const ROW = { height: 70, width: 200 }; // pixels; page.css has the same
const BEYOND = 3; // rows on each side of what can be seen

const across = matchMedia("(max-width: 1080px)");
const rows = new Map(); // film -> its row's elements
let listed = [];

export function renderList() {
  listed = films.listed;
  const count = films.all.length;
  $("progress").textContent = films.done === count ? `${count} ${count === 1 ? "film" : "films"}` : `${films.done} of ${count} done`;
  $("none-listed").hidden = listed.length > 0 || !count;
  const size = `${listed.length * (across.matches ? ROW.width : ROW.height)}px`;
  const list = $("films");
  list.style.width = across.matches ? size : "";
  list.style.height = across.matches ? "" : size;
  renderRows();
}

/** Bring the current film's row into sight. */
export function followCurrent() {
  const place = films.listed.indexOf(films.current);
  if (place < 0) return;
  const scroller = $("scroller");
  const [step, seen, at] = across.matches
    ? [ROW.width, scroller.clientWidth, scroller.scrollLeft]
    : [ROW.height, scroller.clientHeight, scroller.scrollTop];
  const to = Math.min(place * step, Math.max(at, (place + 1) * step - seen));
  if (to !== at) scroller.scrollTo(across.matches ? { left: to } : { top: to });
}

function renderRows() {
  const wanted = inSight();
  for (const [film, row] of rows) {
    if (wanted.has(film)) continue;
    row.item.remove();
    rows.delete(film);
  }
  const focused = document.activeElement?.closest?.("#films");
  let before = null;
  for (const [film, place] of wanted) {
    const row = rows.get(film) ?? rowOf(film);
    fill(row, film, place);
    const next = before ? before.nextSibling : $("films").firstChild;
    if (next !== row.item) $("films").insertBefore(row.item, next); // moving a row would take the focus away
    before = row.item;
  }
  if (focused && !$("films").contains(document.activeElement)) rows.get(films.current)?.open.focus({ preventScroll: true });
}

function inSight() {
  const scroller = $("scroller");
  const [step, seen, at] = across.matches
    ? [ROW.width, scroller.clientWidth, scroller.scrollLeft]
    : [ROW.height, scroller.clientHeight, scroller.scrollTop];
  const first = Math.max(0, Math.floor(at / step) - BEYOND);
  const last = Math.min(listed.length, Math.ceil((at + seen) / step) + BEYOND);
  const wanted = new Map();
  for (let place = first; place < last; place += 1) wanted.set(listed[place], place);
  const current = listed.indexOf(films.current);
  if (current >= 0) wanted.set(films.current, current); // so that it keeps the focus
  return wanted;
}

function rowOf(film) {
  const thumb = element("img", { className: "thumb", alt: "" });
  const mark = element("span", { className: "thumb" });
  const name = element("span", { className: "name" });
  const patient = element("span", { className: "patient" });
  const state = element("span", { className: "state" });
  const open = button("", () => films.select(film), "open");
  open.append(thumb, mark, element("span", { className: "words" }, name, patient, state));
  const remove = button("×", () => films.remove(film), "remove");
  const item = element("li", {}, open, remove);
  const row = { item, open, thumb, mark, name, patient, state, remove };
  rows.set(film, row);
  return row;
}

function fill(row, film, place) {
  const { text, kind } = summary(film);
  const short = film.name.split("/").at(-1);
  row.item.style.transform = across.matches ? `translateX(${place * ROW.width}px)` : `translateY(${place * ROW.height}px)`;
  set(row.item, "ariaSetSize", String(listed.length));
  set(row.item, "ariaPosInSet", String(place + 1));
  set(row.open, "ariaCurrent", String(film === films.current));
  set(row.open, "title", film.name);
  set(row.remove, "ariaLabel", `Remove ${short}`);
  set(row.name, "textContent", short);
  set(row.patient, "textContent", patientLine(film));
  set(row.state, "textContent", text);
  set(row.state, "className", `state ${kind}`);
  set(row.thumb, "hidden", !film.thumb);
  set(row.mark, "hidden", Boolean(film.thumb));
  set(row.mark, "textContent", film.state === "refused" ? "×" : "·");
  if (film.thumb && row.thumb.src !== film.thumb) row.thumb.src = film.thumb;
}

function set(node, property, value) {
  if (node[property] !== value) node[property] = value;
}

$("scroller").addEventListener("scroll", renderRows, { passive: true });
across.addEventListener("change", () => {
  renderList();
  followCurrent();
});
new ResizeObserver(renderRows).observe($("scroller"));
