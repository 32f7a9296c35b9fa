// Shows one film with an activation map over it; wheel, pinch, drag and keys bring it closer.

// The ramp of the core's overlay: violet to yellow, never a grey that could be anatomy.
const RAMP = [[45, 10, 90], [140, 30, 130], [220, 70, 80], [250, 150, 40], [252, 245, 120]];
const SIDE = 384; // of the drawn map's longer side; the map itself is coarse
const CLOSEST = 8;
const FULL = 2; // logits that are drawn in full colour where no map of the film has more
const FAINT = 0.05; // of full colour: not worth drawing

const stage = document.getElementById("stage");
const film = document.getElementById("film");
const picture = document.getElementById("picture");
const canvas = document.getElementById("map");

let view = { scale: 1, x: 0, y: 0 };
const pointers = new Map();

export function showFilm(result, name) {
  resetView();
  picture.hidden = canvas.hidden = !result;
  if (!result) {
    picture.removeAttribute("src");
    picture.alt = "";
    return;
  }
  picture.src = pictureUrl(result);
  picture.alt = `Radiograph ${name}, as the server read it`;
}

export function pictureUrl(result) {
  return `data:image/png;base64,${result.picture.png}`;
}

/**
 * Draw a map; false if hardly any part of it is positive.
 * One scale for all six maps of a film, so that the same colour means the same evidence, in logits.
 */
export function drawMap(result, identifier) {
  const { rows, columns } = result.picture;
  const shrink = SIDE / Math.max(rows, columns);
  canvas.width = Math.max(1, Math.round(columns * shrink));
  canvas.height = Math.max(1, Math.round(rows * shrink));
  const values = result.activation_map[identifier];
  const scale = Math.max(FULL, ...Object.values(result.activation_map).flat(2));
  const context = canvas.getContext("2d");
  if (Math.max(...values.flat()) < FAINT * scale) return false;
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

export function setOpacity(fraction) {
  canvas.style.opacity = fraction;
}

/** The film with its map, as a PNG blob. */
export async function composed() {
  const sheet = document.createElement("canvas");
  sheet.width = picture.naturalWidth;
  sheet.height = picture.naturalHeight;
  const context = sheet.getContext("2d");
  context.drawImage(picture, 0, 0);
  context.globalAlpha = Number(canvas.style.opacity || 0);
  context.imageSmoothingQuality = "high";
  if (!canvas.hidden) context.drawImage(canvas, 0, 0, sheet.width, sheet.height);
  return new Promise((resolve) => sheet.toBlob(resolve, "image/png"));
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

function apply() {
  const { width, height } = film.getBoundingClientRect();
  if (view.scale === 1) view = { scale: 1, x: 0, y: 0 };
  const [slackX, slackY] = [(width / view.scale || width), (height / view.scale || height)];
  view.x = Math.min(slackX * 0.5, Math.max(view.x, slackX * (0.5 - view.scale)));
  view.y = Math.min(slackY * 0.5, Math.max(view.y, slackY * (0.5 - view.scale)));
  if (view.scale === 1) view.x = view.y = 0;
  film.style.transform = view.scale === 1 ? "" : `translate(${view.x}px, ${view.y}px) scale(${view.scale})`;
  stage.classList.toggle("zoomed", view.scale > 1);
}

export function resetView() {
  view = { scale: 1, x: 0, y: 0 };
  apply();
}

export function zoom(factor, centre) {
  const frame = stage.getBoundingClientRect();
  const inset = film.offsetLeft;
  const x = (centre ? centre.x - frame.left : frame.width / 2) - inset;
  const y = (centre ? centre.y - frame.top : frame.height / 2) - inset;
  const scale = Math.min(CLOSEST, Math.max(1, view.scale * factor));
  const ratio = scale / view.scale;
  view = { scale, x: x - (x - view.x) * ratio, y: y - (y - view.y) * ratio };
  apply();
}

stage.addEventListener("wheel", (event) => {
  if (picture.hidden) return;
  event.preventDefault();
  zoom(Math.exp(-event.deltaY * 0.002), { x: event.clientX, y: event.clientY });
}, { passive: false });
stage.addEventListener("dblclick", resetView);
stage.addEventListener("dragstart", (event) => event.preventDefault());
stage.addEventListener("pointerdown", (event) => {
  if (event.target.closest("button")) return;
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
