"""Frozen networks whose features are a pyramid: maps of every block at 1/4, 1/8, 1/16 and 1/32 of the image.

Shapes: one scale (L, C, h, w), L its blocks in forward order, C channels. Maps of a ResNet and of a Swin lie
channels last in memory, as they are computed.
"""

import itertools
from typing import Any, cast

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from fsbench.base.errors import SettingsError
from fsbench.networks.backbones.base import BackboneConfig, FrozenBackbone, find_spec
from fsbench.networks.backbones.folded import folded
from fsbench.networks.backbones.pyramid_networks import PYRAMIDS, PyramidNet, block_features, build_pyramid_network
from fsbench.networks.backbones.timm_names import to_timm_names
from fsbench.networks.backbones.vit import VITS, build_vit, random_state, vit_tokens
from fsbench.networks.weights.files import check_keys

Pyramid = tuple[Tensor, ...]
"""Features of an image at 1/4, 1/8, 1/16, 1/32, each (L, C, h, w). Of the finest scale only the last block is kept, or
none: methods use it to sharpen edges, not to compare images."""
VIT_SCALE = 2.0
"""Factor on a ViT's tokens: their standard deviation is near 1, that of a ResNet's features several times that;
attention starts as sharp as with those."""


class FrozenPyramid(FrozenBackbone):
    """Frozen network that gives a pyramid of features.

    Attributes:
        fine: the pyramid has the scale 1/4; a method that does not read it sets this to False before it encodes.
    """

    spec: PyramidNet
    fine: bool = True

    def __init__(self, config: BackboneConfig):
        refusal = f"the backbone '{config.name}' gives no pyramid of features"
        self.spec = find_spec(config.name, dict(sorted(PYRAMIDS.items())), PyramidNet, refusal)
        super().__init__(config)

    @property
    def blocks(self) -> tuple[int, int, int, int]:
        """Number of maps at each scale: (1, L8, L16, L32), whether 1/4 is read or not."""
        return (1, *self.spec.blocks[1:])

    @property
    def channels(self) -> tuple[int, int, int, int]:
        """Channels of the maps at each scale."""
        return self.spec.channels

    def check_image_size(self, size: int) -> None:
        if size < self.spec.multiple or size % self.spec.multiple:
            raise SettingsError(f"image size {size} is not a multiple of {self.spec.multiple}, which {self.name} needs")

    def encode(self, pixels: Tensor) -> Pyramid:
        """Return the pyramid, float32, of a normalised image (3, H, W)."""
        return cast(Pyramid, super().encode(pixels))

    def _build(self, height: int, width: int) -> nn.Module:
        if self.spec.kind == "vit":
            return build_vit(VITS[self.name].arguments, self.state, height, width)
        self.check_image_size(height)
        model = build_pyramid_network(self.spec, height)
        model.load_state_dict({key: value.float() for key, value in self.state.items()}, strict=False)  # checked before
        model.eval().requires_grad_(False)
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

    def _random_state(self, seed: int) -> dict[str, Tensor]:
        if self.spec.kind == "vit":
            return random_state(VITS[self.name], seed)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            return to_timm_names(build_pyramid_network(self.spec).state_dict())

    def convert_state_dict(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        if self.spec.kind == "vit":
            return state
        state = to_timm_names(state)
        with torch.device("meta"):
            own = to_timm_names(build_pyramid_network(self.spec).state_dict())
        check_keys(own, state, f"backbone weights for {self.name}")
        return state


def _stacked(maps: list[Tensor]) -> Tensor:
    """Stack the maps (B, C, h, w) of a stage's blocks to (B, L, C, h, w), map after map in the maps' own layout."""
    if not maps[0].is_contiguous(memory_format=torch.channels_last):
        return torch.stack(maps, 1)
    return torch.stack([x.permute(0, 2, 3, 1) for x in maps], 1).permute(0, 1, 4, 2, 3)


def _folded_resnet(model: Any, first: int) -> nn.Module:
    """Fold a ResNet; from block `first` on, the last ReLU of each leaves its input, which is a feature, as it is."""
    for block in [*model.layer1, *model.layer2, *model.layer3, *model.layer4][first:]:
        block.act3.inplace = False
    return folded(model)


def token_maps(tokens: Tensor, side: int) -> Tensor:
    """Return the patches of `vit_tokens` of one image as maps of all blocks (L, C, h, w), scaled by `VIT_SCALE`.

    Args:
        tokens: (L, 1 + T, C).
        side: h, rows of tokens.
    """
    return VIT_SCALE * rearrange(tokens[:, 1:], "l (y x) c -> l c y x", y=side)


def token_pyramid(tokens: Tensor, side: int) -> Pyramid:
    """Make a pyramid from the tokens of a plain ViT with patches of 8 pixels, without any weights of its own.

    At 1/8 are the tokens of the last four blocks, at 1/16 and 1/32 their averages over 2x2 and 4x4 patches; at 1/4 the
    tokens of the first block, which is nearest to the pixels, enlarged bilinearly. All are scaled by `VIT_SCALE`.

    Args:
        tokens: `vit_tokens` of one image (L, 1 + T, C).
        side: rows of tokens.
    """
    maps = token_maps(tokens, side)
    fine = F.interpolate(maps[:1], scale_factor=2, mode="bilinear", align_corners=True)
    last = maps[-4:].contiguous()
    return fine, last, F.avg_pool2d(last, 2), F.avg_pool2d(last, 4)
