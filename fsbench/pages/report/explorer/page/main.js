// The page: loads the episodes, and draws all parts anew when the state changes.

async function startExplorer(colors) {
  const data = await loadFile("data");
  if (!data) {
    element("explorer-failed").hidden = false;
    return;
  }
  const episodes = new Episodes(data), tags = new Tags(episodes), filters = new Filters(episodes, tags), store = new LayerStore(episodes, colors);
  element("explorer").hidden = false;
  const state = stateOf(location.hash, episodes, filters.dimensions); // one for all parts, which change it
  let address = location.hash; // as last read or written

  let mustTurn = true; // to the strip's page of the open episode
  let mustLook = state.episode >= 0; // at the open episode, wherever the page is scrolled
  const draw = oncePerFrame(() => {
    filters.update(state);
    const { selected } = filters, place = selected.indexOf(state.episode);
    if (mustTurn) strip.turnTo(place);
    mustTurn = false;
    element("shown-count").textContent = `${selected.length} of ${episodes.count} episodes shown`;
    const drawn = scatter.draw(state, filters);
    const means = `IoU of ${episodes.methods[state.b]} against ${episodes.methods[state.a]}; ${drawn} of ${episodes.count} episodes have both, ${selected.length} are shown`;
    element("scatter").setAttribute("aria-label", means);
    element("scatter-note").textContent = drawn < episodes.count ? `${episodes.count - drawn} episodes have no IoU of A or B and no point.` : "";
    panel.draw(state);
    strip.draw(state, selected);
    viewer.draw(state, place, selected.length);
    if (mustLook) viewer.scrollHere();
    mustLook = false;
    saving.draw(selected);
    tagPanel.draw(state, selected);
    showFields();
    element("link").href = hashOf(state, episodes);
    element("link-copy").dataset.copy = element("link").href;
    writeAddress();
  });
  const writeAddress = afterPause(() => { // some browsers refuse more than a few changes a second
    if (location.hash !== address) return; // another was just given; its event comes
    try { history.replaceState(null, "", hashOf(state, episodes)); } catch { /* the link beside the image has it */ }
    address = location.hash;
  });
  const open = (i) => { state.episode = i; mustTurn = mustLook = true; draw(); };
  const pick = (i) => { open(i); viewer.mustFocus = true; }; // from a place of the page that the reader then leaves
  const step = (by) => {
    filters.update(state); // a choice of this very moment counts, too
    const { selected } = filters;
    if (!selected.length) return;
    const place = selected.indexOf(state.episode);
    open(selected[place < 0 ? 0 : (place + by + selected.length) % selected.length]);
  };

  const scatter = new Scatter(element("scatter"), episodes, { pick, brush: (rectangle) => { state.brush = rectangle; draw(); } });
  const panel = new FilterPanel(element("filters"), episodes, filters, draw);
  const strip = new Strip(episodes, store, { pick, turned: draw });
  const viewer = new Viewer(episodes, store, { changed: draw, step, leave: () => strip.focus(state.episode) });
  const saving = new Saving(episodes);
  const tagPanel = new TagPanel(tags, draw);
  const brushFields = ["a-from", "a-to", "b-from", "b-to"].map(element);

  for (const side of ["a", "b"]) {
    element(side).append(...episodes.methods.map((name, n) => make("option", name, { value: n })));
    element(side).addEventListener("change", (event) => { state[side] = Number(event.target.value); draw(); });
  }
  element("order").addEventListener("change", (event) => { state.order = event.target.value; draw(); });
  element("swap").addEventListener("click", () => { [state.a, state.b] = [state.b, state.a]; draw(); });
  element("reset").addEventListener("click", () => { Object.assign(state, { brush: null, chosen: {}, ranges: {} }); draw(); });
  for (const field of brushFields) {
    field.addEventListener("change", () => {
      field.dataset.drawn = field.value; // typed to the end
      const isEmpty = brushFields.every(({ value }) => value === "");
      state.brush = isEmpty ? null : brushFields.map(({ value }, n) => Math.round(10 * Number(value || [0, 100, 0, 100][n])));
      draw();
    });
  }

  function showFields() {
    for (const side of ["a", "b", "order"]) element(side).value = String(state[side]);
    brushFields.forEach((field, n) => {
      const isTyped = field === document.activeElement && field.value !== field.dataset.drawn; // not to be taken away
      if (isTyped) return;
      field.value = field.dataset.drawn = state.brush ? String(state.brush[n] / 10) : "";
    });
  }

  const keys = {
    n: () => step(1), p: () => step(-1), "+": () => viewer.zoom(1.5), "=": () => viewer.zoom(1.5), "-": () => viewer.zoom(1 / 1.5),
    0: () => viewer.fit(), "[": () => viewer.move(-5), "]": () => viewer.move(5), Escape: () => strip.focus(state.episode),
    ...Object.fromEntries(LAYERS.map((layer, n) => [String(n + 1), () => viewer.toggle(layer)])),
  };
  const arrows = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1] };
  document.addEventListener("keydown", (event) => {
    const isTyping = event.target.matches("input:not([type=checkbox]):not([type=range]), select, textarea");
    if (isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target === viewer.canvas && arrows[event.key]) {
      viewer.pan(...arrows[event.key].map((share) => share / state.zoom));
      event.preventDefault();
    } else if (Object.hasOwn(keys, event.key) && (state.episode >= 0 || "np".includes(event.key))) {
      keys[event.key]();
      event.preventDefault();
    }
  });

  addEventListener("hashchange", () => {
    address = location.hash;
    if (address === hashOf(state, episodes)) return;
    Object.assign(state, stateOf(address, episodes, filters.dimensions));
    mustTurn = true;
    mustLook = state.episode >= 0;
    draw();
  });
  addEventListener("resize", draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  new MutationObserver(draw).observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
  draw();
}
