// The episodes of all folds, one after the other, and what belongs to them in files beside the page. Shares are in
// thousandths; NO_IOU and NO_RUN are those of columns.py.

const NO_IOU = -1, NO_RUN = -2, FILES_KEPT = 60;
const waitingFiles = new Map(), loadedFiles = new Map();

// Each data file is a script of one call of this.
function fsbenchFile(name, text) {
  waitingFiles.get(name)?.(JSON.parse(text));
}

// Load explorer/NAME.js, once; null where there is no such file.
function loadFile(name) {
  if (loadedFiles.has(name)) return loadedFiles.get(name);
  const loaded = new Promise((resolve) => {
    const script = document.createElement("script");
    waitingFiles.set(name, resolve);
    script.onload = script.onerror = () => { resolve(null); waitingFiles.delete(name); script.remove(); };
    script.src = `explorer/${name}.js`;
    document.head.append(script);
  });
  loadedFiles.set(name, loaded);
  if (loadedFiles.size > FILES_KEPT) loadedFiles.delete(loadedFiles.keys().next().value);
  return loaded;
}

class Episodes {
  constructor(data) {
    Object.assign(this, data); // methods, told, classes, names, folds, columns, iou, wrong, block, images, soft, attention
    this.count = this.columns.index.length;
    this.fold = new Uint16Array(this.count); // position of an episode's fold
    this.pictured = new Set(data.images);
    let start = 0;
    this.places = new Map();
    data.folds.forEach((fold, position) => {
      fold.start = start;
      this.fold.fill(position, start, start + fold.count);
      for (let i = start; i < start + fold.count; i++) this.places.set(`${fold.fold}.${this.columns.index[i]}`, i);
      start += fold.count;
    });
  }

  // Return an episode's name in addresses and tags, "fold.index"; `find` turns it into a place again, or -1.
  key(i) { return `${this.folds[this.fold[i]].fold}.${this.columns.index[i]}`; }
  find(key) { return this.places.get(key) ?? -1; }

  classNames(i) { return this.columns.classes[i].map((number) => this.classes[number] ?? String(number)); }
  title(i) { return `Fold ${this.folds[this.fold[i]].fold}, episode ${this.columns.index[i]}: ${this.classNames(i).join(", ")}`; }

  // Return the command that draws what methods show of themselves; "" where none of them has a run of the fold.
  explanation(i, methods) {
    const runs = [...new Set(methods)].map((method) => this.folds[this.fold[i]].runs[method]).filter(Boolean);
    return runs.length ? `fsbench explain ${runs.join(" ")} --episode ${this.columns.index[i]}` : "";
  }

  iouWords(i, method) {
    const value = this.iou[method][i];
    return value === NO_RUN ? "no run" : value === NO_IOU ? "nothing to find, nothing found" : `${(value / 10).toFixed(1)} %`;
  }

  // Return how far the IoU of two methods differ; rightly predicting nothing counts as 1. -1 where neither has any.
  difference(i, a, b) {
    const x = this.iou[a][i], y = this.iou[b][i];
    if (x === NO_RUN || y === NO_RUN || (x < 0 && y < 0)) return -1;
    return Math.abs((x < 0 ? 1000 : x) - (y < 0 ? 1000 : y));
  }

  image(number) { return this.pictured.has(number) ? `explorer/${number}.jpg` : null; }

  // Return words for what a method was told in place of its supports' masks; null where it got these.
  toldTo(method) { return this.told[method] ?? null; }

  // Return {truth, told: method -> labels of its supports, predicted: method -> [height, width, runs, decisions, scores]}
  // of an episode.
  async masks(i) {
    const at = i - this.folds[this.fold[i]].start, block = Math.floor(at / this.block);
    const file = await loadFile(`masks-${this.fold[i]}-${block}`), row = at % this.block;
    const predicted = new Map();
    for (const [method, rows] of Object.entries(file?.predicted ?? {})) if (rows[row]) predicted.set(Number(method), rows[row]);
    const told = new Map(Object.entries(file?.told ?? {}).map(([method, rows]) => [Number(method), rows[row]]));
    return { truth: file?.truth[row] ?? null, told, predicted };
  }

  // Return what a method's attention means, "" where its record does not say; null where the method has none.
  attentionOf(method) { return this.attention[method] ?? null; }

  // Return the maps of an episode's ways, 64 x 64 values each: of "soft" bytes, of "attention" from 0 to 1; null where
  // the method has none.
  async maps(layer, i, method) {
    if (layer === "soft" ? !this.soft : this.attentionOf(method) === null) return null;
    const at = i - this.folds[this.fold[i]].start;
    const file = await loadFile(`${layer}-${this.fold[i]}-${Math.floor(at / this.block)}`);
    const packed = file?.[method]?.[at % this.block];
    if (!(Array.isArray(packed) && packed.every(Boolean))) return null; // a file of others may hold anything
    const contents = await Promise.all(packed.map(inflate)).catch(() => null);
    const maps = layer === "attention" ? contents?.map(attentionValues) : contents;
    return maps?.every((map) => map?.length === SOFT_SIDE ** 2) ? maps : null;
  }
}

// Return the values of bytes as predictions.py writes them: the least and the largest, then steps of 1/255 between them.
function attentionValues(bytes) {
  if (bytes.length !== 8 + SOFT_SIDE ** 2) return null;
  const view = new DataView(bytes.buffer), [low, high] = [0, 4].map((place) => view.getFloat32(place, true));
  return low >= 0 && low <= high && high <= 1 ? Float32Array.from(bytes.subarray(8), (step) => low + (high - low) * (step / 255)) : null;
}

async function inflate(text) {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
