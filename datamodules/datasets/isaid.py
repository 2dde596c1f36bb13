"""iSAID-5i: patches of aerial images, 15 classes in three folds (isaid-protocol §1 to §3)."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal

from fsbench.base.errors import DataError, SettingsError, known_names
from fsbench.data.dataset import Part, QuerySampling
from fsbench.data.source import ByHand, Source
from fsbench.datamodules.check.lists import check_lists
from fsbench.datamodules.check.media import check_label_maps
from fsbench.datamodules.check.report import Report
from fsbench.datamodules.kinds.find_folder import require_folder
from fsbench.datamodules.kinds.mask_folder import MaskFolder
from fsbench.datamodules.kinds.official import FoldwiseTrainingLists
from fsbench.datamodules.lists.official import default_lists
from fsbench.datamodules.lists.pfenet import MIN_PIXELS
from fsbench.datamodules.prepare.job import Job
from fsbench.datamodules.prepare.list_files import provide_lists
from fsbench.protocols.draws.incontext import EachPairOnce
from fsbench.protocols.draws.presence import CompleteLabelMaps, KnownAbsence

CLASS_NAMES = (
    "ship", "storage tank", "baseball diamond", "tennis court", "basketball court", "ground track field", "bridge",
    "large vehicle", "small vehicle", "helicopter", "swimming pool", "roundabout", "soccer ball field", "plane",
    "harbor",
)  # fmt: skip
LABEL_SUFFIX = "_instance_color_RGB.png"
"""End of a label map's name, after its patch's."""
DIVISIONS = ("blocks", "stride")


class Isaid(MaskFolder, FoldwiseTrainingLists):
    """iSAID-5i (aerial images): fold f tests classes 5f+1 to 5f+5; images are patches of 256 x 256 pixels.

    Args:
        root: Folder with `val/images/<name>.png` and `val/semantic_png/<name>_instance_color_RGB.png`, whose values are
            class numbers and 255 for void; for training also the same folders in `train`. Or a folder that holds this
            one as `iSAID_patches`.
        lists: Folders with the authors' lists as `isaid/{val,trn}/fold{0,1,2}.txt`. None takes the folder `lists` in
            `root` if it exists. Without the authors' lists they are derived from the label maps, in another order,
            which makes other episodes.
        allow_unverified_lists: Use lists whose checksum is not the official one; the run's record states this.
    """

    name = "isaid"
    class_names = CLASS_NAMES
    folds = 3
    classes_of_fold = 5
    has_published_protocol = True
    query_sampling: QuerySampling = "sequential"
    same_classes_as: ClassVar[tuple[str, ...]] = ("isaid512", "isaid512_stride")
    folders: ClassVar[dict[Part, tuple[str, str]]] = {
        "val": ("val/images", "val/semantic_png"),
        "trn": ("train/images", "train/semantic_png"),
    }
    """Part -> folders of its patches and of its label maps, below the root."""
    inner_folders: ClassVar[tuple[str, ...]] = ("iSAID_patches", "remote_sensing/iSAID_patches")
    """Folders below `root` that the authors' may be."""
    source = Source(
        dataset="isaid",
        page="https://github.com/ANDYZAQ/GF-SAM",
        by_hand=(
            ByHand("the patches of 256 x 256 pixels", ("val/images",), place="<root>"),
            ByHand("their label maps", ("val/semantic_png",), place="<root>"),
        ),
        holds=("val/images/<name>.png", f"val/semantic_png/<name>{LABEL_SUFFIX}", "lists/isaid/val/fold0.txt"),
        notes=(
            "for training the same in train/; isaid512 takes R2Net's patches, cut as "
            "https://github.com/chunbolang/R2Net says:",
            f"  img_dir/val/<name>.png   ann_dir/val/<name>{LABEL_SUFFIX}",
        ),
        lists="isaid",
    )

    def __init__(self, root: str, lists: list[str] | None = None, allow_unverified_lists: bool = False):
        given = Path(root).expanduser()
        needed = self.folders["val"]
        self.root = require_folder(self.source, given, self.inner_folders, needed)
        self.use_lists(lists, allow_unverified_lists, given, self.root)
        super().__init__(self.root, self.root, range(1, len(CLASS_NAMES) + 1))

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """The parts that have their folders: "val", and "trn" if it was made."""
        return tuple(part for part, pair in self.folders.items() if all((self.root / one).is_dir() for one in pair))

    def candidates(self, part: Part) -> Sequence[str]:
        """Return the names of all patches of a part ("trn" or "val"), ascending."""
        if part not in self.parts:
            raise SettingsError(
                f"{self.name} has its test part alone in {self.root}; found the part {part}; expected "
                f"{' and '.join(self.folders['trn'])}; make them, or test a method that is not trained"
            )
        names = self._names(part)
        self.require_files(names, self.root / self.folders[part][1])
        return names

    def label_names(self) -> list[str]:
        return sorted(name for part in self.parts for name in self._names(part))

    def _names(self, part: Part) -> list[str]:
        files = (path.name for path in (self.root / self.folders[part][1]).iterdir())
        return sorted(name.removesuffix(LABEL_SUFFIX) for name in files if name.endswith(LABEL_SUFFIX))

    @cached_property
    def _image_files(self) -> dict[str, str]:
        """Name of a patch -> its file below the root; the names of the two parts are those of different photos."""
        files: dict[str, str] = {}
        for one in (self.folders[part][0] for part in self.parts):
            for path in (self.root / one).glob("*.png"):
                if path.stem in files:
                    raise DataError(
                        f"the patch {path.stem} is in {files[path.stem]} and in {one}; expected it in one part; remove "
                        "one with its label map"
                    )
                files[path.stem] = f"{one}/{path.name}"
        return files

    def label_file(self, name: str) -> Path:
        is_training = self._image_files.get(name, "").startswith(f"{self.folders['trn'][0]}/")
        return self.root / self.folders["trn" if is_training else "val"][1] / f"{name}{LABEL_SUFFIX}"

    @classmethod
    def prepare(cls, job: Job) -> list[str]:
        """Copy or download the authors' lists to `<root>/lists`, and check that patches are there; return remarks."""
        remarks = provide_lists(job, Isaid.name)
        Isaid(str(job.root), lists=[])
        return remarks

    @classmethod
    def check(cls, report: Report, root: Path, lists: list[str] | None) -> None:
        data = report.attempt("folders", lambda: Isaid(str(root), lists=[]))
        parts = data.parts if data else ()
        names = report.attempt("patches", lambda: [n for p in parts for n in data.candidates(p)]) if data else None
        if data is None or names is None:
            return
        report.ok("folders", str(data.root))
        check_label_maps(report, "patches, label maps", data, names)
        if report.usable:
            check_lists(report, data, data.file_pairs, parts, default_lists(lists, root))


class Isaid512(Isaid):
    """iSAID-5i in R2Net's patches of 512 x 512 pixels; a patch is listed for each class with 2048 pixels or more.

    Args:
        root: Folder with `img_dir/val/<name>.png` and `ann_dir/val/<name>_instance_color_RGB.png`, and for training the
            same in `train`; or a folder that holds this one as `iSAID`.
        division: "blocks", fold f tests classes 5f+1 to 5f+5; "stride", fold f tests classes f+1, f+4, f+7, f+10 and
            f+13, which is the data set `isaid512_stride`.
    """

    name = "isaid512"
    min_pixels = MIN_PIXELS
    folders: ClassVar[dict[Part, tuple[str, str]]] = {
        "val": ("img_dir/val", "ann_dir/val"),
        "trn": ("img_dir/train", "ann_dir/train"),
    }
    inner_folders: ClassVar[tuple[str, ...]] = ("iSAID",)
    same_classes_as: ClassVar[tuple[str, ...]] = ("isaid", "isaid512", "isaid512_stride")

    def __init__(self, root: str, division: Literal["blocks", "stride"] = "blocks"):
        if division not in DIVISIONS:
            raise SettingsError(f"unknown division '{division}'{known_names(division, DIVISIONS)}")
        self.division = division
        if division == "stride":
            self.name = "isaid512_stride"
        super().__init__(root, lists=[])

    @property
    def folds_in_turn(self) -> bool:  # type: ignore[override]
        return self.division == "stride"


EachPairOnce.register(Isaid)(EachPairOnce)
KnownAbsence.register(Isaid)(CompleteLabelMaps)
