// Activation maps in color: dark where low, bright where high.

const RAMP = [
  [0, [10, 8, 40, 0.62]],
  [0.35, [94, 28, 110, 0.58]],
  [0.7, [228, 92, 50, 0.62]],
  [1, [255, 232, 90, 0.78]],
];

function heatColor(fraction) {
  const next = Math.max(1, RAMP.findIndex(([stop]) => stop >= fraction));
  const [[low, from], [high, to]] = [RAMP[next - 1], RAMP[next]];
  const mix = (fraction - low) / (high - low);
  return from.map((value, i) => value + (to[i] - value) * mix);
}

function range(map) {
  let low = Infinity, high = -Infinity;
  for (const value of map) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  return [low, high];
}

// A canvas with one pixel per cell; it is interpolated where it is drawn larger.
function heatCanvas(map, columns, rows) {
  const [low, high] = range(map);
  const canvas = el("canvas", { width: columns, height: rows });
  const pixels = new ImageData(columns, rows);
  map.forEach((value, i) => {
    const [red, green, blue, alpha] = heatColor(high > low ? (value - low) / (high - low) : 0);
    pixels.data.set([red, green, blue, 255 * alpha], 4 * i);
  });
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  return canvas;
}

async function loadImage(index) {
  const image = new Image();
  image.src = document.querySelector(`#image-${index} image`).getAttribute("href");
  await image.decode();
  return image;
}

// A small copy of the image under an activation map; `loading` is a promise of the image.
function miniature(evidence, loading, map, label) {
  const width = 240, height = Math.max(1, Math.round((width * evidence.height) / evidence.width));
  const canvas = el("canvas", { class: "miniature", width, height, role: "img", "aria-label": label });
  loading.then((image) => {
    const context = canvas.getContext("2d");
    context.filter = "grayscale(1)";
    context.drawImage(image, 0, 0, width, height);
    context.filter = "none";
    context.imageSmoothingQuality = "high";
    context.drawImage(heatCanvas(map, evidence.columns, evidence.rows), 0, 0, width, height);
  });
  return canvas;
}
