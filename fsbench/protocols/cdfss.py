"""Few-shot segmentation across domains, as PATNet, IFA, DR-Adapter and ABCDFSS evaluate it (cd-fss-protocol).

Methods are trained on PASCAL VOC and tested on satellite, skin, X-ray, everyday and underwater images.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Literal

from fsbench.base.errors import SettingsError
from fsbench.data.dataset import PairList, SegmentationIndex
from fsbench.data.episodes.header import Header
from fsbench.data.episodes.task import EpisodeTask
from fsbench.protocols.base import OTHERS, Choice
from fsbench.protocols.conditions import Conditions, ListsAndDraw
from fsbench.protocols.hsnet import HSNet
from fsbench.protocols.lists import pair_list
from fsbench.protocols.pools import Pool
from fsbench.scores.ifa_figure import IFA_FIGURE, IFAFigure
from fsbench.scores.metric import Metric
from fsbench.scores.scores import COMMON

if TYPE_CHECKING:
    pass

BLIND_BASELINE = "blind_saliency"
"""Method that sees no support, which every table should have (cd-fss-protocol §9)."""

_SAME_IMAGES = {"deepglobe_all": "deepglobe", "isic_one": "isic", "lung_all": "lung"}
"""Data sets of the same images, and so of the same defects."""


@dataclass(frozen=True)
class CrossDomain(HSNet):
    """1-way K-shot; the classes take turns, FSS-1000 is HSNet's; pixels are counted at the method's input size.

    Attributes:
        split: classes of FSS-1000, or of another data set that keeps some for validation, that the test is about.
        ifa_batch: episodes of a 1-shot batch of IFA's program, half as many with more shots, whose printed figure is
            then a score of its own; None where there is none.
    """

    episodes: dict[str, int | Literal["all"]] = field(default_factory=lambda: {OTHERS: 600, "fss1000": "all"})
    split: Literal["test", "val"] = "test"
    ifa_batch: int | None = None

    lists_and_draw: ClassVar[Mapping[str, ListsAndDraw]] = {
        **{name: ListsAndDraw("folders", "none", "class cycle") for name in ("deepglobe", "isic", "lung", "suim")},
        "fss1000": ListsAndDraw("fss-1000 test", "none", "list of images"),
    }
    all_episodes: ClassVar[str] = "as many as images"
    drawing: ClassVar[str] = (
        "one after the other from one stream: the classes take turns, an image of the class is drawn as the query; an "
        "image may be drawn twice as a support. FSS-1000 as hsnet"
    )
    known_defects: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "deepglobe": (
            "its masks have heavy annotation errors, a crop shows several classes, and crops of one scene are query "
            "and support of each other",
        ),
        "isic": (
            "its three classes look alike and lesions are in the middle, so that an answer which sees no support is "
            "strong",
            "72, 20 and 8 % of its images are nevi, melanomas and keratoses: pixels pooled over classes give a higher "
            "figure than the mean over classes; programs number its folders otherwise, which makes other episodes",
        ),
        "lung": (
            "it has one class and all images are alike; programs list 566 or all 704 masks, which makes other episodes",
        ),
        "fss1000": ("it shows everyday objects, hardly another domain; IFA tests its validation classes",),
        "suim": (
            "its classes mix kinds (turtle and dolphin, robot fish among others), so that episodes are ambiguous; its "
            "TEST folder alone is easier",
        ),
    }
    """Data set -> what its figures suffer from (cd-fss-protocol §7)."""

    @property
    def metrics(self) -> tuple[Metric, ...]:  # type: ignore[override]
        """The usual scores, and IFA's figure where the protocol is IFA's."""
        return (*COMMON, IFAFigure(self.ifa_batch)) if self.ifa_batch else COMMON

    @property
    def averaged_seeds(self) -> tuple[int, ...]:  # type: ignore[override]
        """Seeds of IFA's program, which draws its episodes anew for each (§3); none for the other programs."""
        return (0, 1, 2, 3, 4) if self.ifa_batch else ()

    @property
    def default_metrics(self) -> tuple[str, ...]:  # type: ignore[override]
        mean, *others = super().default_metrics
        return (mean, IFA_FIGURE, *others) if self.ifa_batch else (mean, *others)

    def test_pool(self, index: SegmentationIndex, task: EpisodeTask) -> tuple[PairList, Pool, int | None]:
        if task.classes == "novel" and self._is_val(index, task.fold):
            task = replace(task, classes="held_out")
        return super().test_pool(index, task)

    def setting_pairs(self, index: SegmentationIndex, setting: str, fold: int) -> PairList:
        if self._is_val(index, fold):
            return pair_list(index, "held_out", fold)
        return super().setting_pairs(index, setting, fold)

    def _is_val(self, index: SegmentationIndex, fold: int) -> bool:
        """Return whether the test is about classes that the data set keeps for validation."""
        return self.split == "val" and bool(index.val_classes(fold))

    def conditions(self, dataset: str) -> Conditions:
        stated = replace(super().conditions(dataset), task="CD-FSS")
        return replace(stated, image_lists="fss-1000 val") if self.split == "val" and dataset == "fss1000" else stated

    def rule_notes(self, header: Header, image_sizes: Mapping[str, int | None]) -> list[str]:
        dataset = _SAME_IMAGES.get(header.dataset, header.dataset)
        notes = [*super().rule_notes(header, image_sizes), *(
            f"known defect of {header.dataset}: {words}" for words in self.known_defects.get(dataset, ())
        )]  # fmt: skip
        if header.dataset == "deepglobe_all":
            notes.append("all crops of DeepGlobe: no published figure is of these")
        if not any(name.startswith(BLIND_BASELINE) for name in image_sizes):  # also with a backbone's name
            notes.append(
                f"without a baseline that sees no support nobody can tell what a method learns from it: "
                f"METHOD={BLIND_BASELINE} adds it"
            )
        return notes

    def choices(self) -> list[Choice]:
        defects = "; ".join(f"{name}: {' '.join(words)}" for name, words in self.known_defects.items())
        return [
            *super().choices(),
            Choice("classes of FSS-1000", self.split, f"the {self.split} split's 240"),
            Choice("known defects", sorted(self.known_defects), defects),
        ]

    def check_values(self) -> None:
        super().check_values()
        if self.ifa_batch is not None and self.ifa_batch < 1:
            raise SettingsError(f"ifa_batch is {self.ifa_batch}, expected 1 or more, or nothing")
