"""Lists of parts on drawn images, against plain loops over their label maps."""

import pytest

from fsbench.base.errors import SettingsError
from fsbench.protocols.conditions import MIN_OBJECT
from fsbench.protocols.draws.by_word import lists_with
from fsbench.protocols.episode_rules import lists
from fsbench.protocols.reading import load_protocol
from tests.goldens.kinds.atlas_episodes import ListedPascal


@pytest.fixture
def pascal(datasets):
    return datasets("pascal")


def pixels(data, name: str, number: int) -> int:
    return int((data.label_map(name) == number).sum())


def test_lists_of_mlc(pascal):
    part = lists.MLC
    names = [name for name in pascal.candidates("val") if any(pixels(pascal, name, n) >= 2048 for n in range(1, 6))]
    pairs = part.pairs(pascal, "val", 0)
    assert list(dict.fromkeys(name for name, _ in pairs.pairs)) == names
    pool = part.pool(pascal, pairs, [1, 2], "image_first")
    assert pool.images_of[2] == [name for name in names if pixels(pascal, name, 2)]
    assert pool.shown("c1") == [1, 2]  # the second has 30 pixels
    may_support = part.may_support(pascal)
    assert may_support("c1", 1) and not may_support("c1", 2)


def test_lists_of_panet_are_training_images(pascal):
    part = lists.PANET
    pairs = part.pairs(pascal, "val", 0)
    expected = [(name, n) for n in range(1, 6) for name in pascal.candidates("trn") if pixels(pascal, name, n)]
    assert list(pairs.pairs) == expected == [("tmixed", 1)]
    with pytest.raises(SettingsError, match="no part to train on"):
        part.pairs(pascal, "trn", 0)


def test_folds_of_blocks(datasets):
    coco = datasets("coco")
    assert lists.HSNET.classes(coco, 1) == list(range(2, 81, 4))
    assert lists.MLC.classes(coco, 1) == lists.PANET.classes(coco, 1) == list(range(21, 41))


@pytest.mark.parametrize("least", [2048, 2600, 4096])
def test_lists_of_any_number_of_pixels(pascal, least):
    part = lists_with("pfenet", f"{least} query+support")
    expected = [(name, n) for name in pascal.candidates("val") for n in range(1, 6) if pixels(pascal, name, n) >= least]
    assert list(part.pairs(pascal, "val", 0).pairs) == expected != []
    assert (part == lists.PFENET) == (least == 2048)


@pytest.mark.slow(3)
def test_the_lists_of_ipmt_are_of_4096_pixels(real_data):
    data = ListedPascal(real_data / "official-lists")

    def images(protocol, fold):
        return len({name for name, _ in protocol.draw.pairs(data, "val", fold).pairs})

    protocol = load_protocol("atlas:ipmt/pascal-5i")
    assert [images(protocol, fold) for fold in (0, 2)] == [324, 563]
    assert protocol.conditions("pascal")["min_object"] == "4096 query+support"
    ready = load_protocol("atlas:cyctr/pascal-5i")
    assert [images(ready, fold) for fold in (0, 2)] == [364, 592]


def test_sizes_and_lists_that_do_not_go_together():
    for one in MIN_OBJECT.values:
        for name in one.part if isinstance(one.part, tuple) else ():
            assert lists_with(name, one.word)
    assert lists_with("bam", "12345 query+support").by_image
    for word, size in (("panet", 2048), ("hsnet", 4096), ("patches of 512", 4096)):
        with pytest.raises(SettingsError, match=f"'{word}'.*'{size} query"):
            lists_with(word, f"{size} query+support")
    for word in ("1000 support only", "0 query+support", "many query+support"):
        with pytest.raises(SettingsError, match="no rule"):
            lists_with("pfenet", word)
