"""Names of HMNet's weights in the authors' checkpoints (hmnet.md §12)."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from fsbench.core.released_format import ReleasedFormat
from fsbench.methods.modules.pspnet_weights import FROZEN

ENSEMBLE = ("head.gram_merge.", "head.cls_merge.", "head.kshot_rw.")
"""Prefixes of weights that exist only with the ensemble (`bam`)."""


@dataclass(frozen=True)
class HMNetReleasedFormat(ReleasedFormat):
    """Layout of the authors' checkpoints: the whole PSPNet beside the trained weights, without a prefix (§12)."""

    def split(self, state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]] | None:
        plain = {key.removeprefix(self.wrapper): value for key, value in state.items()}
        if "layer0.0.weight" not in plain or "init_merge_query.0.weight" not in plain:
            return None
        learned = {f"head.{key}": value for key, value in plain.items() if not key.startswith(FROZEN)}
        return learned, {key: value for key, value in plain.items() if key.startswith(FROZEN)}

    def join(self, learned: dict[str, Tensor], backbone: dict[str, Tensor]) -> dict[str, Any]:
        state = backbone | {key.removeprefix("head."): value for key, value in learned.items()}
        return {"state_dict": {self.wrapper + key: value for key, value in state.items()}}
