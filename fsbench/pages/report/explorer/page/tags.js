// Tags of episodes, kept in this browser under the hashes of the manifests, and taken along as a file. Several tabs may
// show the same episodes: each change is made on what the browser keeps now, and the other tabs hear of it.

class Tags {
  constructor(episodes) {
    this.episodes = episodes;
    this.place = `fsbench-tags-${episodes.folds.map((fold) => fold.sha256.slice(0, 16)).join("-")}`;
    this.named = new Map(); // name -> Set of places of episodes
    this.isKept = true; // by the browser; where it keeps nothing, they live as long as the page
    this.load();
  }

  // Take what the browser keeps now in the place of what this tab knows.
  load() {
    if (!this.isKept) return;
    try {
      const lists = JSON.parse(localStorage.getItem(this.place) ?? "{}") ?? {};
      this.named.clear();
      this.add(lists);
    } catch { /* no storage, or not ours */ }
  }

  // Take over {name: ["fold.index", …]}; returns how many episodes were found.
  add(lists) {
    let found = 0;
    for (const [name, keys] of Object.entries(lists)) {
      for (const key of Array.isArray(keys) ? keys : []) {
        const i = this.episodes.find(key);
        if (i < 0) continue;
        this.set(name).add(i);
        found++;
      }
    }
    return found;
  }

  set(name) { return this.named.get(name) ?? this.named.set(name, new Set()).get(name); }
  of(i) { return [...this.named].filter(([, places]) => places.has(i)).map(([name]) => name); }
  has(name, i) { return this.named.get(name)?.has(i) ?? false; }

  // Give the tag to episodes, or take it from them; a tag without episodes is gone.
  mark(name, places, isGiven) {
    this.load();
    const set = this.set(name);
    for (const i of places) {
      if (isGiven) set.add(i);
      else set.delete(i);
    }
    if (!set.size) this.named.delete(name);
    this.keep();
  }

  lists() {
    return Object.fromEntries([...this.named].map(([name, places]) => [name, [...places].sort((i, j) => i - j).map((i) => this.episodes.key(i))]));
  }

  keep() {
    try { localStorage.setItem(this.place, JSON.stringify(this.lists())); } catch { this.isKept = false; }
  }

  text() {
    const manifests = Object.fromEntries(this.episodes.folds.map((fold) => [fold.fold, fold.sha256]));
    return `${JSON.stringify({ manifests, tags: this.lists() }, null, 1)}\n`;
  }

  // Take over the tags of a file that `text` made; returns a sentence about it.
  read(text) {
    let content;
    try { content = JSON.parse(text); } catch { return "This file has no tags: expected the JSON that Export tags writes."; }
    const known = this.episodes.folds.map((fold) => fold.sha256), theirs = Object.values(content?.manifests ?? {});
    if (!content?.tags || !theirs.some((sha256) => known.includes(sha256))) return "These tags belong to other episodes: the hashes of the manifests differ.";
    this.load();
    const found = this.add(content.tags);
    this.keep();
    return `${found} tags of episodes were imported.`;
  }
}

class TagPanel {
  constructor(tags, changed) {
    Object.assign(this, { tags, changed });
    element("tag-add").addEventListener("submit", (event) => {
      event.preventDefault();
      const name = element("tag-name").value.trim();
      if (!name || this.state.episode < 0) return;
      element("tag-name").value = "";
      this.mark(name, [this.state.episode], true);
    });
    element("tag-all").addEventListener("click", () => {
      const name = element("tag-name").value.trim();
      if (name) this.mark(name, this.shown, true);
    });
    element("tag-export").addEventListener("click", () => download("tags.json", tags.text()));
    element("tag-import").addEventListener("change", async (event) => {
      const [file] = event.target.files;
      if (file) element("tag-said").textContent = tags.read(await file.text());
      event.target.value = "";
      changed();
    });
    const refresh = () => { tags.load(); changed(); };
    addEventListener("storage", ({ key }) => { if (key === tags.place || key === null) refresh(); }); // null: all is cleared
    addEventListener("pageshow", ({ persisted }) => { if (persisted) refresh(); }); // it slept and heard nothing
  }

  mark(name, places, isGiven) {
    this.tags.mark(name, places, isGiven);
    element("tag-said").textContent = `${isGiven ? "Tagged" : "No longer tagged"} “${name}”: ${places.length === 1 ? "this episode" : `${places.length} episodes`}.`;
    this.changed();
  }

  draw(state, shown) {
    Object.assign(this, { state, shown });
    const labels = [...this.tags.named.keys()].map((name) => {
      const label = make("label"), input = make("input", undefined, { type: "checkbox" });
      input.checked = this.tags.has(name, state.episode);
      input.disabled = state.episode < 0;
      input.addEventListener("change", () => this.mark(name, [state.episode], input.checked));
      label.append(input, ` ${name}`);
      return label;
    });
    element("tag-list").replaceChildren(...(labels.length ? labels : [make("span", "none yet", { class: "hint" })]));
    element("tag-all").textContent = `Tag all ${shown.length} shown`;
  }
}
