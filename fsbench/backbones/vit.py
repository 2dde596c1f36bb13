"""Frozen vision transformers: DINO, DINOv2 and the demo's small ViT.

timm's own ways to load DINO and DINOv2 at another image size resize the position table differently from the models'
authors (by target size and with antialiasing), which changes the tokens by tens of percent. Here the table is resized
as the authors do and loaded as it is (emat.md §1).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from fsbench.backbones.base import BackboneConfig, FrozenBackbone
from fsbench.backbones.weight_files import check_keys
from fsbench.errors import SettingsError
from fsbench.plugins import load_object
from fsbench.weights.table import WeightFile, weight_files


@dataclass(frozen=True)
class ViT:
    """Architecture of a vision transformer and its official weight file.

    Attributes:
        arguments: arguments of timm's VisionTransformer.
        table_side: side M of the stored position grid, in patches.
        weights: the published weight file.
    """

    arguments: dict[str, Any]
    table_side: int
    weights: WeightFile

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
    "demo": ViT(DEMO_VIT, DEMO_TABLE_SIDE, WeightFile(str(DEMO_WEIGHTS), sha256=DEMO_WEIGHTS_SHA256)),
}


def resize_position_table(table: Tensor, height: int, width: int) -> Tensor:
    """Resize a position table as DINO and DINOv2 do (emat.md §1.1).

    Bicubic with the explicit scale factor (height + 0.1) / M, without antialiasing; the class position stays.

    Args:
        table: (1, 1 + M², C), the class position first.
        height, width: size of the new grid, in patches.

    Returns:
        Table (1, 1 + height·width, C).
    """
    side = round((table.shape[1] - 1) ** 0.5)
    if height == width == side:
        return table
    grid = rearrange(table[:, 1:].float(), "1 (y x) c -> 1 c y x", y=side)
    scale = ((height + 0.1) / side, (width + 0.1) / side)
    resized = F.interpolate(grid, scale_factor=scale, mode="bicubic", align_corners=False)
    return torch.cat([table[:, :1], rearrange(resized, "1 c y x -> 1 (y x) c").to(table.dtype)], 1)


def new_vit(arguments: dict[str, Any], size: int | tuple[int, int]) -> nn.Module:
    """Build timm's VisionTransformer with freshly initialized weights for images of `size` pixels."""
    # timm takes seconds, which other commands are spared
    from fsbench.backbones.timm_networks import VisionTransformer

    return VisionTransformer(**arguments, img_size=size, num_classes=0)


def build_vit(arguments: dict[str, Any], state: dict[str, Tensor], height: int, width: int) -> nn.Module:
    """Build timm's VisionTransformer with the authors' weights, frozen, in eval mode.

    Args:
        arguments: arguments of timm's constructor.
        state: weights under the authors' names with the stored position table; a mask token is dropped.
        height, width: size of the images in pixels.

    Raises:
        CheckpointError: keys or shapes do not fit; it names them.
        SettingsError: the size is no multiple of the patch size.
    """
    patch = arguments["patch_size"]
    check_size(patch, height, width)
    model = new_vit(arguments, (height, width))
    state = {key: value.float() for key, value in state.items() if key != "mask_token"}
    if "pos_embed" in state:
        state["pos_embed"] = resize_position_table(state["pos_embed"], height // patch, width // patch)
    check_keys(model.state_dict(), state, "backbone weights")
    model.load_state_dict(state)
    return model.eval().requires_grad_(False)


def check_size(patch: int, height: int, width: int) -> None:
    """Raise SettingsError unless an image of height x width pixels divides into patches."""
    if height % patch or width % patch:
        raise SettingsError(f"image size {height}x{width} is not a multiple of the backbone's patch size {patch}")


def random_state(vit: ViT, seed: int) -> dict[str, Tensor]:
    """Return seeded random weights under the authors' names, with a position table of the released size."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return new_vit(vit.arguments, vit.image_size).state_dict()


class FrozenViT(FrozenBackbone):
    """Frozen ViT whose features are the tokens of all blocks."""

    known = VITS
    spec: ViT

    def __init__(self, config: BackboneConfig):
        spec = VITS.get(config.name) or load_object("backbones", config.name, ViT)
        if spec is None:
            raise SettingsError(f"unknown backbone '{config.name}'; there are: {', '.join(sorted(VITS))}")
        self.spec = spec
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

        The class token comes first; the final LayerNorm is applied to the tokens of each block.
        """
        tokens: Tensor = super().encode(pixels)
        return tokens

    def _build(self, height: int, width: int) -> nn.Module:
        return build_vit(self.spec.arguments, self.state, height, width)

    def _features(self, model: nn.Module, images: Tensor) -> Tensor:
        return vit_tokens(model, images)[0]

    def _random_state(self, seed: int) -> dict[str, Tensor]:
        return random_state(self.spec, seed)

    def convert_state_dict(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return `state` without DINOv2's mask token, a thing of training, after a check of keys and shapes."""
        state = {key: value for key, value in state.items() if key != "mask_token"}
        with torch.device("meta"):
            model = new_vit(self.spec.arguments, self.spec.image_size)
        check_keys(model.state_dict(), state, f"backbone weights for {self.name}")
        return state


def vit_tokens(model: Any, images: Tensor) -> Tensor:
    """Return the tokens (M, L, 1 + T, C) of all blocks of normalised images (M, 3, H, W), final LayerNorm on each."""
    layers = model.get_intermediate_layers(images, n=len(model.blocks), norm=True, return_prefix_tokens=True)
    return torch.stack([torch.cat([prefix, patches], 1) for patches, prefix in layers], 1)
