"""Intervals and tests in loops, straight from the statistics spec: the oracle of `fsbench.scores.estimate`.

A row is a `Row`; a score is a function of a list of rows, computed anew without the rows of every image.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import inf, isnan, nan, sqrt

from scipy.stats import beta, norm, t


@dataclass(frozen=True)
class Row:
    """One (episode, way) pair: its images, where it belongs, and its counts."""

    query: int
    supports: tuple[int, ...]
    cls: int
    fold: int
    run: int
    counts: tuple[float, ...]


Score = Callable[[list[Row]], float]
"""A score of rows, whose counts may be multiplied."""


def mean(values: Sequence[float]) -> float:
    known = [value for value in values if not isnan(value)]
    return sum(known) / len(known) if known else nan


def ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else nan


def over_folds(of_run: Score) -> Score:
    """Mean over folds of the mean over runs of a score of one run's rows."""

    def score(rows: list[Row]) -> float:
        folds: dict[int, dict[int, list[Row]]] = defaultdict(lambda: defaultdict(list))
        for row in rows:
            folds[row.fold][row.run].append(row)
        return mean([mean([of_run(run) for run in runs.values()]) for runs in folds.values()])

    return score


def column(rows: list[Row], place: int) -> float:
    return sum(row.counts[place] for row in rows)


def miou_of_run(rows: list[Row]) -> float:
    classes: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        classes[row.cls].append(row)
    return 100 * mean([ratio(column(own, 0), column(own, 1)) for own in classes.values()])


def fb_iou_of_run(rows: list[Row]) -> float:
    return 50 * (ratio(column(rows, 0), column(rows, 1)) + ratio(column(rows, 2), column(rows, 3)))


def accuracy_of_run(rows: list[Row]) -> float:
    return 100 * ratio(column(rows, 0), column(rows, 1))


def auroc_of_run(rows: list[Row]) -> float:
    """Counts are the score, and whether the way is there."""
    present = [row.counts[0] for row in rows if row.counts[1]]
    absent = [row.counts[0] for row in rows if not row.counts[1]]
    wins = sum((p > a) + (p == a) / 2 for p in present for a in absent)
    return 100 * wins / (len(present) * len(absent)) if present and absent else 50.0


miou, fb_iou, accuracy, auroc = map(over_folds, (miou_of_run, fb_iou_of_run, accuracy_of_run, auroc_of_run))


def stratum(row: Row) -> tuple[int, int, int]:
    return row.fold, row.run, row.cls


@dataclass
class Clusters:
    """Sets of places of rows, by kind; and of each image that is query and support the two sets."""

    query: list[set[int]] = field(default_factory=list)
    support: list[set[int]] = field(default_factory=list)
    cell: list[set[int]] = field(default_factory=list)


@dataclass
class Found:
    """Clusters, and the numbers of the clusters of each image that is query and support."""

    clusters: Clusters
    roles: list[tuple[int, int]]


def clusters(rows: list[Row], fitted: bool) -> Found:
    """§2."""
    query, support, cell = defaultdict(set), defaultdict(set), defaultdict(set)
    for place, row in enumerate(rows):
        own = ((row.fold, row.run),) if fitted else tuple(sorted(row.supports))
        query[row.query].add(place)
        cell[row.query, own].add(place)
        for image in own:
            support[image].add(place)
    distinct = [set(places) for places in {frozenset(places) for places in support.values()}]
    if disjoint_sets(rows, distinct) < 3:
        of_class = defaultdict(set)
        for place, row in enumerate(rows):
            of_class[row.fold, row.cls].add(place)
        return Found(Clusters(list(query.values()), list(of_class.values()), list(cell.values())), [])
    both = [] if fitted else [image for image in query if image in support]
    asked = list(query)
    roles = [(asked.index(image), distinct.index(support[image])) for image in both]
    return Found(Clusters(list(query.values()), distinct, list(cell.values())), roles)


def disjoint_sets(rows: list[Row], members: list[set[int]]) -> float:
    """§2: e; endless where a row has one support."""
    shots = sum(map(len, members)) / len(rows)
    if shots == 1:
        return inf
    size = Counter(map(stratum, rows))
    squares = 0.0
    for own in members:
        squares += sum((used / size[place]) ** 2 for place, used in Counter(stratum(rows[i]) for i in own).items())
    return shots * len(size) / squares


def free(rows: list[Row], members: list[set[int]], fitted: bool) -> int:
    """§4.3: clusters minus groups."""
    levels = [lambda row: (0, row.fold, row.cls), lambda row: (1, row.fold), lambda row: (2,)]
    groups: set[object] = set()
    alone = 0
    for own in members:
        for level in levels[1:] if fitted else levels:
            # the last place of the cluster in which it has company, as it may be in several classes
            shared = [
                place
                for place in sorted({level(rows[i]) for i in own})
                if any(place in {level(rows[i]) for i in other} for other in members if other is not own)
            ]
            if shared:
                groups.add(shared[-1])
                break
        else:
            alone += 1
    return len(members) - len(groups) - alone


def constants(rows: list[Row], members: list[set[int]]) -> tuple[float, float]:
    """§4.1: c and φ."""
    shots = sum(map(len, members)) / len(rows)
    if shots == 1:
        return 1.0, 1.0
    size = Counter(map(stratum, rows))
    above, squares = 0.0, 0.0
    for own in members:
        for place, used in Counter(stratum(rows[i]) for i in own).items():
            squares += (used / size[place]) ** 2
            if used < size[place]:
                above += used / (size[place] - used)
    c = above / sum(n / max(n - 1, 1) for n in size.values())
    rho = sum(shots / n for n in size.values()) / squares
    return c, min(max((1 - rho) / (1 - c * rho), 1), 2) if c * rho < 1 else 2.0


@dataclass
class Plain:
    value: float
    scope: str
    error: float = nan
    df: float = nan
    low: float = nan
    high: float = nan
    p: float = nan


def left_out(score: Score, rows: list[Row], members: list[set[int]]) -> list[float]:
    """§3: the score minus the score without each cluster, whose classes keep their rows; 0 where nothing is left."""
    whole, size = score(rows), Counter(map(stratum, rows))
    without = []
    for own in members:
        kept = [row for i, row in enumerate(rows) if i not in own]
        left = Counter(map(stratum, kept))
        factor = {place: size[place] / left[place] for place in left}
        without.append(
            score([replace(row, counts=tuple(factor[stratum(row)] * count for count in row.counts)) for row in kept])
        )
    return [0.0 if isnan(value) else whole - value for value in without]


def auroc_left_out(rows: list[Row], members: list[set[int]]) -> list[float]:
    """§3: the wins of all pairs minus those of pairs that touch the cluster, over the pairs left."""
    whole = auroc(rows)
    return [whole - auroc([row for i, row in enumerate(rows) if i not in own]) for own in members]


def conclude(value: float, u: dict[str, list[float]], rows: list[Row], both: Found, fitted: bool) -> Plain:
    """§4 and §5."""
    found = both.clusters
    square = {kind: sum(x**2 for x in own) for kind, own in u.items()}
    vq, vs, ve = square["query"], square["support"], square["cell"]
    if vq + vs < 1e-18:
        return Plain(value, "identical" if value == 0 else "none")
    dq, ds = free(rows, found.query, False), free(rows, found.support, fitted)
    if len(found.query) < 10 or dq < 4:
        return Plain(value, "none")

    def df(kind: str, most: int) -> float:
        fourth = sum(x**4 for x in u[kind])
        return max(1.5, min(2 * square[kind] ** 2 / fourth - 1 if fourth else -1, most))

    if ds < 4:
        v, nu, scope = vq, df("query", dq), "these supports"
    else:
        several = sum(map(len, found.support)) > len(rows)
        c, phi = constants(rows, found.support)
        x = phi * max(vs - c * ve, vs / (4 * sqrt(df("support", ds))) if several else 0)
        product = sum(u["query"][query] * u["support"][support] for query, support in both.roles)
        y = 2 * max(product + own_share(rows, both) * ve, 0)
        v, scope = vq + x + y, "images"
        least = min(df("query", dq), df("support", ds))
        nu = v**2 / (vq**2 / df("query", dq) + min(x, vs) * vs / df("support", ds) + y**2 / least)
    error, quantile = sqrt(v), t.ppf(0.975, nu)
    p = 2 * t.sf(abs(value) / error, nu)
    return Plain(value, scope, error, nu, value - quantile * error, value + quantile * error, p)


def own_share(rows: list[Row], found: Found) -> float:
    """§4.2: a."""
    size, total = Counter(map(stratum, rows)), 0.0
    for query, support in found.roles:
        asked = Counter(stratum(rows[i]) for i in found.clusters.query[query])
        used = Counter(stratum(rows[i]) for i in found.clusters.support[support])
        for place, n in size.items():
            if 0 < used[place] < n:
                total += asked[place] / n * used[place] / (n - used[place])
    return total / len(size)


def estimate(score: Score, rows: list[Row], other: list[Row] | None = None, fitted: bool = False) -> Plain:
    """Estimate a score, or the difference to that of other counts of the same rows."""
    found = clusters(rows, fitted)
    if score is auroc:
        u = {kind: auroc_left_out(rows, members) for kind, members in vars(found.clusters).items()}
        return conclude(score(rows), u, rows, found, fitted)
    u = {kind: left_out(score, rows, members) for kind, members in vars(found.clusters).items()}
    value = score(rows)
    if other is not None:
        value -= score(other)
        for kind, members in vars(found.clusters).items():
            u[kind] = [a - b for a, b in zip(u[kind], left_out(score, other, members), strict=True)]
    return conclude(value, u, rows, found, fitted)


def share(rows: list[Row]) -> tuple[float, float]:
    """§6: the ends of the interval of a share."""
    one = estimate(accuracy, rows)
    found, p = clusters(rows, False).clusters, one.value / 100
    images = min(len(found.query), len(found.support))
    if images < 10 or (one.scope == "none" and 0 < p < 1):
        return nan, nan
    n = float(images)
    if one.error > 0:
        n = min(p * (1 - p) / (one.error / 100) ** 2, column(rows, 1)) * (norm.ppf(0.975) / t.ppf(0.975, one.df)) ** 2
    low = 100 * beta.ppf(0.025, n * p, n * (1 - p) + 1) if p > 0 else 0.0
    high = 100 * beta.ppf(0.975, n * p + 1, n * (1 - p)) if p < 1 else 100.0
    return low, high


def calibration(rows: list[Row]) -> Plain:
    """§6: counts are the probability, and whether it happened; rows of one run."""

    def bin_of(row: Row) -> int:
        return next(b for b in range(15) if row.counts[0] <= (b + 1) / 15 + 1e-10)

    e = [row.counts[0] - row.counts[1] for row in rows]
    a, b, n = {}, {}, Counter(map(bin_of, rows))
    for place in n:
        inside = [i for i, row in enumerate(rows) if bin_of(row) == place]
        pairs = [(i, j) for i in inside for j in inside if rows[i].query != rows[j].query]
        a[place], b[place] = sum(e[i] * e[j] for i, j in pairs), len(pairs)
    known = [place for place in n if b[place] > 0]
    total = sum(n[place] for place in known)
    value = sum(n[place] * a[place] / b[place] for place in known) / total
    influence = []
    for i, row in enumerate(rows):
        place = bin_of(row)
        if place not in known:
            influence.append(0.0)
            continue
        others = [j for j in range(len(rows)) if bin_of(rows[j]) == place and rows[j].query != row.query]
        slope = 2 * sum(e[j] for j in others) * e[i] / b[place] - 2 * a[place] * len(others) / b[place] ** 2
        influence.append((a[place] / b[place] + n[place] * slope - value) / total)
    found = clusters(rows, False)
    u = {
        kind: [1e4 * sum(influence[i] for i in own) for own in members]
        for kind, members in vars(found.clusters).items()
    }
    return conclude(1e4 * value, u, rows, found, False)
