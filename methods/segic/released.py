"""Layout of the SegIC authors' checkpoints (segic.md §1)."""

import re
from typing import Any

from torch import Tensor

from fsbench.core.released_format import ReleasedFormat
from fsbench.methods.segic.head import CODE
from fsbench.networks.backbones.sam import names_of_transformers

NECK = "image_encoder.neck."
"""Where a SAM of Meta's has the neck, which SegIC's authors have at the top."""
NEEDED = frozenset({"neck.0.weight", "prompt_proj.weight", "inst_proj.weight", "inst_type_embed.weight"})
_HEADS = r"^(mask_decoder\.(?:output_hypernetworks_mlps\.\d+|iou_prediction_head))"
_TABLE = (
    (r"^neck\.conv1\.", "neck.0."),
    (r"^neck\.layer_norm1\.", "neck.1."),
    (r"^neck\.conv2\.", "neck.2."),
    (r"^neck\.layer_norm2\.", "neck.3."),
    (rf"^{re.escape(CODE)}$", "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"),
    (r"^prompt_encoder\.point_embed\.", "prompt_encoder.point_embeddings."),
    (r"^prompt_encoder\.mask_embed\.conv1\.", "prompt_encoder.mask_downscaling.0."),
    (r"^prompt_encoder\.mask_embed\.layer_norm1\.", "prompt_encoder.mask_downscaling.1."),
    (r"^prompt_encoder\.mask_embed\.conv2\.", "prompt_encoder.mask_downscaling.3."),
    (r"^prompt_encoder\.mask_embed\.layer_norm2\.", "prompt_encoder.mask_downscaling.4."),
    (r"^prompt_encoder\.mask_embed\.conv3\.", "prompt_encoder.mask_downscaling.6."),
    (r"^(mask_decoder\.transformer\.layers\.\d+)\.layer_norm", r"\1.norm"),
    (r"^mask_decoder\.transformer\.layer_norm_final_attn\.", "mask_decoder.transformer.norm_final_attn."),
    (r"^mask_decoder\.upscale_conv1\.", "mask_decoder.output_upscaling.0."),
    (r"^mask_decoder\.upscale_layer_norm\.", "mask_decoder.output_upscaling.1."),
    (r"^mask_decoder\.upscale_conv2\.", "mask_decoder.output_upscaling.3."),
    (rf"{_HEADS}\.proj_in\.", r"\1.layers.0."),
    (rf"{_HEADS}\.layers\.0\.", r"\1.layers.1."),
    (rf"{_HEADS}\.proj_out\.", r"\1.layers.2."),
)
"""Names of the head here, and those of the authors; the first that fits counts."""


def official_name(name: str) -> str:
    """Return the authors' name of a weight of `SegICHead`."""
    for pattern, new in _TABLE:
        renamed, count = re.subn(pattern, new, name)
        if count:
            return renamed
    return name


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
