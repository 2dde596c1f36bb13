"""Lists of parts on drawn images, against plain loops over their label maps."""

from pathlib import Path

import pytest

from fsbench.base.errors import SettingsError
from fsbench.protocols.parts.lists import LEAST, PARTS, check_least
from tests.fsbench.protocols.drawn_sets import DRAWN


@pytest.fixture(scope="module")
def pascal(tmp_path_factory):
    return DRAWN["pascal"](Path(tmp_path_factory.mktemp("pascal")))


def pixels(index, name: str, number: int) -> int:
    return int((index.label_map(name) == number).sum())


def test_lists_of_mlc(pascal):
    part = PARTS["mlc"]
    names = [name for name in pascal.candidates("val") if any(pixels(pascal, name, n) >= 2048 for n in range(1, 6))]
    pairs = part.pairs(pascal, "val", 0)
    assert list(dict.fromkeys(name for name, _ in pairs.pairs)) == names
    pool = part.pool(pascal, pairs, [1, 2], "image_first")
    assert pool.images_of[2] == [name for name in names if pixels(pascal, name, 2)]
    assert pool.shown("c1") == [1, 2]  # the second has 30 pixels
    may_support = part.may_support(pascal)
    assert may_support("c1", 1) and not may_support("c1", 2)


def test_lists_of_panet_are_training_images(pascal):
    part = PARTS["panet"]
    pairs = part.pairs(pascal, "val", 0)
    expected = [(name, n) for n in range(1, 6) for name in pascal.candidates("trn") if pixels(pascal, name, n)]
    assert list(pairs.pairs) == expected == [("tmixed", 1)]
    with pytest.raises(SettingsError, match="no part to train on"):
        part.pairs(pascal, "trn", 0)


def test_folds_of_blocks(tmp_path):
    coco = DRAWN["coco"](tmp_path)
    assert PARTS["hsnet"].classes(coco, 1) == list(range(2, 81, 4))
    assert PARTS["mlc"].classes(coco, 1) == PARTS["panet"].classes(coco, 1) == list(range(21, 41))


def test_sizes_and_lists_that_do_not_go_together():
    for word, lists in LEAST.items():
        for name in lists:
            check_least(name, word)
    with pytest.raises(SettingsError, match="'panet' and min_object '2048 query\\+support' do not go together"):
        check_least("panet", "2048 query+support")
    with pytest.raises(SettingsError, match="min_object '1000 support only' is no rule"):
        check_least("hsnet", "1000 support only")
