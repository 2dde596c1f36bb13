"""The members by which a method takes part in explanations, and the runs that can be explained."""

from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from fsbench.config.registry import method_classes
from fsbench.data.batch import EpisodeBatch, ImageEpisode
from fsbench.engine.experiment import Experiment
from fsbench.engine.restore import load_run
from fsbench.errors import SettingsError


@runtime_checkable
class HasCoarseMasks(Protocol):
    """A method that predicts coarse masks before its decoder; all members take one 1-way episode."""

    def coarse_masks(self, episode: EpisodeBatch) -> dict[int, Tensor]:
        """Return coarse masks (L, h, w) by scale."""

    def attention_of(self, episode: EpisodeBatch, row: int, column: int) -> Tensor:
        """Return the attention (K, S, S) of a query pixel to the supports."""

    def pixel_features(self, episode: EpisodeBatch) -> dict[str, Tensor]:
        """Return features (C, ·, ·) of the query's pixels by name."""


@runtime_checkable
class HasScanMemory(Protocol):
    """A method whose scan carries a state from the support to the query."""

    def memory_of(self, episode: EpisodeBatch) -> dict[str, Tensor]:
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


def open_run(folder: Path) -> Experiment:
    """Load a finished run's experiment, with its trained method in eval mode.

    Raises:
        RecordError: the run is not finished.
        SettingsError: its method or task cannot be explained.
    """
    experiment = load_run(folder)
    kinds = HasCoarseMasks | HasScanMemory | HasTunedAttention
    if not isinstance(experiment.method, kinds):
        able = [name for name, method in method_classes().items() if issubclass(method, kinds)]
        raise SettingsError(
            f"{experiment.options.name} has no coarse masks and attention to explain; methods that do: "
            f"{', '.join(able)}"
        )
    if experiment.data.way != 1 and not isinstance(experiment.method, HasTunedAttention):
        raise SettingsError(f"the run is {experiment.data.way}-way; only 1-way runs can be explained")
    return experiment
