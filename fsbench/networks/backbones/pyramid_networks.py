"""Networks whose blocks give a pyramid of features, their official weight files, and the hooks that take the maps.

ResNets and Swin-B are timm's with the authors' weights and give the tensors that the authors' hooks give: of a ResNet's
bottleneck the sum before its last ReLU, of a Swin block its output before any merging or norm (dcama.md §2).
"""

from dataclasses import dataclass
from typing import Any, Literal, cast

from einops import rearrange
from torch import Tensor, nn

from fsbench.data.batch import IMAGENET_MEAN, IMAGENET_STD
from fsbench.networks.backbones.vit import VITS
from fsbench.networks.weights.table import WeightFile, weight_files


@dataclass(frozen=True)
class PyramidNet:
    """Architecture of a network with a pyramid of features, and its official weight file.

    Attributes:
        kind: "resnet", "swin" and "efficientnet" are timm's; "vgg" is VGG-16's convolutions; "vit" makes a pyramid from
            the demo's ViT (`fsbench.networks.backbones.pyramid.token_pyramid`).
        arguments: arguments of timm's constructor; of an EfficientNet `network`, timm's name of it.
        blocks: number of blocks of each stage; of an EfficientNet those of the last stage at each scale.
        channels: width of the maps of each stage.
        multiple: the side of an image must be a multiple of this many pixels.
        weights: the published weight file.
    """

    kind: Literal["resnet", "swin", "vgg", "vit", "efficientnet"]
    arguments: dict[str, Any]
    blocks: tuple[int, int, int, int]
    channels: tuple[int, int, int, int]
    multiple: int
    weights: WeightFile


WIDTHS = (256, 512, 1024, 2048)
"""Channels of the stages of ResNet-50 and ResNet-101."""


VGG_TAPS = (14, 17, 19, 21, 24, 26, 28, 30)
"""Indices of VGG-16's layers whose outputs are features: conv3_3, conv4_1 to conv5_3 before the ReLU, last pooling."""


EFFICIENTNET_STAGES = (1, 2, 4, 5)
"""Stages of an EfficientNet that are the last at 1/4, 1/8, 1/16 and 1/32. The last at all only widens the channels."""


def _resnet(name: str, blocks: tuple[int, int, int, int]) -> PyramidNet:
    return PyramidNet("resnet", dict(layers=blocks), blocks, WIDTHS, 8, weight_files()[name])


def _swin(name: str) -> PyramidNet:
    blocks = (2, 2, 18, 2)
    arguments = dict(img_size=384, window_size=12, embed_dim=128, depths=blocks, num_heads=(4, 8, 16, 32))
    return PyramidNet("swin", arguments, blocks, (128, 256, 512, 1024), 384, weight_files()[name])


PYRAMIDS = {
    # DCAMA's (dcama.md §13.5): timm's ResNets trained after "ResNet strikes back", Swin-B tuned from ImageNet-22K
    "resnet50": _resnet("resnet50", (3, 4, 6, 3)),
    "resnet101": _resnet("resnet101", (3, 4, 23, 3)),
    "swin_base": _swin("swin_base"),
    "swin_base_1k": _swin("swin_base_1k"),
    # HSNet's: torchvision's first ImageNet weights
    "resnet50_v1": _resnet("resnet50_v1", (3, 4, 6, 3)),
    "resnet101_v1": _resnet("resnet101_v1", (3, 4, 23, 3)),
    # ABCDFSS's: torchvision's newer ones
    "resnet50_v2": _resnet("resnet50_v2", (3, 4, 6, 3)),
    "vgg16": PyramidNet("vgg", {}, (1, 3, 3, 1), (256, 512, 512, 512), 8, weight_files()["vgg16"]),
    "efficientnet_lite0": PyramidNet(
        "efficientnet",
        dict(network="tf_efficientnet_lite0"),
        (2, 2, 3, 4),
        (24, 40, 112, 192),
        32,
        weight_files()["efficientnet_lite0"],
    ),
    "demo": PyramidNet("vit", {}, (1, 4, 4, 4), (96, 96, 96, 96), 32, VITS["demo"].weights),
}


def build_pyramid_network(spec: PyramidNet, side: int | None = None) -> nn.Module:
    """Build the network without its classifier, with freshly initialized weights.

    Args:
        spec: its architecture; kinds "resnet", "swin", "vgg" and "efficientnet".
        side: side of the images in pixels; None for the Swin's own.
    """
    if spec.kind == "vgg":
        # timm's has classifiers of 400 MB that nobody looks at; torchvision's models take a second
        from torchvision.models.vgg import cfgs, make_layers

        return nn.ModuleDict({"features": make_layers(cfgs["D"])})
    if spec.kind == "resnet":
        # timm takes seconds, which other commands are spared
        from fsbench.networks.backbones.timm_networks import Bottleneck, ResNet

        block: Any = Bottleneck
        return ResNet(block, **spec.arguments, num_classes=0, zero_init_last=False)
    if spec.kind == "efficientnet":
        # as above
        from fsbench.networks.backbones.timm_networks import create_network

        network = create_network(**spec.arguments, num_classes=0)
        network.blocks = network.blocks[: EFFICIENTNET_STAGES[-1] + 1]
        network.conv_head, network.bn2 = nn.Identity(), nn.Identity()  # only the classifier would see them
        return cast(nn.Module, network)
    # spared until it is needed
    from fsbench.networks.backbones.timm_networks import SwinTransformer

    model = SwinTransformer(**spec.arguments | ({"img_size": side} if side else {}), num_classes=0)
    model.norm = nn.Identity()  # only the classifier would see it
    return model


def block_features(model: Any, images: Tensor, first: int = 0) -> list[Tensor]:
    """Compute the maps of every block of timm's ResNet or Swin, or of VGG-16's layers `VGG_TAPS`.

    Of an EfficientNet, the blocks of `EFFICIENTNET_STAGES`.

    Args:
        model: a network of `build_pyramid_network`.
        images: (B, 3, H, W) normalised.
        first: number of the first block or layer whose maps are returned.

    Returns:
        Maps (B, C, h, w) in forward order.
    """
    maps: list[Tensor] = []
    vgg: Any = model["features"] if isinstance(model, nn.ModuleDict) else None
    if vgg is not None:  # cloned: the ReLU that follows works in place
        hooks = [vgg[i].register_forward_hook(lambda m, args, out: maps.append(out.clone())) for i in VGG_TAPS[first:]]
    elif hasattr(model, "layer1"):
        blocks = [block for stage in (model.layer1, model.layer2, model.layer3, model.layer4) for block in stage]
        hooks = [
            b.act3.register_forward_pre_hook(lambda m, args: maps.append(_kept(args[0], m))) for b in blocks[first:]
        ]
    elif hasattr(model, "conv_stem"):
        images = _with_half_means(images)
        blocks = [block for stage in EFFICIENTNET_STAGES for block in model.blocks[stage]]
        hooks = [b.register_forward_hook(lambda m, args, out: maps.append(out)) for b in blocks[first:]]
    else:
        blocks = [block for stage in model.layers for block in stage.blocks]
        hooks = [
            b.register_forward_hook(lambda m, args, out: maps.append(rearrange(out, "b h w c -> b c h w")))
            for b in blocks[first:]
        ]
    try:
        (vgg or model.forward_features)(images)
    finally:
        for hook in hooks:
            hook.remove()
    return maps


def _kept(x: Tensor, relu: Any) -> Tensor:
    """Return the input of a ReLU as it is before the ReLU, which may work in place."""
    return x.clone() if relu.inplace else x


def _with_half_means(images: Tensor) -> Tensor:
    """Return images (B, 3, H, W), normalised by ImageNet's mean and deviation, normalised by 0.5 and 0.5 instead.

    So EfficientNet-lite was trained (timm's `tf_efficientnet_lite0`, `default_cfg`).
    """
    mean, deviation = (images.new_tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (images * deviation + mean - 0.5) / 0.5
