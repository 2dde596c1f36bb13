"use strict";
(() => {
  const field = (id) => document.getElementById(id);
  const read = (id) => { const block = field(id); return block && JSON.parse(block.textContent); };
  const make = (tag, text, kind) => {
    const node = document.createElement(tag);
    node.textContent = text; // never as HTML: names are anybody's
    if (kind) node.className = kind;
    return node;
  };
  const signed = (value, digits) => {
    const text = value.toFixed(digits);
    return value < 0 || Object.is(value, -0) || text.startsWith("-") ? text : `+${text}`;
  };
  const end = (value, digits) => { // of an interval, with more digits where rounding hides on which side of 0 it is
    let n = digits;
    while (value !== 0 && Number(value.toFixed(n)) === 0 && n < 3) n += 1;
    return signed(value, n);
  };
  const EVEN_HERE = 2, FEW = 4, NONE = 5; // of Bearing in differences.py: 1 and 3 are told apart
  const lessIsBetter = (metric) => field("differences").dataset.less.split(" ").includes(metric);
  const choose = (select, name, changed) => { // a field that stands in the address
    const first = select.value, asked = pageState.get(name);
    if (asked !== null && [...select.options].some((option) => option.value === asked)) select.value = asked;
    select.addEventListener("input", () => {
      pageState.set({ [name]: select.value === first ? null : select.value || "none" });
      changed();
    });
  };

  const data = read("differences-data");
  if (data) {
    const count = data.methods.length, a = field("a"), b = field("b"), by = field("by"), score = field("score"), order = field("order-by");
    const body = field("parts").tBodies[0];
    const whisker = (low, high, value, most) => {
      const shape = (tag, values) => {
        const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
        for (const [name, each] of Object.entries(values)) node.setAttribute(name, each);
        return node;
      };
      const at = (x) => (50 + 50 * x / most).toFixed(1);
      const svg = shape("svg", { class: "whisker apart", viewBox: "-2 0 104 10", preserveAspectRatio: "none", "aria-hidden": "true" });
      svg.append(
        shape("line", { class: "zero", x1: 50, x2: 50, y1: 0, y2: 10 }), shape("line", { x1: at(low), x2: at(high), y1: 5, y2: 5 }),
        shape("line", { class: "dot", x1: at(value), x2: at(value), y1: 5, y2: 5 }),
      );
      return svg;
    };
    const show = () => {
      const first = data.methods.indexOf(a.value), second = data.methods.indexOf(b.value), metric = score.value;
      const low = Math.min(first, second), high = Math.max(first, second), swapped = first > second;
      const pair = low * count - low * (low + 1) / 2 + high - low - 1; // pairs in the order of Python's combinations
      const lines = [];
      data.parts.forEach(([kind, name, fold, pairs, images], i) => {
        const x = data.scores[metric][first][i], y = data.scores[metric][second][i];
        if (kind !== by.value || x === null || y === null) return;
        let ends = first === second ? [null, null] : data.ends[metric][pair].slice(2 * i, 2 * i + 2);
        const bearing = first === second ? NONE : data.bearings[metric][pair][i], bears = ends[0] !== null;
        if (swapped && bears) ends = [-ends[1], -ends[0]];
        lines.push([name, fold, pairs, x / 1000, y / 1000, (x - y) / 1000, bears ? ends[0] / 1000 : 0, bears ? ends[1] / 1000 : 0, bearing, images]);
      });
      if (order.value === "difference") lines.sort((p, q) => q[5] - p[5]);
      const most = Math.max(...lines.flatMap((line) => [Math.abs(line[6]), Math.abs(line[7])])) || 1;
      const digits = Number(field("differences").dataset.digits.split(" ")[data.metrics.indexOf(metric)]);
      body.replaceChildren(...lines.map(([name, fold, pairs, x, y, moved, from, to, bearing, images]) => {
        const bears = bearing < FEW, apart = bears && bearing % 2 === 1, row = make("tr", ""), good = (moved > 0) !== lessIsBetter(metric);
        const head = make("th", name);
        head.scope = "row";
        const moves = make("td", `${apart ? (good ? "▲" : "▼") : bears ? "≈" : ""} ${signed(moved, digits)} `, apart ? (good ? "better" : "worse") : "same");
        const words = bears ? `[${end(from, digits)}, ${end(to, digits)}]${bearing >= EVEN_HERE ? "°" : ""}` : bearing === FEW ? `(${images} images)` : "";
        moves.append(make("span", words, "range"));
        const bar = make("td", "", "more");
        if (bears) bar.append(whisker(from, to, moved, most));
        row.append(head, moves, bar, make("td", x.toFixed(digits)), make("td", y.toFixed(digits)), make("td", fold, "more"), make("td", pairs, "more"));
        return row;
      }));
      if (!lines.length) {
        const none = make("td", `No part has ${metric} of both methods.`);
        none.colSpan = field("parts").tHead.rows[0].cells.length;
        body.append(document.createElement("tr"));
        body.rows[0].append(none);
      }
      const explore = field("explore");
      if (explore) explore.href = `explorer.html#${new URLSearchParams({ a: a.value, b: b.value })}`;
      field("a-name").textContent = a.value;
      field("b-name").textContent = b.value;
      field("score-name").textContent = metric;
      field("part-name").textContent = by.selectedOptions[0].textContent;
    };
    b.selectedIndex = 1;
    for (const [select, name] of [[a, "a"], [b, "b"], [by, "by"], [score, "score"], [order, "parts"]]) choose(select, name, show);
    field("differences-controls").hidden = false;
    show();
  }

  const heat = read("heat-data");
  if (heat) {
    const baseline = field("baseline"), steps = heat.steps;
    const rows = [...field("heat-table").querySelectorAll("tr[data-class]")];
    const difference = (value, scale) => {
      const better = value * heat.sign, step = Math.min(Math.round(steps * Math.abs(better) / scale), steps);
      return step === 0 ? "even" : `${better > 0 ? "b" : "w"}${step}`;
    };
    const show = () => {
      const base = heat.methods.indexOf(baseline.value), scale = heat.scales[base], [low, high] = heat.range;
      for (const row of rows) {
        const column = Number(row.dataset.class);
        heat.scores.forEach((scores, m) => {
          const cell = row.cells[m + 1], own = scores[column], other = base < 0 ? 0 : heat.scores[base][column];
          if (own === null || other === null) { cell.textContent = "–"; cell.className = "none"; return; }
          if (m === base) { cell.textContent = (own / 1000).toFixed(heat.digits); cell.className = "own"; return; }
          const value = (own - other) / 1000;
          cell.textContent = base < 0 ? value.toFixed(heat.digits) : signed(value, heat.digits);
          const share = high > low ? Math.min(Math.max((value - low) / (high - low), 0), 1) : 0.5;
          cell.className = base < 0 ? `h${Math.round(10 * share)}` : difference(value, scale);
        });
      }
      field("heat-words").textContent = base < 0 ? heat.metric : `${heat.metric} minus that of ${baseline.value}, ${heat.unit}, and its own scores`;
      field("diverging").hidden = base < 0;
      field("sequential").hidden = base >= 0;
      if (base >= 0) {
        field("diverging").querySelector(".from").textContent = `${heat.sign < 0 ? "+" : "-"}${scale}`;
        field("diverging").querySelector(".to").textContent = `${heat.sign < 0 ? "-" : "+"}${scale}`;
      }
    };
    choose(baseline, "baseline", show);
    if (pageState.get("baseline") === "none") baseline.value = "";
    field("heat-controls").hidden = false;
    show();
  }
})();
