// The network's view: the film in the resolution that the network gets, each of its pixels as a block.

const SIDE = 1024; // of the drawn view's longer side

/** The film as the network gets it, in the film's own shape: a PNG blob. `resolution` is [rows, columns] of its input. */
export async function networkView({ blob }, [rows, columns]) {
  const film = await createImageBitmap(blob);
  const grey = greyOf(film);
  const small = resized(resized(grey, film.height, film.width, columns), columns, film.height, rows);
  const input = new OffscreenCanvas(columns, rows);
  const context = input.getContext("2d");
  const image = context.createImageData(columns, rows);
  for (let row = 0; row < rows; row += 1) {
    for (let column = 0; column < columns; column += 1) {
      const place = 4 * (row * columns + column);
      image.data.fill(Math.round(small[row * columns + column]), place, place + 3);
      image.data[place + 3] = 255;
    }
  }
  context.putImageData(image, 0, 0);
  return enlarged(input, film);
}

function greyOf(film) {
  const canvas = new OffscreenCanvas(film.width, film.height);
  const context = canvas.getContext("2d");
  context.drawImage(film, 0, 0);
  const { data } = context.getImageData(0, 0, film.width, film.height);
  return Float32Array.from({ length: data.length / 4 }, (_, place) => data[4 * place]);
}

/**
 * Shrink each row of a picture to `size` values, a triangle over what each stands for (bilinear with antialiasing), and
 * turn the picture over: shape (rows, columns) becomes (size, rows). A second call shrinks the columns and turns it back.
 */
function resized(values, rows, columns, size) {
  const scale = columns / size;
  const reach = Math.max(1, scale);
  const out = new Float32Array(size * rows);
  for (let target = 0; target < size; target += 1) {
    const centre = (target + 0.5) * scale - 0.5;
    const first = Math.max(0, Math.ceil(centre - reach));
    const last = Math.min(columns - 1, Math.floor(centre + reach));
    const weights = [];
    for (let column = first; column <= last; column += 1) weights.push(1 - Math.abs(column - centre) / reach);
    const sum = weights.reduce((a, b) => a + b, 0);
    for (let row = 0; row < rows; row += 1) {
      let total = 0;
      for (let k = 0; k < weights.length; k += 1) total += weights[k] * values[row * columns + first + k];
      out[target * rows + row] = total / sum;
    }
  }
  return out;
}

function enlarged(input, film) {
  const scale = SIDE / Math.max(film.width, film.height);
  const canvas = new OffscreenCanvas(Math.round(film.width * scale), Math.round(film.height * scale));
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.drawImage(input, 0, 0, canvas.width, canvas.height);
  film.close();
  return canvas.convertToBlob({ type: "image/png" });
}
