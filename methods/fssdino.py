"""FSSDINO (2026): each pixel takes the class whose prototypes and Gram map it resembles most (fssdino.md).

Shapes: N ways, K shots, B support images, M classes beside the background, which is class 0; C channels, (h, w) the
grid of patches, S image side, P prototypes of a class.
"""

import warnings
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from fsbench.base.errors import SettingsError
from fsbench.core.prediction import Prediction
from fsbench.core.segmenter import Segmenter
from fsbench.data.batch import EpisodeBatch
from fsbench.data.dataset import VOID
from fsbench.methods.modules.class_logits import INVALID
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.networks.backbones.timm_networks import FrozenViT
from fsbench.networks.ops.cosine_kmeans import cosine_kmeans


class Support(NamedTuple):
    """A support's raw features (C, h, w), and its labels (h, w): 1 its way, 0 anything else, 255 void."""

    features: Tensor
    labels: Tensor


class SupportClass(NamedTuple):
    """Prototypes and Gram matrix of one class, computed from its support pixels.

    Attributes:
        prototypes: P cluster centres (P, C).
        gram: Gram matrix (C, C) of the unit features.
        converged: whether k-means converged before its limit of iterations.
    """

    prototypes: Tensor
    gram: Tensor
    converged: bool


class ClassMaps(NamedTuple):
    """Similarity of a query to one class: cosines (P, h, w) with the class's prototypes, and the Gram map (h, w).

    The Gram map is the quadratic form of the query's features with the class's Gram matrix.
    """

    cosines: Tensor
    gram: Tensor


class FSSDINO(Segmenter):
    """FSSDINO: segmentation by k-means prototypes and Gram matrices of a frozen ViT's features, without training.

    A support pixel counts for every way that the episode's labels name there, and for the background if they name none.
    Void pixels, such as padding, are left out.

    Args:
        backbone: the frozen ViT.
        n_clusters: number of k-means prototypes of a class.
        seed: seed of the first centres of k-means, combined with the episode's number.
        layer: number of the ViT block whose output is compared, from 0, or negative from the end; the final LayerNorm
            is not applied.
    """

    backbone: FrozenViT
    backbone_type = FrozenViT
    learns = False
    competes = True
    reads_void = True
    decides_by_order = True
    depends_on_way_order = True  # the first centres are drawn class after class
    attention_meaning = "similarity: largest cosine with a prototype of the way; 0 where it is negative"

    def __init__(self, backbone: BackboneConfig, n_clusters: int = 5, seed: int = 0, layer: int = -1):
        super().__init__(backbone)
        depth = self.backbone.depth
        if n_clusters < 1 or seed < 0 or not -depth <= layer < depth:
            raise SettingsError(
                f"n_clusters is {n_clusters}, seed {seed} and layer {layer}; expected at least 1 cluster, a seed from "
                f"0, and a block of {self.backbone.name}, {-depth} to {depth - 1}"
            )
        self.n_clusters, self.seed, self.layer = n_clusters, seed, layer

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Return the features (C, h, w) of an image, output of the configured ViT block without LayerNorm."""
        return self.backbone.patch_map(pixels, norm=False, block=self.layer)

    def support(self, image: Tensor, mask: Tensor) -> Support:
        return Support(image[0], to_grid(mask[None], *image.shape[-2:])[0, 0])

    def join(self, supports: Iterator[Iterator[Support]]) -> list[SupportClass | None]:
        """Return prototypes and Gram matrix of the background and of each way, in this order.

        An entry is None for a class without pixels in the supports.
        """
        ways = [list(of_way) for of_way in supports]
        own = [torch.stack([one.labels for one in of_way]) for of_way in ways]
        labels = pad_sequence(own, batch_first=True, padding_value=VOID)  # padding is of no class
        images, shown = self.context.images, self.context.shown
        assert images is not None
        masks = class_masks(labels, images, None if shown is None else to_grid(shown, *labels.shape[-2:]))
        there = torch.tensor([shot < len(of_way) for of_way in ways for shot in range(labels.shape[1])])
        features = class_features((one.features for of_way in ways for one in of_way), masks[there.to(masks.device)])
        episode = self.context.episode or 0
        classes = support_classes(features, self.n_clusters, Draws((self.seed, episode)))
        unfinished = [number for number, own in enumerate(classes) if own and not own.converged]
        if unfinished:
            warnings.warn(
                f"episode {episode}: k-means of the classes {unfinished} (0 is the background) was ended after its "
                "limit of passes",
                stacklevel=2,
            )
        return classes

    def segment(self, query: Tensor, support: list[SupportClass | None]) -> list[ClassMaps | None]:
        """Return the query's similarity maps to background and ways; None for a class without support pixels."""
        return compare_classes(query[0], support)

    def compete(self, output: list[ClassMaps | None], size: tuple[int, int]) -> Prediction:  # type: ignore[override]
        """Assign each pixel to the class (background or way) with the largest score (§3.5).

        Scores are compared at the side of the method's images; the label map is then resized to `size` (H, W).
        """
        found, full = decide(class_scores(output, (self.context.side, self.context.side)), size)
        ways = range(1, len(full))
        other = [torch.cat([full[:way], full[way + 1 :]]).amax(0) for way in ways]
        logits = torch.stack([torch.stack([rest, full[way]]) for way, rest in zip(ways, other, strict=True)])
        attention = _similarities(output[1:]) if self.keeps_soft_masks else None
        return Prediction(found, logits=logits, attention=attention)

    def query_maps(self, episode: EpisodeBatch) -> dict[str, Tensor]:
        """Return maps (h, w) over the query for display: nearest prototypes, cosines and Gram map of each class.

        Returns:
            {"prototypes …": index of the nearest prototype, "cosine …": largest cosine, "Gram map …": Gram map}, where
            … is the way's number or "of the background".
        """
        maps: dict[str, Tensor] = {}
        with torch.autocast(episode.images.device.type, enabled=False):
            query, supports = self.ask(episode)
            classes = self.segment(query, self.join(supports))
        for number, own in enumerate(classes):
            if own is None:
                continue
            name = " of the background" if number == 0 else f" {number}" if len(classes) > 2 else ""
            maps[f"prototypes{name}"] = own.cosines.argmax(0)
            maps |= {f"cosine{name}": own.cosines.amax(0), f"Gram map{name}": own.gram}
        return maps


class Draws:
    """Random generators of k-means, which draw first centres, and new centres for empty clusters.

    Args:
        seed: one number or several, from which NumPy's legacy generator and torch's are seeded.
    """

    def __init__(self, seed: int | tuple[int, ...]):
        self.numpy = np.random.RandomState(seed)
        self.torch = torch.Generator().manual_seed(int(np.random.default_rng(seed).integers(2**31)))

    def rows(self, count: int, chosen: int) -> Tensor:
        """Return the indices (chosen,) int64 of `chosen` rows, drawn from `count` without repetition."""
        return torch.from_numpy(self.numpy.choice(count, chosen, replace=False).astype(np.int64))


def to_grid(maps: Tensor, height: int, width: int) -> Tensor:
    """Resize label maps or masks (B, M, S, S) to (B, M, height, width) by nearest neighbour (§2)."""
    return F.interpolate(maps.byte(), (height, width), mode="nearest").to(maps.dtype)


def class_features(features: Iterable[Tensor], masks: Tensor) -> list[Tensor]:
    """Return the features (n, C) of each class, support by support and row by row (§2).

    Args:
        features: features (C, h, w) of each of B supports; only one is held at a time.
        masks: (B, M + 1, h, w) bool, pixels of background and of M ways in each support.
    """
    rows: list[list[Tensor]] = [[] for _ in masks[0]]
    for one, shown in zip(features, masks, strict=True):
        by_place = one.permute(1, 2, 0)
        for own, mask in zip(rows, shown, strict=True):
            own.append(by_place[mask])
    return [torch.cat(rows.pop(0)) for _ in masks[0]]  # a class's parts go when they are joined


def support_classes(features: list[Tensor], clusters: int, draws: Draws) -> list[SupportClass | None]:
    """Return prototypes and Gram matrix of every class from its features (n, C); None for a class without features.

    Prototypes are the centres of `clusters` k-means clusters (§3.1). A class with fewer features than clusters has its
    features themselves as prototypes, and nothing is drawn.
    """
    found: list[SupportClass | None] = []
    for own in features:
        if not len(own):
            found.append(None)
        elif len(own) < clusters:
            found.append(SupportClass(own, gram_matrix(own), True))
        else:
            kmeans = cosine_kmeans(own, draws.rows(len(own), clusters).to(own.device), draws.torch)
            found.append(SupportClass(kmeans.centres, gram_matrix(own), kmeans.converged))
    return found


def cosine_maps(prototypes: Tensor, query: Tensor) -> Tensor:
    """Return the cosines (P, h, w) of prototypes (P, C) with a query's features (C, h, w) (§3.2)."""
    return torch.einsum("pc,chw->phw", F.normalize(prototypes, dim=1), F.normalize(query, dim=0))


def gram_matrix(features: Tensor) -> Tensor:
    """Return the mean outer product (C, C) of a class's unit features (n, C) (§3.3)."""
    directions = F.normalize(features, dim=1)
    return directions.T @ directions / len(features)


def gram_map(gram: Tensor, query: Tensor) -> Tensor:
    """Return the quadratic form (h, w) of a query's raw features (C, h, w), scaled to 0..1 over the grid (§3.3)."""
    values = torch.einsum("chw,chw->hw", torch.einsum("cd,dhw->chw", gram, query), query)
    low, high = values.min(), values.max()
    return (values - low) / (high - low + 1e-8)


def compare_classes(query: Tensor, classes: list[SupportClass | None]) -> list[ClassMaps | None]:
    """Return the similarity maps of query features (C, h, w) to every class; None where `classes` has None.

    A class's maps are the cosines with its prototypes and its Gram map (§3.2, §3.3).
    """
    return [own and ClassMaps(cosine_maps(own.prototypes, query), gram_map(own.gram, query)) for own in classes]


def class_scores(maps: list[ClassMaps | None], size: tuple[int, int]) -> Tensor:
    """Return the score maps (M + 1, H, W) of background and M ways at `size` (H, W) (§3.4).

    A class's score is the mean of its similarity maps times their maximum; it is −∞ for a class without maps (None).
    """
    known = next((own for own in maps if own is not None), None)
    empty = torch.full(size, -torch.inf, device=None if known is None else known.gram.device)
    scores = []
    for own in maps:
        if own is None:
            scores.append(empty)
            continue
        every = torch.cat([own.cosines, own.gram[None]])[None]
        full = F.interpolate(every, size, mode="bilinear", align_corners=False)[0]
        scores.append(full.mean(0) * full.amax(0))
    return torch.stack(scores)


def to_size(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize maps (M, H, W) to (M, *size) by nearest neighbour (§3.5)."""
    return F.interpolate(maps[None].float(), size, mode="nearest-exact")[0]


def decide(scores: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return the label map (h, w) int64 by the largest score, and the scores (N + 1, h, w), both resized (§3.5).

    `scores` are (N + 1, S, S), background first; `size` is (h, w), resized to by nearest neighbour. A pixel is
    background if no class has a score there.
    """
    # torch's argmax of equal numbers is not defined, so that of a query without any class is not left to it
    label_map = scores.argmax(0).where(scores.amax(0) > -torch.inf, 0)
    return to_size(label_map[None], size)[0].long(), to_size(scores.clamp(min=INVALID), size)


def _similarities(ways: list[ClassMaps | None]) -> Tensor | None:
    """Return the largest cosine with the prototypes of each way, at least 0, (N, h, w): zeros for a way without
    pixels in the supports, None if all are."""
    known = next((way for way in ways if way is not None), None)
    if known is None:
        return None
    empty = torch.zeros_like(known.gram)
    return torch.stack([empty if way is None else way.cosines.amax(0).clamp(0, 1) for way in ways])


def class_masks(labels: Tensor, images: Tensor, shown: Tensor | None = None) -> Tensor:
    """Turn support labels into masks (N·K, N + 1, S, S) bool of background and ways for every support (§2).

    A pixel may belong to several ways; a pixel of no way is background unless it is void.

    Args:
        labels: (N, K, S, S), labels of each support's own way: 1 the way, 0 anything else, 255 void.
        images: (N, K) numbers of the images; a support also gets the labels of other supports with the same image.
        shown: (N, K, S, S) label maps 1..N of all ways in a support; None if only its own way is labelled.
    """
    ways, shots = labels.shape[:2]
    masks = torch.zeros(ways, shots, ways + 1, *labels.shape[2:], dtype=torch.bool, device=labels.device)
    same = images.flatten()[:, None] == images.flatten()
    for way in range(ways):
        own = torch.zeros_like(labels, dtype=torch.bool)
        own[way] = labels[way] == 1
        of_image = torch.stack([own.flatten(0, 1)[row].any(0) for row in same]).view_as(own)
        masks[:, :, way + 1] = of_image if shown is None else of_image | (shown == way + 1)
    masks[:, :, 0] = ~masks[:, :, 1:].any(2) & (labels != VOID)
    return masks.flatten(0, 1)
