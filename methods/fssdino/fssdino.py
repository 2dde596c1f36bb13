"""FSSDINO (2026): each pixel takes the class whose prototypes and Gram map it resembles most (fssdino.md).

Shapes: N ways, K shots, C channels, (h, w) the grid of patches, S image side.
"""

import warnings

import torch
from torch import Tensor

from fsbench.base.errors import SettingsError
from fsbench.core.prediction import Prediction
from fsbench.core.query_part import Decision, Exportable, QueryPart, margin_of_classes
from fsbench.core.segmenter import Segmenter
from fsbench.data.batch import EpisodeBatch
from fsbench.data.dataset import VOID
from fsbench.methods.fssdino.prediction import (
    ClassMaps,
    Draws,
    SupportClass,
    class_features,
    class_scores,
    compare_classes,
    support_classes,
    to_grid,
    to_size,
)
from fsbench.methods.modules.class_logits import INVALID
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.networks.backbones.vit import FrozenViT


class FSSDINO(Segmenter):
    """Segment by k-means prototypes and Gram matrices of frozen features, background and ways alike.

    A pixel of a support is in the channel of each way that it shows, as far as the episode tells (`class_masks`), and
    in the background's where it shows none; void pixels, as padding, are in none.

    Args:
        backbone: the frozen ViT.
        n_clusters: prototypes of a class.
        seed: of the first centres of k-means, together with the episode's index.
        layer: block whose output is compared, from 0 or negative from the end; the final LayerNorm is not applied.
    """

    backbone: FrozenViT
    learns = False
    exportable = Exportable()
    sees_all_shots = True
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

    @property
    def predicts_presence(self) -> bool:
        return False

    def forward(self, episode: EpisodeBatch) -> Prediction:
        with torch.autocast(episode.images.device.type, enabled=False):  # a rounded token may change its cluster
            classes = self._compare(episode)
            scores = class_scores(classes, (episode.images.shape[-2], episode.images.shape[-1]))
        height, width = episode.query_sizes[0].tolist()
        found, full = decide(scores, (height, width))
        ways = range(1, len(full))
        other = [torch.cat([full[:way], full[way + 1 :]]).amax(0) for way in ways]
        logits = torch.stack([torch.stack([rest, full[way]]) for way, rest in zip(ways, other, strict=True)])
        attention = _similarities(classes[1:]) if self.keeps_soft_masks else None
        return Prediction(found, logits=logits, attention=attention)

    def query_part(self, episode: EpisodeBatch) -> "FSSDINOQuery":
        first = int(episode.support[0, 0, 0])
        height, width = self._features(episode, first).shape[1:]
        return FSSDINOQuery(self, episode.pixels(first), self._classes(episode, (height, width)))

    def query_maps(self, episode: EpisodeBatch) -> dict[str, Tensor]:
        """Return the maps that scores are made of, see `fsbench.results.pictures.steps.HasQueryMaps`."""
        maps: dict[str, Tensor] = {}
        with torch.autocast(episode.images.device.type, enabled=False):
            classes = self._compare(episode)
        for number, own in enumerate(classes):
            if own is None:
                continue
            name = " of the background" if number == 0 else f" {number}" if len(classes) > 2 else ""
            maps[f"prototypes{name}"] = own.cosines.argmax(0)
            maps |= {f"cosine{name}": own.cosines.amax(0), f"Gram map{name}": own.gram}
        return maps

    def _compare(self, episode: EpisodeBatch) -> list[ClassMaps | None]:
        """Compare the query with background and ways in float32, as the authors do; None for a class without pixels
        in the supports."""
        query = self._features(episode, int(episode.query[0]))
        return compare_classes(query, self._classes(episode, (query.shape[1], query.shape[2])))

    def _classes(self, episode: EpisodeBatch, grid: tuple[int, int]) -> list[SupportClass | None]:
        """Return background and ways as the supports show them, in a grid (h, w) of patches."""
        rows = episode.support[0]
        supports = (self._features(episode, row) for row in rows.flatten().tolist())
        shown = None if episode.support_ways is None else to_grid(episode.support_ways[0], *grid)
        masks = class_masks(to_grid(episode.support_labels[0], *grid), rows, shown)  # small before copies
        index = int(episode.episodes[0])
        classes = support_classes(class_features(supports, masks), self.n_clusters, Draws((self.seed, index)))
        unfinished = [number for number, own in enumerate(classes) if own and own.kmeans and not own.kmeans.converged]
        if unfinished:
            warnings.warn(
                f"episode {index}: k-means of the classes {unfinished} (0 is the background) was ended after its limit "
                "of passes",
                stacklevel=2,
            )
        return classes

    def _features(self, episode: EpisodeBatch, row: int) -> Tensor:
        """Return the raw features (C, h, w) of image `row`; cached by image."""
        return self.backbone.cache.get(
            f"raw features of block {self.layer}",
            episode.image_names[row],
            lambda: self.encode_raw(episode.pixels(row)),
        )

    def encode_raw(self, pixels: Tensor) -> Tensor:
        """Return the raw features (C, h, w) of an image's pixels (3, S, S)."""
        return self.backbone.patch_map(pixels, norm=False, block=self.layer)


class FSSDINOQuery(QueryPart):
    """FSSDINO with the prototypes and Gram matrices of its supports built in.

    Args:
        method: the method.
        pixels: of any image (3, S, S), for the network's size.
        classes: background and ways, None for one without pixels.
    """

    method: FSSDINO

    def __init__(self, method: FSSDINO, pixels: Tensor, classes: list[SupportClass | None]):
        super().__init__(method.backbone.network(pixels))
        self.method = method
        self.known = [own is not None for own in classes]
        self.keep("prototypes", [own.prototypes for own in classes if own is not None])
        self.keep("gram", [own.gram for own in classes if own is not None])

    def forward(self, pixels: Tensor, size: tuple[int, int]) -> Decision:
        query = self.method.encode_raw(pixels)
        kept = zip(self.kept("prototypes"), self.kept("gram"), strict=True)
        classes = [SupportClass(*next(kept), None) if known else None for known in self.known]
        scores = class_scores(compare_classes(query, classes), (pixels.shape[-2], pixels.shape[-1]))
        labels, full = decide(scores, size)
        return Decision(labels, margin_of_classes(full))


def decide(scores: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return the label map (h, w) of scores (N + 1, S, S), and the scores of its pixels (N + 1, h, w) (§3.5)."""
    # torch's argmax of equal numbers is not defined, so that of a query without any class is not left to it
    label_map = scores.argmax(0).where(scores.amax(0) > -torch.inf, 0)
    return to_size(label_map[None], size)[0].long(), to_size(scores.clamp(min=INVALID), size)


def _similarities(ways: list[ClassMaps | None]) -> Tensor | None:
    """Return the largest cosine with the prototypes of each way, at least 0, (N, h, w): zeros for a way without
    pixels in the supports, None where all are."""
    known = next((way for way in ways if way is not None), None)
    if known is None:
        return None
    empty = torch.zeros_like(known.gram)
    return torch.stack([empty if way is None else way.cosines.amax(0).clamp(0, 1) for way in ways])


def class_masks(labels: Tensor, images: Tensor, shown: Tensor | None = None) -> Tensor:
    """Turn support labels into channels (N·K, N + 1, S, S) bool of background and ways (§2).

    A pixel may be in the channels of several ways; it is in the background's if it is in none of them.

    Args:
        labels: (N, K, S, S), of the support's own way: 1 the way, 0 anything else, 255 void.
        images: (N, K) numbers of the images; the supports of one image show the ways of all of them.
        shown: (N, K, S, S) maps of all ways that a support shows, 1..N; None where only its own way is told.
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
