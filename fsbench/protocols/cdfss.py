"""Few-shot segmentation across domains, as PATNet, IFA, DR-Adapter and ABCDFSS evaluate it (cd-fss-protocol).

Methods are trained on PASCAL VOC and tested on satellite, skin, X-ray, everyday and underwater images.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

from fsbench.base.errors import SettingsError
from fsbench.data.episodes.header import Header
from fsbench.protocols.base import Choice
from fsbench.protocols.composed import Composed
from fsbench.protocols.conditions import Conditions
from fsbench.protocols.geometry import QuerySize
from fsbench.scores.ifa_figure import IFA_FIGURE, IFAFigure
from fsbench.scores.metric import Metric

BLIND_BASELINE = "blind_saliency"
"""Method that sees no support, which every table should have (cd-fss-protocol §9)."""

_SAME_IMAGES = {"deepglobe_all": "deepglobe", "isic_one": "isic", "lung_all": "lung"}
"""Data sets of the same images, and so of the same defects."""


@dataclass(frozen=True)
class CrossDomain(Composed):
    """1-way K-shot by the words of its file, which no default stands for, on images of other domains.

    Tables name what these data sets suffer from.

    Attributes:
        ifa_batch: episodes of a 1-shot batch of IFA's program, half as many with more shots, whose printed figure is
            then a score of its own; None where there is none.
    """

    episodes: dict[str, int | Literal["all"]] = field(kw_only=True)
    episode_draw: str | dict[str, str] = field(kw_only=True)
    query_size: QuerySize = "input"
    states_streams: bool = False
    ifa_batch: int | None = None

    all_episodes: ClassVar[str] = "as many as images"
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
        return (*super().metrics, IFAFigure(self.ifa_batch)) if self.ifa_batch else super().metrics

    @property
    def default_metrics(self) -> tuple[str, ...]:  # type: ignore[override]
        mean, *others = super().default_metrics
        return (mean, IFA_FIGURE, *others) if self.ifa_batch else (mean, *others)

    def conditions(self, dataset: str) -> Conditions:
        return replace(super().conditions(dataset), task="CD-FSS")

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
        split = "val" if self.tests_held_out("fss1000") else "test"
        return [
            *super().choices(),
            Choice("classes of FSS-1000", split, f"the {split} split's 240"),
            Choice("known defects", sorted(self.known_defects), defects),
        ]

    def check_values(self) -> None:
        super().check_values()
        if self.ifa_batch is not None and self.ifa_batch < 1:
            raise SettingsError(f"ifa_batch is {self.ifa_batch}, expected 1 or more, or nothing")
