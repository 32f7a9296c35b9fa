// Folders: files out of drops and pastes, read down to the last subfolder, without what is plainly no film.

const HIDDEN = /^(\.|~\$|Thumbs\.db$|desktop\.ini$|DICOMDIR$)/i;

/**
 * Every file of a drop or a paste: {files: [{file, name}], skipped: [names], unread: [names]}.
 * `skipped` are files inside of folders that are plainly no film; `unread` is what the browser could not read.
 * The entries are taken at once, because a drop's data are gone when its event is over.
 */
export async function filesOf(transfer) {
  const entries = [...transfer.items].filter((item) => item.kind === "file").map((item) => item.webkitGetAsEntry?.() ?? item.getAsFile());
  const found = { files: [], skipped: [], unread: [] };
  for (const entry of entries.filter(Boolean)) {
    if (entry instanceof File) found.files.push({ file: entry, name: entry.name });
    else if (entry.isDirectory) await walk(entry, found);
    else await take(entry, found, false);
  }
  return found;
}

/** Files that were chosen in a dialog; those of a folder are looked at like those of a dropped one. */
export async function filesOfFolder(list) {
  const found = { files: [], skipped: [], unread: [] };
  for (const file of list) await sort(file, file.webkitRelativePath || file.name, found);
  return found;
}

async function walk(folder, found) {
  const reader = folder.createReader();
  const entries = [];
  try {
    for (;;) { // a reader gives a hundred entries at a time, and none when there are no more
      const batch = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
      if (!batch.length) break;
      entries.push(...batch);
    }
  } catch {
    found.unread.push(folder.fullPath.slice(1));
  }
  entries.sort((a, b) => a.name.localeCompare(b.name, undefined, { numeric: true }));
  for (const entry of entries) {
    if (entry.isDirectory) await walk(entry, found);
    else await take(entry, found, true);
  }
}

async function take(entry, found, inFolder) {
  try {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    if (inFolder) await sort(file, entry.fullPath.slice(1), found);
    else found.files.push({ file, name: file.name });
  } catch {
    found.unread.push(entry.fullPath.slice(1));
  }
}

async function sort(file, name, found) {
  try {
    if (!HIDDEN.test(file.name) && (await mayBeFilm(file))) found.files.push({ file, name });
    else found.skipped.push(name);
  } catch {
    found.unread.push(name);
  }
}

/** Whether a file may be DICOM, PNG or JPEG, by its first bytes; DICOM without a preamble begins with group 2 or 8. */
async function mayBeFilm(file) {
  const head = new Uint8Array(await file.slice(0, 132).arrayBuffer());
  if (head[0] === 0x89 && head[1] === 0x50) return true;
  if (head[0] === 0xff && head[1] === 0xd8) return true;
  if (String.fromCharCode(...head.slice(128)) === "DICM") return true;
  return (head[0] === 2 || head[0] === 8) && head[1] === 0 && head[3] === 0;
}

/** What was left out, as a sentence; empty where nothing was. */
export function leftOut({ files, skipped, unread }) {
  const some = (names) => names.slice(0, 3).join(", ") + (names.length > 3 ? ` and ${names.length - 3} more` : "");
  const parts = [];
  if (skipped.length) parts.push(`${skipped.length === 1 ? "1 file is" : `${skipped.length} files are`} no film: ${some(skipped)}.`);
  if (unread.length) parts.push(`The browser could not read ${some(unread)}.`);
  if (!files.length && !parts.length) parts.push("Nothing to score was found in it.");
  return parts.join(" ");
}
