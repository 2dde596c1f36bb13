"use strict";
(() => {
  const table = document.getElementById("leaderboard");
  if (!table) return;
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const field = (id) => document.getElementById(id);
  const frame = table.parentElement, methods = table.tBodies[0], answers = field("answers");
  const heads = all("thead th", table).slice(1), keys = heads.map((head) => head.dataset.column);
  const boxes = all(".chooser input"), find = field("find"), intervals = field("intervals");
  const usual = heads.filter((head) => "usual" in head.dataset);
  const rows = all("tbody tr", table), sortable = all("thead th:not([data-fixed])", table);
  let chosen = null, sort = null; // columns by hand, or as many as fit; the sorted column

  // Columns
  const show = (shown) => {
    heads.forEach((head, i) => {
      const hidden = !shown.has(keys[i]);
      for (const row of [head.parentElement, ...rows]) row.cells[i + 1].hidden = hidden;
    });
    boxes.forEach((box) => { box.checked = shown.has(box.value); });
  };
  const arrange = () => {
    const shown = new Set(chosen ?? usual.filter((head) => head.dataset.rank === "0").map((head) => head.dataset.column));
    show(shown);
    const ranks = chosen ? [] : [...new Set(usual.map((head) => Number(head.dataset.rank)))].filter(Boolean).sort((a, b) => b - a);
    const out = [];
    for (const rank of ranks) { // the most important first; what does not fit leaves its place to the next
      const group = usual.filter((head) => Number(head.dataset.rank) === rank);
      group.forEach((head) => shown.add(head.dataset.column));
      show(shown);
      if (table.offsetWidth <= frame.clientWidth) continue;
      group.forEach((head) => shown.delete(head.dataset.column));
      show(shown);
      out.push(...group.map((head) => head.textContent));
    }
    field("left-out").hidden = out.length === 0;
    field("left-out").textContent = `The page is too narrow for ${out.join(", ")}; “Columns” shows them.`;
    place();
  };
  const choose = (columns) => {
    chosen = columns;
    pageState.set({ columns: columns && columns.join(",") });
    arrange();
  };
  boxes.forEach((box) => box.addEventListener("input", () => choose(boxes.filter((b) => b.checked).map((b) => b.value))));
  field("usual-columns").addEventListener("click", () => choose(null));

  const chooser = document.querySelector(".chooser");
  chooser.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !chooser.open) return;
    chooser.open = false;
    chooser.firstElementChild.focus();
  });

  // Order
  const order = () => {
    const by = sort && sort.replace(/^-/, ""), down = Boolean(sort) && sort.startsWith("-");
    sortable.forEach((head) => {
      if (head.dataset.column === by) head.setAttribute("aria-sort", down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
    const at = keys.indexOf(by) + 1;
    const value = (row) => at ? Number(row.cells[at].dataset.value ?? NaN) : row.dataset.method;
    const compare = (a, b) => {
      if (typeof a === "string") return down ? b.localeCompare(a) : a.localeCompare(b);
      if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b); // what is unknown stays last
      return down ? b - a : a - b;
    };
    const own = rows.filter((row) => row.parentElement === methods);
    if (sort) own.sort((a, b) => compare(value(a), value(b)));
    methods.append(...own);
  };
  for (const head of sortable) {
    const button = document.createElement("button"), key = head.dataset.column;
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const first = head.dataset.first === "descending" ? `-${key}` : key;
      sort = sort === first ? (first === key ? `-${key}` : key) : first;
      pageState.set({ sort });
      order();
    });
  }

  // Rows
  const filter = () => {
    let shown = 0;
    for (const row of methods.rows) {
      row.hidden = !pageSearch.finds(row.dataset.method, find.value);
      shown += !row.hidden;
    }
    field("shown-rows").textContent = `${shown} of ${methods.rows.length} methods`;
    place();
  };
  find.addEventListener("input", () => { pageState.set({ find: find.value.trim() }); filter(); });
  const unfold = (open) => {
    if (!answers) return;
    answers.setAttribute("aria-expanded", String(open));
    all("tr.answer", table).forEach((row) => { row.hidden = !open; });
  };
  if (answers) {
    answers.hidden = false;
    answers.addEventListener("click", () => {
      const open = answers.getAttribute("aria-expanded") !== "true";
      pageState.set({ answers: open && "1" });
      unfold(open);
    });
  }
  const spell = () => { table.classList.toggle("spelled", intervals.checked); };
  intervals.addEventListener("input", () => {
    pageState.set({ intervals: intervals.checked === intervals.defaultChecked ? null : Number(intervals.checked) });
    spell();
    arrange();
  });

  // Keys: one stop of Tab for all figures, arrows from one to the next; a figure in focus shows its interval
  const visible = (cells) => cells.filter((cell) => !cell.hidden && !cell.parentElement.hidden);
  const figures = all("td.figure", table);
  const place = (wanted) => {
    const stop = wanted ?? visible(figures)[0];
    figures.forEach((cell) => { cell.tabIndex = cell === stop ? 0 : -1; });
  };
  table.addEventListener("focusin", (event) => { if (event.target.matches("td.figure")) place(event.target); });
  table.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    if (!step || !event.target.matches("td.figure")) return;
    const lines = all("tbody tr", table).filter((row) => !row.hidden);
    const line = lines[lines.indexOf(event.target.parentElement) + step[0]];
    const across = visible(all("td.figure", event.target.parentElement)).indexOf(event.target) + step[1];
    const next = line && visible(all("td.figure", line))[across];
    event.preventDefault();
    if (next) next.focus();
  });

  // Files of what is shown
  const table_of = () => {
    const columns = heads.map((head, i) => ({ head, at: i + 1 })).filter(({ head }) => !head.hidden && !("fixed" in head.dataset));
    const lines = all("tbody tr", table).filter((row) => !row.hidden);
    const figure = (row, at) => {
      const cell = row.cells[at], data = cell.dataset, ends = cell.querySelector(".ends");
      return {
        text: cell.querySelector(".number").textContent, letters: cell.querySelector("sup")?.textContent ?? "",
        ends: ends ? ends.textContent : "", place: data.place ?? "", value: data.value, low: data.low, high: data.high,
      };
    };
    return {
      columns: columns.map(({ head, at }) => ({
        key: head.dataset.column, head: head.textContent, tex: head.dataset.tex, meaning: head.title,
        lettered: lines.some((row) => row.cells[at].querySelector("sup")), metric: lines.some((row) => row.cells[at].querySelector(".ends")),
      })),
      lines: lines.map((row) => ({
        method: row.dataset.method, tex: row.cells[0].dataset.tex, answer: row.parentElement !== methods,
        figures: columns.map(({ at }) => figure(row, at)),
      })),
    };
  };
  const word = (text) => { // no spreadsheet is to take a name for a formula
    const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
    return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  const writers = {
    csv({ columns, lines }) {
      const wide = intervals.checked, more = (c) => [...(c.lettered ? ["letters"] : []), ...(wide && c.metric ? ["low", "high"] : [])];
      const head = ["method", ...columns.flatMap((c) => [c.head, ...more(c).map((name) => `${c.head} ${name}`)])];
      const body = lines.map((line) => [line.method, ...line.figures.flatMap((f, i) => {
        const [low, high] = (f.ends.startsWith("[") && f.ends.match(/-?[\d.]+/g)) || ["", ""]; // or too few images
        const parts = { letters: f.letters, low, high };
        return [f.text === "–" ? "" : f.text.replaceAll(",", ""), ...more(columns[i]).map((name) => parts[name])];
      })]);
      return `${[head, ...body].map((cells) => cells.map((cell, i) => (i ? cell : word(cell))).join(",")).join("\n")}\n`;
    },
    tex({ columns, lines }) {
      const figure = (f) => {
        const number = f.text === "–" ? "--" : f.place === "best" ? `\\textbf{${f.text}}` : f.place === "second" ? `\\underline{${f.text}}` : f.text;
        return number + (f.letters ? `$^{\\mathrm{${f.letters}}}$` : "") + (intervals.checked && f.ends ? ` {\\scriptsize ${f.ends}}` : "");
      };
      const row = (line) => `${[line.tex, ...line.figures.map(figure)].join(" & ")} \\\\`;
      const own = lines.filter((line) => !line.answer).map(row), other = lines.filter((line) => line.answer).map(row);
      return [
        `% ${table.dataset.title.replace(/\s+/g, " ")}`, "% needs \\usepackage{booktabs}", `\\begin{tabular}{l${"r".repeat(columns.length)}}`,
        "\\toprule", `${["method", ...columns.map((c) => c.tex)].join(" & ")} \\\\`, "\\midrule", ...own,
        ...(other.length ? ["\\midrule", ...other] : []), "\\bottomrule", "\\end{tabular}", "",
      ].join("\n");
    },
    json({ columns, lines }) {
      const number = (text) => (text === undefined ? null : Number(text));
      const figure = (f) => ({
        shown: f.text, value: number(f.value), low: number(f.low), high: number(f.high), letters: f.letters, place: f.place,
      });
      const made = {
        title: table.dataset.title,
        columns: columns.map(({ key, head, meaning }) => ({ key, head, meaning })),
        rows: lines.map((line) => ({
          method: line.method, without_model: line.answer, figures: Object.fromEntries(line.figures.map((f, i) => [columns[i].key, figure(f)])),
        })),
      };
      return `${JSON.stringify(made, null, 2)}\n`;
    },
  };
  all("[data-download]").forEach((button) => button.addEventListener("click", () => {
    const form = button.dataset.download, link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([writers[form](table_of())], { type: "text/plain" }));
    link.download = `leaderboard.${form}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }));

  // What the address says
  const asked = pageState.get("columns"), by = pageState.get("sort");
  if (asked !== null) chosen = asked.split(",").filter((key) => keys.includes(key));
  if (by && sortable.some((head) => head.dataset.column === by.replace(/^-/, ""))) sort = by;
  find.value = pageState.get("find") ?? "";
  intervals.checked = (pageState.get("intervals") ?? Number(intervals.defaultChecked).toString()) === "1";
  field("leaderboard-controls").hidden = false;
  unfold(pageState.get("answers") === "1");
  spell();
  order();
  filter();
  arrange();
  let width = frame.clientWidth;
  addEventListener("resize", () => { if (frame.clientWidth !== width) { width = frame.clientWidth; arrange(); } });
})();
