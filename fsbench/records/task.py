"""The tasks that a record can be about, few-shot segmentation and few-shot classification, and all they differ in.

A task is chosen once, by `task_of`, from the header of a record's manifest.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from fsbench.errors import SettingsError
from fsbench.metrics.classification import accuracy_statistics
from fsbench.metrics.count_table import episode_statistics, pair_statistics
from fsbench.metrics.scores import METRICS
from fsbench.protocols.base import load_protocol

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

    from fsbench.metrics.scores import ScoreStatistics
    from fsbench.records.run import Run

Header = Mapping[str, Any]
"""First line of a manifest: what was tested."""

ALLOWED = 1e-3
"""Share of an episode's pixels that may be counted otherwise when an evaluation on unordered kernels is repeated."""


class Task(ABC):
    """A kind of test: how its records are scored, described and compared.

    Attributes:
        name: as in the `kind` of a header.
        has_masks: predictions are label maps: there are object sizes, void pixels and pictures.
        metrics: names of the scores that there are.
        resampled: the units that intervals and tests draw, in words.
        on_repetition: how a repeated test on unordered kernels may differ, in words.
    """

    name: str
    has_masks: bool
    metrics: tuple[str, ...]
    resampled: str
    on_repetition: str

    @abstractmethod
    def title(self, header: Header) -> str:
        """Describe what the runs of a group have in common."""

    def rule_notes(self, header: Header, runs: Sequence["Run"]) -> list[str]:
        """List what a reader must know of the rules of the test; `runs` are those of the group."""
        seed = self.official_seed(header)
        if header["seed"] == seed:
            return []
        return [f"test seed {header['seed']} instead of the protocol's {seed}: other episodes"]

    @abstractmethod
    def official_seed(self, header: Header) -> int | None:
        """Return the protocol's seed of the test; None where the protocol has none."""

    @abstractmethod
    def episode_count(self, protocol: str, dataset: str, official: int) -> int:
        """Return the protocol's number of test episodes on `dataset`, where another run's was `official`."""

    @abstractmethod
    def check_rules(self, header: Header) -> None:
        """Raise SettingsError where nothing is known of the header's protocol."""

    def counts_at_input_size(self, header: Header) -> bool:
        """Return True if pixels are counted at the size of the method's input."""
        return False

    @abstractmethod
    def scoring_rules(self, header: Header) -> dict[str, Any]:
        """Return everything that scores follow from besides the counts, as plain values."""

    @abstractmethod
    def query_name(self, episode: Any) -> str | None:
        """Name the query image whose episodes belong together; None where an episode has several."""

    @abstractmethod
    def statistics(self, frame: "pl.DataFrame", header: Header) -> "ScoreStatistics":
        """Sum a whole count table: every score of a run follows."""

    @abstractmethod
    def subset_statistics(self, frame: "pl.DataFrame", keep: "np.ndarray", header: Header) -> "ScoreStatistics":
        """Sum the (episode, way) rows `keep` (rows,) bool, over the classes that are among them."""

    def check_breakdowns(self, by: Sequence[str]) -> None:
        """Raise SettingsError for a breakdown that the task does not have."""
        if "size" in by and not self.has_masks:
            raise SettingsError(f"--by size: {self.name} has no object sizes; expected --by class, or nothing")

    def check_metrics(self, metrics: Sequence[str], asked: str) -> None:
        """Raise SettingsError where the task has none of `metrics`, which the user wrote as `asked`."""
        if not set(metrics) & set(self.metrics):
            names = ", ".join(self.metrics)
            raise SettingsError(f"--metrics {asked}: {self.name} has {names} alone; expected {names}")


class Segmentation(Task):
    """Masks of the ways, scored pixel by pixel under a protocol of `configs/protocols`."""

    name = "segmentation"
    has_masks = True
    metrics = tuple(METRICS)
    resampled = "query images"
    on_repetition = f"count up to {ALLOWED:.1%} of an episode's pixels"

    def title(self, header: Header) -> str:
        empty = "queries may be empty" if header["empty"] else "no empty queries"
        return (
            f"{header['dataset']} · {header['way']}-way {header['shot']}-shot · "
            f"{header['setting'].replace('_', ' ')} · {empty} · "
            f"protocol {header['protocol']} v{header['version']} · {header['requested']} episodes a fold"
        )

    def rule_notes(self, header: Header, runs: Sequence["Run"]) -> list[str]:
        notes = super().rule_notes(header, runs)
        if self.counts_at_input_size(header):
            sides = {run.identity.method.name: run.identity.image_size for run in runs}
            sizes = ", ".join(f"{name} {side} x {side}" for name, side in sides.items())
            notes.append(f"pixels are counted at the input size: {sizes}")
        return notes

    def official_seed(self, header: Header) -> int | None:
        return load_protocol(header["protocol"]).seed

    def episode_count(self, protocol: str, dataset: str, official: int) -> int:
        return load_protocol(protocol).episode_count(dataset, official)

    def check_rules(self, header: Header) -> None:
        load_protocol(header["protocol"])

    def counts_at_input_size(self, header: Header) -> bool:
        return load_protocol(header["protocol"]).query_size == "input"

    def scoring_rules(self, header: Header) -> dict[str, Any]:
        return asdict(load_protocol(header["protocol"]))

    def query_name(self, episode: Any) -> str:
        return str(episode.query)

    def statistics(self, frame: "pl.DataFrame", header: Header) -> "ScoreStatistics":
        protocol = load_protocol(header["protocol"])
        return episode_statistics(frame, header["class_ids"], protocol.void, protocol.fb_iou == "classes")

    def subset_statistics(self, frame: "pl.DataFrame", keep: "np.ndarray", header: Header) -> "ScoreStatistics":
        classes = sorted(set(frame["class_id"].to_numpy()[keep].tolist()))
        return pair_statistics(frame, keep, classes, load_protocol(header["protocol"]).void)


class Classification(Task):
    """Class names of whole query images: one score, no folds and no masks (fort.md §1)."""

    name = "classification"
    has_masks = False
    metrics = ("accuracy",)
    resampled = "episodes"
    on_repetition = "name query images"

    def title(self, header: Header) -> str:
        return (
            f"{header['dataset']} · classification · {header['way']}-way {header['shot']}-shot, {header['queries']} "
            f"queries a class · protocol {header['protocol']} v{header['version']} · {header['requested']} episodes"
        )

    def rule_notes(self, header: Header, runs: Sequence["Run"]) -> list[str]:
        notes = super().rule_notes(header, runs)
        notes.append("intervals and tests refer to other episodes of the same images; other images are not in them")
        if header.get("filled_classes"):
            notes.append(
                f"{header['filled_classes']} of {len(header['class_ids'])} classes have fewer than "
                f"{header['min_class_size']} images and are repeated up to that, as the authors do: an image may be a "
                "support and a query of one episode"
            )
        return notes

    def official_seed(self, header: Header) -> int | None:
        return 0

    def episode_count(self, protocol: str, dataset: str, official: int) -> int:
        return official

    def check_rules(self, header: Header) -> None:
        """Accept every header: classification has one protocol."""

    def scoring_rules(self, header: Header) -> dict[str, Any]:
        return {}

    def query_name(self, episode: Any) -> None:
        return None

    def statistics(self, frame: "pl.DataFrame", header: Header) -> "ScoreStatistics":
        return accuracy_statistics(frame)

    def subset_statistics(self, frame: "pl.DataFrame", keep: "np.ndarray", header: Header) -> "ScoreStatistics":
        return accuracy_statistics(frame, keep)


SEGMENTATION, CLASSIFICATION = Segmentation(), Classification()


def task_of(header: Header) -> Task:
    """Return the task that a manifest's header names by its `kind`; segmentation where there is none."""
    return CLASSIFICATION if header.get("kind") == CLASSIFICATION.name else SEGMENTATION
