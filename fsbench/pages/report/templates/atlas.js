"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const make = (tag, text, kind) => {
    const node = document.createElement(tag);
    if (text !== undefined) node.textContent = text; // never as HTML
    if (kind) node.className = kind;
    return node;
  };
  const data = JSON.parse(document.getElementById("atlas-data").textContent);
  const table = document.getElementById("atlas"), controls = document.getElementById("controls");
  const fields = all("[data-state]", controls), said = controls.querySelector("output");
  const bodies = [...table.tBodies], rows = all("tr[data-row]", table), panel = document.getElementById("chosen");
  const folded = document.getElementById("conditions");
  const field = (name) => fields.find((each) => each.dataset.state === name);
  const value = (each) => (each.type === "checkbox" ? (each.checked ? "1" : "") : each.value.trim());
  const usual = (each) => (each.dataset.state === "figure" ? each.options[0].value : "");
  const hint = () => { // why no row is shown
    const typed = value(field("method")), names = [...new Set(rows.map((row) => row.dataset.method))];
    const lost = pageSearch.parts(typed).find((part) => !names.some((name) => name.toLowerCase().includes(part)));
    if (!lost) return "; a filter hides all rows: Show all";
    const found = near(lost, names);
    return `; no method is called “${lost}”${found.length ? `, there is ${found.join(", ")}` : ""}`;
  };
  const cell = (entry, shot) => {
    const [way, metric] = value(field("figure")).split("|");
    return entry.figures.find((f) => f.first && f.way === way && f.metric === metric && f.shot === shot);
  };
  let chosen = "";

  // Figures of the chosen kind
  const fill = () => {
    for (const row of rows) {
      for (const place of all("td[data-shot]", row)) {
        const found = cell(data.entries[row.dataset.row], place.dataset.shot);
        place.replaceChildren();
        if (!found) { place.textContent = "–"; continue; }
        place.append(make(/^1 of/.test(found.rank) ? "strong" : "span", found.value));
        if (found.repeated) place.append(make("sup", "r"));
        if (found.rank) place.append(make("span", `rank ${found.rank}`, "rank"));
        place.title = [found.source, found.note].filter(Boolean).join("; ");
      }
    }
  };

  // What would have to change
  const unknown = data.unknown;
  const meaning = (name, word) => data.words[name]?.[word] ?? "";
  const differences = (one, other) => [...data.test, ...data.told].filter((name) => {
    const [ours, theirs] = [one.conditions[name], other.conditions[name]];
    return ours !== theirs || unknown.includes(ours) || (data.open[name] ?? []).includes(ours);
  });
  const words = (name, from, to) => {
    const label = data.labels[name];
    if (unknown.includes(from) && unknown.includes(to)) return `${label}: not known of both rows`;
    if (unknown.includes(from)) return `${label}: not known (chosen row: ${to})`;
    if (unknown.includes(to)) return `${label}: ${from} (chosen row: not known)`;
    if (from === to) return `${label}: ${from} (both rows; the exact rule is not known)`;
    return `${label}: ${from}, expected ${to}`;
  };
  const explain = () => {
    const target = data.entries[chosen];
    all(".why", table).forEach((each) => { each.hidden = !target; });
    for (const row of rows) {
      const own = data.entries[row.dataset.row], place = row.querySelector(".why");
      row.classList.toggle("chosen", row.dataset.row === chosen);
      const narrow = row.querySelector(".why-narrow");
      place.replaceChildren();
      narrow.replaceChildren();
      if (!target) continue;
      if (row.dataset.row === chosen) { place.textContent = "the chosen row"; continue; }
      const found = own.program || own.ours ? differences(own, target) : null;
      if (found === null) { place.textContent = "no evaluation program was found, so the test is not known"; continue; }
      if (own.dataset !== target.dataset) { place.textContent = `another data set: ${own.dataset}`; continue; }
      if (!found.length) { place.append(make("span", "the same test, the same labels and help", "shares")); continue; }
      const list = make("ul");
      for (const name of found) {
        const line = make("li", words(name, own.conditions[name], target.conditions[name]));
        line.title = [own, target].map((entry) => entry.conditions[name]).filter((word) => meaning(name, word)).map((word) => `${word}: ${meaning(name, word)}`).concat(data.meaning[name] ?? []).join("\n");
        list.append(line);
      }
      if (data.test.every((name) => !found.includes(name))) place.append(make("span", "the same test, but different help:", "shares"));
      place.append(list);
    }
    if (target) for (const row of rows) row.querySelector(".why-narrow").append(...all(".why", row)[0].cloneNode(true).childNodes);
    show(target);
  };
  const show = (entry) => {
    panel.hidden = !entry;
    panel.replaceChildren();
    if (!entry) return;
    const close = make("button", "Close", "close");
    close.type = "button";
    close.addEventListener("click", () => { const was = chosen; chosen = ""; changed(); rows.find((r) => r.dataset.row === was)?.querySelector("button").focus(); });
    const list = make("dl"), say = (name, text, words) => { const last = make("dd", text); if (words) last.append(make("small", words)); list.append(make("dt", name), last); };
    panel.append(close, make("h2", `${entry.method}, ${entry.backbone}, on ${entry.dataset}${entry.variant ? ` (${entry.variant})` : ""}`));
    if (entry.marks.length) panel.append(make("p", entry.marks.join("; "), "remark"));
    const p = entry.program;
    for (const [name, found] of Object.entries(entry.conditions)) {
      if (name === "dataset" || !data.labels[name]) continue;
      const places = p?.evidence[name], unlined = p && p.no_line.includes(name);
      const proof = entry.changes.includes(name) ? " (of these figures alone)" : places ? ` — ${places.join("; ")}` : p?.absences[name] ? ` — ${p.absences[name]}` : unlined ? " — read, line not noted" : "";
      say(data.labels[name], found + proof, meaning(name, found));
    }
    if (p) {
      say("program", `${p.file} of github.com/${p.repository} at ${p.commit}, licence: ${p.licence}`);
      say("paper", `${p.paper}, ${p.venue} ${p.year}`);
      if (p.quirks) say("notes of the reader", p.quirks);
    }
    for (const f of entry.figures) {
      say(`${f.way}-way ${f.shot}-shot ${f.metric}, ${f.whole ? "whole test" : `fold ${f.fold}`}`, `${f.value}${f.rank ? `, rank ${f.rank}` : ""}; ${f.source}${f.repeated ? " (not its authors' print)" : ""}${f.note ? `; ${f.note}` : ""}`);
    }
    const folded = make("details"), head = make("summary", "Conditions, places in the sources, figures");
    folded.append(head, list);
    panel.append(folded);
  };

  // Two tests: the verdict, the figures, the words side by side, and the commands; Python chose the two
  const pairFields = all("[data-pair]"), answer = document.getElementById("answer"), beside = document.getElementById("beside");
  const figuresBox = document.getElementById("figures");
  let asked_of = null; // bodies of the two tests that are compared
  const near = (text, names) => { // names that share a run of letters with what was typed
    const wanted = text.toLowerCase();
    for (let size = wanted.length - 1; size > 1; size -= 1) {
      const found = names.filter((name) => Array.from({ length: wanted.length - size + 1 }, (_, i) => wanted.slice(i, i + size)).some((part) => name.toLowerCase().includes(part)));
      if (found.length) return found.slice(0, 4);
    }
    return [];
  };
  const named = (name) => name.toLowerCase().replaceAll("+", " plus ").replace(/[^a-z0-9]+/g, "");
  const printed = (f) => `${f.way}${/^\d+$/.test(f.way) ? "-way" : ""} ${f.shot}-shot ${f.metric}`;
  const sentences = (a, b) => { // as fsbench.results.tables.pair_text
    const of = (entry, like) => entry.figures.find((f) => f.first && printed(f) === printed(like));
    const shared = a.figures.filter((f) => f.first && of(b, f));
    if (!shared.length) {
      const each = [a, b].map((entry) => `${entry.title} has ${entry.figures.filter((f) => f.first).map((f) => `${printed(f)} ${f.value}`).join(", ") || "no figure"}`);
      return [`No figures of the same ways, shots and metric on ${a.dataset}: ${each.join(" and ")}.`];
    }
    const metric = (shared.find((f) => f.metric === "mIoU") ?? shared[0]).metric, order = (f) => [f.way, f.shot].map((word) => word.padStart(9, "0")).join();
    const shown = shared.filter((f) => f.metric === metric).sort((x, y) => (order(x) < order(y) ? -1 : 1)).map((f) => [f, of(b, f)]);
    const gap = ([f, g]) => (g.value - f.value).toFixed(Math.max(...[f, g].map((each) => (each.value.split(".")[1] ?? "").length)));
    const same = a.backbone === b.backbone;
    const figures = shown.map((both) => {
      const [f, g] = both, higher = Number(gap(both)) ? `${(gap(both) > 0 ? b : a).title} is ${gap(both).replace("-", "")} higher` : "they are equal";
      return `${printed(f)}${same ? `, ${a.backbone}` : ""}: ${a.title} ${f.value} and ${b.title} ${g.value}; ${higher}${same ? "" : `, though ${a.backbone} against ${b.backbone}`}.`;
    });
    const sources = new Set([a, b].map((entry, i) => `${entry.title}: ${shown[0][i].source}`));
    const all = shown.flatMap((both) => both.map((f) => ({ ...f.moves, gap: gap(both) })).filter((each) => each.known));
    const best = all.find((each) => each.limit !== null) ?? all.find((each) => each.measure.length > 1) ?? all[0];
    if (!best) return [...figures, `Printed in: ${[...sources].join("; ")}.`];
    const beyond = best.limit !== null && Math.abs(best.gap) > best.limit + 1e-9;
    return [...figures, `Printed in: ${[...sources].join("; ")}.`, ...best.known, ...(beyond ? [data.beyond] : best.whole ? [data.within] : best.measure)];
  };
  const command = (text) => { // breaks at spaces alone, not within --protocol
    const shown = make("pre");
    shown.append(...text.split(/([ \n])/).map((word) => (word.trim() ? make("span", word) : word)));
    return shown;
  };
  const compare = () => {
    figuresBox.replaceChildren();
    asked_of = null;
    const typed = pairFields.map((each) => each.value.trim());
    beside.hidden = true;
    answer.textContent = "";
    answer.className = "";
    if (typed.some((text) => !text)) return;
    const lost = typed.find((text) => !data.names[named(text)]);
    if (lost) {
      const found = near(lost, Object.values(data.names));
      answer.textContent = `No evaluation program is called “${lost}”${found.length ? `; there is ${found.join(" · ")}` : ""}.`;
      return;
    }
    const names = typed.map((text) => data.names[named(text)]), own = names.map((name) => name.split(", ")[1]);
    const set = own[0] ?? own[1] ?? data.sets[names.map(named).sort().join("|")]; // a bare method is meant on the other's
    const key = names.map((name, i) => named(own[i] ? name : `${name}${set}`)).sort().join("|");
    const [sentence, ...ids] = data.pairs[key] ?? ["These are figures on other images and classes, which no test compares."];
    answer.textContent = sentence;
    answer.className = ids[2] ?? "apart";
    if (!ids.length) return;
    const both = ids.slice(0, 2).map((place) => Object.values(data.entries)[place]);
    asked_of = new Set(rows.filter((row) => both.some((entry) => entry.program?.id === data.entries[row.dataset.row].program?.id)).map((row) => row.parentElement));
    figuresBox.replaceChildren(...sentences(...both).map((line) => (line.startsWith(" ") ? command(line.trim()) : make("p", line))));
    const head = make("tr"), body = beside.querySelector("tbody");
    head.append(make("th", "condition"), ...both.map((entry) => make("th", `${entry.title}, ${entry.dataset}`, "word")));
    beside.querySelector("thead").replaceChildren(head);
    const apart = differences(...both);
    body.replaceChildren(...data.conditions.map((name) => {
      const row = make("tr", undefined, apart.includes(name) ? "chosen" : ""), first = make("th", data.labels[name]);
      first.scope = "row";
      row.append(first, ...both.map((each) => { const place = make("td", each.conditions[name], "word"); place.title = meaning(name, each.conditions[name]); return place; }));
      return row;
    }));
    const tests = new Map(both.filter((entry) => entry.run).map((entry) => [entry.run[0], entry.run]));
    beside.lastElementChild.replaceChildren(
      make("p", tests.size ? "To run any method, or a program of your own, under one of the two tests:" : "Neither test can be run here."),
      ...[...tests.values()].map(([bench, kit]) => command(`fsbench bench --method prototype ${bench}\nfsbench kit ${kit}`)),
    );
    beside.hidden = false;
  };

  // Rows
  const apply = () => {
    const asked = fields.filter((each) => !["figure", "shot", "shared", "data"].includes(each.dataset.state) && value(each));
    const shot = value(field("shot")), set = value(field("data")), shared = field("shared").checked;
    let shown = 0, groups = 0;
    for (const body of bodies) {
      let own = 0;
      for (const row of all("tr[data-row]", body)) {
        row.hidden = !pageSearch.fits(row, asked) || (asked_of && !asked_of.has(body)) || (set && body.dataset.data !== set) || (shared && !body.dataset.shared)
          || (shot && !cell(data.entries[row.dataset.row], shot));
        own += !row.hidden;
      }
      body.hidden = !own;
      shown += own;
      groups += own > 0;
    }
    const visible = rows.filter((row) => !row.hidden && !row.parentElement.hidden).map((row) => data.entries[row.dataset.row]);
    const conditions = all("[data-state]", folded).filter(value).length;
    folded.querySelector("summary").textContent = conditions ? `Conditions (${conditions})` : "Conditions";
    for (const each of data.shots) {
      const empty = (shot && each !== shot) || !visible.some((entry) => cell(entry, each));
      all(`[data-shot="${each}"]`, table).forEach((place) => { place.hidden = Boolean(empty); });
    }
    all("figure.sea").forEach((each) => { each.hidden = Boolean(set) && each.dataset.data !== set; });
    said.textContent = `${shown} of ${rows.length} rows, ${groups} tests${shown ? "" : hint()}${asked_of && shown ? "; only the tests of the two methods" : ""}`;
  };
  const changed = () => {
    pageState.set(Object.fromEntries([...fields.map((each) => [each.dataset.state, value(each) === usual(each) ? null : value(each)]), ...pairFields.map((each) => [each.dataset.pair, each.value.trim() || null]), ["row", chosen]]));
    fill();
    apply();
    explain();
  };
  fields.forEach((each) => each.addEventListener("input", changed));
  pairFields.forEach((each) => each.addEventListener("input", () => { compare(); changed(); }));
  const clear = () => fields.forEach((each) => { if (each.type === "checkbox") each.checked = false; else each.value = usual(each); });
  document.getElementById("reset").addEventListener("click", () => {
    chosen = "";
    clear();
    pairFields.forEach((each) => { each.value = ""; });
    compare();
    changed();
  });
  // An island's link leads to its rows, whatever is filtered
  const reveal = () => {
    const body = location.hash.startsWith("#group-") && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!body) return;
    if (body.hidden || all("tr[data-row]", body).some((row) => row.hidden)) {
      const figure = value(field("figure"));
      clear();
      pairFields.forEach((each) => { each.value = ""; });
      compare();
      field("figure").value = figure;
      changed();
    }
    body.scrollIntoView({ block: "start" });
  };
  addEventListener("hashchange", reveal);
  all(".sea a").forEach((link) => link.addEventListener("click", () => setTimeout(reveal))); // also a second time
  table.addEventListener("click", (event) => {
    const button = event.target.closest("[data-choose]");
    if (!button) return;
    chosen = chosen === button.dataset.choose ? "" : button.dataset.choose;
    changed();
    if (chosen) panel.scrollIntoView({ block: "nearest" });
  });

  // Files
  const save = (name, text) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };
  const quoted = (text) => { // no spreadsheet is to take a name for a formula
    const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
    return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  const tex = (text) => text.replace(/[\\&%$#_{}~^]/g, (sign) => ({ "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}" })[sign] ?? `\\${sign}`);
  const lines = (group) => {
    const shots = data.shots.filter((shot) => !value(field("shot")) || shot === value(field("shot")));
    const own = rows.filter((row) => row.parentElement.dataset.group === group && !row.hidden).map((row) => data.entries[row.dataset.row]);
    return { shots: shots.filter((shot) => own.some((entry) => cell(entry, shot))), own };
  };
  const told = (entry) => data.told.map((name) => entry.conditions[name]);
  const writers = {
    csv(group) {
      const { shots, own } = lines(group), [way, metric] = value(field("figure")).split("|");
      const head = ["method", "variant", "backbone", ...shots.flatMap((shot) => [`${way}-way ${shot}-shot ${metric}`, "rank", "source"]), ...data.told.map((name) => data.labels[name]), "marks"];
      const body = own.map((entry) => [
        entry.method, entry.variant, entry.backbone,
        ...shots.flatMap((shot) => { const f = cell(entry, shot); return f ? [f.value, f.rank, f.source + (f.repeated ? " (not its authors' print)" : "")] : ["", "", ""]; }),
        ...told(entry), entry.marks.join("; "),
      ]);
      return `${[[`# ${data.groups[group]}`], head, ...body].map((cells) => cells.map(quoted).join(",")).join("\n")}\n`;
    },
    tex(group) {
      const { shots, own } = lines(group), [way, metric] = value(field("figure")).split("|");
      const marked = own.flatMap((entry) => entry.marks.map((mark) => `${entry.method}: ${mark}`));
      const repeated = own.some((entry) => shots.some((shot) => cell(entry, shot)?.repeated));
      const different = new Set(own.map((entry) => told(entry).join("; "))).size > 1;
      const row = (entry) => [entry.method + (entry.variant ? ` (${entry.variant})` : ""), entry.backbone, ...shots.map((shot) => {
        const f = cell(entry, shot);
        return f ? `${f.value}${f.repeated ? "r" : ""}` : "--";
      }), ...(different ? [told(entry).join("; ")] : [])];
      const caption = [
        `${metric}, ${way}-way. ${data.groups[group]}.`, repeated ? "r: printed by others than its authors." : "",
        different ? "Rows that get different help have no common rank." : "", ...marked.map((line) => `${line}.`),
      ].filter(Boolean).join(" ");
      return [
        "% needs \\usepackage{booktabs}", "\\begin{table}", `\\caption{${tex(caption)}}`, `\\begin{tabular}{ll${"r".repeat(shots.length)}${different ? "l" : ""}}`, "\\toprule",
        `${["method", "backbone", ...shots.map((shot) => `${shot}-shot`), ...(different ? ["told"] : [])].join(" & ")} \\\\`, "\\midrule",
        ...own.map((entry) => `${row(entry).map(tex).join(" & ")} \\\\`), "\\bottomrule", "\\end{tabular}", "\\end{table}", "",
      ].join("\n");
    },
    bib() {
      const visible = rows.filter((row) => !row.hidden && !row.parentElement.hidden).map((row) => data.entries[row.dataset.row]);
      const papers = new Map(), others = new Map();
      for (const entry of visible) {
        if (!entry.program) { if (!entry.ours) entry.figures.forEach((f) => others.set(`${entry.method}: ${f.source}`, entry.marks)); continue; }
        const known = papers.get(entry.program.paper) ?? { ...entry.program, marks: new Set() };
        entry.marks.forEach((mark) => known.marks.add(`${entry.method} on ${entry.dataset}: ${mark}`));
        papers.set(entry.program.paper, known);
      }
      // The sources name no authors: key sorts in their place, and a reader adds them
      const entries = [...papers.values()].map((p) => [
        `@misc{${p.id.split("/")[0]}-${p.year},`, `  key = {${tex(p.method)}},`, `  title = {{${tex(p.paper)}}},`, `  howpublished = {${tex(p.venue)} ${p.year}},`, `  year = {${p.year}},`,
        `  note = {Evaluation program: \\url{https://github.com/${p.repository}}, commit ${p.commit}${[...p.marks].map((mark) => `; ${tex(mark)}`).join("")}},`, "}", "",
      ].join("\n"));
      const rest = [...others].map(([line, marks]) => `% ${line.replace(/\s+/g, " ")} (${marks.join("; ")})`);
      return [...entries, ...(rest.length ? ["% figures whose paper is not on file", ...rest, ""] : [])].join("\n");
    },
  };
  all("[data-save]").forEach((button) => button.addEventListener("click", () => {
    save(`${button.dataset.group}.${button.dataset.save}`, writers[button.dataset.save](button.dataset.group));
  }));
  document.getElementById("bibtex").addEventListener("click", () => save("atlas.bib", writers.bib()));

  // What the address says
  for (const each of fields) {
    const asked = pageState.get(each.dataset.state);
    if (asked === null) continue;
    if (each.type === "checkbox") each.checked = asked === "1";
    else if (each.tagName !== "SELECT" || [...each.options].some((option) => option.value === asked)) each.value = asked;
  }
  const asked = pageState.get("row");
  if (asked && Object.hasOwn(data.entries, asked)) chosen = asked; // an address may be anybody's
  pairFields.forEach((each) => { each.value = pageState.get(each.dataset.pair) ?? ""; });
  controls.hidden = false;
  document.getElementById("pair").hidden = false;
  compare();
  fill();
  apply();
  explain();
  folded.open = all("[data-state]", folded).some(value); // what is filtered by is seen
  reveal();
  if (chosen) rows.find((row) => row.dataset.row === chosen)?.scrollIntoView({ block: "center" });
})();
