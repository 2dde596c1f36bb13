// One episode, large: method A left of the slider and B right of it, with zoom, layers and the facts.

const MOST_ZOOM = 32;

class Viewer {
  constructor(episodes, store, { changed, step, leave }) {
    Object.assign(this, { episodes, store, changed, canvas: element("view"), drawing: 0, mustFocus: false });
    this.buttons = Object.fromEntries(LAYERS.map((layer) => [layer, element(`layer-${layer}`)]));
    for (const layer of LAYERS) this.buttons[layer].addEventListener("change", () => this.toggle(layer));
    element("split").addEventListener("input", (event) => { this.state.split = Number(event.target.value); changed(); });
    element("way").addEventListener("change", (event) => { this.state.way = Number(event.target.value); changed(); });
    element("zoom-in").addEventListener("click", () => this.zoom(1.5));
    element("zoom-out").addEventListener("click", () => this.zoom(1 / 1.5));
    element("zoom-fit").addEventListener("click", () => this.fit());
    element("previous").addEventListener("click", () => step(-1));
    element("next").addEventListener("click", () => step(1));
    element("to-strip").addEventListener("click", leave);
    this.listenToPointer();
  }

  // Scroll the page to the episode, which is below what it was chosen from; the keyboard goes on from there.
  scrollHere() {
    const title = element("viewer-title");
    if (this.mustFocus) title.focus({ preventScroll: true });
    this.mustFocus = false;
    title.scrollIntoView({ block: "start" });
  }

  listenToPointer() {
    let last = null;
    const { canvas } = this;
    canvas.addEventListener("pointerdown", (event) => { last = pointIn(canvas, event); canvas.setPointerCapture(event.pointerId); });
    canvas.addEventListener("pointermove", (event) => {
      if (!last) return;
      const [x, y] = pointIn(canvas, event);
      this.pan((last[0] - x) / this.box.width, (last[1] - y) / this.box.height);
      last = [x, y];
    });
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { last = null; });
    canvas.addEventListener("wheel", (event) => {
      if (document.activeElement !== canvas && !event.ctrlKey) return; // the page scrolls until the picture is clicked
      event.preventDefault();
      this.zoom(event.deltaY < 0 ? 1.2 : 1 / 1.2);
    }, { passive: false });
  }

  toggle(layer) {
    if (this.buttons[layer].disabled) return;
    if (!this.state.layers.delete(layer)) this.state.layers.add(layer);
    this.changed();
  }

  zoom(factor) {
    this.state.zoom = Math.min(MOST_ZOOM, Math.max(1, this.state.zoom * factor));
    this.pan(0, 0);
  }

  fit() {
    Object.assign(this.state, { zoom: 1, x: 0.5, y: 0.5 });
    this.changed();
  }

  // Move the middle of the view by shares of the image; the view stays inside it.
  pan(right, down) {
    const half = 0.5 / this.state.zoom, inside = (value) => Math.min(1 - half, Math.max(half, value));
    this.state.x = inside(this.state.x + right);
    this.state.y = inside(this.state.y + down);
    this.changed();
  }

  move(split) {
    this.state.split = Math.min(100, Math.max(0, this.state.split + split));
    this.changed();
  }

  async draw(state, place, count) {
    this.state = state;
    const { episode: i, a, b } = state, { episodes } = this, drawing = ++this.drawing;
    element("viewer-empty").hidden = i >= 0;
    element("viewer-body").hidden = i < 0;
    if (i < 0) return;
    element("viewer-title").textContent = episodes.title(i);
    element("viewer-place").textContent = place >= 0 ? `${place + 1} of ${count} shown` : "not among the shown episodes";
    element("split").value = String(state.split);
    element("names-a").textContent = `A: ${episodes.methods[a]}, ${episodes.iouWords(i, a)}`;
    element("names-b").textContent = `B: ${episodes.methods[b]}, ${episodes.iouWords(i, b)}`;
    element("zoom-now").textContent = `${Math.round(100 * state.zoom)} %`;
    this.showWays(i, state);
    const layers = await this.store.of(i);
    const mapped = ["soft", "attention"].filter((layer) => state.layers.has(layer));
    await Promise.all(mapped.flatMap((layer) => [a, b].map((method) => layers.loadMaps(layer, method))));
    if (drawing !== this.drawing) return; // a later one has begun
    this.showButtons(layers, state);
    this.paint(layers, state);
    this.showAttention(layers, state);
    this.showFacts(layers, i, state);
    this.canvas.dataset.shown = `${episodes.key(i)} ${[...state.layers].join(" ")}`;
  }

  showWays(i, state) {
    const names = this.episodes.classNames(i), select = element("way");
    if (state.way > names.length) state.way = 0;
    const options = ["all ways", ...names].map((name, way) => make("option", name, { value: way }));
    select.replaceChildren(...options);
    select.value = String(state.way);
    select.parentElement.hidden = names.length < 2;
  }

  showButtons(layers, { a, b }) {
    const has = {
      image: layers.image, truth: layers.truth, predicted: layers.rows.has(a) || layers.rows.has(b),
      errors: layers.truth && (layers.rows.has(a) || layers.rows.has(b)), soft: this.episodes.soft,
      attention: [a, b].some((method) => this.episodes.attentionOf(method) !== null),
    };
    this.buttons.attention.parentElement.hidden = !has.attention;
    for (const layer of LAYERS) {
      this.buttons[layer].disabled = !has[layer];
      this.buttons[layer].checked = this.state.layers.has(layer);
    }
  }

  // Say in words what the colors of the attention mean for A and B.
  showAttention(layers, { a, b, layers: chosen }) {
    const words = element("attention-words"), { episodes } = this;
    words.hidden = this.buttons.attention.disabled || !chosen.has("attention");
    if (words.hidden) return;
    const ofMethod = (method) => {
      const range = layers.attentionRange(method), meaning = episodes.attentionOf(method);
      if (meaning === null) return "the run kept no attention";
      const values = range ? ` (${range.map((value) => value.toPrecision(2)).join(" to ")})` : "; none of this episode";
      return `${meaning || "its record does not say what it is"}${values}`;
    };
    const sides = a === b ? [["A and B", a]] : [["A", a], ["B", b]];
    const lines = sides.map(([side, method]) => make("span", `${side}, ${episodes.methods[method]}: ${ofMethod(method)}.`));
    const parts = ["Attention, from the least (dark blue) to the most (yellow) of the episode. ", ...lines.flatMap((line) => [line, " "])];
    const text = parts.map((part) => part.textContent ?? part).join("");
    if (words.textContent !== text) words.replaceChildren(...parts); // it is read aloud whenever it changes
  }

  paint(layers, state) {
    const { context, width, height } = fittedContext(this.canvas), scale = Math.min(width / layers.aspect, height) * state.zoom;
    const box = { width: scale * layers.aspect, height: scale };
    const middle = state.zoom === 1 ? [0.5, 0.5] : [state.x, state.y];
    Object.assign(box, { x: width / 2 - middle[0] * box.width, y: height / 2 - middle[1] * box.height });
    this.box = box;
    const left = Math.max(0, box.x), right = Math.min(width, box.x + box.width), at = left + (state.split / 100) * (right - left);
    for (const [method, from, to] of [[state.a, 0, at], [state.b, at, width]]) {
      if (to <= from) continue;
      context.save();
      context.beginPath();
      context.rect(from, 0, to - from, height);
      context.clip();
      layers.draw(context, box, method, state);
      if (!layers.rows.has(method) && (state.layers.has("predicted") || state.layers.has("errors"))) {
        this.write(context, "no mask of this method", (Math.max(from, left) + Math.min(to, right)) / 2, height / 2);
      }
      if (!layers.mapsOf("attention", method) && state.layers.has("attention") && !this.buttons.attention.disabled) {
        this.write(context, "no attention", (Math.max(from, left) + Math.min(to, right)) / 2, height / 2 + 20);
      }
      context.restore();
    }
    if (state.split > 0 && state.split < 100) {
      for (const [color, side] of [["#000", 4], ["#fff", 2]]) {
        context.fillStyle = color;
        context.fillRect(at - side / 2, 0, side, height);
      }
    }
  }

  write(context, text, x, y) {
    context.font = "13px system-ui, sans-serif";
    context.textAlign = "center";
    context.lineWidth = 3;
    context.strokeStyle = "#000";
    context.strokeText(text, x, y);
    context.fillStyle = "#fff";
    context.fillText(text, x, y);
  }

  showFacts(layers, i, { a, b }) {
    const { columns, names, methods, classes } = this.episodes, truth = layers.truth, table = element("ways");
    const rows = columns.classes[i].map((number, n) => {
      const row = make("tr");
      row.append(make("th", classes[number] ?? number, { scope: "row" }));
      row.append(make("td", !truth ? "–" : truth.slots.includes(n + 1) ? "there" : "absent"));
      for (const method of [a, b]) {
        const found = layers.rows.get(method);
        row.append(make("td", found ? `${found[3][n] ? "there" : "absent"} (${found[4][n].toFixed(2)})` : "–"));
      }
      return row;
    });
    table.tBodies[0].replaceChildren(...rows);
    table.tHead.rows[0].cells[2].textContent = `A: ${methods[a]}`;
    table.tHead.rows[0].cells[3].textContent = `B: ${methods[b]}`;
    const command = this.episodes.explanation(i, [a, b]);
    element("explanation").hidden = !command;
    element("explain-command").textContent = element("explain-command").nextElementSibling.dataset.copy = command;
    element("query-name").textContent = `Query ${names[columns.query[i]]}`;
    element("supports").replaceChildren(...this.supportGroups(layers, i, a, b));
  }

  // The supports once where A and B were told the same of them, else as each was told, under its name.
  supportGroups(layers, i, a, b) {
    const { episodes } = this, { columns, methods, classes } = episodes;
    const areMasks = [a, b].every((method) => episodes.toldTo(method) === null), sides = a === b ? [["A and B", a]] : [["A", a], ["B", b]];
    return (areMasks ? sides.slice(0, 1) : sides).map(([side, method]) => {
      const group = make("div"), labels = layers.supports(method), words = episodes.toldTo(method);
      const lacks = labels ? "" : ", which is not at hand";
      if (!areMasks) group.append(make("p", `${side}, ${methods[method]}: told ${words ?? "the masks"}${lacks}`));
      group.append(...columns.supports[i].flatMap((shots, way) => shots.map((number, shot) => this.supportTile(labels?.[way]?.[shot], number, shot, classes[columns.classes[i][way]]))));
      return group;
    });
  }

  supportTile(labels, number, shot, name) {
    const figure = make("figure"), canvas = make("canvas", undefined, { role: "img", "aria-label": `support ${shot + 1} of ${name}` });
    const file = this.episodes.image(number);
    figure.append(canvas, make("figcaption", `${name}: ${this.episodes.names[number]}`));
    if (!labels && !file) canvas.hidden = true;
    else Promise.resolve(loadImage(file)).then((image) => drawSupport(canvas, image, labels, this.store.colors));
    return figure;
  }
}

function drawSupport(canvas, image, labels, { truth, dark }) {
  const mask = labels ? slotMap(labels[0], labels[1], [labels[2]], labels[3]) : null;
  canvas.width = 240;
  canvas.height = Math.round((240 * (image ? image.naturalHeight : mask.height)) / (image ? image.naturalWidth : mask.width));
  const context = canvas.getContext("2d");
  context.fillStyle = "#777";
  context.fillRect(0, 0, canvas.width, canvas.height);
  if (image) context.drawImage(image, 0, 0, canvas.width, canvas.height);
  if (mask) context.drawImage(paintWays(mask, { rgb: truth, dark, opacity: 60 }), 0, 0, canvas.width, canvas.height);
}
