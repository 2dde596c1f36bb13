"""The small data sets whose episodes are frozen: the demos, the samples of real photos, official lists, drawn ones."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fsbench.base.paths import REPOSITORY
from fsbench.datamodules.datasets.cmr import Cmr
from fsbench.datamodules.datasets.sabs import Sabs
from fsbench.datamodules.lists.plain_pickle import parse_plain_pickle
from tests.datamodules.datasets import labelled_images
from tests.drawn_volumes import draw_prepared
from tests.frozen import suite
from tests.fsbench.protocols.drawn_sets import DRAWN
from tests.photos import draw_photos

GOLDENS = REPOSITORY / "tests/goldens/incontext"
CAPPED = {"presence": 60, "fss_sam3": 60, "fscs": 200}
"""Number of episodes of protocols that take long to draw each; the others have as many as they say."""
TASKS: tuple[Mapping[str, Any], ...] = tuple({"way": way, "shot": shot} for way in (1, 2) for shot in (1, 5))
SHOTS: tuple[Mapping[str, Any], ...] = ({"shot": 1}, {"shot": 2})
CLASSES_TASKS: tuple[Mapping[str, Any], ...] = tuple(
    {"way": way, "shot": shot, "episodes": 200} for way in (1, 2, 5) for shot in (1, 5)
)
SETTINGS: tuple[Mapping[str, Any], ...] = (
    *({"protocol": "fscs", "way": 2, "setting": f"{part}_augmented"} for part in ("partially", "fully")),
    *({"protocol": "fscs", "setting": size} for size in ("0-5", "5-10", "10-15", "0-15")),
    {"protocol": "fscs", "empty": False},
    *({"protocol": name, "draws": 3} for name in ("fscs", "hsnet", "pfenet")),
    *({"protocol": name, "seed": 7} for name in ("hsnet", "pfenet", "hdmnet", "segic")),
    *({"protocol": name, "episodes": 30} for name in ("bam", "fscs", "gfss", "hsnet", "incontext")),
)
"""Further tests of the demo, beside ways and shots."""


@dataclass(frozen=True)
class FrozenSet:
    """A small data set.

    Attributes:
        dataset: name in `fsbench list`.
        make: writes it, or finds it among the samples, and returns its folder and the folders of official lists.
            It gets an empty folder and that of the samples.
        folds: numbers of its folds.
        tasks: ways and shots that are asked for.
        most: number of episodes of every test, where that is not the protocol's.
        drop_small: classes with too few images are left out.
        settings: further tests; each names its protocol.
        atlas: rows of the atlas are drawn, too.
        protocols: the protocols that are asked; all unless given.
        samples: it needs the samples.
        classification: it has images with a class each, of which one protocol alone is a test.
        seconds: of its test, where that is slow.
    """

    dataset: str
    make: Callable[[Path, Path], tuple[Path, list[Path]]]
    folds: tuple[int, ...] = (0,)
    tasks: tuple[Mapping[str, Any], ...] = TASKS
    most: int | None = None
    drop_small: bool = False
    settings: tuple[Mapping[str, Any], ...] = ()
    atlas: bool = False
    protocols: tuple[str, ...] | None = None
    samples: bool = False
    classification: bool = False
    seconds: int | None = None


def _sample(name: str) -> Callable[[Path, Path], tuple[Path, list[Path]]]:
    return lambda folder, samples: (samples / name, [])


def _drawn(name: str) -> Callable[[Path, Path], tuple[Path, list[Path]]]:
    def make(folder: Path, samples: Path) -> tuple[Path, list[Path]]:
        DRAWN[name](folder)
        return folder, []

    return make


def _written(save: Callable[[Path], Any]) -> Callable[[Path, Path], tuple[Path, list[Path]]]:
    def make(folder: Path, samples: Path) -> tuple[Path, list[Path]]:
        save(folder)
        return folder, []

    return make


def _from_golden(dataset: str, name: str) -> Callable[[Path, Path], tuple[Path, list[Path]]]:
    """Write the data set of a golden of in-context segmentation."""

    def make(folder: Path, samples: Path) -> tuple[Path, list[Path]]:
        from tests.goldens.kinds import incontext  # with torch

        save = {"lvis": incontext.lvis_folder, "paco": incontext.paco_folder, "part": incontext.pascal_part_folder}
        save[dataset](folder, json.loads((GOLDENS / name).read_text()))
        return folder, []

    return make


def _save_places(root: Path) -> None:
    for kind in ("airfield", "abbey", "zen_garden"):
        for number in range(7):
            labelled_images.save(root / f"train/{kind}/{number}.jpg")


def _official_coco(folder: Path, samples: Path) -> tuple[Path, list[Path]]:
    """The official validation lists of COCO-20i, with empty files for photos, and their classes as small squares."""
    (folder / "train2014").mkdir()
    lists = samples / "official-lists/hsnet/coco/val"
    pairs = {
        (name, number)
        for path in sorted(lists.iterdir())
        for number, names in parse_plain_pickle(path.read_bytes()).items()
        for name in names
    }
    names = sorted({name for name, _ in pairs})
    _touch(folder, names)
    categories = json.loads((samples / "coco-mini/annotations/instances_val2014.json").read_text())["categories"]
    ids = sorted(category["id"] for category in categories)
    numbers = {name: number for number, name in enumerate(names, 1)}
    images = [{"id": number, "file_name": Path(name).name, "height": 8, "width": 8} for name, number in numbers.items()]
    square = {"segmentation": [[0, 0, 4, 0, 4, 4, 0, 4]], "area": 16, "bbox": [0, 0, 4, 4], "iscrowd": 0}
    annotations = [
        square | {"id": place, "image_id": numbers[name], "category_id": ids[number]}
        for place, (name, number) in enumerate(sorted(pairs), 1)
    ]
    for split, content in (("val", (images, annotations)), ("train", ([], []))):
        file = folder / f"annotations/instances_{split}2014.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps({"images": content[0], "annotations": content[1], "categories": categories}))
    return folder, [samples / "official-lists"]


def _official_fss1000(folder: Path, samples: Path) -> tuple[Path, list[Path]]:
    """Empty files for FSS-1000's photos and masks, and the official lists of its classes."""
    lists = samples / "official-lists/hsnet/fss"
    kinds = {kind for path in sorted(lists.glob("*.txt")) for kind in path.read_text().split()}
    _touch(
        folder,
        [f"{kind}/{number}{end}" for kind in sorted(kinds) for number in range(1, 11) for end in (".jpg", ".png")],
    )
    return folder, [samples / "official-lists"]


def _touch(folder: Path, names: list[str]) -> None:
    for parent in {(folder / name).parent for name in names}:
        parent.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()


def _demo(folder: Path, samples: Path) -> tuple[Path, list[Path]]:
    """The clone's demo, which writes itself where it is opened first."""
    return REPOSITORY / "data" / "demo", []


def _images(dataset: str, save: Callable[[Path], Any], seconds: int | None = None) -> FrozenSet:
    return FrozenSet(dataset, _written(save), tasks=CLASSES_TASKS, classification=True, seconds=seconds)


def _drawn_set(dataset: str, drawing: str, folds: tuple[int, ...] = (0,)) -> FrozenSet:
    return FrozenSet(dataset, _drawn(drawing), folds, most=100, drop_small=True, seconds=5)


def _listed(dataset: str, protocol: str, shot: int = 5, folds: tuple[int, ...] = (0,)) -> FrozenSet:
    """Draw a data set with a list of training images and one of test images."""

    def make(folder: Path, samples: Path) -> tuple[Path, list[Path]]:
        from tests import drawn_lists  # with torch

        drawn_lists.draw_set(folder, dataset)
        return folder, []

    return FrozenSet(dataset, make, folds, ({"shot": shot},), protocols=(protocol,))


def _lesion_folds(folder: Path, samples: Path) -> tuple[Path, list[Path]]:
    from tests import drawn_lists  # with torch

    drawn_lists.draw_lesion_folds(folder)
    return folder, []


FOUR, THREE, TEN = tuple(range(4)), tuple(range(3)), tuple(range(10))
QUICK = tuple(name for name in suite.protocol_names() if name != "presence")
"""Protocols that do not open every label map."""
OF_SCANS = ("adnet", "adnet_ep1", "alpnet", "alpnet_all_slices", "qnet")
LISTED = ("cdfss", "fscs", "hsnet", "incontext", "sansa", "segic")
"""Protocols whose episodes follow from official lists of names alone."""
SETS: Mapping[str, FrozenSet] = {
    "demo-folder": FrozenSet("folder", _written(suite.draw_small_demo)),
    "demo": FrozenSet("demo", _demo, FOUR, settings=SETTINGS, atlas=True, seconds=60),
    "demo-cls": _images("demo-cls", lambda folder: None, seconds=4),
    "voc-mini": FrozenSet(
        "pascal", _sample("voc-mini"), FOUR, drop_small=True, samples=True, protocols=QUICK, seconds=10
    ),
    "coco-mini": FrozenSet(
        "coco", _sample("coco-mini"), FOUR, drop_small=True, samples=True, protocols=QUICK, seconds=20
    ),
    "coco-mini-all": FrozenSet("coco_all", _sample("coco-mini"), drop_small=True, samples=True, seconds=10),
    "fss1000-mini": FrozenSet("fss1000", _sample("fss1000-mini"), drop_small=True, samples=True),
    "coco-official": FrozenSet("coco", _official_coco, FOUR, samples=True, protocols=LISTED, seconds=20),
    "fss1000-official": FrozenSet("fss1000", _official_fss1000, samples=True, protocols=LISTED, seconds=10),
    "drawn-pascal": _drawn_set("pascal", "pascal", FOUR),
    "drawn-pascal10i": _drawn_set("pascal10i", "pascal10i", (0, 1)),
    "drawn-coco": _drawn_set("coco", "coco", FOUR),
    "drawn-coco-all": _drawn_set("coco_all", "coco"),
    "drawn-isaid": _drawn_set("isaid", "isaid", THREE),
    "drawn-isaid512": _drawn_set("isaid512", "isaid512", THREE),
    "drawn-deepglobe": _drawn_set("deepglobe", "deepglobe"),
    "drawn-deepglobe-all": _drawn_set("deepglobe_all", "deepglobe"),
    "drawn-isic": _drawn_set("isic", "isic"),
    "drawn-isic-one": _drawn_set("isic_one", "isic"),
    "drawn-lung": _drawn_set("lung", "lung"),
    "drawn-lung-all": _drawn_set("lung_all", "lung"),
    "drawn-suim": _drawn_set("suim", "suim"),
    "drawn-fss1000": _drawn_set("fss1000", "fss1000"),
    "drawn-isic-folds": FrozenSet("isic_folds", _lesion_folds, (0,), ({"shot": 1},), protocols=("fob_skin",)),
    "drawn-isic-listed": _listed("isic_listed", "distillfss_isic", 9),
    "drawn-pothole": _listed("pothole", "distillfss"),
    "drawn-kvasir": _listed("kvasir", "distillfss"),
    "drawn-nucleus": _listed("nucleus", "distillfss"),
    "drawn-weedmap": _listed("weedmap", "distillfss_weeds"),
    "drawn-industrial": _listed("industrial", "distillfss", 10, FOUR),
    "drawn-lungcancer": _listed("lungcancer", "distillfss"),
    "drawn-chaost2": FrozenSet("chaost2", _drawn("chaost2"), (0, 5), SHOTS, protocols=OF_SCANS, seconds=3),
    "drawn-sabs": FrozenSet(
        "sabs",
        _written(lambda root: draw_prepared(root, Sabs, range(12))),
        (0, 5),
        SHOTS,
        protocols=OF_SCANS,
        seconds=3,
    ),
    "drawn-cmr": FrozenSet(
        "cmr",
        _written(lambda root: draw_prepared(root, Cmr, range(1, 13))),
        (0, 4),
        SHOTS,
        protocols=OF_SCANS,
        seconds=3,
    ),
    "drawn-lvis": FrozenSet("lvis", _from_golden("lvis", "lvis_1shot.json"), TEN, seconds=8),
    "drawn-paco": FrozenSet("paco_part", _from_golden("paco", "paco_3shot.json"), FOUR, seconds=6),
    "drawn-pascal-part": FrozenSet("pascal_part", _from_golden("part", "pascal_part_2shot.json"), FOUR),
    "photos": _images("imagefolder", lambda root: draw_photos(root, [20, 20, 25, 60, 20, 20])),
    "drawn-cub": _images("cub", labelled_images.save_cub),
    "drawn-cars": _images("cars", labelled_images.save_cars),
    "drawn-aircraft": _images("aircraft", labelled_images.save_aircraft),
    "drawn-pets": _images("pets", labelled_images.save_pets),
    "drawn-places": _images("places", _save_places),
    "drawn-plantae": _images("plantae", lambda root: labelled_images.save_plantae(root, {"5": 9, "12": 30, "7": 21})),
}
"""Name of a data set in the frozen file -> what it is."""
