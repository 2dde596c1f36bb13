"""Frozen networks whose features are a pyramid: maps of every block at 1/4, 1/8, 1/16 and 1/32 of the image.

ResNets and Swin-B are timm's with the authors' weights and give the tensors that the authors' hooks give: of a ResNet's
bottleneck the sum before its last ReLU, of a Swin block its output before any merging or norm (dcama.md §2).

Shapes: one scale (L, C, h, w), L its blocks in forward order.
"""

import itertools
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from fsbench.backbones import VITS, BackboneConfig, FrozenBackbone, build_vit, check_keys, random_state, vit_tokens
from fsbench.errors import SettingsError

Pyramid = tuple[Tensor, Tensor, Tensor, Tensor]
"""Features of an image at 1/4, 1/8, 1/16, 1/32, each (L, C, h, w). Of the finest scale only the last block is kept:
methods use it to sharpen edges, not to compare images."""

VIT_SCALE = 2.0
"""Tokens have a standard deviation near 1, features of a ResNet several; attention starts as sharp as with those."""
BUFFERS = ("attn_mask", "relative_position_index", "num_batches_tracked")
"""Entries of weight files that no feature depends on."""


@dataclass(frozen=True)
class PyramidNet:
    """A network the suite knows, and its official weight file.

    Attributes:
        kind: "resnet" and "swin" are timm's, `arguments` its constructor's; "vgg" is VGG-16's convolutions; "vit"
            makes a pyramid from the ViT of the demo, see `vit_pyramid`.
        blocks: number of blocks of each stage.
        channels: of the maps of each stage.
        multiple: of this many pixels must the side of an image be.
    """

    kind: Literal["resnet", "swin", "vgg", "vit"]
    arguments: dict[str, Any]
    blocks: tuple[int, int, int, int]
    channels: tuple[int, int, int, int]
    multiple: int
    file: str
    page: str = ""
    url: str = ""
    size: int = 0
    sha256: str = ""


TIMM = "https://github.com/huggingface/pytorch-image-models/releases/download/v0.1-rsb-weights/"
TORCHVISION = "https://download.pytorch.org/models/"
SWIN = "https://github.com/SwinTransformer/storage/releases/download/v1.0.0/"
WIDTHS = (256, 512, 1024, 2048)
VGG_TAPS = (14, 17, 19, 21, 24, 26, 28, 30)
"""Layers of VGG-16 whose outputs are features: conv3_3, conv4_1 to conv5_3 before their ReLU, and the last pooling."""


def _resnet(blocks: tuple[int, int, int, int], root: str, file: str, page: str) -> PyramidNet:
    return PyramidNet(
        "resnet",
        dict(layers=blocks),
        blocks,
        WIDTHS,
        8,
        file=f"weights/{file}",
        page=page,
        url=root + file,
        sha256=file.split("-")[-1].removesuffix(".pth"),  # the name ends with the start of it
    )


def _vgg(file: str) -> PyramidNet:
    return PyramidNet(
        "vgg",
        {},
        (1, 3, 3, 1),
        (256, 512, 512, 512),
        8,
        file=f"weights/{file}",
        page=TORCHVISION_PAGE,
        url=TORCHVISION + file,
        sha256=file.split("-")[-1].removesuffix(".pth"),
    )


def _swin(file: str) -> PyramidNet:
    return PyramidNet(
        "swin",
        dict(
            img_size=384,
            window_size=12,
            embed_dim=128,
            depths=(2, 2, 18, 2),
            num_heads=(4, 8, 16, 32),
        ),
        (2, 2, 18, 2),
        (128, 256, 512, 1024),
        384,
        file=f"weights/{file}",
        page="https://github.com/microsoft/Swin-Transformer",
        url=SWIN + file,
    )


RSB_PAGE = "https://github.com/huggingface/pytorch-image-models/releases/tag/v0.1-rsb-weights"
TORCHVISION_PAGE = "https://pytorch.org/vision/stable/models.html"

PYRAMIDS = {
    # DCAMA's (dcama.md §13.5): timm's ResNets trained after "ResNet strikes back", Swin-B tuned from ImageNet-22K
    "resnet50": _resnet((3, 4, 6, 3), TIMM, "resnet50_a1h-35c100f8.pth", RSB_PAGE),
    "resnet101": _resnet((3, 4, 23, 3), TIMM, "resnet101_a1h-36d3f2aa.pth", RSB_PAGE),
    "swin_base": _swin("swin_base_patch4_window12_384_22kto1k.pth"),
    "swin_base_1k": _swin("swin_base_patch4_window12_384.pth"),
    # HSNet's: torchvision's first ImageNet weights
    "resnet50_v1": _resnet((3, 4, 6, 3), TORCHVISION, "resnet50-0676ba61.pth", TORCHVISION_PAGE),
    "resnet101_v1": _resnet((3, 4, 23, 3), TORCHVISION, "resnet101-63fe2227.pth", TORCHVISION_PAGE),
    "vgg16": _vgg("vgg16-397923af.pth"),
    "demo": PyramidNet(
        "vit", {}, (1, 4, 4, 4), (96, 96, 96, 96), 32, file=VITS["demo"].file, sha256=VITS["demo"].sha256
    ),
}


class FrozenPyramid(FrozenBackbone):
    """A frozen network that gives a pyramid of features.

    `blocks` and `channels` tell of the pyramid: (1, L8, L16, L32) and the widths.
    """

    spec: PyramidNet

    def __init__(self, config: BackboneConfig):
        if config.name not in PYRAMIDS:
            raise SettingsError(
                f"the backbone '{config.name}' gives no pyramid of features; there are: {', '.join(sorted(PYRAMIDS))}"
            )
        self.spec = PYRAMIDS[config.name]
        super().__init__(config)

    @property
    def blocks(self) -> tuple[int, int, int, int]:
        return (1, *self.spec.blocks[1:])

    @property
    def channels(self) -> tuple[int, int, int, int]:
        return self.spec.channels

    def check_image_size(self, size: int) -> None:
        if size < self.spec.multiple or size % self.spec.multiple:
            raise SettingsError(f"image size {size} is not a multiple of {self.spec.multiple}, which {self.name} needs")

    def encode(self, pixels: Tensor) -> Pyramid:
        """Normalised image (3, H, W) -> its pyramid, float32."""
        return cast(Pyramid, super().encode(pixels))

    def _build(self, height: int, width: int) -> nn.Module:
        if self.spec.kind == "vit":
            return build_vit(VITS[self.name].arguments, self.state, height, width)
        self.check_image_size(height)
        model = new_network(self.spec, height)
        model.load_state_dict({key: value.float() for key, value in self.state.items()}, strict=False)  # checked before
        return model.eval().requires_grad_(False)

    def _features(self, model: nn.Module, images: Tensor) -> Pyramid:
        if self.spec.kind == "vit":
            return vit_pyramid(model, images)
        maps = block_features(model, images)
        ends = torch.tensor(self.spec.blocks).cumsum(0).tolist()
        stages = [maps[ends[0] - 1 : ends[0]], *(maps[start:end] for start, end in itertools.pairwise(ends))]
        return cast(Pyramid, tuple(torch.cat(stage) for stage in stages))

    def _random_state(self, seed: int) -> dict[str, Tensor]:
        if self.spec.kind == "vit":
            return random_state(VITS[self.name], seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return under_timms_names(new_network(self.spec).state_dict())

    def _fitting(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        if self.spec.kind == "vit":
            return state
        state = under_timms_names(state)
        with torch.device("meta"):
            own = under_timms_names(new_network(self.spec).state_dict())
        check_keys(own, state, f"backbone weights for {self.name}")
        return state


def new_network(spec: PyramidNet, side: int | None = None) -> nn.Module:
    """The network without its classifier and with fresh weights, for images of `side` (a Swin's own where None)."""
    if spec.kind == "vgg":
        from torchvision.models.vgg import cfgs, make_layers  # timm's has classifiers of 400 MB that nobody looks at

        return nn.ModuleDict({"features": make_layers(cfgs["D"])})
    if spec.kind == "resnet":
        from timm.models.resnet import Bottleneck, ResNet

        block: Any = Bottleneck
        return ResNet(block, **spec.arguments, num_classes=0, zero_init_last=False)
    from timm.models.swin_transformer import SwinTransformer

    model = SwinTransformer(**spec.arguments | ({"img_size": side} if side else {}), num_classes=0)
    model.norm = nn.Identity()  # only the classifier would see it
    return model


def block_features(model: Any, images: Tensor) -> list[Tensor]:
    """Images (B, 3, H, W) -> maps (B, C, h, w) of every block of timm's ResNet or Swin, or of VGG-16's taps, in forward
    order."""
    found: list[Tensor] = []
    vgg: Any = model["features"] if isinstance(model, nn.ModuleDict) else None
    if vgg is not None:  # cloned: the ReLU that follows works in place
        hooks = [vgg[i].register_forward_hook(lambda m, args, out: found.append(out.clone())) for i in VGG_TAPS]
    elif hasattr(model, "layer1"):
        blocks = [block for stage in (model.layer1, model.layer2, model.layer3, model.layer4) for block in stage]
        hooks = [b.act3.register_forward_pre_hook(lambda m, args: found.append(args[0].clone())) for b in blocks]
    else:
        blocks = [block for stage in model.layers for block in stage.blocks]
        hooks = [
            b.register_forward_hook(
                lambda m, args, out: found.append(rearrange(out, "b h w c -> b c h w").contiguous())
            )
            for b in blocks
        ]
    try:
        (vgg or model.forward_features)(images)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def under_timms_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights under torchvision's, Swin's or timm's names -> what the features depend on, under timm's names.

    Swin's authors count a merging to the stage before it, timm to the one after; their buffers timm computes, and batch
    counts matter in training only. The classifier and the norm before it are dropped. Weights of other networks come
    back as they are.
    """
    swin = any(".relative_position_bias_table" in key for key in state)
    state = merging_one_later(state) if swin else state
    vgg = "features.28.weight" in state
    if not (swin or vgg or "layer1.0.conv1.weight" in state):
        return state
    dropped = ("head.", "norm.") if swin else ("classifier.",) if vgg else ("fc.",)
    return {key: value for key, value in state.items() if not key.startswith(dropped) and not key.endswith(BUFFERS)}


def merging_one_later(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A Swin's weights with every merging counted to the stage after it, as timm does, and not to the one before it;
    weights of other networks as they are."""
    if "layers.0.downsample.norm.weight" not in state:
        return state
    renamed = {}
    for key, value in state.items():
        if ".downsample." in key:
            stage, _, rest = key.removeprefix("layers.").partition(".")
            key = f"layers.{int(stage) + 1}.{rest}"
        renamed[key] = value
    return renamed


def vit_pyramid(vit: nn.Module, images: Tensor) -> Pyramid:
    """A pyramid from the tokens of a plain ViT with patches of 8 pixels, without any weights of its own.

    At 1/8 stand the tokens of the last four blocks, at 1/16 and 1/32 the same averaged over 2x2 and 4x4 patches; at 1/4
    those of the first block, enlarged bilinearly: it is nearest to the pixels. All are scaled by `VIT_SCALE`.
    """
    tokens = vit_tokens(vit, images)[0, :, 1:]
    maps = VIT_SCALE * rearrange(tokens, "l (y x) c -> l c y x", y=images.shape[2] // 8)
    fine = F.interpolate(maps[:1], scale_factor=2, mode="bilinear", align_corners=True)
    last = maps[-4:].contiguous()
    return fine, last, F.avg_pool2d(last, 2), F.avg_pool2d(last, 4)
