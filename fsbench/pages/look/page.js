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
    const names = heads.map((head) => head.textContent.trim()), place = `sort-${table.id}`;
    const sort = (i, down) => {
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      heads[i].setAttribute("aria-sort", down ? "descending" : "ascending");
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
    };
    heads.forEach((head, i) => {
      if ("fixed" in head.dataset) return;
      const button = make("button", head.textContent);
      button.type = "button";
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") !== "descending";
        sort(i, down);
        pageState.set({ [place]: `${down ? "-" : ""}${names[i]}` });
      });
    });
    const asked = pageState.get(place) ?? "", down = asked.startsWith("-"), column = names.indexOf(down ? asked.slice(1) : asked);
    if (asked && column >= 0 && !("fixed" in heads[column].dataset)) {
      sort(column, down);
      const folded = table.closest("details");
      if (folded) folded.open = true;
    }
  }
})();
