"""Lists of parts on drawn images, against plain loops over their label maps."""

import re

import pytest

from fsbench.base.errors import SettingsError
from fsbench.protocols.draws.lists import ATLAS, KNOWN, LEAST, check_least, lists_with
from fsbench.protocols.reading import load_protocol
from tests.goldens.kinds.atlas_episodes import ListedPascal


@pytest.fixture
def pascal(datasets):
    return datasets("pascal")


def pixels(data, name: str, number: int) -> int:
    return int((data.label_map(name) == number).sum())


def test_lists_of_mlc(pascal):
    part = ATLAS["mlc"]
    names = [name for name in pascal.candidates("val") if any(pixels(pascal, name, n) >= 2048 for n in range(1, 6))]
    pairs = part.pairs(pascal, "val", 0)
    assert list(dict.fromkeys(name for name, _ in pairs.pairs)) == names
    pool = part.pool(pascal, pairs, [1, 2], "image_first")
    assert pool.images_of[2] == [name for name in names if pixels(pascal, name, 2)]
    assert pool.shown("c1") == [1, 2]  # the second has 30 pixels
    may_support = part.may_support(pascal)
    assert may_support("c1", 1) and not may_support("c1", 2)


def test_lists_of_panet_are_training_images(pascal):
    part = ATLAS["panet"]
    pairs = part.pairs(pascal, "val", 0)
    expected = [(name, n) for n in range(1, 6) for name in pascal.candidates("trn") if pixels(pascal, name, n)]
    assert list(pairs.pairs) == expected == [("tmixed", 1)]
    with pytest.raises(SettingsError, match="no part to train on"):
        part.pairs(pascal, "trn", 0)


def test_folds_of_blocks(datasets):
    coco = datasets("coco")
    assert ATLAS["hsnet"].classes(coco, 1) == list(range(2, 81, 4))
    assert ATLAS["mlc"].classes(coco, 1) == ATLAS["panet"].classes(coco, 1) == list(range(21, 41))


@pytest.mark.parametrize("least", [2048, 2600, 4096])
def test_lists_of_any_number_of_pixels(pascal, least):
    part = lists_with("pfenet", f"{least} query+support")
    expected = [(name, n) for name in pascal.candidates("val") for n in range(1, 6) if pixels(pascal, name, n) >= least]
    assert list(part.pairs(pascal, "val", 0).pairs) == expected != []
    assert f"with {least} pixels" in part.words
    assert (part == KNOWN["pfenet"]) == (least == 2048)


@pytest.mark.slow(3)
def test_the_lists_of_ipmt_are_of_4096_pixels(real_data):
    data = ListedPascal(real_data / "official-lists")

    def images(protocol, fold):
        return len({name for name, _ in protocol.draw.pairs(data, "val", fold).pairs})

    protocol = load_protocol("atlas:ipmt/pascal-5i")
    assert [images(protocol, fold) for fold in (0, 2)] == [324, 563]
    assert protocol.conditions("pascal").min_object == "4096 query+support"
    ready = load_protocol("atlas:cyctr/pascal-5i")
    assert [images(ready, fold) for fold in (0, 2)] == [364, 592]


def test_sizes_and_lists_that_do_not_go_together():
    for word, lists in LEAST.items():
        for name in lists:
            check_least(name, word)
    with pytest.raises(SettingsError, match="'panet' and min_object '2048 query\\+support' do not go together"):
        check_least("panet", "2048 query+support")
    check_least("bam", "12345 query+support")
    for word in ("hsnet", "patches of 512"):
        with pytest.raises(SettingsError, match=f"'{word}' and min_object '4096 query\\+support' do not go together"):
            check_least(word, "4096 query+support")
    for word in ("1000 support only", "0 query+support", "many query+support"):
        with pytest.raises(SettingsError, match=rf"min_object '{re.escape(word)}' is no rule .*<N> query"):
            check_least("pfenet", word)
