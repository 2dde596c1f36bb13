"""Strokes paint the pixels whose middles they cover; checked against matplotlib and against plain distances."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.path import Path as Outline

from fsbench.errors import DataError
from fsbench.labelling import history as history_module
from fsbench.labelling.history import SNAPSHOT_STEPS, History
from fsbench.labelling.regions import RunLengths, connected_regions
from fsbench.labelling.strokes import Accept, Done, StoredForecast, paint, parse_drawing, parse_step, polygon_mask

SIZE = (23, 31)


def middles() -> np.ndarray:
    y, x = np.indices(SIZE)
    return np.stack([x.ravel(), y.ravel()], 1) + 0.5


def drawn(**step) -> np.ndarray:
    labels = np.full(SIZE, 9, dtype=np.uint8)
    paint(labels, parse_drawing(step))
    return labels


def test_a_brush_covers_what_is_near_its_path():
    points = np.array([(3.2, 4.1), (20.7, 9.9), (25.0, 30.0)])
    labels = drawn(kind="brush", number=2, radius=3.3, points=points.tolist())
    along = np.linspace(0, 1, 4001)[:, None]
    path = np.concatenate([a + along * (b - a) for a, b in pairwise(points)])
    nearest = np.array([np.sqrt(((path - middle) ** 2).sum(1)).min() for middle in middles()]).reshape(SIZE)
    clear = np.abs(nearest - 3.3) > 1e-3  # the path is sampled
    assert clear.mean() > 0.99 and ((labels == 2) == (nearest <= 3.3))[clear].all()


def test_a_single_point_is_a_disc():
    labels = drawn(kind="brush", number=1, radius=2.0, points=[(10.0, 10.0)])
    assert (labels == 1).sum() == 12  # of the 16 middles in its box, the four in the corners are 2.12 away


corner = st.tuples(st.floats(-10, 45), st.floats(-10, 35))


@settings(max_examples=40, deadline=None)
@given(st.lists(corner, min_size=3, max_size=3))
def test_a_triangle_is_that_of_matplotlib(points):
    expected = Outline(points).contains_points(middles()).reshape(SIZE)
    found = polygon_mask(np.array(points), SIZE)
    thin = 1e-6
    sure = np.ones(SIZE, dtype=bool)
    for (x0, y0), (x1, y1) in zip(
        points, points[1:] + points[:1], strict=True
    ):  # middles on an edge may fall either way
        x, y = middles().T
        length = max(np.hypot(x1 - x0, y1 - y0), 1e-12)
        sure &= (np.abs((x - x0) * (y1 - y0) - (y - y0) * (x1 - x0)) / length > thin).reshape(SIZE)
    assert (found == expected)[sure].all()


def test_a_polygon_that_crosses_itself_is_even_odd():
    star = [(15.5 + 11 * np.sin(4 * np.pi * i / 5), 11.5 - 11 * np.cos(4 * np.pi * i / 5)) for i in range(5)]
    mask = polygon_mask(np.array(star), SIZE)
    assert not mask[11, 15] and mask[3, 15] and 60 < mask.sum() < 160


def test_a_box_covers_its_middles_and_is_cut_at_the_border():
    labels = drawn(kind="box", number=3, points=[(12.4, 20.6), (5.6, -4.0)])
    expected = np.full(SIZE, 9, dtype=np.uint8)
    expected[0:21, 6:12] = 3  # columns 6 (6.5) to 11 (11.5), rows to 20 (20.5)
    assert (labels == expected).all()


@pytest.mark.parametrize(
    "step",
    [
        None,
        {},
        {"kind": "done", "time": 1.0},
        {"kind": "accept"},
        {"kind": "brush", "number": 1, "radius": 0, "points": [(1, 1)]},
        {"kind": "brush", "number": 1, "radius": 5, "points": []},
        {"kind": "brush", "number": 255, "radius": 5, "points": [(1, 1)]},
        {"kind": "brush", "number": 1, "radius": 5, "points": [(float("nan"), 1)]},
        {"kind": "brush", "number": 1, "radius": 5, "points": [(1e9, 1)]},
        {"kind": "polygon", "number": 1, "points": [(1, 1), (2, 2)]},
        {"kind": "box", "number": 1, "points": [(1, 1), (2, 2)], "more": 1},
    ],
)
def test_what_is_no_stroke_is_refused_in_one_line(step):
    with pytest.raises(DataError, match=r"^the stroke cannot be used: .*; reload the page$"):
        parse_drawing(step)


labels_of_few = st.lists(st.integers(0, 3), min_size=48, max_size=48).map(
    lambda values: np.array(values, dtype=np.uint8).reshape(6, 8)
)


@settings(max_examples=60, deadline=None)
@given(labels_of_few)
def test_run_lengths_and_regions_give_the_label_map_back(labels):
    lengths = RunLengths.encode(labels)
    assert (lengths.decode() == labels).all() and sorted(lengths.counts) == sorted(set(labels.ravel().tolist()) - {0})
    again = np.zeros_like(labels)
    for region in connected_regions(labels):
        left, top, width, height = region.box
        again[top : top + height, left : left + width][region.mask] = region.number
        assert region.mask.any(0).all() and region.mask.any(1).all()
    assert (again == labels).all()


def step_of(kind: str, place: int):
    """A step that can be told from others by the label map."""
    if kind == "accept":
        lengths = RunLengths.encode(np.full(SIZE, 1 + place % 5, dtype=np.uint8))
        forecast = StoredForecast(method="m", supports=1, numbers=[1], size=SIZE, counts=lengths.counts)
        return Accept(kind="accept", forecast=forecast)
    if kind == "done":
        return Done(kind="done", time=float(place))
    if kind == "box":
        return parse_drawing({"kind": "box", "number": place % 6, "points": [(place % 9, 2), (place % 9 + 8, 12)]})
    return parse_drawing({"kind": kind})


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["box", "box", "undo", "redo", "clear", "accept", "done"]), max_size=25))
def test_the_history_is_that_of_steps_replayed_from_nothing(kinds):
    history = History(SIZE)
    kept, undone = [], []
    for place, kind in enumerate(kinds):
        step = step_of(kind, place)
        history.add(parse_step(step.model_dump(mode="json")))  # as it comes back from the journal
        if kind == "undo":
            undone += [kept.pop()] if kept else []
        elif kind == "redo":
            kept += [undone.pop()] if undone else []
        else:
            kept.append(step)
            undone = []
    expected = np.zeros(SIZE, dtype=np.uint8)
    for step in kept:
        paint(expected, step)
    assert (history.labels == expected).all()
    assert (history.done is not None) == bool(kept and isinstance(kept[-1], Done))
    assert history.revision == len(kinds)


def test_taking_back_many_steps_paints_each_a_few_times(monkeypatch):
    painted = []
    monkeypatch.setattr(history_module, "paint", lambda labels, step: painted.append(step) or paint(labels, step))
    history, steps = History(SIZE), [step_of("box", place) for place in range(1000)]
    for step in steps:
        history.add(step)
    painted.clear()
    for left in range(999, -1, -1):
        history.add(step_of("undo", 0))
        if left % 90 == 7:
            expected = np.zeros(SIZE, dtype=np.uint8)
            for step in steps[:left]:
                paint(expected, step)
            assert (history.labels == expected).all()
    assert len(painted) < 1000 * (SNAPSHOT_STEPS / 2 + 2)  # half a million without snapshots
    assert not history.labels.any()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["box", "undo", "redo", "clear"]), st.integers(1, 60)), max_size=12))
def test_snapshots_change_no_label(runs):
    history, kept, undone = History(SIZE), [], []
    for place, (kind, times) in enumerate(runs):
        for number in range(times if kind != "clear" else 1):
            step = step_of(kind, 7 * place + number)
            history.add(step)
            if kind == "undo":
                undone += [kept.pop()] if kept else []
            elif kind == "redo":
                kept += [undone.pop()] if undone else []
            else:
                kept, undone = [*kept, step], []
    expected = np.zeros(SIZE, dtype=np.uint8)
    for step in kept:
        paint(expected, step)
    assert (history.labels == expected).all()
