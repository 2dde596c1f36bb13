"""DistillFSS's draw: evenly spaced supports of one list, or of each class's list (fixed-supports.md §3)."""

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest
from PIL import Image

from fsbench.base.errors import DataError, SettingsError
from fsbench.data.episodes.task import Task
from fsbench.protocols.draws.fixed_supports import EvenlySpaced, places
from fsbench.protocols.reading import load_segmentation, manifest_fault
from tests.drawn_lists import draw_set


def plain_places(number: int, wanted: int) -> list[int]:
    """Return the same places by splitting each gap in turn, a place at a time."""
    found = [0, number - 1][:wanted]
    while len(found) < wanted:
        before = list(found)
        for left, right in pairwise(before):
            middle = int(Fraction(left + right, 2))
            if middle not in before and len(found) < wanted:
                found.append(middle)
        if found == before:
            return sorted(found)
        found.sort()
    return found


@pytest.mark.parametrize("number", [1, 2, 3, 5, 9, 10, 33, 100, 708])
def test_places_halve_the_gaps_from_the_left(number: int) -> None:
    for wanted in (1, 2, 3, 5, 7, 10, 25, 50):
        assert places(number, wanted) == plain_places(number, wanted)
    assert places(0, 3) == [] and places(4, 0) == []


def test_a_class_is_answered_with_the_supports_that_show_it(tmp_path: Path) -> None:
    data = draw_set(tmp_path, "weedmap")
    protocol = load_segmentation("distillfss_weeds")
    manifest = protocol.manifest(data, protocol.draw.with_own_ways(data, Task(shot=5)))
    assert [one.query for one in manifest.episodes] == list(data.candidates("val"))
    drawn = [data.candidates("trn")[place] for place in places(len(data.candidates("trn")), 5)]
    for episode in manifest.episodes:
        assert episode.supports == tuple(
            tuple(name for name in drawn if data.class_pixels(name)[0].get(number)) for number in (1, 2)
        )
    assert 0 < len(manifest.episodes[0].supports[1]) < 5  # a class may have fewer than K
    assert not manifest_fault(manifest, protocol.draw)
    assert protocol.title(manifest.header) == (
        "weedmap · 2 classes at once, 5 labelled images in all · protocol distillfss_weeds v1 · 7 images asked"
    )


def test_k_is_divided_as_in_the_authors_program(tmp_path: Path) -> None:
    data, protocol = draw_set(tmp_path, "isic_listed"), load_segmentation("distillfss_isic")
    manifest = protocol.manifest(data, protocol.draw.with_own_ways(data, Task(shot=9)))
    assert [len(way) for way in manifest.episodes[0].supports] == [2, 2, 2]
    assert "K = 9 of the authors' program is 2 images of each class, 6 in all: it divides K by 4" in " ".join(
        protocol.draw.notes(manifest.header)
    )
    with pytest.raises(SettingsError, match="shot is 3, and on isic_listed it is divided by 4"):
        protocol.manifest(data, Task(shot=3, way=3))


def test_what_is_no_such_test_is_refused(tmp_path: Path) -> None:
    draw = EvenlySpaced()
    with pytest.raises(SettingsError, match="runs is 2; evenly spaced supports are one set"):
        replace(draw, runs=2).check()
    with pytest.raises(SettingsError, match="leave draws"):
        draw.check_draws(Task(draws=3))
    data = draw_set(tmp_path, "pothole")
    for file in (tmp_path / "pothole-mix/training").rglob("masks/*.png"):
        Image.new("RGB", Image.open(file).size).save(file)
    with pytest.raises(DataError, match="none of the 5 supports shows a class"):
        load_segmentation("distillfss").manifest(data, Task(shot=5))
