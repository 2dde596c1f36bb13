// Manifests of chosen episodes, as `make bench MANIFEST=FILE` reads them: JSON lines, of which the last has the sha256
// of those before it, as Python writes them.

function pythonJson(value) {
  return JSON.stringify(value).replace(/[\u007f-\uffff]/g, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

async function sha256(text) {
  const hash = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return [...new Uint8Array(hash)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

// Return the text of a manifest of `chosen`, episodes of one fold. Their numbers stay, so that a method that draws by
// number draws the same; classes that none of them asks for are left out, or the mean over classes would count them as 0.
async function manifestText(episodes, fold, chosen, name) {
  const { columns, names } = episodes, header = { ...fold.header };
  const ofOthers = ["draws", "official_sha256", "calibration_ids", "calibration_images"]; // the explorer shows what counts
  for (const entry of ofOthers) delete header[entry];
  const asked = new Set(chosen.flatMap((i) => columns.classes[i]));
  header.class_ids = header.class_ids.filter((number) => asked.has(number));
  header.class_names = Object.fromEntries(Object.entries(header.class_names).filter(([number]) => asked.has(Number(number))));
  Object.assign(header, { episodes: chosen.length, requested: chosen.length, selection: { name, of: fold.sha256 } });
  const rows = [...chosen].sort((i, j) => columns.index[i] - columns.index[j]).map((i) => ({
    index: columns.index[i], query: names[columns.query[i]], query_class: columns.query_class[i],
    classes: columns.classes[i], supports: columns.supports[i].map((way) => way.map((number) => names[number])),
    augmented: Boolean(columns.augmented[i]),
  }));
  const text = [header, ...rows].map((row) => `${pythonJson(row)}\n`).join("");
  const end = { sha256: await sha256(text), images: {}, images_sha256: await sha256("[]") };
  return `${text}${pythonJson(end)}\n`;
}

// Hand a file to the reader.
function download(name, text) {
  const address = URL.createObjectURL(new Blob([text], { type: "application/octet-stream" }));
  const link = make("a", undefined, { href: address, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}

function fileName(name) {
  return name.trim().toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "") || "selection";
}

// The buttons that save the shown episodes: one for each fold, since a manifest is of one.
class Saving {
  constructor(episodes) { Object.assign(this, { episodes, shown: [] }); element("save-name").addEventListener("input", () => this.draw(this.shown)); }

  draw(shown) {
    this.shown = shown;
    const { episodes } = this, name = element("save-name").value, file = fileName(name);
    const folds = episodes.folds.map((fold, position) => ({ fold, chosen: shown.filter((i) => episodes.fold[i] === position) }));
    const some = folds.filter(({ chosen }) => chosen.length);
    const buttons = some.map(({ fold, chosen }) => {
      const button = make("button", `Save ${chosen.length} of fold ${fold.fold}`, { type: "button" });
      button.addEventListener("click", async () => download(`${file}-fold${fold.fold}.jsonl`, await manifestText(episodes, fold, chosen, name)));
      button.disabled = !globalThis.crypto?.subtle;
      return button;
    });
    element("save-buttons").replaceChildren(...buttons);
    element("save-refused").hidden = Boolean(globalThis.crypto?.subtle);
    const numbers = some.map(({ fold }) => fold.fold).join(","), { dataset } = episodes.folds[0].header;
    const command = `make bench METHOD=… DATASET=${dataset} FOLD=${numbers} MANIFEST='${file}-fold{fold}.jsonl'`;
    element("save-command").textContent = some.length ? command : "no episode is shown";
    element("save-command").nextElementSibling.dataset.copy = command;
  }
}
