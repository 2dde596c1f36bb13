// The panel of filters: bars that are chosen by check boxes, and histograms of which a range is brushed.

const BINS = 25;

class FilterPanel {
  constructor(place, episodes, filters, changed) {
    Object.assign(this, { place, episodes, filters, changed, parts: [] });
    const same = [];
    for (const dimension of filters.dimensions) {
      const values = dimension.number ? null : this.values(dimension);
      const numbers = dimension.number ? distinct(episodes.count, dimension.number).filter((value) => value >= 0) : null;
      const isPlain = numbers ? numbers.length < 2 : values.length < 2 && !["tag", "presence"].includes(dimension.key);
      if (isPlain) {
        same.push(dimension.title.split(",")[0].toLowerCase());
        continue;
      }
      const box = make("fieldset");
      box.append(make("legend", dimension.title));
      place.append(box);
      this.parts.push(dimension.number ? new RangeFilter(box, dimension, this) : new ChoiceFilter(box, dimension, this));
    }
    if (same.length) place.append(make("p", `No filter by ${same.join(", ")}: all episodes have the same value, or none.`, { class: "hint" }));
  }

  values(dimension) {
    const state = startState(this.episodes);
    return distinct(this.episodes.count, (i) => dimension.of(i, state)).sort((v, w) => v - w);
  }

  draw(state) {
    this.state = state;
    for (const part of this.parts) part.draw(state);
  }
}

function distinct(count, of) {
  const found = new Set();
  for (let i = 0; i < count; i++) for (const value of [of(i)].flat()) found.add(value);
  return [...found];
}

class ChoiceFilter {
  constructor(box, dimension, panel) {
    Object.assign(this, { dimension, panel, rows: null, list: make("div", undefined, { class: "choices" }) });
    box.append(this.list);
  }

  row(value) {
    const label = make("label"), input = make("input", undefined, { type: "checkbox", value });
    const bar = make("span", undefined, { class: "bar", "aria-hidden": "true" }), count = make("span", "", { class: "count" });
    label.append(input, make("span", this.dimension.name?.(value) ?? value, { class: "name" }), count, bar);
    input.addEventListener("change", () => {
      const chosen = (this.panel.state.chosen[this.dimension.key] ??= new Set());
      if (input.checked) chosen.add(value);
      else chosen.delete(value);
      this.panel.changed();
    });
    return { label, input, bar, count };
  }

  draw(state) {
    const counts = this.panel.filters.counts(this.dimension, state), chosen = state.chosen[this.dimension.key];
    const values = [...new Set([...counts.keys(), ...(chosen ?? [])])].sort((v, w) => v - w || String(v).localeCompare(w));
    const most = Math.max(1, ...[...counts.values()].map(([shown]) => shown));
    if (!this.rows || values.join("\n") !== [...this.rows.keys()].join("\n")) {
      this.rows = new Map(values.map((value) => [value, this.row(value)]));
      this.list.replaceChildren(...[...this.rows.values()].map(({ label }) => label));
      if (!values.length) this.list.append(make("span", "none yet", { class: "hint" }));
    }
    for (const [value, { input, bar, count }] of this.rows) {
      const [shown] = counts.get(value) ?? [0];
      input.checked = Boolean(chosen?.has(value));
      count.textContent = String(shown);
      bar.style.width = `${(100 * shown) / most}%`;
    }
  }
}

class RangeFilter {
  constructor(box, dimension, panel) {
    Object.assign(this, { dimension, panel, canvas: make("canvas", undefined, { class: "histogram", "aria-hidden": "true" }) });
    const [low, high] = ["from", "to"].map((word) => make("input", undefined, { type: "number", min: 0, max: 100, step: 0.1, "aria-label": `${dimension.title}, ${word}` }));
    const row = make("div", undefined, { class: "between" });
    row.append(low, make("span", "to"), high);
    box.append(this.canvas, row);
    Object.assign(this, { low, high });
    const typed = () => {
      const isEmpty = low.value === "" && high.value === "";
      this.set(isEmpty ? null : [Number(low.value || 0) * 10, Number(high.value || 100) * 10]);
    };
    [low, high].forEach((input) => input.addEventListener("change", typed));
    let start = null;
    const value = (event) => Math.round(1000 * Math.min(1, Math.max(0, pointIn(this.canvas, event)[0] / this.canvas.clientWidth)));
    this.canvas.addEventListener("pointerdown", (event) => { start = value(event); this.canvas.setPointerCapture(event.pointerId); this.set(null); });
    this.canvas.addEventListener("pointermove", (event) => {
      if (start !== null && value(event) !== start) this.set([Math.min(start, value(event)), Math.max(start, value(event))]);
    });
    for (const end of ["pointerup", "pointercancel"]) this.canvas.addEventListener(end, () => { start = null; });
  }

  set(range) {
    this.panel.state.ranges[this.dimension.key] = range;
    this.panel.changed();
  }

  draw(state) {
    const range = state.ranges[this.dimension.key], counts = this.panel.filters.histogram(this.dimension, BINS);
    const { context, width, height } = fittedContext(this.canvas), most = Math.max(1, ...counts.map(([, all]) => all));
    const soft = cssColor("--line"), strong = cssColor("--link"), step = width / BINS;
    counts.forEach(([shown, all], n) => {
      const isIn = !range || ((n + 1) * (1000 / BINS) > range[0] && n * (1000 / BINS) <= range[1]);
      for (const [number, color] of [[all, soft], [isIn ? shown : 0, strong]]) {
        const top = number ? Math.max(2, (number / most) * (height - 2)) : 0; // one episode stays visible
        context.fillStyle = color;
        context.fillRect(n * step + 0.5, height - top, step - 1, top);
      }
    });
    if (range) {
      context.fillStyle = cssColor("--ink");
      for (const edge of range) context.fillRect(Math.min(width - 2, (edge / 1000) * width), 0, 2, height);
    }
    this.low.value = range ? String(range[0] / 10) : "";
    this.high.value = range ? String(range[1] / 10) : "";
  }
}
