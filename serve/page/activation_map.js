// The activation map: drawn in colour, on one scale for all six maps of a film.

// The ramp of the core's overlay: violet to yellow, never a grey that could be anatomy.
const RAMP = [[45, 10, 90], [140, 30, 130], [220, 70, 80], [250, 150, 40], [252, 245, 120]];
const SIDE = 384; // of the drawn map's longer side; the map itself is coarse
const FULL = 2; // logits that are drawn in full colour where no map of the film has more
const FAINT = 0.05; // of full colour: not worth drawing

/**
 * Draw a map on a canvas; false if hardly any part of it is positive.
 * One scale for all six maps of a film, so that the same colour means the same evidence, in logits.
 */
export function drawMap(canvas, result, identifier) {
  const { rows, columns } = result.picture;
  const shrink = SIDE / Math.max(rows, columns);
  canvas.width = Math.max(1, Math.round(columns * shrink));
  canvas.height = Math.max(1, Math.round(rows * shrink));
  const values = result.activation_map[identifier];
  const scale = Math.max(FULL, ...Object.values(result.activation_map).flat(2));
  if (Math.max(...values.flat()) < FAINT * scale) return false;
  const context = canvas.getContext("2d");
  const image = context.createImageData(canvas.width, canvas.height);
  for (let y = 0; y < canvas.height; y += 1) {
    for (let x = 0; x < canvas.width; x += 1) {
      const level = sample(values, (x + 0.5) / canvas.width, (y + 0.5) / canvas.height) / scale;
      paint(image.data, 4 * (y * canvas.width + x), Math.min(1, Math.max(0, level)));
    }
  }
  context.putImageData(image, 0, 0);
  return true;
}

// Bicubic (a = -0.5) over the cells' centres, as the core's overlay does it; only what spoke for the observation.
function sample(values, u, v) {
  const [y, x] = [v * values.length - 0.5, u * values[0].length - 0.5];
  const [top, left] = [Math.floor(y), Math.floor(x)];
  const [down, across] = [cubic(y - top), cubic(x - left)];
  let sum = 0;
  for (let i = 0; i < 4; i += 1) {
    const row = values[Math.min(Math.max(top + i - 1, 0), values.length - 1)];
    for (let j = 0; j < 4; j += 1) {
      sum += down[i] * across[j] * Math.max(0, row[Math.min(Math.max(left + j - 1, 0), row.length - 1)]);
    }
  }
  return sum;
}

function cubic(t) {
  return [
    ((-0.5 * t + 1) * t - 0.5) * t,
    (1.5 * t - 2.5) * t * t + 1,
    ((-1.5 * t + 2) * t + 0.5) * t,
    (0.5 * t - 0.5) * t * t,
  ];
}

function paint(data, place, level) {
  const position = level * (RAMP.length - 1);
  const low = Math.min(Math.floor(position), RAMP.length - 2);
  for (let channel = 0; channel < 3; channel += 1) {
    data[place + channel] = RAMP[low][channel] + (RAMP[low + 1][channel] - RAMP[low][channel]) * (position - low);
  }
  data[place + 3] = 255 * level;
}

