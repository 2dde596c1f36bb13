// The layers of an episode as canvases of the masks' size: truth, prediction, errors, soft mask, attention. Slots are
// 0 for background, 1.. for the ways, VOID for pixels that the truth leaves out.

const VOID = 255, SOFT_SIDE = 64, EPISODES_KEPT = 80, HEAT_OPACITY = 165;
const NO_COLOR = [0, 0, 0, 0], LIGHT = [255, 255, 255, 255];

function slotMap(height, width, ways, voidRuns) {
  const slots = new Uint8Array(height * width);
  const fill = (runs, slot) => decodeRle(runs, height, width).forEach((value, i) => { if (value) slots[i] = slot; });
  ways.forEach((runs, n) => fill(runs, n + 1));
  if (voidRuns) fill(voidRuns, VOID);
  return { height, width, slots };
}

// Nearest pixels, where truth and prediction have different sizes.
function resizedMap(map, height, width) {
  if (map.height === height && map.width === width) return map;
  const slots = new Uint8Array(height * width);
  for (let y = 0, i = 0; y < height; y++) {
    const row = Math.floor((y * map.height) / height) * map.width;
    for (let x = 0; x < width; x++) slots[i++] = map.slots[row + Math.floor((x * map.width) / width)];
  }
  return { height, width, slots };
}

function onlyWay(map, way) {
  return way ? { ...map, slots: map.slots.map((slot) => (slot === way || slot === VOID ? slot : 0)) } : map;
}

// Kinds of pixels as in error_map.py: 1 found, 2 false alarm, 3 missed, 4 another way's; 0 right background.
function errorMap(predicted, truth) {
  const there = resizedMap(truth, predicted.height, predicted.width).slots;
  const kind = (p, t) => (t === VOID ? VOID : p && p === t ? 1 : p && !t ? 2 : !p && t ? 3 : p ? 4 : 0);
  return { ...predicted, slots: predicted.slots.map((p, i) => kind(p, there[i])) };
}

// Mark the pixels of ways that have another slot within `reach`.
function outlineOf({ height, width, slots }, reach) {
  const edge = new Uint8Array(slots.length);
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i++) {
      const slot = slots[i];
      if (!slot || slot === VOID) continue;
      const differs = (dx, dy) => x + dx < 0 || x + dx >= width || y + dy < 0 || y + dy >= height || slots[i + dx + dy * width] !== slot;
      edge[i] = differs(reach, 0) || differs(-reach, 0) || differs(0, reach) || differs(0, -reach);
    }
  }
  return edge;
}

// Mark the pixels of no way that have one within `reach`.
function surroundingsOf({ height, width, slots }, reach) {
  const near = new Uint8Array(slots.length), isWay = (slot) => slot !== 0 && slot !== VOID;
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i++) {
      if (isWay(slots[i])) continue;
      for (let r = 1; r <= reach && !near[i]; r++) {
        near[i] = (x >= r && isWay(slots[i - r])) || (x + r < width && isWay(slots[i + r]))
          || (y >= r && isWay(slots[i - r * width])) || (y + r < height && isWay(slots[i + r * width]));
      }
    }
  }
  return near;
}

// Paint a canvas pixel by pixel; `color(i, x, y)` is [red, green, blue, opacity].
function painted(height, width, color) {
  const canvas = make("canvas"), context = canvas.getContext("2d");
  Object.assign(canvas, { width, height });
  const image = context.createImageData(width, height);
  for (let y = 0, i = 0; y < height; y++) for (let x = 0; x < width; x++, i++) image.data.set(color(i, x, y), 4 * i);
  context.putImageData(image, 0, 0);
  return canvas;
}

function hatch(x, y) { return (x + y) % 7 < 1 ? [255, 255, 255, 150] : NO_COLOR; }

// A fill, and an outline of three lines: dark around it, inside its color, then white. One of them stands out on any
// image, and dark and white tell the color from an image that has it.
function paintWays(map, { rgb, dark, opacity }) {
  const color = Math.max(1, Math.round(Math.max(map.height, map.width) / 220)), thin = Math.max(1, color >> 1);
  const around = surroundingsOf(map, thin), edge = outlineOf(map, color), rim = outlineOf(map, color + thin);
  return painted(map.height, map.width, (i, x, y) => {
    const slot = map.slots[i];
    if (around[i]) return [...dark, 255];
    return slot === VOID ? hatch(x, y) : !slot ? NO_COLOR : edge[i] ? [...rgb, 255] : rim[i] ? LIGHT : [...rgb, opacity];
  });
}

function paintErrors(map, colors) {
  return painted(map.height, map.width, (i, x, y) => {
    const kind = map.slots[i];
    return kind === VOID ? hatch(x, y) : kind ? [...colors[kind - 1], 165] : NO_COLOR;
  });
}

// Return the value of a cell: of one way, or the largest of all.
function cellOf(ways, way, i) { return way ? ways[way - 1][i] : Math.max(...ways.map((map) => map[i])); }

function paintSoft(ways, way, rgb) {
  return painted(SOFT_SIDE, SOFT_SIDE, (i) => [...rgb, 0.9 * cellOf(ways, way, i)]);
}

// Return the least and the largest value of an episode's maps, of all its ways.
function rangeOf(ways) {
  return [Math.min(...ways.map((map) => Math.min(...map))), Math.max(...ways.map((map) => Math.max(...map)))];
}

// Paint values from the first of `colors` (the least of the range) to the last (its largest).
function paintHeat(ways, way, colors, [low, high]) {
  const last = colors.length - 1;
  return painted(SOFT_SIDE, SOFT_SIDE, (i) => {
    const place = (last * (cellOf(ways, way, i) - low)) / (high - low || 1), below = Math.min(Math.floor(place), last - 1);
    return [...colors[below].map((value, n) => value + (place - below) * (colors[below + 1][n] - value)), HEAT_OPACITY];
  });
}

// An episode's layers, each painted when it is first asked for.
class EpisodeLayers {
  constructor(episodes, i, colors) {
    Object.assign(this, { episodes, i, colors, painted: new Map() });
    this.loading = this.load();
  }

  async load() {
    const { episodes, i } = this;
    const [masks, image] = await Promise.all([episodes.masks(i), loadImage(episodes.image(episodes.columns.query[i]))]);
    Object.assign(this, { image, rows: masks.predicted, masks: masks.truth?.supports ?? null, told: masks.told });
    this.truth = masks.truth && slotMap(...masks.truth.query);
    const size = this.truth ?? [...this.rows.values()].map(([height, width]) => ({ height, width }))[0] ?? { height: 3, width: 4 };
    this.aspect = image ? image.naturalWidth / image.naturalHeight : size.width / size.height;
  }

  // Return [height, width, runs, runs of void] of what a method was told of each support, by way and shot; null where
  // that is not known.
  supports(method) { return (this.episodes.toldTo(method) === null ? this.masks : this.told.get(method)) ?? null; }

  predicted(method) {
    const row = this.rows.get(method);
    return row ? slotMap(row[0], row[1], row[2]) : null;
  }

  // Load the maps of "soft" or "attention", which `mapsOf` then returns; null where the method has none.
  async loadMaps(layer, method) {
    const key = `${layer} ${method}`;
    this.maps ??= new Map();
    if (!this.maps.has(key)) this.maps.set(key, await this.episodes.maps(layer, this.i, method));
  }

  mapsOf(layer, method) { return this.maps?.get(`${layer} ${method}`) ?? null; }

  // Return the least and the largest value of a method's attention; null where it is not known.
  attentionRange(method) {
    const maps = this.mapsOf("attention", method);
    this.ranges ??= new Map();
    if (maps && !this.ranges.has(method)) this.ranges.set(method, rangeOf(maps));
    return this.ranges.get(method) ?? null;
  }

  // Return the canvas of a layer, or null where it is not known, or not loaded yet.
  canvas(layer, method, way) {
    const key = layer === "truth" ? `truth ${way}` : `${layer} ${method} ${way}`;
    if (this.painted.has(key)) return this.painted.get(key);
    const canvas = this.paint(layer, method, way);
    if (canvas) this.painted.set(key, canvas);
    return canvas;
  }

  paint(layer, method, way) {
    if (layer === "truth") return this.truth && paintWays(onlyWay(this.truth, way), { rgb: this.colors.truth, dark: this.colors.dark, opacity: 40 });
    if (layer === "soft" || layer === "attention") {
      const maps = this.mapsOf(layer, method);
      if (!maps || way > maps.length) return null;
      return layer === "soft" ? paintSoft(maps, way, this.colors.predicted) : paintHeat(maps, way, this.colors.heat, this.attentionRange(method));
    }
    if (layer === "errors" && !this.truth) return null;
    const predicted = this.predicted(method);
    if (!predicted) return null;
    if (layer === "errors") return paintErrors(errorMap(onlyWay(predicted, way), onlyWay(this.truth, way)), this.colors.errors);
    return paintWays(onlyWay(predicted, way), { rgb: this.colors.predicted, dark: this.colors.dark, opacity: 90 });
  }

  // Draw the chosen layers into a box of the context.
  draw(context, { x, y, width, height }, method, { layers, way }) {
    context.imageSmoothingEnabled = true;
    if (layers.has("image") && this.image) {
      context.drawImage(this.image, x, y, width, height);
      if (layers.has("attention") && this.canvas("attention", method, way)) { // their colors would mix
        context.globalCompositeOperation = "saturation";
        context.fillStyle = "#777";
        context.fillRect(x, y, width, height);
        context.globalCompositeOperation = "source-over";
      }
    } else {
      context.fillStyle = "#777";
      context.fillRect(x, y, width, height);
    }
    for (const layer of ["attention", "soft", "errors", "predicted", "truth"]) {
      const canvas = layers.has(layer) && this.canvas(layer, method, way);
      if (!canvas) continue;
      context.imageSmoothingEnabled = layer === "soft" || layer === "attention" || width < canvas.width;
      context.drawImage(canvas, x, y, width, height);
    }
  }
}

function loadImage(file) {
  if (!file) return null;
  return new Promise((resolve) => {
    const image = new Image();
    image.onload = () => resolve(image);
    image.onerror = () => resolve(null);
    image.src = file;
  });
}

class LayerStore {
  constructor(episodes, colors) { Object.assign(this, { episodes, colors, kept: new Map() }); }

  async of(i) {
    if (!this.kept.has(i)) this.kept.set(i, new EpisodeLayers(this.episodes, i, this.colors));
    if (this.kept.size > EPISODES_KEPT) this.kept.delete(this.kept.keys().next().value);
    const layers = this.kept.get(i);
    await layers.loading;
    return layers;
  }
}
