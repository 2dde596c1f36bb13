"""Episodes of published test programs, drawn by the protocols of their rows of the atlas (atlas-runs.md)."""

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterable, Sequence
from functools import cache, cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fsbench.data.dataset import VOID, PairList, Part, QuerySampling, SegmentationData
from fsbench.data.episodes.episode import Episode
from fsbench.data.episodes.task import Task
from fsbench.datamodules.datasets.coco import Coco
from fsbench.datamodules.datasets.pascal import Pascal
from fsbench.datamodules.lists.official import read_official
from fsbench.protocols.draws.gfss import fixed_supports, queries_by_novel_class
from fsbench.protocols.draws.listed import Listed
from fsbench.protocols.episode_rules.streams import loader_seeds
from fsbench.protocols.protocol import Protocol
from fsbench.protocols.reading import load_protocol
from tests.goldens.cases import Case, Skipped
from tests.goldens.declared import Kind, Results, Same

LABEL_MAPS = "voc-segmentationclassaug.tar.gz"
_LEAST_OF_CAPL = 16 * 32 * 32
_WITHOUT_ROW = {"ssp (hsnet protocol)/pascal-5i": "hsnet/pascal-5i"}
"""Rows that the atlas lacks, since no figure is printed -> the row of the program whose loader it is."""


class ListedSet(SegmentationData):
    """A data set of names: lists and label maps without photos."""

    def __init__(self, lists: Path):
        self.lists = lists

    def image_path(self, name: str) -> Path:
        return Path(name)

    def label_map(self, name: str) -> np.ndarray:
        raise AssertionError("no draw looks at a label map")

    def released_pairs(self, split: str, fold: int) -> PairList | None:
        return read_official([self.lists / "hsnet"], self.name, split, fold)


class ListedPascal(ListedSet):
    """PASCAL-5i; pixels are counted in the archive of the label maps."""

    name = "pascal"
    class_names = Pascal.__dict__["class_names"]
    folds = 4
    query_sampling: QuerySampling = "sequential"
    min_pixels = Pascal.min_pixels

    def test_classes(self, fold: int) -> list[int]:
        return list(range(5 * fold + 1, 5 * fold + 6))

    def candidates(self, part: Part) -> Sequence[str]:
        val = _names(self.lists / "hmnet/pascal/val.txt")
        if part == "val":
            return val
        return sorted(set(_label_files(self.lists.parent / LABEL_MAPS)).difference(val))

    def class_pixels(self, name: str) -> tuple[dict[int, int], int]:
        counts = _pixels(self.lists.parent / LABEL_MAPS, name)
        return counts, sum(counts.values())


class ListedCoco(ListedSet):
    """A fold of COCO-20i as BAM and HSNet list it: an image shows what HSNet's lists have it for."""

    name = "coco"
    class_names = tuple(map(str, range(1, 81)))
    folds = 4
    query_sampling: QuerySampling = "class_first"
    min_pixels = Coco.min_pixels

    def __init__(self, lists: Path, fold: int):
        super().__init__(lists)
        self.fold = fold

    def test_classes(self, fold: int) -> list[int]:
        return list(range(fold + 1, 81, 4))

    @cached_property
    def shown(self) -> dict[str, dict[int, int]]:
        """Image -> its classes, each as large as the lists ask for at least."""
        found: dict[str, dict[int, int]] = {}
        for fold in range(self.folds):
            pairs = self.released_pairs("val", fold)
            assert pairs is not None
            for name, number in pairs.pairs:
                found.setdefault(name, {})[number] = self.min_pixels
        return found

    def candidates(self, part: Part) -> Sequence[str]:
        with tarfile.open(self.lists / "large-lists.tar.gz") as archive:
            file = archive.extractfile(f"hmnet/coco/val/data_list_{self.fold}.txt")
            assert file is not None
            return [f"val2014/{Path(line.split()[0]).name}" for line in file.read().decode().splitlines()]

    def class_pixels(self, name: str) -> tuple[dict[int, int], int]:
        return self.shown[name], sum(self.shown[name].values())


class ListedFolders(ListedSet):
    """Folders of images, one for each class, without folds."""

    name = "isic"
    class_names = ("1", "2", "3")
    folds = 1
    query_sampling: QuerySampling = "by_turns"

    def __init__(self, folders: dict[str, list[str]]):
        self.folders = folders

    def test_classes(self, fold: int) -> list[int]:
        return [1, 2, 3]

    def candidates(self, part: Part) -> Sequence[str]:
        return [name for names in self.folders.values() for name in names]

    def released_pairs(self, split: str, fold: int) -> PairList:
        return PairList(tuple((name, int(key)) for key, names in self.folders.items() for name in names), "golden")


def _names(path: Path) -> list[str]:
    return [Path(line.split()[0]).stem for line in path.read_text().splitlines()]


@cache
def _label_files(archive: Path) -> dict[str, bytes]:
    """Return the files of an archive of label maps by the names of their images."""
    with tarfile.open(archive) as opened:
        files = ((Path(member.name).stem, opened.extractfile(member)) for member in opened)
        return {name: file.read() for name, file in files if file is not None}


@cache
def _pixels(archive: Path, name: str) -> dict[int, int]:
    """Count the pixels of each label in a label map of an archive."""
    found = np.bincount(np.asarray(Image.open(io.BytesIO(_label_files(archive)[name]))).ravel(), minlength=256)
    return {int(label): int(found[label]) for label in np.flatnonzero(found)}


def _index(case: Case) -> SegmentationData:
    dataset = case.config["dataset"]
    if dataset == "isic2018":
        return ListedFolders(json.loads((case.folder / "dmtnet_files.json").read_text()))
    if case.lists is None or not (case.lists.parent / LABEL_MAPS).is_file():
        raise Skipped(f"it needs the official lists and {LABEL_MAPS} beside them: $FSBENCH_TEST_DATA")
    return ListedPascal(case.lists) if dataset == "pascal" else ListedCoco(case.lists, case.config["fold"])


def protocol_of(config: dict[str, Any]) -> Protocol:
    """Return the protocol of a case's row, with the processes that the case had."""
    row = config["row"]
    names = {"workers": "workers", "gpus": "gpus", "batch": "batch", "run": "run"}
    hangs_on = _row_protocol(row).draw.drawn_by
    settings = {
        key: config[name] for key, name in names.items() if key in hangs_on and isinstance(config.get(name), int)
    }
    if "base_seeds" in config:
        settings["base_seeds"] = "+".join(map(str, config["base_seeds"]))
    if str(config.get("numpy_in_workers", "")).startswith("a copy"):
        settings["numpy_in_workers"] = "copied"
    return _row_protocol(row + "".join(f"@{key}={value}" for key, value in settings.items()))


def _row_protocol(name: str) -> Any:
    row, at, settings = name.partition("@")
    found = load_protocol(f"atlas:{_WITHOUT_ROW.get(row, row)}{at}{settings}")
    assert isinstance(found.draw, Listed)
    return found


LAST_FIRST = (
    "image then class",
    "image then class, query allowed as support",
    "image then class, class by NumPy",
)
"""Draws whose supports stand in an episode with the last drawn first."""


def lines(
    episodes: Iterable[Episode], name: Callable[[str], str], number: Callable[[int], int], last_first: bool
) -> str:
    """Return episodes as canonical text: query, class and supports in the order of drawing."""
    text = ""
    for one in episodes:
        supports = reversed(one.supports[0]) if last_first else one.supports[0]
        text += line(name(one.query), number(one.query_class), map(name, supports))
    return text


def episodes(case: Case) -> Results:
    if case.config["row"].startswith("capl/"):
        return _capl(case)
    config = case.config
    protocol, data = protocol_of(config), _index(case)
    listed = protocol.draw
    assert isinstance(listed, Listed)
    task = Task(config.get("fold", 0), shot=config["shot"], seed=config["seed"], empty=False)
    found = protocol.manifest(data, task).episodes
    of_rank = found[config.get("rank", 0) :: config.get("gpus", 1)]
    folders = config["dataset"] == "isic2018"
    text = lines(
        of_rank, lambda name: Path(name).stem, lambda number: number - folders,
        listed.words_on(data.name).episode_draw in LAST_FIRST,
    )  # fmt: skip
    return {**_compared(case, text), **_network(case, protocol)}


def _network(case: Case, protocol: Protocol) -> Results:
    """Compare the loader's seeds with those after the network that the row names."""
    seeds = case.config.get("base_seeds")
    if seeds is None or not case.config["network"].startswith("ResNet-50"):
        return {}
    words = _row_protocol(case.config["row"]).draw.network_words
    found = list(islice(loader_seeds(case.config["seed"], words), len(seeds)))
    return {"base seeds": Same(found, seeds)} if words else {}


def line(query: str, number: int | str, supports: Iterable[str]) -> str:
    """Return an episode as a line of canonical text."""
    return f"{query} {number} {' '.join(supports)}\n"


def _compared(case: Case, text: str) -> Results:
    first = "".join(line(*episode) for episode in case.data["first"])
    found = text.splitlines(keepends=True)
    return {
        "episodes": Same(len(found), case.data["episodes_run"]),
        "first": Same("".join(islice(found, len(case.data["first"]))), first),
        "sha256": Same(hashlib.sha256(text.encode()).hexdigest(), case.data["sha256"]),
    }


def _capl(case: Case) -> Results:
    """Supports of CAPL's classes, or the order of its queries."""
    data, config = _index(case), case.config
    assert isinstance(data, ListedPascal)
    file = "val.txt" if "seed" in config and config["seed"] == "none used" else "voc_sbd_merge_noduplicate.txt"
    shown = {
        name: {number: k for number, k in data.class_pixels(name)[0].items() if number not in (0, VOID)}
        for name in _names(data.lists / "hmnet/pascal" / file)
    }
    novel = data.test_classes(config["fold"])
    if file == "val.txt":
        return _compared(case, "".join(line(name, "*", ()) for name in queries_by_novel_class(shown, novel)))
    drawn = fixed_supports(shown, novel, config["shot"], config["seed"], _LEAST_OF_CAPL)
    return _compared(case, "".join(line("*", number, names) for number, names in drawn.items()))


KINDS = {"atlas_episodes": Kind(episodes)}
