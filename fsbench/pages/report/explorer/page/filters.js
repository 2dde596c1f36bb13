// What episodes are filtered by. A dimension gives each episode the values that can be chosen, or one number; the
// brush of the scatter plot is the last one. Counts of a dimension leave out its own filter, so that they say how many
// episodes a further choice would show.

const PRESENCE = ["both right", "only A wrong", "only B wrong", "both wrong", "no run"];

function makeDimensions(episodes, tags) {
  const { columns } = episodes;
  const presence = (i, { a, b }) => {
    const x = episodes.wrong[a][i], y = episodes.wrong[b][i];
    return x === NO_RUN || y === NO_RUN ? "4" : String((x > 0) + 2 * (y > 0));
  };
  return [
    { key: "fold", title: "Fold", of: (i) => [String(episodes.folds[episodes.fold[i]].fold)] },
    { key: "class", title: "Class", of: (i) => columns.classes[i].map(String), name: (value) => episodes.classes[value] ?? value },
    { key: "shots", title: "Shots", of: (i) => [String(columns.shots[i])] },
    { key: "presence", title: "Presence error", of: (i, state) => [presence(i, state)], name: (value) => PRESENCE[value] },
    { key: "tag", title: "Tag", of: (i) => tags.of(i) },
    { key: "size", title: "Object size, % of the query", number: (i) => columns.size[i] },
    { key: "spread", title: "Disagreement of all methods, points of IoU", number: (i) => columns.spread[i] },
  ];
}

class Filters {
  constructor(episodes, tags) {
    this.episodes = episodes;
    this.dimensions = makeDimensions(episodes, tags);
    this.fails = new Uint16Array(episodes.count); // a bit for each dimension that hides the episode
    this.selected = [];
  }

  // Find the episodes that pass all of the state's filters, in the state's order.
  update(state) {
    const { episodes, fails } = this, brush = 1 << this.dimensions.length;
    fails.fill(0);
    this.dimensions.forEach((dimension, n) => {
      const chosen = state.chosen[dimension.key], range = state.ranges[dimension.key];
      if (dimension.number && range) {
        for (let i = 0; i < fails.length; i++) if (!within(dimension.number(i), range)) fails[i] |= 1 << n;
      } else if (!dimension.number && chosen?.size) {
        for (let i = 0; i < fails.length; i++) if (!dimension.of(i, state).some((value) => chosen.has(value))) fails[i] |= 1 << n;
      }
    });
    if (state.brush) {
      const [left, right, low, high] = state.brush, x = episodes.iou[state.a], y = episodes.iou[state.b];
      for (let i = 0; i < fails.length; i++) if (!within(x[i], [left, right]) || !within(y[i], [low, high])) fails[i] |= brush;
    }
    this.selected = [];
    for (let i = 0; i < fails.length; i++) if (!fails[i]) this.selected.push(i);
    this.sort(state);
  }

  // Queries that show no way come after those with an object, where an answer is right or wrong as a whole.
  sort({ order, a, b }) {
    const { iou, columns } = this.episodes;
    const known = (i, value) => (value < 0 ? Infinity : value); // those without an IoU are last
    const rank = {
      apart: (i) => -this.episodes.difference(i, a, b),
      best: (i) => known(i, iou[a][i] < 0 ? -1 : 1000 - iou[a][i]),
      worst: (i) => known(i, iou[a][i]),
    }[order];
    if (!rank) return;
    const ranks = new Map(this.selected.map((i) => [i, rank(i)]));
    const compare = (i, j) => (ranks.get(i) === ranks.get(j) ? i - j : ranks.get(i) - ranks.get(j));
    this.selected.sort((i, j) => columns.empty[i] - columns.empty[j] || compare(i, j));
  }

  // Return value -> [episodes that pass the other filters, all].
  counts(dimension, state) {
    const others = ~(1 << this.dimensions.indexOf(dimension)), counts = new Map();
    for (let i = 0; i < this.fails.length; i++) {
      const passes = (this.fails[i] & others) === 0;
      for (const value of new Set(dimension.of(i, state))) {
        const count = counts.get(value) ?? counts.set(value, [0, 0]).get(value);
        count[0] += passes;
        count[1] += 1;
      }
    }
    return counts;
  }

  // Return [episodes that pass the other filters, all] for each of `bins` equal parts from 0 to 1000.
  histogram(dimension, bins) {
    const others = ~(1 << this.dimensions.indexOf(dimension));
    const counts = Array.from({ length: bins }, () => [0, 0]);
    for (let i = 0; i < this.fails.length; i++) {
      const value = dimension.number(i);
      if (value < 0) continue;
      const bin = counts[Math.min(bins - 1, Math.floor((value * bins) / 1000))];
      bin[0] += (this.fails[i] & others) === 0;
      bin[1] += 1;
    }
    return counts;
  }
}

function within(value, [low, high]) {
  return value >= 0 && value >= low && value <= high;
}
