"""The conditions that protocols state in the words of the atlas, held against what their code does.

Every protocol of masks is asked on every data set for which it states its lists: another needs no line for its
episodes. Their words are looked for in drawn data (`drawn_sets`): each has a probe that says whether episodes are as it
says. The words for sizes and scores belong to parts, which `test_measuring` holds to plain loops; here is which parts
a protocol has.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from types import SimpleNamespace

import pytest

from fsbench.base.errors import SettingsError
from fsbench.data.dataset import SegmentationData
from fsbench.data.episodes.episode import Episode
from fsbench.data.episodes.manifest import Manifest
from fsbench.data.episodes.task import Task
from fsbench.protocols.conditions import CONDITIONS, NOT_STATED, WITHOUT_VOID
from fsbench.protocols.counting import PixelCounting
from fsbench.protocols.draws.gfss import TrialSupports
from fsbench.protocols.draws.listed import Listed
from fsbench.protocols.draws.pair_draw import PairDraw
from fsbench.protocols.episode_rules.image_lists import image_list
from fsbench.protocols.episode_rules.pair_lists import pair_list
from fsbench.protocols.protocol import Protocol
from fsbench.protocols.reading import load_protocol, protocol_names
from tests.fsbench.protocols.drawn_sets import DRAWN, pascal_with_novel_training

SEGMENTATION = [name for name in protocol_names() if load_protocol(name).has_masks]
UNPUBLISHED = ("presence", "fixed_supports", "distillfss", "fob_skin")
"""Tests that state no lists and no draw: the atlas has no row of the like on a data set that is here."""
STATED = [
    (name, dataset)
    for name in SEGMENTATION
    for dataset in DRAWN
    if load_protocol(name).conditions(dataset)["image_lists"] != NOT_STATED
]


def stated_by(protocol: Protocol, dataset: str) -> SimpleNamespace:
    return SimpleNamespace(**protocol.conditions(dataset))


@dataclass(frozen=True)
class Probe:
    """Episodes of a protocol on a drawn data set.

    Attributes:
        protocol, data: the two.
        manifest: 300 episodes of fold 0, without those whose query shows none of the classes.
    """

    protocol: Protocol
    data: SegmentationData
    manifest: Manifest

    @property
    def episodes(self) -> Sequence[Episode]:
        return self.manifest.episodes

    def queries(self) -> list[tuple[str, int]]:
        """The queries with their classes."""
        return [(_photo(episode.query), episode.query_class) for episode in self.episodes]

    def supports(self) -> set[tuple[str, int]]:
        """The supports with their classes."""
        return {
            (_photo(name), number)
            for episode in self.episodes
            for number, names in zip(episode.classes, episode.supports, strict=True)
            for name in names
        }

    def pixels(self, name: str, number: int) -> int:
        return self.data.class_pixels(name)[0].get(number, 0)

    def largest(self, name: str) -> int:
        """Pixels of the largest novel class of an image."""
        return max(self.pixels(name, number) for number in self.data.test_classes(0))

    @property
    def has_fixed_supports(self) -> bool:
        """Whether episodes in turn mostly have the same supports, such as the middle slices of a part of a scan."""
        supports = [episode.supports for episode in self.episodes]
        return sum(one != other for one, other in pairwise(supports)) < len(supports) / 3

    def smallest(self) -> int:
        """Pixels of the smallest object of the test's classes in the data."""
        numbers = {number for episode in self.episodes for number in episode.classes}
        names = self.data.candidates("held_out" if numbers <= set(self.data.val_classes(0)) else "val")
        found = [self.pixels(name, number) for name in names for number in numbers]
        return min(filter(None, found))


def _photo(name: str) -> str:
    """The image of a name that may be that of one class in it."""
    return name.partition("@")[0]


def drawn(protocol: Protocol, data: SegmentationData, **task: object) -> Manifest:
    entries = {"episodes": 300, "drop_small": True} | task
    return protocol.manifest(protocol.draw.data(data), Task(0, way=1, shot=1, **entries))


def probe(name: str, data: SegmentationData) -> Probe:
    protocol = load_protocol(name)
    return Probe(protocol, data, drawn(protocol, data, empty=False))


# Whose lists


def fitting_lists(found: Probe) -> set[str]:
    """Return the words for lists that episodes and training fit."""
    data, numbers = found.data, {number for _, number in found.queries()}
    if any(not names for episode in found.episodes for names in episode.supports):
        return {"gfss"}  # classes without supports: those of the base
    if data.val_classes(0):
        return {"fss-1000 val"} if numbers <= set(data.val_classes(0)) else {"hsnet", "fss-1000 test"}
    if data.label_values(_photo(found.episodes[0].query), [99]) != [99]:  # a file knows its own class alone
        return {"folders"}
    if data.name not in ("pascal", "coco"):  # of which alone there are lists that several programs share
        return {"own"}
    images = {image for image, _ in found.queries()}
    trained = _training_images(found)
    mixed = any(name.rpartition("/")[2].startswith("tmixed") for name in trained)
    fits = set()
    if trained and images == {image for image, _ in pair_list(data, "val", 0).pairs} and mixed:
        fits.add("hsnet")
    if trained and images == {image for image, _ in image_list(data, "val", 0).pairs}:
        fits.add("pfenet" if mixed else "bam")
    return fits or {"own"}


def _training_images(found: Probe) -> list[str]:
    draw = found.protocol.draw
    try:
        return [image for image, _ in draw.training_pairs(found.data, 0).pairs] if isinstance(draw, PairDraw) else []
    except SettingsError:
        return []


# How small an object may be


def _by_the_list(found: Probe) -> bool:
    """Nothing but the list decides: every pair of it is asked for, and no other."""
    listed = set(pair_list(found.data, "val", 0).pairs)
    return set(found.queries()) == listed and found.supports() <= listed


def _least(pairs: Callable[[Probe], object]) -> Callable[[Probe], int]:
    return lambda found: min(found.pixels(*pair) for pair in pairs(found))  # type: ignore[attr-defined]


_query, _support = _least(Probe.queries), _least(Probe.supports)
MIN_OBJECT: Mapping[str, Callable[[Probe], bool]] = {
    "none": lambda found: (
        _query(found) == found.smallest() and (_support(found) == found.smallest() or found.has_fixed_supports)
    ),
    "by the list": _by_the_list,
    "2048 by the list": lambda found: _by_the_list(found) and 2048 <= min(_query(found), _support(found)) < 3000,
    "2048 query+support": lambda found: (
        2048 <= _support(found) < 3000
        and 2048 <= min(found.largest(name) for name, _ in found.queries()) < 3000
        and _query(found) == found.smallest()  # the class is drawn among all that the query shows
    ),
    "2048 per object": lambda found: (
        2048 <= min(_query(found), _support(found)) < 3000
        and not any(name.endswith("d1.jpg") for name, _ in found.queries())  # two objects that are large together
    ),
    "1000 support only": lambda found: _query(found) == found.smallest() and 1000 < _support(found) < 2048,
    "16384 support only": lambda found: (
        min(found.largest(name) for name, _ in found.queries()) < 16384 <= _support(found)
    ),
}
"""Word -> whether episodes ask for objects so small and no smaller."""


# What is drawn first


DIFFERENT = "class then image, different supports"


def fitting_draws(found: Probe) -> set[str]:
    """Return the words for the draw that episodes fit."""
    queries, supports = found.queries(), [episode.supports for episode in found.episodes]
    if sum(one != other for one, other in pairwise(supports)) < len(supports) / 20:
        return {"fixed support set, by shuffling", "fixed support set, by trials", "fixed support set"}
    if found.has_fixed_supports:
        return {"fixed support set"}
    images = [name for name, _ in queries]
    if _goes_through(queries):
        one_class = len(set(images)) == len(set(queries))
        pairs = {"list of pairs", "list of pairs, shuffled when through"}
        return {*pairs, "list of images"} if one_class else pairs
    if _goes_through(images):
        return {"image then class"}
    classes = [number for _, number in queries]
    if _goes_through(classes) and len(set(classes)) > 1:
        return {"class cycle"}
    if len(set(classes)) == 1:
        return {"class cycle", "class then image", DIFFERENT}
    counts = Counter(classes)
    even = max(counts.values()) < 1.35 * min(counts.values())
    return {"class then image", DIFFERENT} if even else set()  # the classes have other numbers of images


def _goes_through(items: Sequence[object]) -> bool:
    """Whether each pass over the items has each once."""
    number = len(set(items))
    passes = [items[start : start + number] for start in range(0, len(items) - number + 1, number)]
    return number <= len(items) and all(len(set(one)) == number for one in passes)


@pytest.mark.parametrize(("name", "dataset"), STATED)
def test_lists_draw_numbers_and_task_are_those_of_the_episodes(name, dataset, datasets, tmp_path):
    novel_supports = isinstance(load_protocol(name).draw, TrialSupports)
    found = probe(name, pascal_with_novel_training(tmp_path) if novel_supports else datasets(dataset))
    protocol, stated, header = found.protocol, stated_by(found.protocol, dataset), found.manifest.header
    assert stated.image_lists in fitting_lists(found)
    if not protocol.in_spirit:  # which state no draw
        assert MIN_OBJECT[stated.min_object](found)
        assert stated.episode_draw in fitting_draws(found)
    official = header.official_episodes
    if stated.episodes_per_fold.isdecimal():
        most = official if stated.task != "GFSS" else int(stated.episodes_per_fold)  # that there are no more of
        assert most - int(stated.episodes_per_fold) in (0, 1)  # some programs stop one episode late
    else:  # all of a list, or a number of images, of each run
        runs = len(header.protocol_entries.get("run_lengths", [0]))
        assert stated.episodes_per_fold.startswith(("all", "as many as"))
        assert official / runs <= len(found.data.candidates("val")) * 2 and official >= len(set(found.queries()))
    whole = drawn(protocol, found.data)  # also with queries that show none of the classes
    if stated.seeds == "none":
        assert header.seed is None
    elif header.seed is None:
        assert stated.seeds == "index of the episode"
        assert whole.episodes[:9] == drawn(protocol, found.data, episodes=9).episodes
    else:
        assert stated.seeds in (str(header.seed), f"{header.seed} + fold")
        assert drawn(protocol, found.data, seed=header.seed + 1).episodes != whole.episodes
    fixed = "workers+gpus" if name == "segic" else "no"  # which this protocol has as its own numbers
    assert stated.depends_on == fixed and drawn(protocol, found.data) == whole
    shown = [any(found.pixels(_photo(each.query), number) for number in each.classes) for each in whole.episodes]
    asks_base = any(not names for each in whole.episodes for names in each.supports)
    assert (stated.task == "GFSS") == asks_base
    if stated.task != "FSS medical":  # a slice of a scan may lack the class
        assert (stated.task == "FS-CS") == (not all(shown))
    if stated.task == "CD-FSS":  # classes of another domain than the training's
        assert dataset == "fss1000" or found.data.train_classes(0) == []


def test_every_protocol_of_masks_states_all_conditions_of_a_test():
    assert len(STATED) > 30
    for name in (name for name in SEGMENTATION if name not in UNPUBLISHED and not load_protocol(name).in_spirit):
        stated = [load_protocol(name).conditions(dataset) for one, dataset in STATED if one == name]
        assert any(NOT_STATED not in each.values() for each in stated), name


# How images are seen and pixels counted


MIOU = "class-pooled mIoU"
MEASURED = {
    ("squash, PIL, labels torch", "network input, torch nearest", "ignored", MIOU, "pooled"):
        "cdfss cdfss_abcdfss cdfss_ifa hsnet isaid sansa",
    ("squash, PIL, labels torch", "original, height and width", "background", MIOU, "pooled"): "fscs",
    ("squash, PIL, labels torch", "original, height and width", "background", f"{MIOU}, classes seen", "pooled"):
        "fss_sam3 segic",
    ("squash, PIL, labels torch", "original, height and width", "ignored", MIOU, "not computed"): "presence",
    ("squash, PIL, labels torch", "fixed 256", "background", MIOU, "not computed"): "isaid_sdm",
    ("squash, PIL, labels torch", "fixed 518", "ignored", MIOU, "pooled"): "incontext518",
    ("squash, PIL, labels torch", "fixed 1024", "ignored", MIOU, "pooled"): "incontext",
    ("squash, OpenCV", "original, height and width", "ignored", MIOU, "pooled"): "hdmnet pfenet",
    ("letterbox", "original, square", "ignored", MIOU, "pooled"): "bam isaid_r2net pfenet2020",
    ("letterbox", "original, square", "ignored", "gfss, base without background", "pooled"): "bam_gfss",
    ("letterbox", "original, square", "ignored", "gfss, base with background, zero for absent", "not computed"):
        "capl pop",
    ("letterbox", "network input, letterboxed", "ignored", "gfss, base without background", "not computed"): "gfss",
    ("letterbox, sides rounded", "original, from a 512 frame", "background", MIOU, "mean of mIoU and background IoU"):
        "fssdino",
}  # fmt: skip
"""Geometry, size, rule for void pixels, score and FB-IoU of a program -> the protocols that have them on PASCAL."""


@pytest.mark.parametrize(("words", "names"), MEASURED.items(), ids=MEASURED.values())
def test_every_protocol_sees_and_counts_as_its_program_does(words, names):
    for name in names.split():
        stated = stated_by(load_protocol(name), "pascal")
        found = (stated.geometry, stated.compared_at, stated.void, stated.metric, stated.fb_iou)
        assert found == words, name


@pytest.mark.parametrize("dataset", sorted(WITHOUT_VOID & DRAWN.keys()))
def test_data_sets_without_void_have_none(dataset, datasets):
    """Masks of two values, and painted objects, hold no void; crowds are not painted."""
    data = datasets(dataset)
    for name in list(data.candidates("val"))[:9]:
        assert data.label_map(name).max() < 255
        assert all(load_protocol(one).conditions(dataset)["void"] != "ignored" for one in SEGMENTATION)


# Words, and classes that differ


def test_every_word_is_in_the_closed_lists():
    for name in protocol_names():
        for dataset in (*DRAWN, "demo"):
            for key, word in load_protocol(name).conditions(dataset).items():
                one = CONDITIONS[key]
                assert one.is_free or not one.values or word == NOT_STATED or one.value(word), (name, dataset, key)
    stated = {load_protocol(name).conditions(dataset)["min_object"] for name, dataset in STATED}
    assert set(MIN_OBJECT) | {NOT_STATED} >= stated


def test_classification_is_no_part_of_the_atlas():
    others = [load_protocol(name) for name in protocol_names() if name not in SEGMENTATION]
    assert others and all(each.task == "classification" for each in others)
    assert not any(each.conditions("cub") for each in others)


def test_words_follow_from_the_values():
    hsnet = load_protocol("hsnet")
    changed = replace(
        hsnet,
        draw=Listed(seed=7, episodes={"others": 500}),
        view=replace(hsnet.view, query_size=1024),
        counting=PixelCounting("background"),
    )
    stated = stated_by(changed, "pascal")
    assert (stated.episodes_per_fold, stated.seeds) == ("500", "7")
    assert (stated.compared_at, stated.void) == ("fixed 1024", "background")
    assert replace(changed, draw=hsnet.draw, view=hsnet.view, counting=hsnet.counting) == hsnet
    assert replace(hsnet, counting=replace(hsnet.counting, void="own")).conditions("pascal")["void"] == NOT_STATED
