"""Frozen networks that timm builds: vision transformers, pyramids of features, and encoders of whole images.

Each family has a class of its own, by what a method reads: `FrozenViT` gives the tokens of all blocks, `FrozenPyramid`
maps at four scales, `PyramidTokens` such maps as tokens, `Encoder` one vector. timm gives the layers. Which of their
tensors are features, how position tables are resized and how files of the authors are named is written out here, so
that the numbers are those of the methods' authors.

Shapes: M images, L blocks, T patches, C channels, (h, w) a map, H x W an image.
"""

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from fsbench.base.errors import SettingsError
from fsbench.data.batch import IMAGENET_MEAN, IMAGENET_STD, normalise
from fsbench.networks.backbones.base import BackboneConfig, FrozenBackbone, find_spec
from fsbench.networks.weights.files import check_keys, renamed
from fsbench.networks.weights.table import WeightFile, weight_files

_PUBLISHED = weight_files()


# --- vision transformers


@dataclass(frozen=True)
class ViT:
    """Description of a vision transformer and its official weight file.

    Attributes:
        arguments: arguments of timm's VisionTransformer; with an entry `network`, arguments of the timm network of that
            name.
        table_side: side in patches of the grid of position codes in the weight file; for networks with rotary
            positions, which store none, side in patches of the training images.
        weights: the published weight file.
        rotary: whether positions are rotations of queries and keys, as in DINOv3.
    """

    arguments: dict[str, Any]
    table_side: int
    weights: WeightFile
    rotary: bool = False

    @property
    def image_size(self) -> int:
        """Side in pixels of the images that the stored position table is made for."""
        return int(self.table_side * self.arguments["patch_size"])


DEMO_IMAGE_SIZE = 128
"""Side in pixels of the images that the demo's ViT was trained on."""
DEMO_VIT: dict[str, Any] = {"patch_size": 8, "embed_dim": 96, "depth": 6, "num_heads": 4}
"""Arguments of the demo's backbone for timm's VisionTransformer beside `img_size` and `num_classes=0`: pre-norm, class
token, LayerNorm eps 1e-6, exact GELU, MLP ratio 4. Correlation channels of EMAT and CST: depth x heads = 24. Made by
`benchmarks.demo_backbone.pretrain`; its weights come with the repository."""
DEMO_TABLE_SIDE = DEMO_IMAGE_SIZE // DEMO_VIT["patch_size"]
"""Side of the stored position grid of the demo's ViT, in patches."""
DEMO_WEIGHTS = Path(__file__).with_name("weights") / "vit.safetensors"
"""Weights of the demo's ViT: float16 under timm's names; the file's metadata says how they were made."""
DEMO_WEIGHTS_SHA256 = "659ed2f53c95c030fef0b3643d5d07f26efe60dc8bd593df8fd9b4c6e0090c57"
"""Checksum of the file that comes with the repository; records say when another one was used."""
SIZES: dict[str, dict[str, Any]] = {
    "s": {"embed_dim": 384, "depth": 12, "num_heads": 6},
    "b": {"embed_dim": 768, "depth": 12, "num_heads": 12},
    "l": {"embed_dim": 1024, "depth": 24, "num_heads": 16},
    "g": {"embed_dim": 1536, "depth": 40, "num_heads": 24},
}
"""Width, depth and heads by the letter in the names of the ViTs."""


def _dino(name: str, size: str, patch: int) -> ViT:
    """Return DINO's ViT of a size, trained on images of 224 pixels."""
    return ViT({"patch_size": patch, **SIZES[size]}, 224 // patch, _PUBLISHED[name])


def _dinov2(size: str, registers: str) -> ViT:
    """Return DINOv2's ViT/14 of a size, with ("_reg") or without ("") its four registers."""
    arguments: dict[str, Any] = {"patch_size": 14, **SIZES[size]}
    if size == "g":  # its gated layers are timm's own
        arguments["network"] = f"vit_giant_patch14{'_reg4' * bool(registers)}_dinov2"
    else:
        arguments["init_values"] = 1e-5
    if registers:
        arguments |= {"reg_tokens": 4, "no_embed_class": True}
    return ViT(arguments, table_side=37, weights=_PUBLISHED[f"dinov2_vit{size}14{registers}"])


def _dinov3(size: str, copy: str) -> ViT:
    """Return DINOv3's ViT/16 of a size: four registers, rotary positions (insid3.md §1).

    Its weights are Meta's file ("") or timm's copy ("_timm"), which lies on the hub without a request. The copy has no
    periods of the rotary positions: timm computes them.
    """
    long = {"s": "small", "b": "base", "l": "large"}[size]
    arguments = {"network": f"vit_{long}_patch16_dinov3_qkvb", "patch_size": 16, "global_pool": "token", **SIZES[size]}
    return ViT(arguments, table_side=16, weights=_PUBLISHED[f"dinov3_vit{size}16{copy}"], rotary=True)


VITS = {
    "dinov2_vits14": _dinov2("s", ""),
    "dino_vits8": _dino("dino_vits8", "s", 8),
    "dino_vits8_300ep": _dino("dino_vits8_300ep", "s", 8),  # another training, that of CST (2023); emat.md §1.2
    "dino_vitb16": _dino("dino_vitb16", "b", 16),
    **{f"dinov2_vit{size}14": _dinov2(size, "") for size in "blg"},
    **{f"dinov2_vit{size}14_reg": _dinov2(size, "_reg") for size in "sblg"},
    **{f"dinov3_vit{size}16{copy}": _dinov3(size, copy) for size in "sbl" for copy in ("", "_timm")},
    "demo": ViT(DEMO_VIT, DEMO_TABLE_SIDE, WeightFile(str(DEMO_WEIGHTS), sha256=DEMO_WEIGHTS_SHA256)),
}
"""Vision transformers by their names."""


def create_network(network: str, **arguments: Any) -> Any:
    """Build the network that timm calls `network`, with random instead of downloaded weights.

    Raises:
        SettingsError: the installed timm has no such network.
    """
    from timm import __version__, create_model, is_model  # seconds, which other commands are spared

    if not is_model(network):
        raise SettingsError(
            f"timm {__version__} has no network '{network}'; expected a version that has it; update it: "
            "pip install --upgrade timm"
        )
    return create_model(network, pretrained=False, **arguments)


def _undrawn() -> dict[str, Any]:
    """Return the argument by which timm draws no weights on the device "meta", where that takes longest of all."""
    return {"weight_init": "skip"} if torch.get_default_device().type == "meta" else {}


def new_vit(arguments: dict[str, Any], size: int | tuple[int, int]) -> nn.Module:
    """Build timm's VisionTransformer, or another timm network by name, with freshly initialised weights.

    Args:
        arguments: arguments of the constructor; the entry `network` names another network.
        size: side, or height and width, of the images in pixels.

    Raises:
        SettingsError: the installed timm has no network of that name.
    """
    if "network" in arguments:
        named: nn.Module = create_network(**arguments, img_size=size, num_classes=0)
        return named
    from timm.models.vision_transformer import VisionTransformer  # seconds, which other commands are spared

    return VisionTransformer(**arguments, **_undrawn(), img_size=size, num_classes=0)


def random_state(vit: ViT, seed: int) -> dict[str, Tensor]:
    """Return seeded random weights by timm's names, with a position table of the size in the published file."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return new_vit(vit.arguments, vit.image_size).state_dict()


def resize_position_table(table: Tensor, height: int, width: int) -> Tensor:
    """Resize a position table as DINO and DINOv2 do (emat.md §1.1).

    A table with a class position, which stays as it is, is resized bicubically with the explicit scale factor
    (height + 0.1) / side, without antialiasing. timm resizes by target size, antialiased, which changes tokens by tens
    of percent. A table without class position (DINOv2 with registers) is resized bicubically to the size, antialiased.

    Args:
        table: (1, 1 + side², C), the class position first; or (1, side², C).
        height, width: size of the new grid, in patches.

    Returns:
        Table (1, 1 + height·width, C), or (1, height·width, C).
    """
    side = math.isqrt(table.shape[1])
    first = table.shape[1] - side**2  # 1 + side² is a square for no side but 0
    if height == width == side:
        return table
    grid = rearrange(table[:, first:].float(), "1 (y x) c -> 1 c y x", y=side)
    if first:
        scale = ((height + 0.1) / side, (width + 0.1) / side)
        resized = F.interpolate(grid, scale_factor=scale, mode="bicubic", align_corners=False)
    else:
        resized = F.interpolate(grid, (height, width), mode="bicubic", align_corners=False, antialias=True)
    return torch.cat([table[:, :first], rearrange(resized, "1 c y x -> 1 (y x) c").to(table.dtype)], 1)


def build_vit(arguments: dict[str, Any], state: dict[str, Tensor], height: int, width: int) -> nn.Module:
    """Build timm's VisionTransformer with the authors' weights, frozen, in eval mode.

    Args:
        arguments: {name: value} of timm's constructor; an entry "network" names another timm network.
        state: weights by the authors' or timm's names, with the stored position table.
        height, width: size of the images in pixels.

    Raises:
        CheckpointError: names or shapes of weights do not fit; the message lists them.
        SettingsError: height or width is not a multiple of the patch size.
    """
    patch = arguments["patch_size"]
    check_size(patch, height, width)
    model: Any = new_vit(arguments, (height, width))
    state = {key: value.float() for key, value in dino_to_timm_names(state).items()}
    if "pos_embed" in state:
        state["pos_embed"] = resize_position_table(state["pos_embed"], height // patch, width // patch)
    check_keys(_with_periods(model, state), state, "backbone weights")
    periods = state.pop(PERIODS, None)
    model.load_state_dict(state)
    if periods is not None:
        model.rope.periods.copy_(periods)
    _join_biases(model)
    frozen: nn.Module = model.eval().requires_grad_(False)
    return frozen


def _with_periods(model: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state dict of a network, with the periods of its rotary positions where `state` has them, too.

    timm keeps them out of its state dict.
    """
    own: dict[str, Tensor] = model.state_dict()
    rope: Any = getattr(model, "rope", None)
    return own | {PERIODS: rope.periods} if rope is not None and PERIODS in state else own


def _join_biases(model: nn.Module) -> None:
    """Let DINOv3's layers of queries, keys and values hold their bias, as all others do; the numbers stay the same.

    timm keeps it beside the layer and puts it together in every pass.
    """
    for module in model.modules():
        if getattr(module, "q_bias", None) is not None:
            attention: Any = module
            bias = torch.cat([attention.q_bias, torch.zeros_like(attention.q_bias), attention.v_bias])
            attention.qkv.bias = nn.Parameter(bias.detach())
            attention.q_bias = attention.v_bias = attention.k_bias = None


def check_size(patch: int, height: int, width: int) -> None:
    """Raise SettingsError unless height and width of an image are multiples of the patch side `patch`, in pixels."""
    if height % patch or width % patch:
        below = max(height // patch, 1) * patch
        raise SettingsError(
            f"image size {height}x{width} is not a multiple of the backbone's patch size {patch}; expected such as "
            f"{below} or {below + patch} (--data.image_size)"
        )


class FrozenTimmNetwork(FrozenBackbone):
    """Feature extractor around a network of timm (a ViT or a CNN), whose weights are fixed."""

    def expected_state(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        with torch.device("meta"):
            return self.own_names(_with_periods(self.new_network(), state))

    def describe_state(self, state: Mapping[str, Tensor]) -> str:
        """Return in words the patch size and registers of the network that weights belong to; "" if unknown."""
        patches, registers = state.get("patch_embed.proj.weight"), state.get("reg_token")
        if patches is None or patches.ndim != 4:
            return ""
        count = 0 if registers is None else registers.shape[1]
        return f"a network with patches of {patches.shape[-1]} pixels and {count or 'no'} registers"


class FrozenViT(FrozenTimmNetwork):
    """Frozen ViT whose features are the tokens of all blocks."""

    known: ClassVar = VITS
    spec: ViT

    def __init__(self, config: BackboneConfig):
        named = f"backbone '{config.name}'"
        refusal = f"the {named} is no vision transformer" if config.name in _PUBLISHED else f"unknown {named}"
        self.spec = find_spec(config.name, dict(sorted(VITS.items())), ViT, refusal)
        super().__init__(config)

    @property
    def heads(self) -> int:
        """Number of attention heads of a block."""
        return int(self.spec.arguments["num_heads"])

    @property
    def depth(self) -> int:
        """Number of blocks."""
        return int(self.spec.arguments["depth"])

    @property
    def width(self) -> int:
        """Channels C of a token."""
        return int(self.spec.arguments["embed_dim"])

    @property
    def patch(self) -> int:
        """Side of a patch in pixels."""
        return int(self.spec.arguments["patch_size"])

    @property
    def token_side(self) -> int:
        return self.patch

    @property
    def identity_settings(self) -> dict[str, str]:
        """Source of the periods of rotary positions, {"rope_periods": "file"}, if they are read from the weight file.

        Empty if periods are computed. The entry is stored with results and tells the two apart.
        """
        rounded = self.spec.rotary and not self.weights_id.startswith("random ") and not self.name.endswith("_timm")
        return {"rope_periods": "file"} if rounded else {}

    def check_image_size(self, size: int) -> None:
        check_size(self.patch, size, size)

    def encode(self, pixels: Tensor) -> Tensor:
        """Return the tokens (L, 1 + T, C) float32 of all blocks of a normalised image (3, H, W).

        The class token comes first; registers are left out; the final LayerNorm is applied to the tokens of each block.
        """
        tokens: Tensor = super().encode(pixels)
        return tokens

    def patch_map(
        self, pixels: Tensor, norm: bool = True, block: int = -1, coordinate_factors: Sequence[float] | None = None
    ) -> Tensor:
        """Return the patch tokens (C, h, w) float32 of one block of a normalised image (3, H, W).

        Args:
            pixels: the image.
            norm: whether to apply the final LayerNorm to the block's output.
            block: number of the block, from 0, or negative from the end.
            coordinate_factors: for rotary positions, a factor of the patch coordinates in each block; None for no
                scaling.
        """
        model: Any = self.network(pixels)
        if self.passes is not None and norm and coordinate_factors is None:  # other methods ask for all blocks
            height, width = (side // self.patch for side in pixels.shape[1:])
            tokens = self.encode(pixels)[block, 1:].float()
            return rearrange(tokens, "(h w) c -> c h w", h=height, w=width).contiguous()

        def patches() -> Tensor:
            with self.computing(pixels.device), ExitStack() as scaled:
                if coordinate_factors is not None:
                    scaled.enter_context(scaled_coordinates(model, coordinate_factors))
                return patch_maps(model, pixels[None], norm, block)[0].float()

        if coordinate_factors is not None:
            return patches()
        found: Tensor = self.passed(f"patches of block {block}, norm {norm}", pixels, patches)
        return found

    def new_network(self) -> nn.Module:
        return new_vit(self.spec.arguments, self.spec.image_size)

    def own_names(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        return dino_to_timm_names(state)

    def _build(self, height: int, width: int) -> nn.Module:
        return build_vit(self.spec.arguments, self.state, height, width)

    def _features_of_batch(self, model: nn.Module, images: Tensor) -> list[Any]:
        return list(vit_tokens(model, images))


def vit_tokens(model: Any, images: Tensor) -> Tensor:
    """Return the tokens (M, L, 1 + T, C) of all L blocks of a ViT for normalised images (M, 3, H, W).

    The final LayerNorm is applied to each block's tokens. The class token comes first; registers are left out.
    """
    layers = model.forward_intermediates(
        images, norm=True, return_prefix_tokens=True, output_fmt="NLC", intermediates_only=True
    )
    return torch.stack([torch.cat([prefix[:, :1], patches], 1) for patches, prefix in layers], 1)


def patch_maps(model: Any, images: Tensor, norm: bool, block: int = -1) -> Tensor:
    """Return the patch tokens (M, C, h, w) of one block of normalised images (M, 3, H, W).

    Args:
        model: timm's vision transformer.
        images: the images.
        norm: whether to apply the final LayerNorm.
        block: number of the block, from 0, or negative from the end.
    """
    maps: Tensor = model.forward_intermediates(
        images, indices=[block], norm=norm, output_fmt="NCHW", intermediates_only=True, stop_early=True
    )[0]
    return maps


@contextmanager
def scaled_coordinates(model: Any, factors: Sequence[float]) -> Iterator[None]:
    """Scale the patch coordinates of a ViT with rotary positions, by one factor per transformer block.

    The scaling holds within a `with` block. DINOv3's training does the same with random factors (insid3.md §3).

    Args:
        model: timm's DINOv3.
        factors: factor of the patch coordinates in each block.
    """

    def hook(factor: float) -> Any:
        def scale(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            table = rotation_table(model.patch_embed.grid_size, model.rope.periods, factor)
            return args, kwargs | {"rope": table}

        return scale

    with ExitStack() as hooks:
        for block, factor in zip(model.blocks, factors, strict=True):
            hooks.enter_context(block.register_forward_pre_hook(hook(factor), with_kwargs=True))
        yield


def rotation_table(grid: tuple[int, int], periods: Tensor, factor: float) -> Tensor:
    """Return the sines and cosines of DINOv3's rotary positions, a row for each patch.

    Args:
        grid: height h and width w of the image, in patches.
        periods: periods (D/4,) of the rotations, for D channels of a head.
        factor: factor of the patch coordinates, which are -1 to 1 from edge to edge.

    Returns:
        Table (h·w, 2·D), sines first.
    """
    sides = [2.0 * (torch.arange(0.5, side, device=periods.device) / side) - 1.0 for side in grid]
    coordinates = torch.stack(torch.meshgrid(*sides, indexing="ij"), -1).flatten(0, 1) * factor
    angles = (2 * math.pi * coordinates[:, :, None] / periods).flatten(1).tile(2)
    return torch.cat([angles.sin(), angles.cos()], -1)


# --- pyramids of features


@dataclass(frozen=True)
class PyramidNet:
    """Description of a network with a feature pyramid, and its official weight file.

    ResNets and Swin-B are timm's with the authors' weights. Their maps are those that the authors of DCAMA take: of a
    ResNet's bottleneck the sum before its last ReLU, of a Swin block its output before any merging or norm (dcama.md
    §2).

    Attributes:
        kind: "resnet", "swin" or "efficientnet" for timm's network of this kind, "vgg" for the convolutions of VGG-16,
            "vit" for a pyramid made from the demo's ViT (`token_pyramid`).
        arguments: {name: value} of timm's constructor; for an EfficientNet {"network": timm's name of the network}.
        blocks: number of blocks (feature maps) at the scales 1/4, 1/8, 1/16 and 1/32; of an EfficientNet only the last
            stage at each scale counts.
        channels: channels of the maps at these four scales.
        multiple: number of pixels of which an image's side must be a multiple.
        weights: the published weight file.
    """

    kind: Literal["resnet", "swin", "vgg", "vit", "efficientnet"]
    arguments: dict[str, Any]
    blocks: tuple[int, int, int, int]
    channels: tuple[int, int, int, int]
    multiple: int
    weights: WeightFile


VGG_TAPS = (14, 17, 19, 21, 24, 26, 28, 30)
"""Indices of VGG-16's layers whose outputs are features: conv3_3, conv4_1 to conv5_3 before the ReLU, last pooling."""
EFFICIENTNET_STAGES = (1, 2, 4, 5)
"""Stages of an EfficientNet that are the last at 1/4, 1/8, 1/16 and 1/32. The last at all only widens the channels."""
_LITE0 = {"network": "tf_efficientnet_lite0"}


def _resnet(name: str, blocks: tuple[int, int, int, int]) -> PyramidNet:
    return PyramidNet("resnet", dict(layers=blocks), blocks, (256, 512, 1024, 2048), 8, _PUBLISHED[name])


def _swin(name: str) -> PyramidNet:
    blocks = (2, 2, 18, 2)
    arguments = dict(img_size=384, window_size=12, embed_dim=128, depths=blocks, num_heads=(4, 8, 16, 32))
    return PyramidNet("swin", arguments, blocks, (128, 256, 512, 1024), 384, _PUBLISHED[name])


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
    "vgg16": PyramidNet("vgg", {}, (1, 3, 3, 1), (256, 512, 512, 512), 8, _PUBLISHED["vgg16"]),
    "efficientnet_lite0": PyramidNet(
        "efficientnet", _LITE0, (2, 2, 3, 4), (24, 40, 112, 192), 32, _PUBLISHED["efficientnet_lite0"]
    ),
    "demo": PyramidNet("vit", DEMO_VIT, (1, 4, 4, 4), (96, 96, 96, 96), 32, VITS["demo"].weights),
}
"""Networks with a pyramid of features by their names."""


def build_pyramid_network(spec: PyramidNet, side: int | None = None) -> nn.Module:
    """Build the network without its classifier, with freshly initialized weights.

    Args:
        spec: description of the network.
        side: side of the images in pixels; None for the network's default.
    """
    # timm and torchvision's models take seconds, which other commands are spared
    if spec.kind == "vit":
        return new_vit(spec.arguments, side or DEMO_IMAGE_SIZE)
    if spec.kind == "vgg":  # timm's has classifiers of 400 MB that nobody looks at
        from torchvision.models.vgg import cfgs, make_layers

        return nn.ModuleDict({"features": make_layers(cfgs["D"])})
    if spec.kind == "resnet":
        from timm.models.resnet import Bottleneck, ResNet

        block: Any = Bottleneck
        return ResNet(block, **spec.arguments, num_classes=0, zero_init_last=False)
    if spec.kind == "efficientnet":
        network = create_network(**spec.arguments, num_classes=0)
        network.blocks = network.blocks[: EFFICIENTNET_STAGES[-1] + 1]
        network.conv_head, network.bn2 = nn.Identity(), nn.Identity()  # only the classifier would see them
        return cast(nn.Module, network)
    from timm.models.swin_transformer import SwinTransformer

    model = SwinTransformer(**spec.arguments | ({"img_size": side} if side else {}), num_classes=0)
    model.norm = nn.Identity()  # only the classifier would see it
    return model


def block_features(model: Any, images: Tensor, first: int = 0) -> list[Tensor]:
    """Return the output maps of all blocks of a ResNet or Swin, or of chosen layers of a VGG-16 or EfficientNet.

    Args:
        model: a network from `build_pyramid_network`, of another kind than "vit".
        images: normalised images (M, 3, H, W).
        first: number of the first block or layer whose maps are returned.

    Returns:
        Maps (M, C, h, w) of the M images, one for each block or layer, in the order of the forward pass.
    """
    maps: list[Tensor] = []
    vgg: Any = model["features"] if isinstance(model, nn.ModuleDict) else None
    if vgg is not None:  # cloned: the ReLU that follows works in place
        hooks = [vgg[i].register_forward_hook(lambda m, args, out: maps.append(out.clone())) for i in VGG_TAPS[first:]]
    elif hasattr(model, "layer1"):
        hooks = [
            b.act3.register_forward_pre_hook(lambda m, args: maps.append(_kept(args[0], m)))
            for b in _bottlenecks(model)[first:]
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
    with ExitStack() as hooked:
        for hook in hooks:
            hooked.enter_context(hook)
        (vgg or model.forward_features)(images)
    return maps


def _bottlenecks(resnet: Any) -> list[Any]:
    """Return the blocks of a ResNet in forward order."""
    return [*resnet.layer1, *resnet.layer2, *resnet.layer3, *resnet.layer4]


def _kept(x: Tensor, relu: Any) -> Tensor:
    """Return the input of a ReLU as it is before the ReLU, which may work in place."""
    return x.clone() if relu.inplace else x


def _with_half_means(images: Tensor) -> Tensor:
    """Return images (M, 3, H, W), normalised by ImageNet's mean and deviation, normalised by 0.5 and 0.5 instead.

    So EfficientNet-lite was trained (timm's `tf_efficientnet_lite0`, `default_cfg`).
    """
    mean, deviation = (images.new_tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (images * deviation + mean - 0.5) / 0.5


Pyramid = tuple[Tensor, ...]
"""Features of an image at 1/4, 1/8, 1/16, 1/32, each (L, C, h, w) with a stage's blocks in forward order. Of the finest
scale only the last block is kept, or none: methods use it to sharpen edges, not to compare images. Maps of a ResNet and
of a Swin lie channels last in memory, as they are computed."""
VIT_SCALE = 2.0
"""Factor on a ViT's tokens: their standard deviation is near 1, that of a ResNet's features several times that;
attention starts as sharp as with those."""


class FrozenPyramid(FrozenTimmNetwork):
    """Frozen network that encodes an image to a feature pyramid, with maps at 1/4, 1/8, 1/16 and 1/32 of its size.

    Attributes:
        fine: whether the pyramid has maps at scale 1/4; a method that does not use them sets this to False before
            encoding.
    """

    spec: PyramidNet
    fine: bool = True

    def __init__(self, config: BackboneConfig):
        refusal = f"the backbone '{config.name}' gives no pyramid of features"
        self.spec = find_spec(config.name, dict(sorted(PYRAMIDS.items())), PyramidNet, refusal)
        super().__init__(config)

    @property
    def blocks(self) -> tuple[int, int, int, int]:
        """Number of feature maps at the scales 1/4, 1/8, 1/16 and 1/32.

        The first entry is 1 also if the scale 1/4 is left out.
        """
        return (1, *self.spec.blocks[1:])

    @property
    def channels(self) -> tuple[int, int, int, int]:
        """Channels of the feature maps at the scales 1/4, 1/8, 1/16 and 1/32."""
        return self.spec.channels

    def check_image_size(self, size: int) -> None:
        if size < self.spec.multiple or size % self.spec.multiple:
            raise SettingsError(f"image size {size} is not a multiple of {self.spec.multiple}, which {self.name} needs")

    def encode(self, pixels: Tensor) -> Pyramid:
        """Return the feature pyramid of a normalised image (3, H, W): a float32 tensor (L, C, h, w) for each scale."""
        return cast(Pyramid, super().encode(pixels))

    def new_network(self) -> nn.Module:
        return build_pyramid_network(self.spec)

    def own_names(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        return to_timm_names(state)

    def _build(self, height: int, width: int) -> nn.Module:
        if self.spec.kind == "vit":
            return build_vit(self.spec.arguments, self.state, height, width)
        self.check_image_size(height)
        model = _loaded(build_pyramid_network(self.spec, height), self.state)
        return _folded_resnet(model, self._first) if self.spec.kind == "resnet" else model

    @property
    def _first(self) -> int:
        """Number of the first block that gives a map."""
        return self.spec.blocks[0] - self.fine

    def _features_of_batch(self, model: nn.Module, images: Tensor) -> list[Any]:
        if self.spec.kind == "vit":
            side = images.shape[2] // 8
            return [token_pyramid(tokens, side)[not self.fine :] for tokens in vit_tokens(model, images)]
        maps = iter(block_features(model, images, self._first))
        stages = [list(itertools.islice(maps, depth)) for depth in self.blocks[not self.fine :]]
        return list(zip(*(_stacked(stage) for stage in stages), strict=True))


def _loaded(model: nn.Module, state: dict[str, Tensor]) -> nn.Module:
    """Return a network with weights that were checked before, without buffers that it computes, frozen."""
    model.load_state_dict({key: value.float() for key, value in state.items()}, strict=False)
    return model.eval().requires_grad_(False)


def _stacked(maps: list[Tensor]) -> Tensor:
    """Stack the maps (M, C, h, w) of a stage's blocks to (M, L, C, h, w), map after map in the maps' own layout."""
    if not maps[0].is_contiguous(memory_format=torch.channels_last):
        return torch.stack(maps, 1)
    return torch.stack([x.permute(0, 2, 3, 1) for x in maps], 1).permute(0, 1, 4, 2, 3)


def _folded_resnet(model: Any, first: int) -> nn.Module:
    """Fold the BatchNorms of a frozen ResNet, let its convolutions compute channels last, and return it.

    A BatchNorm in eval mode is an affine function of each channel, so that it and the convolution before it are one
    convolution. Answers differ from those before in their last digits, and weights have other names: the network is
    neither trained nor saved. From block `first` on, the last ReLU of each block leaves its input, which is a feature,
    as it is.
    """
    for block in _bottlenecks(model)[first:]:
        block.act3.inplace = False
    for parent in list(model.modules()):
        for (name, conv), (norm_name, norm) in itertools.pairwise(list(parent.named_children())):
            if type(conv) is nn.Conv2d and type(norm) is nn.BatchNorm2d:
                setattr(parent, name, fuse_conv_bn_eval(conv, norm))
                setattr(parent, norm_name, nn.Identity())
    folded: nn.Module = model.to(memory_format=torch.channels_last)
    return folded


def token_maps(tokens: Tensor, side: int) -> Tensor:
    """Return the patch tokens of all blocks for one image as maps (L, C, h, w), scaled by `VIT_SCALE`.

    Args:
        tokens: tokens (L, 1 + T, C) of L blocks, the class token first.
        side: h, number of rows of patch tokens.
    """
    return VIT_SCALE * rearrange(tokens[:, 1:], "l (y x) c -> l c y x", y=side)


def token_pyramid(tokens: Tensor, side: int) -> Pyramid:
    """Return a feature pyramid computed, without further weights, from the tokens of a ViT with patches of 8 pixels.

    At 1/8 are the tokens of the last four blocks, at 1/16 and 1/32 their averages over 2x2 and 4x4 patches; at 1/4 the
    tokens of the first block, which is nearest to the pixels, enlarged bilinearly. All are scaled by `VIT_SCALE`.

    Args:
        tokens: tokens of all blocks for one image (L, 1 + T, C), class token first.
        side: number of rows of tokens.
    """
    maps = token_maps(tokens, side)
    fine = F.interpolate(maps[:1], scale_factor=2, mode="bilinear", align_corners=True)
    last = maps[-4:].contiguous()
    return fine, last, F.avg_pool2d(last, 2), F.avg_pool2d(last, 4)


# --- patches of either kind of network

STRIDE = 16
"""Pixels of a side of the patch that a token of a pyramid stands for."""
SIXTEENTH = 2
"""Place of the maps at 1/16 of the image in a pyramid."""


class PyramidTokens(FrozenPyramid):
    """Frozen convolutional network whose maps at 1/16 of the image are returned as tokens, like those of a ViT.

    Maps at 1/16 still distinguish objects; those at 1/32 tell classes better, but are too coarse for a mask.
    """

    def check_image_size(self, size: int) -> None:
        super().check_image_size(size)
        if size % STRIDE:
            raise SettingsError(f"image size is {size}, expected a multiple of {STRIDE}, the side of a patch")

    def encode(self, pixels: Tensor) -> Tensor:  # type: ignore[override]
        """Return the tokens (L, 1 + T, C) float32 of the blocks at 1/16 of a normalised image (3, H, W).

        The mean of all tokens stands where a vision transformer has its class token.
        """
        tokens = rearrange(super().encode(pixels)[SIXTEENTH], "l c y x -> l (y x) c")
        return torch.cat([tokens.mean(1, keepdim=True), tokens], 1)


def frozen_tokens(config: BackboneConfig) -> FrozenViT | PyramidTokens:
    """Build the frozen network `config.name` as a source of patch tokens: a ViT, or a pyramid's maps at 1/16."""
    return PyramidTokens(config) if config.name in PYRAMIDS and config.name not in VITS else FrozenViT(config)


def patch_features(backbone: Any, pixels: Tensor) -> Tensor:
    """Return unit features (h, w, C) float32 of an image's patches, from a frozen network's last layer.

    Args:
        backbone: frozen network that returns tokens (L, 1 + T, C), a class token and a square grid, or a feature
            pyramid, of which the maps at 1/16 of the image are taken.
        pixels: image (3, S, S) uint8, on the network's device.

    Raises:
        SettingsError: the network returns neither such tokens nor a feature pyramid.
    """
    features = backbone.encode(normalise(pixels))
    if isinstance(features, tuple) and len(features) == 4 and all(map(_is_scale, features)):
        grid = rearrange(features[SIXTEENTH][-1], "d h w -> h w d")
    elif isinstance(features, Tensor) and features.dim() == 3 and _side(features):
        grid = rearrange(features[-1, 1:], "(h w) d -> h w d", h=_side(features))
    else:
        raise SettingsError(
            f"the frozen network {backbone.name} gives no features of patches in a square, by which images are "
            "compared; expected a vision transformer or a network with a pyramid of features"
        )
    return F.normalize(grid.float(), dim=-1)


def _is_scale(features: Any) -> bool:
    """Return whether these are the maps (L, C, h, w) of one scale of a pyramid; a PSPNet's are (C, h, w)."""
    return isinstance(features, Tensor) and features.dim() == 4


def _side(tokens: Tensor) -> int:
    """Return the side of the grid of tokens (L, 1 + T, C); 0 where they are none of a square."""
    patches = tokens.shape[1] - 1
    side = int(max(patches, 0) ** 0.5)
    return side if side * side == patches else 0


# --- encoders of whole images

FEATURE_VERSION = 2
"""Version of the code that an image's feature follows from: decoding, resizing, normalisation, the network. Raise it
when a feature changes, so that features stored by older code are encoded again; a test demands it."""


@dataclass(frozen=True)
class EncoderNet:
    """Description of a timm network with one feature per image, and its official weight file.

    Attributes:
        timm: timm's name of the network.
        side: side in pixels of the square images that the network takes.
        outputs: number of outputs of the network's last linear layer; 0 if the network has no such layer.
        unit: whether features are scaled to length 1.
        weights: the published weight file.
    """

    timm: str
    side: int
    outputs: int
    unit: bool
    weights: WeightFile


ENCODERS = {
    "ibot_swin_tiny": EncoderNet(
        "swin_tiny_patch4_window7_224", side=224, outputs=0, unit=False, weights=_PUBLISHED["ibot_swin_tiny"]
    ),
    "clip_vitb16": EncoderNet(  # the image's part alone; another activation than the model without quickgelu (§5)
        "vit_base_patch16_clip_quickgelu_224", side=224, outputs=512, unit=True, weights=_PUBLISHED["clip_vitb16"]
    ),
}
"""Encoders besides `VITS`."""


def build_encoder_network(spec: EncoderNet) -> Any:
    """Build timm's network with freshly initialised weights, without dropout, so that its outputs are deterministic."""
    more: dict[str, Any] = {"drop_path_rate": 0.0} if spec.timm.startswith("swin") else {}
    if spec.timm.startswith(("swin", "vit")):
        more |= _undrawn()
    return create_network(spec.timm, num_classes=spec.outputs, **more)


class Encoder(FrozenTimmNetwork):
    """Frozen network with one feature vector (D,) for each image, for few-shot classification (fort.md §5).

    Methods on fixed features call `encode`; methods that tune the network take a copy of it by `new_copy`.
    """

    known: ClassVar = {**VITS, **ENCODERS}
    spec: ViT | EncoderNet

    def __init__(self, config: BackboneConfig):
        refusal = f"unknown backbone '{config.name}' of a classifier"
        self.spec = find_spec(config.name, self.known, (ViT, EncoderNet), refusal)
        super().__init__(config)

    @property
    def width(self) -> int:
        """Size D of a feature."""
        if isinstance(self.spec, ViT):
            return int(self.spec.arguments["embed_dim"])
        return self.spec.outputs or int(cast(Any, self.meta_network()).num_features)

    def check_image_size(self, size: int) -> None:
        if isinstance(self.spec, ViT):
            check_size(self.spec.arguments["patch_size"], size, size)
        elif size != self.spec.side:
            raise SettingsError(f"image size is {size}, but {self.name} takes {self.spec.side} only")

    def encode(self, pixels: Tensor) -> Tensor:
        """Return the feature (D,) float32 of a normalised image (3, H, W)."""
        feature: Tensor = super().encode(pixels)
        return feature

    def check_tunable(self) -> None:
        """Raise SettingsError if the network cannot be fine-tuned, as it has unit features or a reduced precision."""
        if isinstance(self.spec, EncoderNet) and self.spec.unit:
            raise SettingsError(f"{self.name} only gives features here; expected another backbone for fine-tuning")
        self.check_unnarrowed()

    def meta_network(self) -> nn.Module:
        """Return the network built on the meta device, without memory for its weights."""
        with torch.device("meta"):
            return self.new_network()

    def new_network(self) -> nn.Module:
        if isinstance(self.spec, ViT):
            return new_vit(self.spec.arguments, self.spec.image_size)
        return cast(nn.Module, build_encoder_network(self.spec))

    def own_names(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        if isinstance(self.spec, ViT):
            return dino_to_timm_names(state)
        return encoder_to_timm_names(state, keep_head=bool(self.spec.outputs))

    def _build(self, height: int, width: int) -> nn.Module:
        self.check_image_size(height)
        if isinstance(self.spec, ViT):
            return build_vit(self.spec.arguments, self.state, height, width)
        return _loaded(self.new_network(), self.state)

    def _features(self, model: nn.Module, images: Tensor) -> Tensor:
        feature: Tensor = model(images)[0]
        return F.normalize(feature, dim=-1) if isinstance(self.spec, EncoderNet) and self.spec.unit else feature


# --- names of weights: files of the authors are read under timm's names, without what no feature depends on

BUFFERS = ("attn_mask", "relative_position_index", "num_batches_tracked")
"""Ends of the names of entries that follow from the architecture, or matter in training only."""
PREFIXES = ("module.", "backbone.", "encoder.")
"""Beginnings of names in files whose network is wrapped in another module."""
DINO_TRAINING = re.compile(r"(embeddings\.)?mask_token|.*\.bias_mask")
"""Entries of DINO's files that no feature depends on."""
PERIODS = "rope.periods"
"""Periods of rotary positions; timm computes them unless a file brings them. Those of Meta's DINOv3 may be rounded."""
_DINOV2 = ((r"^register_tokens$", "reg_token"), (r"\.mlp\.w12\.", ".mlp.fc1."), (r"\.mlp\.w3\.", ".mlp.fc2."))
"""Names of DINOv2 that timm has otherwise: the registers, and the gated layers of its giant."""
_DINOV3 = (
    (r"^storage_tokens$", "reg_token"),
    (r"^rope_embed\.periods$", PERIODS),
    (r"\.ls([12])\.gamma$", r".gamma_\1"),
)
"""Names of Meta's DINOv3 that timm has otherwise, but for the biases of queries, keys and values."""
_DINOV3_OF_TRANSFORMERS = (
    (r"^embeddings\.cls_token$", "cls_token"),
    (r"^embeddings\.register_tokens$", "reg_token"),
    (r"^embeddings\.patch_embeddings\.", "patch_embed.proj."),
    (r"^(model\.)?layer\.", "blocks."),
    (r"\.layer_scale([12])\.lambda1$", r".gamma_\1"),
    (r"\.mlp\.up_proj\.", ".mlp.fc1."),
    (r"\.mlp\.down_proj\.", ".mlp.fc2."),
    (r"\.attention\.o_proj\.", ".attn.proj."),
    (r"\.attention\.([qv])_proj\.bias$", r".attn.\1_bias"),
    (r"\.attention\.q_proj\.weight$", ".attn.qkv.weight"),
)
"""Names of transformers' DINOv3 that timm has otherwise; timm joins the weights of queries, keys and values."""


def dino_to_timm_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights that features of a DINO model depend on, by timm's names (insid3.md §1).

    Args:
        state: weights of DINO, DINOv2 (with and without registers) or DINOv3 under the names of the authors, of
            transformers or of timm; it is not changed. Weights of other networks are returned as they are.
    """
    state = {key: value for key, value in state.items() if not DINO_TRAINING.fullmatch(key)}
    if "embeddings.cls_token" in state:
        return {renamed(key, _DINOV3_OF_TRANSFORMERS): value for key, value in _joined_weights(state)}
    if "storage_tokens" in state:
        return {renamed(key, _DINOV3): value for key, value in _parted_biases(state)}
    with_registers = "register_tokens" in state
    state = {renamed(key, _DINOV2): value for key, value in state.items()}
    if with_registers and "pos_embed" in state and "cls_token" in state:
        # timm adds no position to the class token of a network with registers: it is added to its weights here
        table = state["pos_embed"]
        state |= {"cls_token": state["cls_token"] + table[:, 0], "pos_embed": table[:, 1:]}
    return state


def _parted_biases(state: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Yield weights of Meta's DINOv3 with the bias of queries and of values, instead of that of all three.

    That of the keys is zero in every release (it is masked there), and timm's network has none.
    """
    for key, value in state.items():
        if key.endswith(".attn.qkv.bias"):
            query, _, values = value.chunk(3)
            prefix = key.removesuffix("qkv.bias")
            yield from ((f"{prefix}q_bias", query), (f"{prefix}v_bias", values))
        else:
            yield key, value


def _joined_weights(state: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Yield weights of transformers' DINOv3, with those of queries, keys and values joined under the queries' name."""
    for key, value in state.items():
        if key.endswith("attention.q_proj.weight"):
            parts = [state.get(key.replace("q_proj", f"{part}_proj")) for part in "qkv"]
            yield key, torch.cat([part for part in parts if part is not None])
        elif not re.search(r"attention\.[kv]_proj\.weight$", key):
            yield key, value


def to_timm_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of a ResNet, VGG-16, Swin or EfficientNet-lite that features depend on, under timm's names.

    The classifier, the norm before it and the buffers listed in `BUFFERS` are dropped. Weights of other networks are
    returned unchanged.

    Args:
        state: weights under torchvision's, the Swin authors', the EfficientNet package's or timm's names.
    """
    if "_conv_stem.weight" in state or "conv_stem.weight" in state:
        return _efficientnet_to_timm_names(state)
    if any(".relative_position_bias_table" in key for key in state):
        return _without(swin_to_timm_names(state), "head.", "norm.")
    if "features.28.weight" in state:
        return _without(state, "classifier.")
    return _without(state, "fc.") if "layer1.0.conv1.weight" in state else state


def _without(state: dict[str, Tensor], *starts: str) -> dict[str, Tensor]:
    """Return the weights without those whose names begin so, and without `BUFFERS`."""
    return {key: value for key, value in state.items() if not key.startswith(starts) and not key.endswith(BUFFERS)}


def swin_to_timm_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a Swin's weights by timm's names, where patch merging belongs to the next stage.

    In the Swin authors' names, patch merging belongs to the stage before. Weights that have timm's names, or are of
    other networks, are returned unchanged.
    """
    if "layers.0.downsample.norm.weight" not in state:
        return state
    stage = re.compile(r"(?<=^layers\.)\d+(?=\.downsample\.)")
    return {stage.sub(lambda found: str(int(found[0]) + 1), key): value for key, value in state.items()}


def encoder_to_timm_names(state: dict[str, Tensor], keep_head: bool) -> dict[str, Tensor]:
    """Return the weights of an image encoder by timm's names, without wrappers' prefixes and pre-training heads.

    Args:
        state: weights by timm's names or by those of the publishers.
        keep_head: whether to keep the last layer, which is a part of some encoders, such as CLIP's projection.
    """
    for prefix in PREFIXES:
        if state and all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    return swin_to_timm_names(_without(state, "masked_embed", *(() if keep_head else ("head.",))))


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


def _efficientnet_to_timm_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of an EfficientNet-lite's blocks but the last stage's under timm's names.

    The package counts blocks through, timm those of each stage. Weights under timm's names keep theirs.
    """
    own = {}
    for key, value in state.items():
        head, _, rest = key.removeprefix("_").partition(".")
        if head == "blocks" and key.startswith("_"):
            number, _, layer_and_end = rest.partition(".")
            layer, _, end = layer_and_end.partition(".")
            layers = LITE_FIRST_LAYERS if number == "0" else LITE_LAYERS  # the first has no expansion
            key = f"blocks.{LITE_BLOCKS.get(number, number)}.{layers.get(layer, layer)}.{end}"
        elif key.startswith("_"):
            key = f"{LITE_STEM.get(head, head)}.{rest}"
        own[key] = value
    return _without(own, f"blocks.{len(LITE_STAGES) - 1}.", "conv_head.", "bn2.", "classifier.", "fc.")
