"""Names of HDMNet's weights in the authors' checkpoints (hdmnet.md §9)."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from fsbench.core.released_format import ReleasedFormat
from fsbench.methods.modules.pspnet_weights import FROZEN, renamed

ENSEMBLE = ("head.gram_merge.", "head.cls_merge.", "head.kshot_rw.")
"""Prefixes of weights that exist only with the base learner."""
NAMES = (("transformer.mix_transformer.", "transformer."), ("base_learnear.", "base_learner."))
"""Beginnings of names in the authors' files, and what they are here."""


def from_authors_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return weights of the authors' files under the names of `HDMNetHead` and `PSPNet`."""
    return {renamed(key, NAMES): value for key, value in state.items()}


def to_authors_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return weights of `HDMNetHead` and `PSPNet` under the names of the authors' files."""
    return {renamed(key, [(own, theirs) for theirs, own in NAMES]): value for key, value in state.items()}


@dataclass(frozen=True)
class HDMNetReleasedFormat(ReleasedFormat):
    """Layout of the authors' checkpoints: the whole PSPNet beside the trained weights (§9)."""

    def split(self, state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]] | None:
        plain = {key.removeprefix(self.wrapper): value for key, value in state.items()}
        if not {"layer0.0.weight", "supp_merge.0.weight", "base_learnear.2.weight"} <= plain.keys():
            return None
        plain = from_authors_names(plain)
        frozen = {key: value for key, value in plain.items() if key.startswith(FROZEN)}
        return {f"head.{key}": value for key, value in plain.items() if key not in frozen}, frozen

    def join(self, learned: dict[str, Tensor], backbone: dict[str, Tensor]) -> dict[str, Any]:
        state = backbone | {key.removeprefix("head."): value for key, value in learned.items()}
        return {"state_dict": {self.wrapper + key: value for key, value in to_authors_names(state).items()}}
