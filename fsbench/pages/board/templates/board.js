"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const table = document.getElementById("board"), controls = document.getElementById("controls");
  const fields = all("[data-state]", controls), said = controls.querySelector("output");
  const field = (name) => fields.find((each) => each.dataset.state === name);
  const bodies = [...table.tBodies], rows = all("tr[data-row]"); // incomplete ones stand in a table of their own
  const names = new Set(rows.map((row) => row.dataset.row)).size;
  const tests = all("th.test", table);
  const plain = (each) => each.tagName === "SELECT" && each.dataset.state === "order" ? each.options[0].value : "";
  let chosen = "";

  for (const head of tests) { // a head orders by its column
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => { field("order").value = head.dataset.test; changed(); });
  }

  const apply = () => {
    const data = field("data").value, order = field("order").value;
    const hidden = new Set(tests.filter((head) => data && head.dataset.data !== data).map((head) => head.dataset.test));
    tests.forEach((head) => {
      head.hidden = hidden.has(head.dataset.test);
      if (head.dataset.test === order) head.setAttribute("aria-sort", "descending"); else head.removeAttribute("aria-sort");
    });
    const wanted = fields.filter((each) => !["data", "order"].includes(each.dataset.state) && each.value.trim() !== "");
    const shown = new Set();
    for (const row of rows) {
      const cells = all("td[data-test]", row);
      cells.forEach((cell) => { cell.hidden = hidden.has(cell.dataset.test); });
      const fits = pageSearch.fits(row, wanted);
      const isOther = "data" in row.dataset ? row.dataset.data !== data : cells.every((cell) => cell.hidden || cell.classList.contains("none"));
      row.hidden = !fits || (data !== "" && isOther);
      row.classList.toggle("chosen", row.dataset.row === chosen);
      if (!row.hidden) shown.add(row.dataset.row);
    }
    const score = (row) => {
      const cell = all("td[data-test]", row).find((each) => each.dataset.test === order);
      return cell && "value" in cell.dataset ? Number(cell.dataset.value) : -Infinity;
    };
    for (const body of bodies) {
      const own = all("tr[data-row]", body).map((row, place) => [score(row), place, row]);
      own.sort(([a, i], [b, j]) => a === b ? i - j : b - a);
      body.append(...own.map(([, , row]) => row));
      body.hidden = own.every(([, , row]) => row.hidden);
    }
    said.textContent = `${shown.size} of ${names} rows`;
  };

  const address = () => {
    const state = new URLSearchParams();
    for (const each of fields) if (each.value.trim() !== plain(each)) state.set(each.dataset.state, each.value);
    if (chosen) state.set("row", chosen);
    return `#${state}`;
  };
  const changed = () => {
    apply();
    const next = address();
    try { history.replaceState(null, "", next === "#" ? location.pathname + location.search : next); } catch { location.hash = next; }
  };
  const restore = () => {
    const state = new URLSearchParams(location.hash.slice(1));
    for (const each of fields) {
      const value = state.get(each.dataset.state) ?? plain(each);
      const known = each.tagName !== "SELECT" || [...each.options].some((option) => option.value === value);
      each.value = known ? value : plain(each); // an address may be anybody's
    }
    chosen = state.get("row") ?? "";
    apply();
    const row = rows.find((each) => each.dataset.row === chosen);
    if (row && !row.hidden) row.scrollIntoView({ block: "center", inline: "nearest" });
  };
  fields.forEach((each) => each.addEventListener("input", changed));
  document.getElementById("reset").addEventListener("click", () => {
    chosen = "";
    fields.forEach((each) => { each.value = plain(each); });
    changed();
  });
  addEventListener("hashchange", restore);
  controls.hidden = false;
  restore();
})();
