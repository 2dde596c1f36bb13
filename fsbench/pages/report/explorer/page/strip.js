// Thumbnails of the shown episodes, a page of them at a time: each opens its episode.

const TILES = 24;

class Strip {
  constructor(episodes, store, { pick, turned }) {
    Object.assign(this, { episodes, store, pick, page: 0, tiles: [], drawing: 0 });
    element("strip-previous").addEventListener("click", () => { this.page--; turned(); });
    element("strip-next").addEventListener("click", () => { this.page++; turned(); });
  }

  // Turn to the page of a place in the list.
  turnTo(place) { if (place >= 0) this.page = Math.floor(place / TILES); }

  // Go to the tile of an episode, or to the tiles where it has none.
  focus(episode) {
    const tile = this.tiles.find(({ i }) => i === episode) ?? this.tiles[0];
    tile?.button.focus({ preventScroll: true });
    (tile?.button ?? element("strip-title")).scrollIntoView({ block: "center" });
  }

  draw(state, selected) {
    const pages = Math.max(1, Math.ceil(selected.length / TILES));
    this.page = Math.min(pages - 1, Math.max(0, this.page));
    const start = this.page * TILES, shown = selected.slice(start, start + TILES);
    element("strip-place").textContent = shown.length ? `${start + 1} to ${start + shown.length} of ${selected.length}` : "no episode";
    element("strip-previous").disabled = this.page === 0;
    element("strip-next").disabled = this.page >= pages - 1;
    const focused = document.activeElement?.dataset?.episode;
    this.tiles = shown.map((i) => this.tile(i, state));
    element("strip").replaceChildren(...this.tiles.map(({ button }) => button));
    if (focused !== undefined) this.tiles.find(({ button }) => button.dataset.episode === focused)?.button.focus({ preventScroll: true });
    this.paint(state, ++this.drawing);
  }

  tile(i, state) {
    const { episodes } = this, canvas = make("canvas", undefined, { "aria-hidden": "true", width: 168, height: 126 });
    const words = `A ${episodes.iouWords(i, state.a)}, B ${episodes.iouWords(i, state.b)}`;
    const button = make("button", undefined, { type: "button", "aria-label": `${episodes.title(i)}; IoU: ${words}` });
    button.dataset.episode = episodes.key(i);
    if (i === state.episode) button.setAttribute("aria-current", "true");
    const short = (method) => (episodes.iou[method][i] < 0 ? "–" : (episodes.iou[method][i] / 10).toFixed(0));
    button.append(canvas, make("span", `${episodes.classNames(i).join(", ")}`, { class: "tile-name" }), make("span", `A ${short(state.a)}  B ${short(state.b)}`));
    button.addEventListener("click", () => this.pick(i));
    return { button, canvas, i };
  }

  async paint(state, drawing) {
    const view = { layers: new Set(["image", "predicted", "truth"]), way: 0 };
    for (const { canvas, i } of this.tiles) {
      const layers = await this.store.of(i);
      if (drawing !== this.drawing) return;
      const scale = Math.min(canvas.width / layers.aspect, canvas.height), width = scale * layers.aspect;
      layers.draw(canvas.getContext("2d"), { x: (canvas.width - width) / 2, y: (canvas.height - scale) / 2, width, height: scale }, state.a, view);
    }
    element("strip").dataset.painted = String(this.tiles.length);
  }
}
