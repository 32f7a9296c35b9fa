// Pictures: films as the server read them, kept as blobs outside the script's memory, with small ones for the list.

const THUMB = 104; // longer side of a small picture in pixels: twice its size on the page

function bytes(base64) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(base64);
  return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
}

/** A picture of an answer, {rows, columns, png}, as {rows, columns, blob}. */
export function unpacked({ rows, columns, png }) {
  return { rows, columns, blob: new Blob([bytes(png)], { type: "image/png" }) };
}

/** Take the picture out of an answer and put it by for the film. */
export async function keepPicture(film, answer) {
  await show(film, unpacked(answer.picture));
  delete answer.picture.png;
}

/** Let a film have a picture, and the small one of the list. */
export async function show(film, picture) {
  const thumb = await small(picture.blob);
  if (film.thumb) URL.revokeObjectURL(film.thumb);
  film.picture = picture;
  film.thumb = URL.createObjectURL(thumb);
}

async function small(blob) {
  const bitmap = await createImageBitmap(blob);
  const scale = Math.min(1, THUMB / Math.max(bitmap.width, bitmap.height));
  const canvas = new OffscreenCanvas(Math.max(1, Math.round(bitmap.width * scale)), Math.max(1, Math.round(bitmap.height * scale)));
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return canvas.convertToBlob({ type: "image/jpeg", quality: 0.85 });
}

/** The picture turned by quarters, clockwise, and inverted: {rows, columns, blob}, a PNG with the same grey levels. */
export async function changedPicture({ blob }, { turn, invert }) {
  const bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none" });
  const [width, height] = turn % 2 ? [bitmap.height, bitmap.width] : [bitmap.width, bitmap.height];
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d");
  context.translate(width / 2, height / 2);
  context.rotate((turn * Math.PI) / 2);
  context.imageSmoothingEnabled = false;
  context.drawImage(bitmap, -bitmap.width / 2, -bitmap.height / 2);
  bitmap.close();
  if (invert) invertPixels(context, width, height);
  return { rows: height, columns: width, blob: await canvas.convertToBlob({ type: "image/png" }) };
}

function invertPixels(context, width, height) {
  const image = context.getImageData(0, 0, width, height);
  const words = new Uint32Array(image.data.buffer); // red, green and blue are turned over, opacity stays
  for (let place = 0; place < words.length; place += 1) words[place] ^= 0x00ffffff;
  context.putImageData(image, 0, 0);
}
