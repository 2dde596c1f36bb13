"""Frozen vision transformers: DINO, DINOv2, DINOv3 and the demo's small ViT.

timm's own ways to load DINO and DINOv2 at another image size resize the position table differently from the models'
authors (by target size and with antialiasing), which changes the tokens by tens of percent. Here the table is resized
as the authors do and loaded as it is (emat.md §1).
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from fsbench.base.errors import CheckpointError, SettingsError
from fsbench.networks.backbones.base import BackboneConfig, FrozenBackbone, find_spec
from fsbench.networks.backbones.dino_names import PERIODS, dino_to_timm_names
from fsbench.networks.weights.files import check_keys
from fsbench.networks.weights.table import WeightFile, weight_files


@dataclass(frozen=True)
class ViT:
    """Architecture of a vision transformer and its official weight file.

    Attributes:
        arguments: arguments of timm's VisionTransformer; with the entry `network`, of the network that timm builds by
            that name, where sizes stand beside it that this suite asks for.
        table_side: side M of the stored position grid, in patches; for networks with rotary positions, which have none,
            that of the images they were trained on.
        weights: the published weight file.
        rotary: whether positions are rotations of queries and keys, as in DINOv3.
    """

    arguments: dict[str, Any]
    table_side: int
    weights: WeightFile
    rotary: bool = False

    @property
    def image_size(self) -> int:
        """Side in pixels of the images that the stored position grid belongs to."""
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

_PUBLISHED = weight_files()
SIZES: dict[str, dict[str, Any]] = {
    "s": {"embed_dim": 384, "depth": 12, "num_heads": 6},
    "b": {"embed_dim": 768, "depth": 12, "num_heads": 12},
    "l": {"embed_dim": 1024, "depth": 24, "num_heads": 16},
    "g": {"embed_dim": 1536, "depth": 40, "num_heads": 24},
}
"""Width, depth and heads by the letter in the names of DINOv2 and DINOv3."""


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
    "dinov2_vits14": ViT(  # without registers
        dict(patch_size=14, embed_dim=384, depth=12, num_heads=6, init_values=1e-5),
        table_side=37,
        weights=_PUBLISHED["dinov2_vits14"],
    ),
    "dino_vits8": ViT(
        dict(patch_size=8, embed_dim=384, depth=12, num_heads=6), table_side=28, weights=_PUBLISHED["dino_vits8"]
    ),
    "dino_vits8_300ep": ViT(  # another training of the same network, that of CST (2023); emat.md §1.2
        dict(patch_size=8, embed_dim=384, depth=12, num_heads=6), table_side=28, weights=_PUBLISHED["dino_vits8_300ep"]
    ),
    "dino_vitb16": ViT(
        dict(patch_size=16, embed_dim=768, depth=12, num_heads=12), table_side=14, weights=_PUBLISHED["dino_vitb16"]
    ),
    **{f"dinov2_vit{size}14": _dinov2(size, "") for size in "blg"},
    **{f"dinov2_vit{size}14_reg": _dinov2(size, "_reg") for size in "sblg"},
    **{f"dinov3_vit{size}16{copy}": _dinov3(size, copy) for size in "sbl" for copy in ("", "_timm")},
    "demo": ViT(DEMO_VIT, DEMO_TABLE_SIDE, WeightFile(str(DEMO_WEIGHTS), sha256=DEMO_WEIGHTS_SHA256)),
}


def resize_position_table(table: Tensor, height: int, width: int) -> Tensor:
    """Resize a position table as DINO and DINOv2 do (emat.md §1.1).

    With a class position, which stays: bicubic with the explicit scale factor (height + 0.1) / M, without antialiasing.
    Without one, that of DINOv2 with registers: bicubic to the size, antialiased, as its authors' hub says.

    Args:
        table: (1, 1 + M², C), the class position first; or (1, M², C).
        height, width: size of the new grid, in patches.

    Returns:
        Table (1, 1 + height·width, C), or (1, height·width, C).
    """
    side = math.isqrt(table.shape[1])
    first = table.shape[1] - side**2  # 1 + M² is a square for M = 0 alone
    if height == width == side:
        return table
    grid = rearrange(table[:, first:].float(), "1 (y x) c -> 1 c y x", y=side)
    if first:
        scale = ((height + 0.1) / side, (width + 0.1) / side)
        resized = F.interpolate(grid, scale_factor=scale, mode="bicubic", align_corners=False)
    else:
        resized = F.interpolate(grid, (height, width), mode="bicubic", align_corners=False, antialias=True)
    return torch.cat([table[:, :first], rearrange(resized, "1 c y x -> 1 (y x) c").to(table.dtype)], 1)


def new_vit(arguments: dict[str, Any], size: int | tuple[int, int], shapes_alone: bool = False) -> nn.Module:
    """Build timm's VisionTransformer, or its network of a name, with freshly initialized weights.

    Args:
        arguments: as in `ViT.arguments`.
        size: of the images, in pixels.
        shapes_alone: build it without memory for its weights, on the device "meta".

    Raises:
        SettingsError: the installed timm has no network of that name.
    """
    # timm takes seconds, which other commands are spared
    from fsbench.networks.backbones.timm_networks import VisionTransformer, create_network

    named = "network" in arguments
    # to "draw" weights without memory takes longer than all the rest
    undrawn: dict[str, Any] = {"weight_init": "skip"} if shapes_alone and not named else {}
    build: Any = create_network if named else VisionTransformer
    with torch.device("meta") if shapes_alone else nullcontext():
        network: nn.Module = build(**arguments, **undrawn, img_size=size, num_classes=0)
    return network


def build_vit(arguments: dict[str, Any], state: dict[str, Tensor], height: int, width: int) -> nn.Module:
    """Build timm's VisionTransformer with the authors' weights, frozen, in eval mode.

    Args:
        arguments: arguments of timm's constructor.
        state: weights under the authors' or timm's names with the stored position table.
        height, width: size of the images in pixels.

    Raises:
        CheckpointError: keys or shapes do not fit; it names them.
        SettingsError: the size is no multiple of the patch size.
    """
    patch = arguments["patch_size"]
    check_size(patch, height, width)
    model = new_vit(arguments, (height, width))
    state = {key: value.float() for key, value in dino_to_timm_names(state).items()}
    if "pos_embed" in state:
        state["pos_embed"] = resize_position_table(state["pos_embed"], height // patch, width // patch)
    check_keys(_own_state(model, state), state, "backbone weights")
    periods = state.pop(PERIODS, None)
    model.load_state_dict(state)
    if periods is not None:
        rotary: Any = model
        rotary.rope.periods.copy_(periods)
    _join_biases(model)
    return model.eval().requires_grad_(False)


def _own_state(model: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
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
    """Raise SettingsError unless an image of height x width pixels divides into patches."""
    if height % patch or width % patch:
        below = max(height // patch, 1) * patch
        raise SettingsError(
            f"image size {height}x{width} is not a multiple of the backbone's patch size {patch}; expected such as "
            f"{below} or {below + patch} (--data.image_size)"
        )


def check_tokens(own: dict[str, Tensor], state: dict[str, Tensor], name: str) -> None:
    """Raise CheckpointError where weights are of a network with other tokens: patches of another size, or registers.

    Args:
        own: the state of the backbone's network, under timm's names.
        state: the weights, under timm's names; those of a network without patches are left to `check_keys`.
        name: the backbone.
    """
    expected, found = _tokens(own), _tokens(state)
    if found and found != expected:
        raise CheckpointError(
            f"backbone weights for {name} are of a network with {found}; expected {expected}; name the backbone of "
            "these weights (BACKBONE=, see: fsbench list), or give this one's (WEIGHTS=)"
        )


def _tokens(state: dict[str, Tensor]) -> str:
    """Describe the tokens of the network that weights belong to; empty where there are no patches."""
    patches, registers = state.get("patch_embed.proj.weight"), state.get("reg_token")
    if patches is None or patches.ndim != 4:
        return ""
    count = 0 if registers is None else registers.shape[1]
    return f"patches of {patches.shape[-1]} pixels and {count or 'no'} registers"


def random_state(vit: ViT, seed: int) -> dict[str, Tensor]:
    """Return seeded random weights under the authors' names, with a position table of the released size."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return new_vit(vit.arguments, vit.image_size).state_dict()


class FrozenViT(FrozenBackbone):
    """Frozen ViT whose features are the tokens of all blocks."""

    known = VITS
    encoders: ClassVar[tuple[str, ...]] = ("encode", "patch_map")
    spec: ViT

    def __init__(self, config: BackboneConfig):
        named = f"backbone '{config.name}'"
        refusal = f"the {named} gives no tokens" if config.name in _PUBLISHED else f"unknown {named}"
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

    def check_image_size(self, size: int) -> None:
        check_size(self.spec.arguments["patch_size"], size, size)

    def encode(self, pixels: Tensor) -> Tensor:
        """Return the tokens (L, 1 + T, C) float32 of all blocks of a normalised image (3, H, W).

        The class token comes first; registers are left out; the final LayerNorm is applied to the tokens of each block.
        """
        tokens: Tensor = super().encode(pixels)
        return tokens

    @property
    def identity_settings(self) -> dict[str, str]:
        """Origin of the periods of rotary positions, where the weights' file brings them."""
        rounded = self.spec.rotary and not self.weights_id.startswith("random ") and not self.name.endswith("_timm")
        return {"rope_periods": "file"} if rounded else {}

    def patch_map(
        self, pixels: Tensor, norm: bool = True, block: int = -1, coordinate_factors: Sequence[float] | None = None
    ) -> Tensor:
        """Return the patch tokens (C, h, w) float32 of one block of a normalised image (3, H, W).

        Args:
            pixels: the image.
            norm: apply the final LayerNorm (insid3.md §1), or take the block's own output (fssdino.md §1).
            block: its number, from 0, or negative from the end.
            coordinate_factors: factors of the rotary positions, see `scaled_coordinates`.
        """
        model: Any = self.network(pixels)
        with self.computing(pixels.device), ExitStack() as scaled:
            if coordinate_factors is not None:
                scaled.enter_context(scaled_coordinates(model, coordinate_factors))
            return patch_maps(model, pixels[None], norm, block)[0].float()

    def new_copy(self, pixels: Tensor) -> nn.Module:
        """Build a copy of the network for images like `pixels` (3, H, W), in eval mode, that may be changed."""
        return self._build(pixels.shape[1], pixels.shape[2]).to(pixels.device)

    def _build(self, height: int, width: int) -> nn.Module:
        return build_vit(self.spec.arguments, self.state, height, width)

    def _features_of_batch(self, model: nn.Module, images: Tensor) -> list[Tensor]:
        return list(vit_tokens(model, images))

    def _random_state(self, seed: int) -> dict[str, Tensor]:
        return random_state(self.spec, seed)

    def convert_state_dict(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return `state` under timm's names, without what is of training alone, after a check of keys and shapes."""
        state = dino_to_timm_names(state)
        own = _own_state(new_vit(self.spec.arguments, self.spec.image_size, shapes_alone=True), state)
        check_tokens(own, state, self.name)
        check_keys(own, state, f"backbone weights for {self.name}")
        return state


def vit_tokens(model: Any, images: Tensor) -> Tensor:
    """Return the tokens (M, L, 1 + T, C) of all blocks of normalised images (M, 3, H, W), final LayerNorm on each.

    The class token comes first; registers are left out.
    """
    layers = model.forward_intermediates(
        images, norm=True, return_prefix_tokens=True, output_fmt="NLC", intermediates_only=True
    )
    return torch.stack([torch.cat([prefix[:, :1], patches], 1) for patches, prefix in layers], 1)


def patch_maps(model: Any, images: Tensor, norm: bool, block: int = -1) -> Tensor:
    """Return the patch tokens (M, C, h, w) of one block of normalised images (M, 3, H, W).

    Args:
        model: timm's network.
        images: the images.
        norm: apply the final LayerNorm.
        block: its number, from 0, or negative from the end.
    """
    maps: Tensor = model.forward_intermediates(
        images, indices=[block], norm=norm, output_fmt="NCHW", intermediates_only=True, stop_early=True
    )[0]
    return maps


@contextmanager
def scaled_coordinates(model: Any, factors: Sequence[float]) -> Iterator[None]:
    """Let each block of a network with rotary positions have its patch coordinates times a factor of its own.

    That is what DINOv3's training does with factors drawn anew for each block (insid3.md §3).

    Args:
        model: timm's DINOv3.
        factors: one for each block.
    """

    def hook(factor: float) -> Any:
        def scale(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            table = rotation_table(model.patch_embed.grid_size, model.rope.periods, factor)
            return args, kwargs | {"rope": table}

        return scale

    handles = [
        block.register_forward_pre_hook(hook(factor), with_kwargs=True)
        for block, factor in zip(model.blocks, factors, strict=True)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def rotation_table(grid: tuple[int, int], periods: Tensor, factor: float) -> Tensor:
    """Return sines and cosines of DINOv3's rotary positions, a row for each patch.

    Args:
        grid: height h and width w, in patches.
        periods: (D/4,), of the D channels of a head.
        factor: of the coordinates, which are -1 to 1 from edge to edge.

    Returns:
        (h·w, 2·D): sines first.
    """
    sides = [2.0 * (torch.arange(0.5, side, device=periods.device) / side) - 1.0 for side in grid]
    coordinates = torch.stack(torch.meshgrid(*sides, indexing="ij"), -1).flatten(0, 1) * factor
    angles = (2 * math.pi * coordinates[:, :, None] / periods).flatten(1).tile(2)
    return torch.cat([angles.sin(), angles.cos()], -1)
