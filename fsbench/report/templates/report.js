"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const make = (tag, text, kind) => {
    const node = document.createElement(tag);
    if (text !== undefined) node.textContent = text; // never as HTML: names are anybody's
    if (kind) node.className = kind;
    return node;
  };

  const theme = document.getElementById("theme"), root = document.documentElement;
  try { const kept = localStorage.getItem("fsbench-theme"); if (kept) root.dataset.theme = kept; } catch { /* no storage */ }
  const isDark = () => root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  theme.hidden = false;
  theme.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    try { localStorage.setItem("fsbench-theme", root.dataset.theme); } catch { /* no storage */ }
  });

  const byHand = (text) => { // files have no clipboard in some browsers
    const area = make("textarea", text);
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  };
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button.copy");
    if (!button) return;
    let done = false;
    try { await navigator.clipboard.writeText(button.dataset.copy); done = true; } catch { done = byHand(button.dataset.copy); }
    button.textContent = done ? "Copied" : "Select and copy";
    button.focus();
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });

  for (const table of all("table.sortable")) {
    const heads = all("thead th", table), body = table.tBodies[0];
    const value = (row, i) => row.cells[i].dataset.value ?? row.cells[i].textContent.trim();
    heads.forEach((head, i) => {
      if ("fixed" in head.dataset) return;
      const button = make("button", head.textContent);
      button.type = "button";
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") !== "descending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const rows = [...body.rows].map((row) => [row, value(row, i)]);
        const order = (a, b) => {
          const x = Number(a), y = Number(b);
          return Number.isNaN(x) || Number.isNaN(y) ? String(a).localeCompare(b) : x - y;
        };
        rows.sort(([, a], [, b]) => {
          if (a === "–" || b === "–") return (a === "–") - (b === "–"); // what is unknown stays last
          return down ? order(b, a) : order(a, b);
        });
        body.append(...rows.map(([row]) => row));
      });
    });
  }

  for (const controls of all(".controls[data-for]")) {
    const rows = [...document.getElementById(controls.dataset.for).tBodies[0].rows];
    const fields = all("[data-filter]", controls), said = controls.querySelector("output");
    controls.hidden = false;
    const apply = () => {
      let shown = 0;
      for (const row of rows) {
        const fits = fields.every((field) => {
          const found = row.dataset[field.dataset.filter], asked = field.value.trim();
          return !asked || (field.tagName === "SELECT" ? found === asked : found.toLowerCase().includes(asked.toLowerCase()));
        });
        row.hidden = !fits;
        shown += fits;
      }
      said.textContent = `${shown} of ${rows.length} rows`;
    };
    fields.forEach((field) => field.addEventListener("input", apply));
    apply();
  }

  const block = document.getElementById("data");
  if (!block) return;
  const data = JSON.parse(block.textContent), SLICE = 20;
  const field = (id) => document.getElementById(id);
  const ids = ["first", "second", "order", "fold", "class", "pictured"];
  const [first, second, order, fold, klass, pictured] = ids.map(field);
  const place = field("episodes"), where = field("where");
  const option = (select, value, text) => { const made = make("option", text); made.value = value; select.append(made); };
  data.methods.forEach((name, i) => { option(first, i, name); option(second, i, name); });
  second.value = String(Math.min(1, data.methods.length - 1));
  data.folds.forEach((f) => option(fold, f.fold, String(f.fold)));
  [...new Set(data.folds.flatMap((f) => f.classes.flat()))].sort().forEach((name) => option(klass, name, name));
  let found = [], start = 0;

  const percent = (value) => value === undefined || value === null ? "no run" : value < 0 ? "nothing to find, nothing predicted" : `IoU ${(value / 10).toFixed(1)} %`;
  const select = () => {
    const a = Number(first.value), b = Number(second.value);
    found = [];
    for (const f of data.folds) {
      if (fold.value !== "" && String(f.fold) !== fold.value) continue;
      const x = f.iou[a], y = f.iou[b];
      if (!x || !y) continue;
      for (let i = 0; i < f.index.length; i++) {
        if (klass.value !== "" && !f.classes[i].includes(klass.value)) continue;
        if (pictured.checked && !Object.hasOwn(f.pictures, f.index[i])) continue;
        const both = x[i] >= 0 && y[i] >= 0, none = x[i] < 0 && y[i] < 0;
        const away = none ? -1 : Math.abs((x[i] < 0 ? 1000 : x[i]) - (y[i] < 0 ? 1000 : y[i]));
        if (order.value !== "list" && (order.value === "apart" ? none : !both)) continue;
        found.push([order.value === "apart" ? -away : order.value === "best" ? -x[i] - y[i] : order.value === "worst" ? x[i] + y[i] : 0, f, i]);
      }
    }
    if (order.value !== "list") found.sort((p, q) => p[0] - q[0]);
    start = 0;
    show();
  };
  const image = (file, caption) => {
    const figure = make("figure"), link = make("a"), img = make("img");
    img.loading = "lazy";
    img.decoding = "async";
    img.width = 168;
    img.height = 128;
    img.alt = caption;
    img.src = file;
    link.href = file;
    link.append(img);
    figure.append(link, make("figcaption", caption));
    return figure;
  };
  const card = (f, i) => {
    const node = make("article", undefined, "episode");
    node.append(make("h3", `fold ${f.fold}, episode ${f.index[i]}: ${f.classes[i].join(", ")}`));
    const strip = make("div", undefined, "strip");
    const drawn = Object.hasOwn(f.pictures, f.index[i]) ? f.pictures[f.index[i]] : null;
    if (drawn) {
      drawn.support.forEach((file) => strip.append(image(file, "support")));
      strip.append(image(drawn.query, "query"), image(drawn.truth, "truth"));
    }
    const list = make("ul");
    for (const m of new Set([Number(first.value), Number(second.value)])) {
      const right = f.right[m] ? (f.right[m][i] ? "presence right" : "presence wrong") : "";
      const words = `${data.methods[m]}: ${percent(f.iou[m] && f.iou[m][i])}, ${right}`;
      list.append(make("li", words));
      const files = drawn && drawn.methods[m];
      if (files) strip.append(image(files[0], `${data.methods[m]}: predicted`), image(files[1], `${data.methods[m]}: errors`));
    }
    node.append(list, strip, make("p", `query ${f.query[i]}; support ${f.support[i].map((way) => way.join(", ")).join(" | ")}`, "names"));
    return node;
  };
  const show = () => {
    const end = Math.min(start + SLICE, found.length);
    place.replaceChildren(...found.slice(start, end).map(([, f, i]) => card(f, i)));
    where.textContent = found.length ? `${start + 1} to ${end} of ${found.length} episodes` : "no episode";
    all(".previous").forEach((button) => { button.disabled = start === 0; });
    all(".next").forEach((button) => { button.disabled = end >= found.length; });
  };
  const turn = (by) => { start = Math.max(0, start + by); show(); where.scrollIntoView({ block: "center" }); };
  all(".previous").forEach((button) => button.addEventListener("click", () => turn(-SLICE)));
  all(".next").forEach((button) => button.addEventListener("click", () => turn(SLICE)));
  field("gallery-controls").hidden = false;
  ids.forEach((id) => field(id).addEventListener("input", select));
  select();
})();
