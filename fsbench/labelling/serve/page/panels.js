// Lists and tables beside the photo. Names are set as text, never as markup.

const find = (id) => document.getElementById(id);
const percent = (value) => value.toFixed(1);
const span = (interval) => `${percent(interval.value)} (${percent(interval.low)} to ${percent(interval.high)})`;

export function element(tag, text, attributes = {}) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function table(head, rows) {
  const made = element("table");
  const line = (cells, heads) => {
    const row = element("tr");
    cells.forEach((cell, place) => row.append(element(heads || !place ? "th" : "td", cell)));
    return row;
  };
  const top = element("thead");
  top.append(line(head, true));
  made.append(top, ...rows.map((cells) => line(cells, false)));
  return made;
}

const note = (text) => element("p", text, { class: "soft" });

// replaces the content of an element where it is another than before, so that the focus stays where it is
function fill(id, key, make) {
  const text = JSON.stringify(key);
  if (find(id).dataset.key === text) return;
  find(id).dataset.key = text;
  find(id).replaceChildren(...make());
}

export function showProjectProblems({ project_problems: lines }) {
  find("project-problems").hidden = !lines.length;
  fill("project-problems", lines, () => lines.map((line) => element("li", line)));
}

const pictures = new Map(); // by name of a photo, which is never another one's: they are loaded once

function picture(name) {
  const attributes = { src: `/api/thumbnail?name=${encodeURIComponent(name)}`, alt: "", loading: "lazy", width: 48, height: 36 };
  if (!pictures.has(name)) pictures.set(name, element("img", undefined, attributes));
  return pictures.get(name);
}

export function showQueue(session, current, open) {
  const lines = session.images.map((image) => [image.name, image.done, image.uncertainty, image.forecast !== null]);
  fill("queue", [lines, current], () =>
    lines.map(([name, done, uncertainty, predicted]) => {
      const state = done ? "✓ labelled" : uncertainty === null ? (predicted ? "predicted" : "") : `? ${uncertainty.toFixed(3)}`;
      const button = element("button", undefined, { "aria-current": String(name === current) });
      button.append(picture(name), element("span", name), element("small", state));
      button.addEventListener("click", () => open(name));
      const item = element("li");
      item.append(button);
      return item;
    }),
  );
  const done = session.images.filter((image) => image.done).length;
  find("progress").textContent = session.images.length ? `${done} of ${session.images.length} labelled` : "";
  const unlabelled = session.images.filter((image) => !image.done);
  const known = unlabelled.some((image) => image.uncertainty !== null);
  const predicted = unlabelled.some((image) => image.forecast);
  find("order").textContent = known
    ? "The most uncertain first: mean entropy of the soft mask in bits."
    : predicted
      ? "This method gives no soft masks: by name."
      : "";
}

export function showClasses(session, number, choose) {
  fill("classes", [session.classes, session.colors, number], () =>
    session.classes.map((name, place) => {
      const button = element("button", undefined, { "aria-pressed": String(place + 1 === number), title: `${place + 1}` });
      const swatch = element("span", "", { class: "swatch" });
      swatch.style.background = session.colors[place];
      button.append(swatch, name);
      button.addEventListener("click", () => choose(place + 1));
      return button;
    }),
  );
}

function warnings(session, measured) {
  const parts = [note("A label that began as an accepted prediction flatters the method that made it.")];
  if (session.accepted)
    parts.unshift(note(`Left out, as nobody changed the accepted prediction: ${session.accepted} photos.`));
  if (measured.some((one) => one.images < session.few))
    parts.unshift(note(`Intervals of fewer than ${session.few} photos are too narrow.`));
  return parts;
}

export function showQuality(session) {
  fill("quality", [session.quality, session.few, session.accepted], () => {
    if (!session.quality.length)
      return [
        note("Predictions before correction are compared with your labels, from the second labelled photo on."),
        ...(session.accepted ? [note("An accepted prediction that nobody changes is not compared with itself.")] : []),
      ];
    const parts = [];
    for (const one of session.quality) {
      const rows = one.classes.map((c) => [c.name, percent(c.iou), String(c.images)]);
      parts.push(table([one.method, "IoU %", "photos"], rows));
      parts.push(note(`mIoU ${span(one.mean_iou)} %, 95 % interval; ${one.images} photos.`));
    }
    parts.push(...warnings(session, session.quality));
    return parts;
  });
}

export function showComparison(session) {
  const { comparison, compared } = session;
  find("compare").disabled = Boolean(compared);
  find("compare").textContent = compared ? `Comparing: ${compared[0]} of ${compared[1]} predictions` : "Compare";
  fill("comparison", [comparison, session.accepted, session.comparison_is_old, session.comparison_problem], () => {
    if (session.comparison_problem) return [note(session.comparison_problem)];
    if (!comparison) return session.methods.length < 2 ? [note("To compare, start with --also METHOD, once for each.")] : [];
    const rows = comparison.qualities.map((one) => [one.method, span(one.mean_iou)]);
    const parts = [table(["method", "mIoU %, 95 % interval"], rows)];
    if (session.comparison_is_old) parts.unshift(note("Labels have changed since: compare again."));
    for (const one of comparison.differences)
      parts.push(note(`${one.method} minus ${one.other}: ${span(one.difference)} points, p ${one.p.toFixed(3)}.`));
    if (comparison.differences.length > 1) parts.push(note("p by Holm's method over these pairs."));
    parts.push(note(`${comparison.images} photos, at most ${comparison.shots} supports of a class.`));
    parts.push(...warnings(session, [comparison]));
    return parts;
  });
}

export function showFormats(session, take) {
  fill("formats", session.formats, () =>
    Object.entries(session.formats).map(([kind, title]) => {
      const button = element("button", title, { "data-format": kind });
      button.addEventListener("click", () => take(kind));
      return button;
    }),
  );
}

export function showExported(exported) {
  const parts = [element("p", `${exported.images} photos are in `), element("a", "the ZIP archive")];
  parts[0].append(element("code", exported.folder), ".");
  parts[1].href = `/api/archive?format=${exported.format}`;
  parts[1].setAttribute("download", `${exported.format}.zip`);
  if (exported.command) {
    const line = element("p", "Test methods on it: ");
    line.append(element("code", exported.command));
    parts.push(line);
  }
  find("exported").replaceChildren(...parts);
}
