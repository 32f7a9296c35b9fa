// The archive: a ZIP file of stored entries (PKWARE APPNOTE 6.3.10, 4.3), names in UTF-8.

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});

function checksum(bytes) {
  let value = 0xffffffff;
  for (const byte of bytes) value = TABLE[(value ^ byte) & 0xff] ^ (value >>> 8);
  return (value ^ 0xffffffff) >>> 0;
}

/** Little-endian bytes of numbers: each [value, size in bytes]. */
function packed(fields) {
  const bytes = new Uint8Array(fields.reduce((sum, [, size]) => sum + size, 0));
  let at = 0;
  for (const [value, size] of fields) {
    for (let place = 0; place < size; place += 1) bytes[at + place] = Math.floor(value / 256 ** place) % 256;
    at += size;
  }
  return bytes;
}

/** A ZIP blob of entries, each {name, bytes}; names must differ. At most 65,535 entries and 4 GiB. */
export function archiveOf(entries) {
  if (entries.length > 0xffff) throw new RangeError("more than 65,535 files do not fit into one ZIP file");
  const [body, directory] = [[], []];
  let at = 0;
  for (const { name, bytes } of entries) {
    const title = new TextEncoder().encode(name);
    // version 2.0, names in UTF-8 (bit 11), stored, 1980-01-01, checksum, sizes
    const common = [[20, 2], [0x800, 2], [0, 2], [0, 2], [0x21, 2], [checksum(bytes), 4], [bytes.length, 4], [bytes.length, 4], [title.length, 2], [0, 2]];
    body.push(packed([[0x04034b50, 4], ...common]), title, bytes);
    directory.push(packed([[0x02014b50, 4], [20, 2], ...common, [0, 2], [0, 2], [0, 2], [0, 4], [at, 4]]), title);
    at += 30 + title.length + bytes.length;
  }
  if (at > 0xffffffff) throw new RangeError("more than 4 GiB do not fit into one ZIP file");
  const size = directory.reduce((sum, part) => sum + part.length, 0);
  const count = entries.length;
  const end = packed([[0x06054b50, 4], [0, 2], [0, 2], [count, 2], [count, 2], [size, 4], [at, 4], [0, 2]]);
  return new Blob([...body, ...directory, end], { type: "application/zip" });
}

/** Names of which no two are the same, whatever the case of their letters. */
export function differentNames(names) {
  const taken = new Set();
  return names.map((name) => {
    const [, stem, ending] = /^(.*?)((?:\.sr)?\.[^./]*)?$/s.exec(name);
    let free = name;
    for (let count = 2; taken.has(free.toLowerCase()); count += 1) free = `${stem}-${count}${ending ?? ""}`;
    taken.add(free.toLowerCase());
    return free;
  });
}
