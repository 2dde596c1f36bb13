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

  // Two tests: the answer in a sentence, the words side by side, and the commands; as fsbench.results.atlas.pairs
  const pairFields = all("[data-pair]"), answer = document.getElementById("answer"), beside = document.getElementById("beside");
  const testNamed = (text) => {
    const names = data.names, wanted = text.trim().toLowerCase();
    const name = names.find((each) => each.toLowerCase() === wanted) ?? names.find((each) => each.toLowerCase().startsWith(`${wanted}, `))
      ?? names.find((each) => wanted && each.toLowerCase().startsWith(wanted));
    if (!name) return null;
    const test = data.tests[name], entry = data.entries[test.entry];
    return { ...test, name, method: entry.program.method, set: entry.dataset, conditions: { ...entry.conditions, ...test.own } };
  };
  const unsure = (name, word) => unknown.includes(word) || (data.open[name] ?? []).includes(word);
  const verdict = (one, other, apart) => {
    const sure = apart.filter((name) => ![one, other].some((each) => unsure(name, each.conditions[name])));
    const phrase = (name, word) => data.phrases[name]?.[word] ?? `${data.verbs[name]} '${word}'`;
    const clauses = sure.slice(0, data.named).map((name) => [one, other].map((each) => `${each.method} ${phrase(name, each.conditions[name])}`).join(", "));
    const rest = sure.length - clauses.length;
    if (rest) clauses.push(`and ${rest} more condition${rest > 1 ? "s differ" : " differs"}`);
    if (!apart.length) return `comparable: ${one.method} and ${other.method} share the test on ${one.set} and get the same labels and help`;
    if (!sure.length) return `not known to be comparable: nobody can tell whether ${one.method} and ${other.method} agree in ${apart.map((name) => data.labels[name]).join("; ")}`;
    if (sure.every((name) => data.told.includes(name))) {
      const told = [one, other].map((each) => {
        const phrases = sure.map((name) => phrase(name, each.conditions[name])), gets = phrases.filter((words) => words.startsWith("gets "));
        const all = gets.map((words, i) => (i ? words.slice("gets ".length) : words));
        return `${each.method} ${[...all, ...phrases.filter((words) => !gets.includes(words))].join(" and ")}`;
      });
      return `the same test, but no common rank, because the methods get different help: ${told.join("; ")}`;
    }
    return `not comparable: ${clauses.join("; ")}`;
  };
  const near = (text, names) => { // names that share a run of letters with what was typed
    const wanted = text.toLowerCase();
    for (let size = wanted.length - 1; size > 1; size -= 1) {
      const found = names.filter((name) => Array.from({ length: wanted.length - size + 1 }, (_, i) => wanted.slice(i, i + size)).some((part) => name.toLowerCase().includes(part)));
      if (found.length) return found.slice(0, 4);
    }
    return [];
  };
  // What both print, with one backbone where they share one; as fsbench.results.atlas.pairs
  const figuresBox = document.getElementById("figures");
  let asked_of = null; // bodies of the two tests that are compared
  const entriesOf = (test) => Object.entries(data.entries).filter(([, e]) => !e.ours && e.program?.id === data.entries[test.entry].program.id);
  const of = (entry, like) => entry.figures.find((f) => f.first && f.way === like.way && f.shot === like.shot && f.metric === like.metric);
  const common = (a, b) => a.figures.filter((f) => f.first && of(b, f));
  const pairOf = (one, other) => { // the entries whose figures are shown
    const [ours, theirs] = [one, other].map((test) => entriesOf(test).map(([id, entry]) => ({ id, ...entry })));
    const named = ([a, b]) => `${a.backbone}|${b.backbone}|${a.id}|${b.id}`;
    const far = ([a, b]) => [Boolean(a.changes.length || b.changes.length), a.backbone !== b.backbone, Boolean(a.variant || b.variant), a.backbone !== data.usual_backbone].reduce((sum, each) => 2 * sum + each, 0);
    const [pair] = ours.flatMap((a) => theirs.map((b) => [a, b])).filter(([a, b]) => common(a, b).length).sort((x, y) => far(x) - far(y) || (named(x) < named(y) ? -1 : 1));
    return pair;
  };
  const sentences = (one, other, a, b) => {
    const shared = common(a, b), metric = (shared.find((f) => f.metric === "mIoU") ?? shared[0]).metric;
    const order = (f) => [f.way, f.shot].map((word) => word.padStart(9)).join();
    const shown = shared.filter((f) => f.metric === metric).sort((x, y) => order(x).localeCompare(order(y))), least = shown[0];
    const said = [[one, least], [other, of(b, least)]].map(([test, f]) => `${test.method}: ${f.source}`);
    const apart = Math.abs(of(b, least).value - least.value) > least.explained + 1e-9;
    const verdict = least.explained === null ? [] : [apart ? data.beyond : data.within];
    const figures = shown.map((f) => {
      const values = [f.value, of(b, f).value], digits = Math.max(...values.map((value) => (value.split(".")[1] ?? "").length));
      const gap = (values[1] - values[0]).toFixed(digits), same = a.backbone === b.backbone, names = [one.method, other.method];
      const [first, second] = [a, b].map((entry, i) => `${names[i]}${same ? "" : ` (${entry.backbone})`} ${values[i]}`);
      return `${/^\d+$/.test(f.way) ? `${f.way}-way ` : ""}${f.shot}-shot ${metric}${same ? `, ${a.backbone}` : ""}: ${first} and ${second}; ${Number(gap) ? `${names[Number(gap > 0)]} is ${gap.replace("-", "")} higher` : "they are equal"}.`;
    });
    return [...figures, `Printed in: ${[...new Set(said)].join("; ")}.`, ...least.moves, ...verdict];
  };
  const command = (text) => { // breaks at spaces alone, not within --protocol
    const shown = make("pre");
    shown.append(...text.split(/([ \n])/).map((word) => (word.trim() ? make("span", word) : word)));
    return shown;
  };
  const showFigures = (one, other, pair) => {
    const lines = pair ? sentences(one, other, ...pair) : [`${one.method} and ${other.method} print no figure of the same ways, shots and metric on ${one.set}.`];
    figuresBox.replaceChildren(...lines.map((line) => (line.startsWith(" ") ? command(line.trim()) : make("p", line))));
    const bodiesOf = (test) => {
      const own = entriesOf(test), plain = own.filter(([, e]) => !e.changes.length);
      return (plain.length ? plain : own).map(([id]) => rows.find((row) => row.dataset.row === id)?.parentElement);
    };
    asked_of = new Set([...bodiesOf(one), ...bodiesOf(other)]);
  };
  const compare = () => {
    figuresBox.replaceChildren();
    asked_of = null;
    const typed = pairFields.map((each) => each.value.trim());
    let [one, other] = typed.map(testNamed);
    beside.hidden = true;
    answer.textContent = "";
    answer.className = "";
    if (typed.some((text) => !text)) return;
    const lost = typed.find((text, i) => ![one, other][i]);
    if (lost) {
      const found = near(lost, data.names);
      answer.textContent = `No evaluation program is called “${lost}”${found.length ? `; there is ${found.join(" · ")}` : ""}.`;
      return;
    }
    if (one.set !== other.set) { // a bare method is meant on the other's data set, where it has a row
      const moved = [testNamed(`${one.method}, ${other.set}`), testNamed(`${other.method}, ${one.set}`)];
      if (!typed[0].includes(",") && moved[0]) one = moved[0];
      else if (!typed[1].includes(",") && moved[1]) other = moved[1];
    }
    const pair = pairOf(one, other);
    if (pair) [one, other] = [one, other].map((test, i) => ({ ...test, method: pair[i].changes.length ? pair[i].method : test.method, conditions: pair[i].conditions }));
    const names = [...data.test, ...data.told];
    const apart = names.filter((name) => one.conditions[name] !== other.conditions[name] || unsure(name, one.conditions[name]));
    answer.textContent = `${verdict(one, other, apart).replace(/^./, (letter) => letter.toUpperCase())}.`;
    answer.className = apart.length ? "apart" : "alike";
    showFigures(one, other, pair);
    const head = make("tr"), body = beside.querySelector("tbody");
    head.append(make("th", "condition"), make("th", one.name, "word"), make("th", other.name, "word"));
    beside.querySelector("thead").replaceChildren(head);
    body.replaceChildren(...[...names, ...data.remarked].map((name) => {
      const row = make("tr", undefined, apart.includes(name) ? "chosen" : ""), first = make("th", data.labels[name]);
      first.scope = "row";
      row.append(first, ...[one, other].map((each) => { const place = make("td", each.conditions[name], "word"); place.title = meaning(name, each.conditions[name]); return place; }));
      return row;
    }));
    const tests = [one, other].filter((each, i, list) => each.protocol && each.dataset && list.findIndex((found) => found.protocol === each.protocol) === i);
    beside.lastElementChild.replaceChildren(
      make("p", tests.length ? "To run any method, or a program of your own, under one of the two tests:" : "Neither test can be run here."),
      ...tests.map((each) => command(`fsbench bench --method METHOD --dataset ${each.dataset} --protocol ${each.protocol}\nfsbench kit ${each.dataset} --protocol ${each.protocol} --out kit`)),
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
