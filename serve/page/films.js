// Films: those on the page, the current one, and the order in which they are listed. They live in this tab only.

/**
 * @typedef {object} Film
 * @property {File} file as it was added
 * @property {Blob} body what is sent: the file, or a picture of it that was changed by hand
 * @property {string} name with its folders, where it came in one
 * @property {"waiting"|"scoring"|"busy"|"refused"|"scored"} state
 * @property {object|null} result the server's answer without the picture
 * @property {object|null} problem why it was refused
 * @property {{blob: Blob, rows: number, columns: number}|null} picture as the server read it
 * @property {string|null} thumb address of a small picture
 * @property {{turn: number, invert: boolean}} change by hand; turn in quarters, clockwise
 * @property {boolean} anyModality the header's refusal was overruled
 * @property {boolean} anyFilm the quality gate's refusal was overruled
 * @property {Set<string>} unintended what its header says of a patient for whom models are not meant
 */

export const NO_FINDING = "no_finding"; // "nothing reported": not a disease, so it stands apart
const UNINTENDED = /: models are meant for (adults|humans)$/; // the notes of xraytransfer/reading/patient.py

function film(file, name) {
  return {
    file, body: file, name: name || file.name || "film", state: "waiting", result: null, problem: null, picture: null, thumb: null,
    change: { turn: 0, invert: false }, anyModality: false, anyFilm: false, retryAt: 0, removed: false, stop: null, patient: undefined,
    unintended: new Set(),
  };
}

export const reaches = (film) => film.result?.observations.some((row) => row.decision && row.identifier !== NO_FINDING) ?? false;
const probability = (film, identifier) => film.result?.observations.find((row) => row.identifier === identifier)?.probability ?? -1;
const done = (film) => film.state === "scored" || film.state === "refused";

const FILTERS = {
  all: () => true,
  above: reaches,
  below: (film) => film.state === "scored" && !reaches(film),
  refused: (film) => film.state === "refused",
  warned: (film) => film.state === "scored" && (film.anyModality || film.result.acceptance?.accepted === false || film.unintended.size > 0 || changed(film)),
  open: (film) => !done(film),
};

export const changed = (film) => film.change.turn !== 0 || film.change.invert;

/** Remember notes on the patient from an answer's record: a picture that was changed by hand has no header any more. */
export function noteUnintended(film, record) {
  for (const note of record?.notes ?? []) if (UNINTENDED.test(note)) film.unintended.add(note);
}

class Films extends EventTarget {
  all = [];
  current = null;
  filter = "all";
  sort = "added";
  words = "";
  patients = false; // whether words are looked for in the patients' names too
  #lastRemoved = null;
  #told = false;

  /** Films in the order in which they are listed. */
  get listed() {
    const words = this.words.toLowerCase();
    const patient = (film) => (this.patients && film.patient ? Object.values(film.patient).join(" ") : "");
    const found = (film) => !words || `${film.name} ${patient(film)}`.toLowerCase().includes(words);
    const films = this.all.filter((film) => FILTERS[this.filter](film) && found(film));
    if (this.sort === "name") films.sort((a, b) => a.name.localeCompare(b.name, undefined, { numeric: true }));
    else if (this.sort !== "added") films.sort((a, b) => probability(b, this.sort) - probability(a, this.sort));
    return films;
  }

  get done() {
    return this.all.filter(done).length;
  }

  /** Add files: each {file, name}. */
  add(files) {
    for (const { file, name } of files) this.all.push(film(file, name));
    this.current ??= this.all[0] ?? null;
    this.change();
  }

  remove(film) {
    const listed = this.listed;
    const next = listed[listed.indexOf(film) + 1] ?? listed[listed.indexOf(film) - 1] ?? null;
    this.forget();
    this.#lastRemoved = { film, place: this.all.indexOf(film) };
    this.all.splice(this.#lastRemoved.place, 1);
    film.removed = true;
    film.stop?.abort();
    film.stop = null;
    if (this.current === film) this.current = next ?? this.all[0] ?? null;
    this.change();
    this.dispatchEvent(new CustomEvent("remove", { detail: film }));
  }

  /** Put the film back that was removed last; it is sent again if it was on its way. */
  restore() {
    if (!this.#lastRemoved) return;
    const { film, place } = this.#lastRemoved;
    this.#lastRemoved = null;
    film.removed = false;
    if (!done(film)) film.state = "waiting";
    this.all.splice(place, 0, film);
    this.select(film);
  }

  /** Let go of what only an undone removal would need. */
  forget() {
    if (this.#lastRemoved?.film.thumb) URL.revokeObjectURL(this.#lastRemoved.film.thumb);
    this.#lastRemoved = null;
  }

  select(film) {
    this.current = film;
    this.change();
    this.dispatchEvent(new Event("select"));
  }

  step(by) {
    const listed = this.listed;
    const place = listed.indexOf(this.current);
    const next = place < 0 ? listed[0] : listed[place + by];
    if (next) this.select(next);
  }

  /** Tell those who listen that something changed, once for all changes of one turn. */
  change() {
    if (this.#told) return;
    this.#told = true;
    queueMicrotask(() => {
      this.#told = false;
      this.dispatchEvent(new Event("change"));
    });
  }
}

export const films = new Films();
