// All that a reader has chosen, as the address's hash says it: a copied address shows the same.

const LAYERS = ["image", "truth", "predicted", "errors", "soft", "attention"];
const ORDERS = ["apart", "best", "worst", "list"];

function startState(episodes) {
  return {
    a: 0, b: Math.min(1, episodes.methods.length - 1), order: "apart", brush: null, chosen: {}, ranges: {},
    episode: -1, layers: new Set(["image", "truth", "predicted"]), split: 50, way: 0, zoom: 1, x: 0.5, y: 0.5,
  };
}

function hashOf(state, episodes) {
  const start = startState(episodes), words = new URLSearchParams();
  words.set("a", episodes.methods[state.a]);
  words.set("b", episodes.methods[state.b]);
  if (state.order !== start.order) words.set("order", state.order);
  if (state.brush) words.set("brush", state.brush.join(" "));
  for (const [key, chosen] of Object.entries(state.chosen)) for (const value of chosen) words.append(key, value);
  for (const [key, range] of Object.entries(state.ranges)) if (range) words.set(key, range.join(" "));
  if (state.episode >= 0) words.set("episode", episodes.key(state.episode));
  words.set("layers", [...state.layers].join(" "));
  for (const key of ["split", "way", "zoom", "x", "y"]) {
    if (state[key] !== start[key]) words.set(key, String(Math.round(1000 * state[key]) / 1000));
  }
  return `#${words}`;
}

// Read a state; what does not fit these episodes is left at its start.
function stateOf(hash, episodes, dimensions) {
  const words = new URLSearchParams(hash.replace(/^#/, "")), state = startState(episodes);
  for (const side of ["a", "b"]) {
    const found = episodes.methods.indexOf(words.get(side));
    if (found >= 0) state[side] = found;
  }
  if (ORDERS.includes(words.get("order"))) state.order = words.get("order");
  state.brush = numbersIn(words.get("brush"), 4);
  for (const { key, number } of dimensions) {
    if (number) state.ranges[key] = numbersIn(words.get(key), 2);
    else state.chosen[key] = new Set(words.getAll(key));
  }
  state.episode = episodes.find(words.get("episode"));
  if (words.has("layers")) state.layers = new Set(words.get("layers").split(" ").filter((layer) => LAYERS.includes(layer)));
  const limits = { split: [0, 100], way: [0, 1000], zoom: [1, 32], x: [0, 1], y: [0, 1] };
  for (const [key, [low, high]] of Object.entries(limits)) {
    const value = Number(words.get(key) ?? state[key]);
    if (value >= low && value <= high) state[key] = value;
  }
  state.way = Math.floor(state.way);
  return state;
}

function numbersIn(text, count) {
  const numbers = (text ?? "").split(" ").map(Number);
  return text && numbers.length === count && numbers.every((value) => value >= 0 && value <= 1000) ? numbers : null;
}
