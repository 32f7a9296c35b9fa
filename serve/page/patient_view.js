// Who is on the films: shown beside the names of the files while a reader wants it, hidden at first.

import { $ } from "./element.js";
import { films } from "./films.js";
import { patientOf } from "./patient.js";

let shown = false;

/** Name, ID, date and accession number of a film in one line; empty while hidden, and where there are none. */
export function patientLine(film) {
  if (!shown) return "";
  if (film.patient === undefined) void read(film);
  const { name, id, date, accession } = film.patient ?? {};
  const parts = [name, id && `ID ${id}`, date, accession && `accession ${accession}`];
  return parts.filter(Boolean).join(" · ");
}

async function read(film) {
  film.patient = null; // is being read
  film.patient = (await patientOf(film.file)) ?? {};
  films.change();
}

$("patients").addEventListener("click", () => {
  shown = !shown;
  films.patients = shown;
  $("patients").setAttribute("aria-pressed", String(shown));
  if (shown) for (const film of films.all) if (film.patient === undefined) void read(film);
  films.change();
});
