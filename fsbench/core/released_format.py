"""Layouts of the checkpoints that the authors of methods release."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

WRITTEN_BY = "fsbench"
"""Key under which our checkpoints say which method, settings and backbone weights they belong to."""

TRAINED_ON = "fsbench_data"
"""Key under which our checkpoints name the data set, the fold, the protocol and the classes they were trained on."""

TRAINED_BEFORE = "fsbench_data_before"
"""Key under which they list the same of earlier trainings, if the weights learned from other data before."""

ADAPTED_TO = "fsbench_adaptation"
"""Key under which a checkpoint of an adaptation names the data set, the fold and the number of labelled images a class
of the test that it learned from."""


@dataclass(frozen=True)
class ReleasedFormat:
    """Layout of a method's checkpoints as its authors published them.

    Attributes:
        wrapper: prefix of every weight's name, such as `module.`; "" for a Lightning checkpoint, otherwise the file is
            a bare state_dict.
        backbone: prefix, after the wrapper, of the names of the frozen backbone's weights.
        complete: function that adds to the learned weights, {name: tensor}, those that the authors' files hold but
            fsbench computes.
        stored: function that returns, for a weight's name, False if the authors' files hold the weight but fsbench
            computes it.
        stated: function from a checkpoint's path to the {setting: value} in the authors' configuration file beside it,
            under fsbench's names; None if the authors keep no such file.
        has_backbone: whether the authors' files hold the frozen backbone.
    """

    wrapper: str = ""
    backbone: str = "backbone."
    complete: Callable[[dict[str, Tensor]], dict[str, Tensor]] = lambda learned: learned
    stored: Callable[[str], bool] = lambda key: True
    stated: Callable[[Path], dict[str, Any]] | None = None
    has_backbone: bool = True

    def split(self, state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]] | None:
        """Split an authors' checkpoint into the method's learned weights and the backbone's, under fsbench's names.

        Args:
            state: the checkpoint's {name: tensor}.

        Returns:
            The state dicts (learned, backbone); None if the names in `state` are not those of the authors' layout.
        """
        frozen = self.wrapper + self.backbone
        backbone = {key.removeprefix(frozen): value for key, value in state.items() if key.startswith(frozen)}
        if not backbone or not all(key.startswith(self.wrapper) for key in state):
            return None
        own = {k.removeprefix(self.wrapper): value for k, value in state.items() if not k.startswith(frozen)}
        return {key: value for key, value in own.items() if self.stored(key)}, backbone

    def join(self, learned: dict[str, Tensor], backbone: dict[str, Tensor]) -> dict[str, Any]:
        """Return the content of a checkpoint file in the authors' layout, from weights under fsbench's names."""
        state = {self.backbone + key: value for key, value in backbone.items()} | self.complete(learned)
        wrapped = {self.wrapper + key: value for key, value in state.items()}
        return wrapped if self.wrapper else {"state_dict": wrapped}
