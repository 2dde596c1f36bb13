"""UniverSeg (ICCV 2023) and MultiverSeg (ICCV 2025): a U-Net reads a query and K labelled images together.

At every level the query's features are convolved with those of each support, and the mean over the supports goes on as
the query's. The weights are for any structure of medical images, and nothing is trained (universeg.md).

Shapes: B queries, K supports of each, c channels, S image side, (h, w) a map, D the network's side.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsbench.base.errors import SettingsError
from fsbench.core.segmenter import Segmenter
from fsbench.data.annotations import KnownOrNot
from fsbench.data.label_maps import resize_labels_pil
from fsbench.data.transforms import resize_image
from fsbench.networks.backbones.base import BackboneConfig, FrozenBackbone, find_spec
from fsbench.networks.weights.table import WeightFile, weight_files

SLOPE = 0.01
"""Slope of the leaky ReLU below 0 (§3.1)."""
CHUNK = 8
"""Number of supports that are convolved at once, which bounds the memory."""
GREY = (19595, 38470, 7471)
"""Weights of red, green and blue in a grey value, in 65536ths, as Pillow has them (§2.2)."""
Range = Literal["minmax", "255"]
"""How grey values become numbers from 0 to 1: by the least and largest of each image, or divided by 255 (§2.3)."""


# The network ----------------------------------------------------------------------------------------------------------


class Pair(NamedTuple):
    """Feature maps of queries (B, c, h, w), and those of their supports in chunks (B, k, c, h, w)."""

    query: Tensor
    supports: Iterable[Tensor]


def map_pair(function: Callable[[Tensor], Tensor], pair: Pair) -> Pair:
    """Apply a function of maps (n, c, h, w) to queries and supports; chunks are computed when they are asked for."""
    return Pair(function(pair.query), (map_supports(function, chunk) for chunk in pair.supports))


def map_supports(function: Callable[[Tensor], Tensor], supports: Tensor) -> Tensor:
    """Apply a function of maps (n, c, h, w) to the maps of some supports (B, k, c, h, w)."""
    found: Tensor = function(supports.flatten(0, 1)).unflatten(0, supports.shape[:2])
    return found


class CrossConvolution(nn.Module):
    """Convolution of a query's maps with each support's, by one weight whose first inputs are the query's (§3.1).

    Args:
        inputs: number of channels of query and of a support.
        width: number of output channels.
        is_multiverseg: whether the result is activated, as in MultiverSeg.
    """

    def __init__(self, inputs: tuple[int, int], width: int, is_multiverseg: bool):
        super().__init__()
        self.cross_conv = nn.Conv2d(sum(inputs), width, 3, padding=1)
        self.activated = is_multiverseg
        draw(self.cross_conv, is_multiverseg)

    def forward(self, query: Tensor, supports: Tensor) -> Tensor:
        """Return the result for each support (B, K, width, h, w)."""
        return self.with_supports(self.query_part(query), supports)

    def query_part(self, query: Tensor) -> Tensor:
        """Return what the query adds, the same for all supports: (B, width, h, w), with the bias."""
        return F.conv2d(query, self.cross_conv.weight[:, : query.shape[1]], self.cross_conv.bias, padding=1)

    def with_supports(self, query_part: Tensor, supports: Tensor) -> Tensor:
        """Return the result for some supports (B, k, c, h, w) and what the query adds: (B, k, width, h, w)."""
        weight = self.cross_conv.weight[:, -supports.shape[2] :]
        found = query_part[:, None] + map_supports(lambda maps: F.conv2d(maps, weight, padding=1), supports)
        return F.leaky_relu(found, SLOPE) if self.activated else found


class Convolution(nn.Module):
    """Convolution of one item's maps, leaky ReLU and, in MultiverSeg, a norm over the whole item after it (§3.2)."""

    def __init__(self, width: int, is_multiverseg: bool):
        super().__init__()
        self.vmapped = nn.ModuleDict({"conv": nn.Conv2d(width, width, 3, padding=1)})
        if is_multiverseg:
            self.vmapped["norml"] = nn.GroupNorm(1, width)
        draw(self.vmapped["conv"], True)

    def forward(self, maps: Tensor) -> Tensor:
        found: Tensor = F.leaky_relu(self.vmapped["conv"](maps), SLOPE)
        return self.vmapped["norml"](found) if "norml" in self.vmapped else found


class CrossBlock(nn.Module):
    """Cross-convolution, whose mean over the supports is the new query, then a convolution of each item (§3.2).

    Supports are read chunk by chunk, which bounds the memory (§5.2).

    Args:
        inputs: number of channels of query and of a support.
        width: number of output channels of both.
        is_multiverseg: whether it is MultiverSeg's.
    """

    def __init__(self, inputs: tuple[int, int], width: int, is_multiverseg: bool):
        super().__init__()
        self.cross = CrossConvolution(inputs, width, is_multiverseg)
        self.target = Convolution(width, is_multiverseg)
        self.support = Convolution(width, is_multiverseg)

    def forward(self, query: Tensor, supports: Iterable[Tensor], is_last: bool = False) -> Pair:
        """Return the maps of queries (B, width, h, w) and of chunks of supports (B, k, width, h, w) after the block.

        Args:
            query: maps of the queries (B, c, h, w).
            supports: maps of their supports, in chunks (B, k, c, h, w).
            is_last: whether nothing reads the supports any more; then there are none.
        """
        query_part = self.cross.query_part(query)
        total, count, kept = torch.zeros_like(query_part), 0, []
        for chunk in supports:
            crossed = self.cross.with_supports(query_part, chunk)
            total += crossed.sum(1)
            count += chunk.shape[1]
            if not is_last:
                kept.append(map_supports(self.support, crossed))
        return Pair(self.target(total / count), kept)


def draw(layer: Any, activated: bool) -> None:
    """Draw a convolution's weights for a leaky ReLU after it, or for none, as the programs do; biases are 0 (§3.5)."""
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu" if activated else "linear")
    nn.init.zeros_(layer.bias)


def halve(maps: Tensor) -> Tensor:
    """Return maps (n, c, h, w) at half their size: the largest of each 2 x 2 values."""
    return F.max_pool2d(maps, 2)


def upsample(maps: Tensor) -> Tensor:
    """Return maps (n, c, h, w) at twice their size, bilinear, corners aligned."""
    return F.interpolate(maps, scale_factor=2.0, mode="bilinear", align_corners=True)


def join_skip(pair: Pair, skip: Pair) -> Pair:
    """Return maps at twice their size with those that skipped the levels below after them (§3.3)."""
    larger = map_pair(upsample, pair)
    chunks = zip(larger.supports, skip.supports, strict=True)
    return Pair(torch.cat([larger.query, skip.query], 1), (torch.cat(chunk, 2) for chunk in chunks))


class CrossUNet(nn.Module):
    """UniverSeg's or MultiverSeg's network of cross-blocks, four down and three up (§3.3, §4).

    Args:
        widths: channels of the four levels.
        is_multiverseg: whether it is MultiverSeg's, whose query has four more channels, for clicks, which are 0 here.
    """

    def __init__(self, widths: Sequence[int], is_multiverseg: bool):
        super().__init__()
        self.channels = 5 if is_multiverseg else 1
        inputs = [(self.channels, 2), *((width, width) for width in widths[:-1])]
        self.enc_blocks = nn.ModuleList(
            CrossBlock(own, width, is_multiverseg) for own, width in zip(inputs, widths, strict=True)
        )
        self.dec_blocks = nn.ModuleList(
            CrossBlock((below + width, below + width), width, is_multiverseg) for below, width in pairwise(widths[::-1])
        )
        self.out_conv = nn.ModuleDict({"conv": nn.Conv2d(widths[0], 1, 1)})
        draw(self.out_conv["conv"], False)

    def forward(self, query: Tensor, supports: Tensor) -> Tensor:
        """Return the logits (B, 1, h, w) of grey queries (B, 1, h, w) by supports (B, K, 2, h, w).

        Channels of a support are its grey image and its mask. h and w are multiples of 8.
        """
        pair = Pair(F.pad(query, (0, 0, 0, 0, 0, self.channels - 1)), supports.split(CHUNK, 1))
        skips: list[Pair] = []
        for block in self.enc_blocks:
            pair = block(*(map_pair(halve, pair) if skips else pair))
            skips.append(pair)
        skips.pop()
        for block in self.dec_blocks:
            skip = skips.pop()
            pair = block(*join_skip(pair, skip), is_last=not skips)
        logits: Tensor = self.out_conv["conv"](pair.query)
        return logits


# Its files ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CrossNet:
    """Description of a network.

    Attributes:
        widths: channels of its four levels.
        is_multiverseg: whether it is MultiverSeg's, else UniverSeg's.
        weights: the published weight file.
    """

    widths: tuple[int, int, int, int]
    is_multiverseg: bool
    weights: WeightFile


NETS = {
    "universeg": CrossNet((64, 64, 64, 64), False, weight_files()["universeg"]),
    "multiverseg": CrossNet((256, 256, 256, 256), True, weight_files()["multiverseg"]),
    # narrow, and of random weights alone
    "universeg_demo": CrossNet((8, 8, 8, 8), False, WeightFile("universeg_demo")),
    "multiverseg_demo": CrossNet((8, 8, 8, 8), True, WeightFile("multiverseg_demo")),
}
"""Networks by their names."""


class FrozenCrossUNet(FrozenBackbone):
    """Frozen UniverSeg or MultiverSeg, which takes the query and all supports as one input."""

    known = NETS
    spec: CrossNet

    def __init__(self, config: BackboneConfig):
        self.spec = find_spec(config.name, NETS, CrossNet, f"unknown network of UniverSeg '{config.name}'")
        if config.precision != "fp32":
            raise SettingsError(
                f"backbone_precision is {config.precision}, but {config.name} is stated in float32 alone; leave "
                "--backbone-precision at fp32"
            )
        super().__init__(config)

    def check_image_size(self, size: int) -> None:
        if size < 1:
            raise SettingsError(f"image_size is {size}, expected 1 or more")

    def new_network(self) -> nn.Module:
        return CrossUNet(self.spec.widths, self.spec.is_multiverseg)

    def describe_state(self, state: Mapping[str, Tensor]) -> str:
        weight = state.get("enc_blocks.0.cross.cross_conv.weight")
        if weight is None or weight.ndim != 4:
            return ""
        return f"{'MultiverSeg' if weight.shape[1] == 7 else 'UniverSeg'} of width {len(weight)}"

    def _build(self, height: int, width: int) -> nn.Module:
        with torch.device("meta"):
            model = self.new_network()
        model.load_state_dict(self.state, assign=True)
        return model.eval().requires_grad_(False)

    def logits(self, query: Tensor, supports: Tensor) -> Tensor:
        """Return logits (B, 1, h, w) of grey queries (B, 1, h, w) by supports (B, K, 2, h, w); see `CrossUNet`."""
        model = self.network(query[0])
        with self.computing(query.device):
            found: Tensor = model(query, supports)
        return found.float()


# Images -------------------------------------------------------------------------------------------------------------


def to_grey(colours: Tensor) -> Tensor:
    """Return the grey image (H, W) uint8 of colours (3, H, W) uint8, as Pillow makes it (§2.2)."""
    weighed = sum(weight * plane.int() for weight, plane in zip(GREY, colours, strict=True))
    assert isinstance(weighed, Tensor)
    return ((weighed + 32768) >> 16).to(torch.uint8)


def min_max(grey: Tensor) -> Tensor:
    """Return an image with its least value at 0 and its largest at 1, float32; a constant one becomes 0 (§2.3)."""
    grey = grey.float()
    low, high = grey.aminmax()
    return (grey - low) / (high - low) if high > low else torch.zeros_like(grey)


def network_image(image: Tensor, side: int, values: Range) -> Tensor:
    """Return an image as the network reads it: (1, D, D) float32 from 0 to 1 (§2).

    Args:
        image: photo (3, S, S) uint8, or a slice of a scan (3, S, S) of measured intensities in three equal channels.
        side: D, side of the network's images.
        values: how a photo's grey values become numbers; a slice always goes by its least and largest value.
    """
    if image.dtype == torch.uint8:
        if image.shape[-2:] != (side, side):
            image = resize_image(image.permute(1, 2, 0).cpu().numpy(), side).to(image.device)
        grey = to_grey(image)
        return (min_max(grey) if values == "minmax" else grey.float() / 255)[None]
    grey = image[:1].float()
    if image.shape[-2:] != (side, side):
        grey = F.interpolate(grey[None], (side, side), mode="bilinear", align_corners=False, antialias=True)[0]
    return min_max(grey)


def network_mask(mask: Tensor, side: int) -> Tensor:
    """Return a mask (S, S) bool as the network reads it: (1, D, D) float32, 0 or 1, by Pillow's nearest (§2.5)."""
    if mask.shape != (side, side):
        resized = resize_labels_pil(mask.cpu().numpy().astype(np.uint8), side, side)
        mask = torch.from_numpy(resized).to(mask.device)
    return mask.float()[None]


def support_sets(seed: int, pool: int, sets: int, size: int) -> np.ndarray:
    """Return the numbers (sets, size), from 0, of the supports in each set of an ensemble, with repeats (§5.3)."""
    return np.stack([np.random.default_rng(seed + number).integers(0, pool, size) for number in range(sets)])


def mean_logits(logits: Tensor) -> Tensor:
    """Return the logits (B, 1, h, w) of the mean probability of sets (sets, B, 1, h, w), float64 (§5.3)."""
    return logits.double().sigmoid().mean(0).logit(eps=torch.finfo(torch.float64).eps)


# The method -----------------------------------------------------------------------------------------------------------


class UniverSeg(Segmenter):
    """Segmentation by UniverSeg or MultiverSeg, which read all supports of a way together.

    Args:
        backbone: the frozen network: `universeg` or `multiverseg`.
        side: D, side in pixels of the network's images, a multiple of 8; the released weights are made for 128.
        normalise: "minmax" or "255", how grey values of a photo become numbers from 0 to 1.
        sets: number of support sets whose mean probability is the answer; 0 reads all supports once.
        set_size: number of supports in each set, drawn from the way's K supports with repeats.
    """

    backbone: FrozenCrossUNet
    backbone_type: ClassVar[Any] = FrozenCrossUNet
    learns = False
    raw_images = sees_pixels = True

    def __init__(
        self, backbone: BackboneConfig, side: int = 128, normalise: Range = "minmax", sets: int = 0, set_size: int = 0
    ):
        super().__init__(backbone)
        if side < 8 or side % 8:
            raise SettingsError(f"side is {side}, expected a multiple of 8, which is halved three times")
        if min(sets, set_size) < 0 or (sets > 0) != (set_size > 0):
            raise SettingsError(
                f"sets is {sets} and set_size {set_size}; expected both above 0, or both 0 for one reading of all"
            )
        self.side, self.normalise, self.sets, self.set_size = side, normalise, sets, set_size

    def saw_classes_of(self, dataset: str) -> KnownOrNot:
        """Return "unknown": the many data sets of its training are not all named; "no" for random weights."""
        return "no" if self.backbone.weights_id.startswith("random ") else "unknown"

    def query(self, image: Tensor) -> Tensor:
        """Return queries (B, 3, S, S) as the network reads them: (B, 1, D, D)."""
        return torch.stack([network_image(one, self.side, self.normalise) for one in image])

    def support(self, image: Tensor, mask: Tensor) -> Tensor:
        """Return supports (B, 3, S, S) with masks (B, S, S) as the network reads them: (B, 2, D, D)."""
        masks = torch.stack([network_mask(one, self.side) for one in mask])
        return torch.cat([self.query(image), masks], 1)

    def join(self, supports: Iterator[Tensor]) -> Tensor:
        """Return all supports of a way, (B, K, 2, D, D)."""
        return torch.stack(list(supports), 1)

    def segment(self, query: Tensor, support: Tensor) -> Tensor:
        """Return logits (B, 2, D, D), those of the background 0."""
        if self.sets:
            chosen = support_sets(self.context.episode or 0, support.shape[1], self.sets, self.set_size)
            found = [self.backbone.logits(query, support[:, torch.from_numpy(own)]) for own in chosen]
            logits = mean_logits(torch.stack(found)).float()
        else:
            logits = self.backbone.logits(query, support)
        return torch.cat([torch.zeros_like(logits), logits], 1)
