"""The members by which a method takes part in explanations, and the runs that can be explained."""

from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from torch import Tensor

from fsbench.base.errors import SettingsError
from fsbench.data.batch import EpisodeBatch, ImageEpisode
from fsbench.data.episodes.manifest import CLASSIFICATION
from fsbench.runner.config.registry import method_classes
from fsbench.runner.engine.experiment import Experiment
from fsbench.runner.engine.restore import load_run


@runtime_checkable
class HasCoarseMasks(Protocol):
    """A method that predicts coarse masks before its decoder; all members take one 1-way episode."""

    def coarse_masks(self, episode: EpisodeBatch) -> dict[int, Tensor]:
        """Return coarse masks (L, h, w) by scale."""

    def pixel_attention(self, episode: EpisodeBatch, row: int, column: int) -> Tensor:
        """Return the attention (K, S, S) of a query pixel to the supports."""

    def pixel_features(self, episode: EpisodeBatch) -> dict[str, Tensor]:
        """Return features (C, ·, ·) of the query's pixels by name."""


@runtime_checkable
class HasScanMemory(Protocol):
    """A method whose scan carries a state from the support to the query."""

    def scan_memory(self, episode: EpisodeBatch) -> dict[str, Tensor]:
        """Return curves (points,) by name: similarity of the state to the support while the query of a 1-way episode is
        scanned."""


@runtime_checkable
class HasSupportAttention(Protocol):
    """A method that attends to its supports under their masks."""

    def support_attention(self, episode: EpisodeBatch, row: float, column: float) -> dict[str, Tensor]:
        """Return the attention (K, s, s) of a query point to the supports of the first way.

        `row` and `column` are shares of height and width. Keys: "attention", and "without the mask".
        """


@runtime_checkable
class HasTunedAttention(Protocol):
    """A classification method that tunes its attention."""

    def look(self, episode: ImageEpisode) -> Any:
        """Return maps (B, h, w) of the supports, each of sum 1: `focus`, `before` and `after`."""


Kind = Literal["masks", "memory", "attention", "episodes"]
"""The explanation of a whole run: coarse masks over its episodes, a scan's memory, a classifier's tuned attention, or
single episodes, which every method that segments has."""


def open_run(folder: Path) -> tuple[Experiment, Kind]:
    """Load a finished run's experiment, with its trained method in eval mode, and say how it is explained.

    Raises:
        RecordError: the run is not finished.
        SettingsError: it is one of classification whose method shows nothing of itself.
    """
    experiment = load_run(folder)
    if isinstance(experiment.method, HasTunedAttention):
        return experiment, "attention"
    if experiment.method.task == CLASSIFICATION:
        able = [name for name, method in method_classes().items() if issubclass(method, HasTunedAttention)]
        raise SettingsError(
            f"{experiment.options.name} classifies and has no attention to explain; classifiers that do: "
            f"{', '.join(able)}"
        )
    if experiment.data.test.way == 1 and isinstance(experiment.method, HasScanMemory):
        return experiment, "memory"
    if experiment.data.test.way == 1 and isinstance(experiment.method, HasCoarseMasks):
        return experiment, "masks"
    return experiment, "episodes"
