"""Layout of the SegIC authors' checkpoints (segic.md §1)."""

from typing import Any

from torch import Tensor

from fsbench.core.released_format import ReleasedFormat
from fsbench.networks.backbones.sam import metas_name, names_of_transformers

NECK = "image_encoder.neck."
"""Where a SAM of Meta's has the neck, which SegIC's authors have at the top."""
NEEDED = frozenset({"neck.0.weight", "prompt_proj.weight", "inst_proj.weight", "inst_type_embed.weight"})


def official_name(name: str) -> str:
    """Return the authors' name of a weight of `SegICHead`."""
    if name.startswith("neck."):
        return metas_name(f"vision_encoder.{name}").removeprefix("image_encoder.")
    return metas_name(name)


def head_state(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of `SegICHead` from those of the authors."""
    metas = {NECK + name.removeprefix("neck.") if name.startswith("neck.") else name: state[name] for name in state}
    renamed = names_of_transformers(metas)
    return {
        name.removeprefix("vision_encoder."): value
        for name, value in renamed.items()
        if not name.startswith("shared_image_embedding.")
    }


class SegICFile(ReleasedFormat):
    """The learned weights alone, with the drawn frequencies of positions; DINOv2 and CLIP come from their own files."""

    def split(self, state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]] | None:
        plain = {name.removeprefix("module."): value for name, value in state.items()}
        if not plain.keys() >= NEEDED:
            return None
        return {f"head.{name}": value for name, value in head_state(plain).items()}, {}

    def join(self, learned: dict[str, Tensor], backbone: dict[str, Tensor]) -> dict[str, Any]:
        """Return the content of the authors' file, which holds no backbone."""
        return {official_name(name.removeprefix("head.")): value for name, value in learned.items()}
