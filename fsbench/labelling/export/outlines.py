"""Exact polygons of regions: outlines along the edges of pixels, and holes joined to the outside by a cut."""

from itertools import pairwise

import numpy as np


def outline(mask: np.ndarray) -> np.ndarray:
    """Return one closed polygon (n, 2), x and y in pixels, whose even-odd filling is the mask.

    It runs along pixel edges. Every hole is joined to the outline by a cut that is run through twice, there and back,
    and so encloses nothing.

    Args:
        mask: (h, w) bool, one connected region.
    """
    loops = sorted((_without_straight_points(loop) for loop in _loops(mask)), key=lambda loop: -abs(_area(loop)))
    polygon = loops[0]
    for hole in loops[1:]:
        distances = np.abs(polygon[:, None] - hole[None]).sum(-1)
        at, start = np.unravel_index(int(distances.argmin()), distances.shape)
        turned = np.concatenate([hole[start:], hole[: start + 1]])
        polygon = np.concatenate([polygon[: at + 1], turned, polygon[at:]])
    return polygon


def _loops(mask: np.ndarray) -> list[np.ndarray]:
    """Return the closed paths (n, 2), x and y, along all edges between a region and what is not it.

    The region lies to the right of every edge. Where four edges meet, a path turns left, so that parts which touch at
    a corner are one loop.
    """
    padded = np.pad(mask, 1).astype(np.int8)
    ahead: dict[tuple[int, int], list[tuple[int, int]]] = {}
    down = padded[1:, 1:-1] - padded[:-1, 1:-1]  # at horizontal edges (h + 1, w): 1 above the region, -1 below it
    across = padded[1:-1, 1:] - padded[1:-1, :-1]  # at vertical edges (h, w + 1): 1 left of the region, -1 right of it
    for y, x in np.argwhere(down == 1).tolist():
        ahead.setdefault((x, y), []).append((x + 1, y))
    for y, x in np.argwhere(down == -1).tolist():
        ahead.setdefault((x + 1, y), []).append((x, y))
    for y, x in np.argwhere(across == 1).tolist():
        ahead.setdefault((x, y + 1), []).append((x, y))
    for y, x in np.argwhere(across == -1).tolist():
        ahead.setdefault((x, y), []).append((x, y + 1))
    loops = []
    while ahead:
        start = next(iter(ahead))
        path = [start, _take(ahead, start, None)]
        while path[-1] != start or len(ahead.get(start, ())) == 1:
            path.append(_take(ahead, path[-1], path[-2]))
        loops.append(np.array(path[:-1], dtype=np.int64))
    return loops


def _take(
    ahead: dict[tuple[int, int], list[tuple[int, int]]], point: tuple[int, int], before: tuple[int, int] | None
) -> tuple[int, int]:
    """Remove and return the next point behind `point`: to the left as seen from `before`, where there is a choice."""
    choices = ahead[point]
    place = 0
    if len(choices) > 1 and before is not None:
        dx, dy = point[0] - before[0], point[1] - before[1]
        left = (point[0] + dy, point[1] - dx)
        place = choices.index(left) if left in choices else 0
    chosen = choices.pop(place)
    if not choices:
        del ahead[point]
    return chosen


def _without_straight_points(loop: np.ndarray) -> np.ndarray:
    """Return a loop (n, 2) without the points at which it does not turn."""
    steps = np.roll(loop, -1, axis=0) - loop
    return np.asarray(loop[(steps != np.roll(steps, 1, axis=0)).any(1)])


def _area(loop: np.ndarray) -> float:
    x, y = loop[:, 0], loop[:, 1]
    return float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum() / 2)


def row_runs(mask: np.ndarray) -> list[int]:
    """Return the run lengths of a mask (h, w) bool, row by row, of pixels outside and inside in turn."""
    flat = mask.ravel()
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    ends = [0, *changes.tolist(), flat.size]
    runs = [end - start for start, end in pairwise(ends)]
    return [0, *runs] if flat[0] else runs
