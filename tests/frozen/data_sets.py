"""The small data sets whose episodes are frozen: the demos, the samples of real photos, official lists, drawn ones."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fsbench.base.paths import REPOSITORY
from fsbench.datamodules.lists.plain_pickle import parse_plain_pickle
from tests.datamodules.datasets import labelled_images
from tests.frozen import suite
from tests.fsbench.protocols.drawn_sets import DRAWN
from tests.photos import draw_photos

GOLDENS = REPOSITORY / "tests/goldens/incontext"
CAPPED = {"presence": 60, "fss_sam3": 60, "fscs": 200}
"""Number of episodes of protocols that take long to draw each; the others have as many as they say."""
TASKS: tuple[Mapping[str, Any], ...] = tuple({"way": way, "shot": shot} for way in (1, 2) for shot in (1, 5))
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
        drop_small: classes with too few images are left out.
        settings: further tests; each names its protocol.
        atlas: rows of the atlas are drawn, too.
        without: protocols that are left out, since they would read every label map.
        samples: it needs the samples.
        classification: it has images with a class each, of which one protocol alone is a test.
        seconds: of its test, where that is slow.
    """

    dataset: str
    make: Callable[[Path, Path], tuple[Path, list[Path]]]
    folds: tuple[int, ...] = (0,)
    tasks: tuple[Mapping[str, Any], ...] = TASKS
    drop_small: bool = False
    settings: tuple[Mapping[str, Any], ...] = ()
    atlas: bool = False
    without: tuple[str, ...] = ()
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


def _of_golden(dataset: str, name: str) -> Callable[[Path, Path], tuple[Path, list[Path]]]:
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
    """Empty files for COCO's photos of the official validation lists, and these; annotations are the sample's."""
    (folder / "train2014").mkdir()
    (folder / "annotations").symlink_to(samples / "coco-mini/annotations")
    lists = samples / "official-lists/hsnet/coco/val"
    names = {name for path in sorted(lists.iterdir()) for name in _names_in_pickle(path)}
    _touch(folder, sorted(names))
    return folder, [samples / "official-lists"]


def _names_in_pickle(path: Path) -> list[str]:
    return [name for names in parse_plain_pickle(path.read_bytes()).values() for name in names]


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


_demo = _written(lambda folder: None)  # which writes itself where it is opened


def _images(dataset: str, save: Callable[[Path], Any]) -> FrozenSet:
    return FrozenSet(dataset, _written(save), tasks=CLASSES_TASKS, classification=True)


FOUR, THREE, TEN = tuple(range(4)), tuple(range(3)), tuple(range(10))
PIXELS = ("presence", "fss_sam3", "gfss", "bam_gfss")
SETS: Mapping[str, FrozenSet] = {
    "demo-folder": FrozenSet("folder", _written(suite.draw_small_demo)),
    "demo": FrozenSet("demo", _demo, FOUR, settings=SETTINGS, atlas=True, seconds=60),
    "demo-cls": _images("demo-cls", lambda folder: None),
    "voc-mini": FrozenSet("pascal", _sample("voc-mini"), FOUR, drop_small=True, samples=True, seconds=20),
    "voc-mini-10i": FrozenSet("pascal10i", _sample("voc-mini"), (0, 1), drop_small=True, samples=True, seconds=20),
    "coco-mini": FrozenSet("coco", _sample("coco-mini"), FOUR, drop_small=True, samples=True, seconds=20),
    "coco-mini-all": FrozenSet("coco_all", _sample("coco-mini"), drop_small=True, samples=True, seconds=10),
    "fss1000-mini": FrozenSet("fss1000", _sample("fss1000-mini"), drop_small=True, samples=True),
    "coco-official": FrozenSet("coco", _official_coco, FOUR, samples=True, without=PIXELS, seconds=60),
    "fss1000-official": FrozenSet("fss1000", _official_fss1000, samples=True, without=PIXELS, seconds=10),
    "drawn-pascal": FrozenSet("pascal", _drawn("pascal"), FOUR, drop_small=True, seconds=10),
    "drawn-pascal10i": FrozenSet("pascal10i", _drawn("pascal10i"), (0, 1), drop_small=True, seconds=10),
    "drawn-coco": FrozenSet("coco", _drawn("coco"), FOUR, drop_small=True, seconds=10),
    "drawn-coco-all": FrozenSet("coco_all", _drawn("coco"), drop_small=True, seconds=10),
    "drawn-isaid": FrozenSet("isaid", _drawn("isaid"), THREE, drop_small=True, seconds=10),
    "drawn-isaid512": FrozenSet("isaid512", _drawn("isaid512"), THREE, drop_small=True, seconds=10),
    "drawn-deepglobe": FrozenSet("deepglobe", _drawn("deepglobe"), drop_small=True, seconds=10),
    "drawn-deepglobe-all": FrozenSet("deepglobe_all", _drawn("deepglobe"), drop_small=True, seconds=10),
    "drawn-isic": FrozenSet("isic", _drawn("isic"), drop_small=True),
    "drawn-isic-one": FrozenSet("isic_one", _drawn("isic"), drop_small=True),
    "drawn-lung": FrozenSet("lung", _drawn("lung"), drop_small=True),
    "drawn-lung-all": FrozenSet("lung_all", _drawn("lung"), drop_small=True),
    "drawn-suim": FrozenSet("suim", _drawn("suim"), drop_small=True, seconds=10),
    "drawn-fss1000": FrozenSet("fss1000", _drawn("fss1000"), drop_small=True, seconds=10),
    "drawn-lvis": FrozenSet("lvis", _of_golden("lvis", "lvis_1shot.json"), TEN),
    "drawn-paco": FrozenSet("paco_part", _of_golden("paco", "paco_3shot.json"), FOUR),
    "drawn-pascal-part": FrozenSet("pascal_part", _of_golden("part", "pascal_part_2shot.json"), FOUR),
    "photos": _images("imagefolder", lambda root: draw_photos(root, [20, 20, 25, 60, 20, 20])),
    "drawn-cub": _images("cub", labelled_images.save_cub),
    "drawn-cars": _images("cars", labelled_images.save_cars),
    "drawn-aircraft": _images("aircraft", labelled_images.save_aircraft),
    "drawn-pets": _images("pets", labelled_images.save_pets),
    "drawn-places": _images("places", _save_places),
    "drawn-plantae": _images("plantae", lambda root: labelled_images.save_plantae(root, {"5": 9, "12": 30, "7": 21})),
}
"""Name of a data set in the frozen file -> what it is."""
