// The patient: name, ID, date and accession number out of a DICOM header. Read in this tab, never sent or saved.

const ENOUGH = 1 << 20; // bytes that are read; what is asked for stands at the beginning of the header
const WANTED = { "00080020": "date", "00080050": "accession", "00100010": "name", "00100020": "id" };
const CHARACTER_SET = "00080005";
const LONG = new Set(["OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"]); // PS3.5 7.1.2
const UNDEFINED = 0xffffffff;
const DEFLATED = "1.2.840.10008.1.2.1.99";
// Specific Character Set (PS3.3 C.12.1.1.2) -> the browser's name of it
const SETS = {
  "ISO_IR 192": "utf-8", GB18030: "gb18030", GBK: "gbk", "ISO_IR 100": "windows-1252", "ISO_IR 101": "iso-8859-2",
  "ISO_IR 109": "iso-8859-3", "ISO_IR 110": "iso-8859-4", "ISO_IR 144": "iso-8859-5", "ISO_IR 127": "iso-8859-6",
  "ISO_IR 126": "iso-8859-7", "ISO_IR 138": "iso-8859-8", "ISO_IR 148": "windows-1254", "ISO_IR 203": "iso-8859-15",
  "ISO_IR 166": "windows-874", "ISO_IR 13": "shift_jis", "ISO_IR 87": "iso-2022-jp", "ISO_IR 159": "iso-2022-jp",
  "ISO_IR 149": "euc-kr", "ISO_IR 58": "gb18030",
};
const LATIN = "windows-1252";
const KANJI = "iso-2022-jp";
const ESCAPE = 0x1b;
// Escape sequence without its first byte (PS3.3 tables C.12-3 and C.12-4) -> the set of bytes from 128
const HIGH = {
  "-A": LATIN, "-B": "iso-8859-2", "-C": "iso-8859-3", "-D": "iso-8859-4", "-L": "iso-8859-5", "-G": "iso-8859-6",
  "-F": "iso-8859-7", "-H": "iso-8859-8", "-M": "windows-1254", "-b": "iso-8859-15", "-T": "windows-874",
  ")I": "shift_jis", "$)C": "euc-kr", "$)A": "gb18030",
};

/** {name, id, date, accession} of a DICOM file, texts or absent; null where the file is none or cannot be read. */
export async function patientOf(file) {
  try {
    const start = new Uint8Array(await file.slice(0, ENOUGH).arrayBuffer());
    const values = await headerOf(start);
    return values && readable(values);
  } catch {
    return null;
  }
}

async function headerOf(start) {
  if (start[0] === 0x89 || start[0] === 0xff) return null;
  let at = String.fromCharCode(...start.slice(128, 132)) === "DICM" ? 132 : 0;
  const meta = {};
  if (start[at] === 2 && start[at + 1] === 0) at = elements(start, at, { explicit: true, little: true, until: 0x0002 }, meta);
  const syntax = meta["00020010"] ? text(meta["00020010"], "ascii") : "";
  let body = start.subarray(at);
  if (syntax === DEFLATED) body = await inflated(body);
  const implicit = syntax === "1.2.840.10008.1.2" || (!syntax && !/^[A-Z]{2}$/.test(String.fromCharCode(body[4], body[5])));
  const values = {};
  elements(body, 0, { explicit: !implicit, little: syntax !== "1.2.840.10008.1.2.2", until: 0x0010 }, values);
  return Object.keys(values).length ? values : null;
}

/** The beginning of a deflated data set; that it is cut off is no fault. */
async function inflated(bytes) {
  const reader = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw")).getReader();
  const { value } = await reader.read();
  void reader.cancel().catch(() => {});
  return value;
}

/** Read elements of groups up to `until` into `values`; returns the place after the last one. */
function elements(bytes, at, encoding, values) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  while (at + 8 <= bytes.length) {
    const { tag, group, start, length } = headOf(view, at, encoding);
    if (group > encoding.until && group !== 0xfffe) return at;
    if (length === UNDEFINED) at = afterSequence(view, start, encoding);
    else {
      if (tag in WANTED || tag === CHARACTER_SET || tag === "00020010") values[tag] = bytes.subarray(start, start + length);
      at = start + length;
    }
  }
  return at;
}

function headOf(view, at, { explicit, little }) {
  const group = view.getUint16(at, little);
  const tag = [group, view.getUint16(at + 2, little)].map((part) => part.toString(16).padStart(4, "0")).join("");
  if (!explicit || group === 0xfffe) return { tag, group, start: at + 8, length: view.getUint32(at + 4, little) };
  const kind = String.fromCharCode(view.getUint8(at + 4), view.getUint8(at + 5));
  if (!LONG.has(kind)) return { tag, group, start: at + 8, length: view.getUint16(at + 6, little) };
  return { tag, group, start: at + 12, length: view.getUint32(at + 8, little) };
}

/** The place after a sequence or item without a length, whose delimiter is looked for at its own depth. */
function afterSequence(view, at, encoding) {
  let depth = 1;
  while (depth && at + 8 <= view.byteLength) {
    const { tag, start, length } = headOf(view, at, encoding);
    if (tag === "fffee0dd" || tag === "fffee00d") depth -= 1;
    else if (length === UNDEFINED) depth += 1;
    at = length === UNDEFINED || tag === "fffee000" ? start : start + length;
    if (tag === "fffee000" && length !== UNDEFINED) at = start + length;
  }
  return at;
}

function readable(values) {
  const sets = values[CHARACTER_SET] ? text(values[CHARACTER_SET], "ascii").split("\\") : [];
  const patient = {};
  for (const [tag, key] of Object.entries(WANTED)) {
    if (values[tag]) patient[key] = inSets(values[tag], sets.map((name) => name.trim().replace(/^ISO.?2022.IR/, "ISO_IR")));
  }
  if (patient.name) patient.name = patient.name.split("=").filter(Boolean).map(spoken).join(" = ");
  if (/^\d{8}$/.test(patient.date ?? "")) patient.date = patient.date.replace(/(....)(..)(..)/, "$1-$2-$3");
  return patient;
}

// family^given^middle^prefix^suffix: PS3.5 6.2
const spoken = (group) => group.split("^").filter(Boolean).join(", ").trim();

function inSets(bytes, sets) {
  if (bytes.includes(ESCAPE)) return switched(bytes, SETS[sets[0]] ?? LATIN);
  return text(bytes, sets.map((set) => SETS[set]).find(Boolean) ?? LATIN); // some writers leave the sequences out
}

/** Text whose escape sequences switch character sets (ISO 2022; PS3.5 6.1.2.5); a name's delimiters switch back. */
function switched(bytes, name) {
  let [high, kanji, words, run] = [name, false, "", []]; // high: the set of bytes from 128
  let decoder = "";
  const flush = () => {
    const start = decoder === KANJI ? [ESCAPE, 0x24, 0x42] : [];
    words += new TextDecoder(decoder || LATIN).decode(new Uint8Array([...start, ...run]));
    run = [];
  };
  for (let place = 0; place < bytes.length; place += 1) {
    const byte = bytes[place];
    const sequence = byte === ESCAPE && /^\x1b[$(),-]{1,2}./.exec(String.fromCharCode(...bytes.subarray(place, place + 4)))?.[0];
    if (sequence) {
      flush();
      if (sequence.startsWith("\x1b(") || sequence === "\x1b$B") kanji = sequence === "\x1b$B";
      else high = HIGH[sequence.slice(1)] ?? high;
      place += sequence.length - 1;
      continue;
    }
    if (!kanji && (byte === 0x5e || byte === 0x3d)) high = name;
    const next = byte > 127 ? high : kanji ? KANJI : LATIN;
    if (next !== decoder) flush();
    decoder = next;
    run.push(byte);
  }
  flush();
  return trimmed(words);
}

function text(bytes, name) {
  return trimmed(new TextDecoder(name).decode(bytes));
}

const trimmed = (words) => words.replace(/[\0 ]+$/, "").trim();
