"""Names of a PSPNet's weights in other files: authors' checkpoints, ImageNet weights (hmnet.md §2, §12; bam.md §7)."""

from collections.abc import Iterable

import torch
from torch import Tensor

from fsbench.methods.modules.pspnet import CUTS, Kind, Trunk
from fsbench.networks.weights.files import check_keys

FROZEN = ("layer0.", "layer1.", "layer2.", "layer3.", "layer4.", "ppm.", "cls.", "base_learner.")
"""Prefixes of a PSPNet's weights, which few-shot methods on it do not train."""

BAM_NAMES = (("learner_base.0.", "ppm."), ("learner_base.1.4.", "base_learner.2."), ("learner_base.1.", "cls."))
"""Beginnings of the names of BAM's base learner, and what they are in HMNet's checkpoints."""
DIAM_NAMES = (("bottleneck.", "cls."), ("classifier.", "base_learner.2."))
"""Beginnings of names in DIaM's files (gfss.md §8) and what they are here; all others are the same."""


def to_hmnet_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return PSPNet weights from a file of any known layout under the names of HMNet's checkpoints.

    Args:
        state: weights of a PSPNet alone (last layers `cls.{0..4}`, all layers stored twice as `encoder.*`), or from
            the checkpoints of DIaM, HMNet, BAM, or of fsbench's base learner.
    """
    plain = {}
    alone = any(key.removeprefix("module.").startswith("cls.4.") for key in state)
    for key, value in state.items():
        key = key.removeprefix("module.").removeprefix("model.")
        key = renamed(key, DIAM_NAMES)
        if alone and key.startswith("cls.4."):
            key = "base_learner.2." + key.removeprefix("cls.4.")
        key = renamed(key, BAM_NAMES)
        if key.startswith(FROZEN):
            plain[key] = value
    return plain


def to_bam_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename PSPNet weights from the names of HMNet's checkpoints to those of BAM's."""
    return {renamed(key, [(own, bams) for bams, own in BAM_NAMES]): value for key, value in state.items()}


def renamed(key: str, beginnings: Iterable[tuple[str, str]]) -> str:
    """Return a name with its beginning replaced by a table of pairs (old, new); other names stay as they are."""
    for former, latter in beginnings:
        if key.startswith(former):
            return latter + key.removeprefix(former)
    return key


def from_imagenet(kind: Kind, state: dict[str, Tensor], what: str) -> dict[str, Tensor]:
    """Return the ImageNet weights of a backbone under the names `layer0..4` of a PSPNet.

    Args:
        kind: architecture: "resnet50", "resnet101" or "vgg16".
        state: weights of a ResNet with a deep stem (semseg's names conv1..3, bn1..3, or those of timm's resnet50s,
            conv1.N, bn1), of torchvision's or timm's VGG16-bn (features.N), or already renamed ones.
        what: description of the weights, for error messages.

    Raises:
        CheckpointError: weights are missing or unknown.
    """
    own_names, timms = "layer0.0.weight" in state, "conv1.0.weight" in state
    found = {}
    for key, value in state.items():
        head, _, rest = key.partition(".")
        if head.startswith("layer") and (kind != "vgg16" or own_names):
            found[key] = value
        elif kind != "vgg16" and timms and head in ("conv1", "bn1"):
            found[f"layer0.{rest}" if head == "conv1" else f"layer0.7.{rest}"] = value
        elif kind != "vgg16" and head in ("conv1", "bn1", "conv2", "bn2", "conv3", "bn3"):
            found[f"layer0.{3 * (int(head[-1]) - 1) + head.startswith('bn')}.{rest}"] = value
        elif kind == "vgg16" and head == "features":
            index, _, name = rest.partition(".")
            layer = sum(int(index) >= cut for cut in CUTS[1:])
            if layer < len(CUTS) - 1:
                found[f"layer{layer}.{int(index) - CUTS[layer]}.{name}"] = value
    with torch.device("meta"):
        own = Trunk(kind).state_dict()
    counts = {k: torch.zeros((), dtype=torch.int64) for k in own if k.endswith("num_batches_tracked")}
    check_keys(own, counts | found, what)
    return {key: (counts | found)[key] for key in own}
