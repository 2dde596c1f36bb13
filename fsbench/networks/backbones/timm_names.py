"""Bring weights under their authors' names to timm's names, without what no feature depends on."""

from torch import Tensor

BUFFERS = ("attn_mask", "relative_position_index", "num_batches_tracked")
"""Ends of the names of entries that no feature depends on."""
LITE_STAGES = (1, 2, 2, 3, 3, 4, 1)
"""Blocks of the stages of EfficientNet-lite0."""
_PLACES = [f"{stage}.{block}" for stage, count in enumerate(LITE_STAGES) for block in range(count)]
LITE_BLOCKS = {str(number): place for number, place in enumerate(_PLACES)}
"""Stage and place in it, as timm names EfficientNet-lite0's blocks, by their numbers in the package's file."""
LITE_STEM = {"bn0": "bn1", "bn1": "bn2"}
LITE_FIRST_LAYERS = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
LITE_LAYERS = {
    "_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2", "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}  # fmt: skip
"""timm's names of the layers of a block, and of the first one, by those of the package's file."""
PREFIXES = ("module.", "backbone.", "encoder.")
"""Beginnings of names in files whose network is wrapped in another module."""


def to_timm_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of a ResNet, VGG-16, Swin or EfficientNet-lite that features depend on, under timm's names.

    The classifier, the norm before it, buffers that timm computes and batch counts, which matter in training only, are
    dropped. Weights of other networks are returned unchanged.

    Args:
        state: weights under torchvision's, the Swin authors', the EfficientNet package's or timm's names.
    """
    if "_conv_stem.weight" in state or "conv_stem.weight" in state:
        return _efficientnet_to_timm_names(state)
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


def _efficientnet_to_timm_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of an EfficientNet-lite's blocks but the last stage's under timm's names.

    The package counts blocks through, timm those of each stage. Weights under timm's names keep theirs.
    """
    renamed = {}
    for key, value in state.items():
        head, _, rest = key.removeprefix("_").partition(".")
        if head == "blocks" and key.startswith("_"):
            number, _, layer_and_end = rest.partition(".")
            layer, _, end = layer_and_end.partition(".")
            layers = LITE_FIRST_LAYERS if number == "0" else LITE_LAYERS  # the first has no expansion
            key = f"blocks.{LITE_BLOCKS.get(number, number)}.{layers.get(layer, layer)}.{end}"
        elif key.startswith("_"):
            key = f"{LITE_STEM.get(head, head)}.{rest}"
        if not key.startswith((f"blocks.{len(LITE_STAGES) - 1}.", "conv_head.", "bn2.", "classifier.", "fc.")):
            renamed[key] = value
    return without_buffers(renamed)


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
