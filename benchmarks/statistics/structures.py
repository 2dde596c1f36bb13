"""Which images the rows of a simulated test depend on: official episode lists, and regular designs.

Shapes: `n` rows, one per (episode, way), `K` supports of a row.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from benchmarks.manifests.__main__ import file_of
from fsbench.data.episodes.manifest import read_manifest
from fsbench.data.episodes.task import Task


@dataclass(frozen=True, eq=False)
class Structure:
    """The design of a test, the same in all of its simulated data sets. Numbers start at 0.

    Attributes:
        query: (n,) number of the query image; an image has one number in all roles, folds and runs.
        support: (n, K) numbers of the supports' images.
        cls: (n,) number of the class, which belongs to one fold.
        fold, run: (n,) numbers.
        present: (n,) bool, whether the query shows the class.
        fitted: a run has one support set for all queries of a fold.
    """

    query: np.ndarray
    support: np.ndarray
    cls: np.ndarray
    fold: np.ndarray
    run: np.ndarray
    present: np.ndarray
    fitted: bool = field(default=False)

    def part(self, keep: np.ndarray) -> "Structure":
        """Return the rows `keep` (n,) bool as a test of one fold, run and class."""
        zero = np.zeros(int(keep.sum()), dtype=int)
        return Structure(self.query[keep], self.support[keep], zero, zero, zero, self.present[keep], self.fitted)


@lru_cache
def official(folds: Sequence[int], shots: int = 1, setting: str = "original") -> Structure:
    """Return the official PASCAL-5i episodes, 1-way, with K = `shots`.

    A size setting is listed for one shot; with more, the supports of a row are drawn from all of its class in the list,
    a number that the list decides.

    Args:
        folds: numbers of the folds.
        shots: supports of an episode.
        setting: "original", or a range of object sizes such as "0-5".
    """
    images: dict[str, int] = {}
    table: list[tuple[int, ...]] = []
    listed = shots if setting == "original" else 1
    for fold in folds:
        episodes = read_manifest(file_of("fscs", Task(fold, 1, listed, setting))).episodes
        shown = {(one.query, one.query_class) for one in episodes}
        pools = {
            one.classes[0]: sorted({s[0] for other in episodes if other.classes == one.classes for s in other.supports})
            for one in episodes
        }
        rng = np.random.default_rng(fold)
        for one in episodes:
            (number,), (supports,) = one.classes, one.supports
            if shots > len(supports):
                pool = [name for name in pools[number] if name != one.query]
                if len(pool) < shots:
                    continue
                supports = tuple(pool[place] for place in rng.permutation(len(pool))[:shots])
            names = [images.setdefault(name, len(images)) for name in (one.query, *supports)]
            table.append((fold, number, int((one.query, number) in shown), *names))
    rows = np.array(table)
    fold_of_row, cls_of_row = (np.unique(rows[:, i], return_inverse=True)[1].ravel() for i in (0, 1))
    run_of_row, present = np.zeros(len(rows), dtype=int), rows[:, 2].astype(bool)
    return Structure(rows[:, 3], rows[:, 4:], cls_of_row, fold_of_row, run_of_row, present)


@lru_cache
def regular(
    classes: int = 5,
    images: int = 16,
    supports: int = 9,
    *,
    folds: int = 1,
    runs: int = 1,
    often: int = 1,
    shared: float = 0.0,
    fitted: bool = False,
) -> Structure:
    """Return a 1-shot test that asks each class's images equally often.

    Args:
        classes: of each fold.
        images: query images of a class.
        supports: images of a class that supports are drawn from, with replacement.
        folds, runs: of the test.
        often: how often a run asks a query image.
        shared: share of a class's query images that every fold has, of the same names.
        fitted: the supports of a run are one set.
    """
    rng = np.random.default_rng(0)
    queries: list[tuple[object, ...]] = []
    chosen: list[tuple[object, ...]] = []
    places = []
    for number, run, of_fold, image, _ in np.ndindex(folds, runs, classes, images, often):
        cls = number * classes + of_fold
        queries.append(("query", of_fold, image, -1 if image < shared * images else number))
        chosen.append(("set", number, run) if fitted else ("support", cls, int(rng.integers(supports))))
        places.append((cls, number, run))
    numbers: dict[tuple[object, ...], int] = {}
    query, support = (np.array([numbers.setdefault(name, len(numbers)) for name in of]) for of in (queries, chosen))
    cls_of_row, fold_of_row, run_of_row = np.array(places).T
    shown = np.ones(len(places), dtype=bool)
    return Structure(query, support[:, None], cls_of_row, fold_of_row, run_of_row, shown, fitted)


@lru_cache
def pools(images: Sequence[int], shots: int, pool: int | None = None, *, often: int = 1) -> Structure:
    """Return a test that asks the images of each class equally often, with K = `shots` different supports.

    Args:
        images: query images of each class.
        shots: supports of a row.
        pool: images of a class that are supports alone; None: a row's supports are other query images of its class.
        often: how often each query image is asked.
    """
    rng = np.random.default_rng(0)
    rows = []
    for cls, number in enumerate(images):
        first = sum(images[:cls]) if pool is None else sum(images) + cls * pool
        for image, _ in np.ndindex(number, often):
            others = np.delete(np.arange(number), image) if pool is None else np.arange(pool)
            rows.append((cls, sum(images[:cls]) + image, *(first + rng.permutation(others)[:shots]).tolist()))
    table = np.array(rows)
    zero = np.zeros(len(table), dtype=int)
    return Structure(table[:, 1], table[:, 2:], table[:, 0], zero, zero, np.ones(len(table), dtype=bool))
