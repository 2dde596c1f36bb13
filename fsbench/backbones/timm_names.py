"""Bring weights under their authors' names to timm's names, without what no feature depends on."""

from torch import Tensor

BUFFERS = ("attn_mask", "relative_position_index", "num_batches_tracked")
"""Ends of the names of entries that no feature depends on."""
PREFIXES = ("module.", "backbone.", "encoder.")
"""Beginnings of names in files whose network is wrapped in another module."""


def to_timm_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of a ResNet, VGG-16 or Swin that features depend on, under timm's names.

    The classifier, the norm before it, buffers that timm computes and batch counts, which matter in training only, are
    dropped. Weights of other networks are returned unchanged.

    Args:
        state: weights under torchvision's, the Swin authors' or timm's names.
    """
    swin = any(".relative_position_bias_table" in key for key in state)
    state = swin_to_timm_names(state) if swin else state
    vgg = "features.28.weight" in state
    if not (swin or vgg or "layer1.0.conv1.weight" in state):
        return state
    dropped = ("head.", "norm.") if swin else ("classifier.",) if vgg else ("fc.",)
    return {key: value for key, value in state.items() if not key.startswith(dropped) and not key.endswith(BUFFERS)}


def swin_to_timm_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a Swin's weights with every patch merging counted to the stage after it, as timm does.

    Its authors count it to the stage before. Weights under timm's names and of other networks are returned unchanged.
    """
    if "layers.0.downsample.norm.weight" not in state:
        return state
    renamed = {}
    for key, value in state.items():
        if ".downsample." in key:
            stage, _, rest = key.removeprefix("layers.").partition(".")
            key = f"layers.{int(stage) + 1}.{rest}"
        renamed[key] = value
    return renamed


def encoder_to_timm_names(state: dict[str, Tensor], keep_head: bool) -> dict[str, Tensor]:
    """Return the weights of an encoder under timm's names, without wrappers' prefixes and what only pre-training needs.

    Args:
        state: weights under the names of whoever stored them.
        keep_head: keep the last layer, which is part of some encoders (CLIP's projection).
    """
    for prefix in PREFIXES:
        if state and all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    dropped = ("masked_embed", *(() if keep_head else ("head.",)))
    return swin_to_timm_names({k: v for k, v in without_buffers(state).items() if not k.startswith(dropped)})


def without_buffers(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights without the buffers that follow from the architecture."""
    return {key: value for key, value in state.items() if not key.endswith(BUFFERS)}
