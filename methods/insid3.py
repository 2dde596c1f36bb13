"""INSID3 (CVPR 2026): training-free in-context segmentation with one frozen ViT (insid3.md).

Patch features are freed of what they tell about the position alone; the target's cells that look like the references'
foreground, and whose nearest reference cell is foreground, are candidates; clusters of the target's features that hold
candidates and resemble the best of them make the mask. Steps are those of §4.

Shapes: K references, C channels, (h, w) the grid of patches, n = h·w its cells, S image side, G clusters.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from fsbench.base.errors import SettingsError
from fsbench.core.segmenter import Segmenter
from fsbench.core.shots import Way
from fsbench.data.batch import IMAGENET_MEAN, IMAGENET_STD, EpisodeBatch
from fsbench.networks.backbones.base import BackboneConfig, autocast_dtype
from fsbench.networks.backbones.timm_networks import FrozenViT
from fsbench.networks.ops.average_linkage import average_linkage

BasisCoordinates = Literal["eval", "released_cuda", "released_cpu"] | float | list[float]
"""Factors of the black image's coordinates, see `INSID3`."""
RELEASED_SIZES = (384, 12), (768, 12), (1024, 24)
"""Channels and blocks of the networks that the authors' program builds: ViT-S, B and L (§1)."""
RESCALE = 2.0
"""Largest factor of the coordinates in DINOv3's training; the smallest is its inverse (§1)."""
FALLBACK_QUANTILE = 0.9
"""Share of the target's cells below the threshold where no similarity is positive, step 3."""


def unit(x: Tensor, dim: int = 0) -> Tensor:
    """Scale vectors along `dim` to length 1."""
    return F.normalize(x, dim=dim, eps=1e-12)


def position_projector(black: Tensor, components: int) -> Tensor:
    """Return the matrix that removes from features the directions that code positions, found on a black image (§3).

    Args:
        black: features (C, h, w) of the black image.
        components: number k of directions that are removed, at most C.

    Returns:
        Projection matrix (C, C), zero for k = C.
    """
    cells = unit(black).flatten(1)
    directions, _, _ = torch.linalg.svd(cells - cells.mean(1, keepdim=True), full_matrices=False)
    basis = directions[:, :components]
    return torch.eye(len(cells), dtype=cells.dtype, device=cells.device) - basis @ basis.T


def drawn_factors(device: Literal["cpu", "cuda"], depth: int, constructor_draws: int, seed: int = 0) -> list[float]:
    """Return the random scale of the patch coordinates in each ViT block, as the authors' program draws it (§3).

    The program scales the rotary coordinates when it encodes the black image, whose features show positions.

    Args:
        device: device of the network, whose random generator is reproduced.
        depth: number of blocks.
        constructor_draws: numbers that the generator has drawn before, for the network's first weights.
        seed: random seed of the program.
    """
    bound = math.log(RESCALE)
    if device == "cuda":
        uniform = torch.tensor([_philox_word(seed, constructor_draws + call) for call in range(depth)])
        return ((uniform.double() + 0.5) / 2**32).float().mul(2 * bound).sub(bound).exp().tolist()
    generator = torch.Generator().manual_seed(seed)
    while constructor_draws:
        passed = min(constructor_draws, 2**20)
        torch.rand(passed, generator=generator)
        constructor_draws -= passed
    return (
        torch.stack([torch.empty(()).uniform_(-bound, bound, generator=generator) for _ in range(depth)]).exp().tolist()
    )


def _philox_word(seed: int, call: int) -> int:
    """Return the first 32 bits that CUDA's generator, Philox4x32-10, gives its first thread in call number `call`."""
    word = 2**32 - 1
    counter, key = [call, 0, 0, 0], [seed & word, seed >> 32]
    for _ in range(10):
        first, second = counter[0] * 0xD2511F53, counter[2] * 0xCD9E8D57
        counter = [second >> 32 ^ counter[1] ^ key[0], second & word, first >> 32 ^ counter[3] ^ key[1], first & word]
        key = [(key[0] + 0x9E3779B9) & word, (key[1] + 0xBB67AE85) & word]
    return counter[0]


def first_weights(channels: int, depth: int) -> int:
    """Return how many random numbers initialise a DINOv3 of `channels` channels and `depth` blocks (§3)."""
    return 769 * channels + depth * (12 * channels**2 + 9 * channels)


def debias(features: Tensor, projector: Tensor) -> Tensor:
    """Project unit features (C, h, w) and scale them to length 1 again (§3)."""
    return unit((projector @ features.flatten(1)).view_as(features))


def mask_to_cells(mask: Tensor, height: int, width: int) -> Tensor:
    """Return the foreground cells of a feature grid for a mask (step 1).

    They are the cells of which more than half is inside the mask; if there are none, the cells whose centre is inside;
    if there are none either, the one cell at the mask's centre of mass.

    Args:
        mask: (S, S) bool with at least one pixel.
        height, width: size of the grid.

    Returns:
        (height, width) bool with at least one cell.

    Raises:
        ValueError: the mask is empty.
    """
    if not bool(mask.any()):
        raise ValueError("a reference mask without foreground has no cell")
    pixels = mask[None, None].float()
    cells = F.interpolate(pixels, (height, width), mode="bilinear", align_corners=False) > 0.5
    if not bool(cells.any()):
        cells = F.interpolate(pixels, (height, width), mode="nearest") > 0.5
    if not bool(cells.any()):
        row, column = (mask.nonzero().float().mean(0) / (mask.shape[-1] // width)).long().tolist()
        cells[0, 0, row, column] = True
    return cells[0, 0]


def forward_similarity(target: Tensor, prototype: Tensor) -> Tensor:
    """Return the dot product (h, w) of a target's unit features, positions removed (C, h, w), with a prototype (C,)."""
    return torch.einsum("chw,c->hw", target, prototype)


def compare_references(target: Tensor, references: Iterable[Tensor], cells: Tensor) -> tuple[Tensor, Tensor]:
    """Compare a target with its references one after the other (steps 2 and 3).

    Args:
        target: features of the target, positions removed (C, h, w).
        references: features of the K references, positions removed, (C, h, w) each.
        cells: foreground of the references (K, h, w) bool.

    Returns:
        The prototype (C,) of unit length, mean over references of their mean foreground features; and (h, w) bool, the
        target's cells whose most similar cell is foreground in at least half of the references.
    """
    means, votes = [], torch.zeros(target[0].numel(), dtype=torch.int64, device=target.device)
    for reference, inside in zip(references, cells, strict=True):
        means.append(reference[:, inside].mean(1))
        nearest = (target.flatten(1).T @ reference.flatten(1)).argmax(1)
        votes += inside.flatten()[nearest]
    matched = votes >= (len(means) + 1) // 2  # of two references one is enough
    return unit(torch.stack(means).mean(0)), matched.view(target.shape[1:])


def cells_alike(similarity: Tensor) -> Tensor:
    """Return the cells (h, w) bool whose similarity with the prototype (h, w) is above 0 (step 3).

    If no cell's is, the cells above a high quantile of the similarity are returned.
    """
    alike = similarity > 0
    return alike if bool(alike.any()) else similarity > torch.quantile(similarity, FALLBACK_QUANTILE)


def cluster_cells(features: Tensor, tau: float) -> Tensor:
    """Return the cluster number (h, w) int64 of each cell, by average linkage of raw unit features (C, h, w) (step 4).

    `tau` is the cosine down to which clusters are merged.
    """
    cells = features.flatten(1)
    distances = 1 - (cells.T @ cells).clamp(-1, 1)
    return average_linkage(distances, 1 - tau).view(features.shape[1:])


@dataclass(frozen=True)
class Aggregation:
    """The cluster of a target most like the supports (seed), and scores by which other clusters join it (steps 5, 6).

    Attributes:
        debiased, original: unit mean features (G, C) of G clusters, with positions removed, and raw.
        seed: number of the seed cluster.
        cross: (G,) mean similarity of each cluster's cells with the prototype.
        intra: (G,) cosine of each cluster's raw mean with the seed's.
        area: (G,) share of candidates among a cluster's cells; 1 for the seed.
        combined: (G,) product of the three scores.
        cells: (h, w) bool, cells of the clusters whose combined score is above the threshold.
        scores: (h, w), the combined score of each cell's cluster.
    """

    debiased: Tensor
    original: Tensor
    seed: int
    cross: Tensor
    intra: Tensor
    area: Tensor
    combined: Tensor
    cells: Tensor
    scores: Tensor


def aggregate(
    labels: Tensor, candidates: Tensor, target: Tensor, debiased: Tensor, prototype: Tensor, threshold: float
) -> Aggregation:
    """Choose the cluster most similar to the prototype as seed, and score all clusters by likeness to it (steps 5, 6).

    Args:
        labels: cluster numbers (h, w), from 0 without gaps.
        candidates: (h, w) bool, cells that match the supports' foreground; at least one.
        target: raw unit features of the target (C, h, w).
        debiased: unit features of the target with positions removed (C, h, w).
        prototype: mean foreground feature of the supports (C,).
        threshold: score that a cluster must exceed, at least 0.
    """
    members = F.one_hot(labels.flatten()).T.float()  # (G, n)
    sizes = members.sum(1)
    q = unit(members @ debiased.flatten(1).T / sizes[:, None], 1)
    o = unit(members @ target.flatten(1).T / sizes[:, None], 1)
    counts = members @ candidates.flatten().float()
    seed = int(torch.where(counts > 0, q @ prototype, -torch.inf).argmax())
    cross = members @ forward_similarity(debiased, prototype).flatten() / sizes
    intra = o @ o[seed]
    area = counts / sizes
    area[seed] = 1
    combined = cross * intra * area
    chosen = combined > threshold
    return Aggregation(q, o, seed, cross, intra, area, combined, chosen[labels], combined[labels])


def upsample(cells: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize a binary mask (h, w) bilinearly to `size` (H, W); pixels above one half are foreground (step 7)."""
    resized = F.interpolate(cells[None, None].float(), size, mode="bilinear", align_corners=False)
    return resized[0, 0] > 0.5


@dataclass(frozen=True)
class Steps:
    """INSID3's prediction of one class on the feature grid (h, w), with intermediate results (§4).

    Attributes:
        prototype: mean foreground feature of the supports (C,).
        similarity: similarity of each cell with the prototype (h, w).
        candidates: (h, w) bool, cells that match the supports' foreground.
        cells: (h, w) bool, the predicted mask on the feature grid.
        scores: (h, w), the combined score of each cell's cluster; zero if there is no candidate.
    """

    prototype: Tensor
    similarity: Tensor
    candidates: Tensor
    cells: Tensor
    scores: Tensor


def predict_cells(
    labels: Tensor, target: Tensor, debiased: Tensor, references: Iterable[Tensor], cells: Tensor, threshold: float
) -> Steps:
    """Predict the mask of one class on the feature grid by scoring the target's clusters (steps 2, 3, 5 and 6).

    Args:
        labels: cluster number of each of the target's cells (h, w).
        target: raw unit features of the target (C, h, w).
        debiased: unit features of the target with positions removed (C, h, w).
        references: features of the K references, positions removed, (C, h, w) each.
        cells: foreground of the references (K, h, w) bool.
        threshold: score that a cluster must exceed.
    """
    prototype, matched = compare_references(debiased, references, cells)
    similarity = forward_similarity(debiased, prototype)
    candidates = cells_alike(similarity) & matched
    if not bool(candidates.any()):
        return Steps(prototype, similarity, candidates, torch.zeros_like(candidates), torch.zeros_like(similarity))
    found = aggregate(labels, candidates, target, debiased, prototype, threshold)
    return Steps(prototype, similarity, candidates, found.cells, found.scores)


class QueryImage(NamedTuple):
    """A query's unit features (C, h, w), raw and with positions removed, and its cells' cluster numbers (h, w)."""

    features: Tensor
    debiased: Tensor
    clusters: Tensor


class Reference(NamedTuple):
    """A support's unit features (C, h, w), and its foreground cells (h, w) bool; None if the mask is empty."""

    features: Tensor
    cells: Tensor | None


class INSID3(Segmenter):
    """INSID3: segmentation by clusters of frozen features that match the supports' foreground.

    Each way is segmented by itself, as the authors' program segments one class; a pixel in the masks of several ways
    goes to the one whose cluster has the largest score. Supports without foreground are left out.

    Args:
        backbone: the frozen ViT.
        svd_components: number k of directions that are removed from features because they code positions; fewer than
            the channels C of a token and than the cells of an image, less one.
        tau: cosine down to which clusters of the target are merged.
        merge_threshold: score that a cluster must exceed to be in the mask, at least 0.
        basis_coordinates: factors by which patch coordinates are scaled when a black image is encoded, whose features
            show the directions that code positions: `eval` for no scaling; `released_cuda` and `released_cpu` for the
            factors that the authors' program draws for each block with seed 0 on a GPU or CPU; one number for all
            blocks, or a list with one for each block. Values other than `eval` need rotary positions, and
            `released_cpu` a ViT-S, B or L.
    """

    backbone: FrozenViT
    backbone_type = FrozenViT
    decides_by_order = True
    learns = False
    attention_meaning = (
        "similarity: cosine with the mean of the supports' foreground, without positions; 0 where it is not positive"
    )

    def __init__(
        self,
        backbone: BackboneConfig,
        svd_components: int = 500,
        tau: float = 0.6,
        merge_threshold: float = 0.2,
        basis_coordinates: BasisCoordinates = "eval",
    ):
        super().__init__(backbone)
        if not -1 < tau < 1 or merge_threshold < 0:
            raise SettingsError(
                f"tau is {tau:g} and merge_threshold {merge_threshold:g}; expected a cosine between -1 and 1 and a "
                "threshold of at least 0"
            )
        self.svd_components, self.tau, self.merge_threshold = svd_components, tau, merge_threshold
        self._check_components(int(self.backbone.spec.arguments["embed_dim"]), f"{self.backbone.name} has channels")
        self.basis_coordinates = basis_coordinates
        self._check_coordinates()

    def check_image_size(self, size: int) -> None:
        super().check_image_size(size)
        side = size // int(self.backbone.spec.arguments["patch_size"])
        self._check_components(side**2 - 1, f"{self.backbone.name} at {size} pixels has patches less one")

    def _check_components(self, limit: int, whose: str) -> None:
        """Raise SettingsError where debiasing would leave nothing, or directions that mean nothing (§3)."""
        if not 1 <= self.svd_components < limit:
            raise SettingsError(
                f"svd_components is {self.svd_components}; expected 1 to {limit - 1}, fewer than {whose} ({limit}); "
                "set --model.svd_components"
            )

    def _check_coordinates(self) -> None:
        """Raise SettingsError where `basis_coordinates` says nothing to this network (§3)."""
        backbone, coordinates = self.backbone, self.basis_coordinates
        wrong = ""
        if coordinates != "eval" and not backbone.spec.rotary:
            wrong = f"the positions of {backbone.name} are no coordinates; expected eval, or a backbone of DINOv3"
        elif coordinates == "released_cpu" and self._size not in RELEASED_SIZES:
            wrong = f"{backbone.name} is none of the authors' networks; expected ViT-S, B or L, or numbers"
        elif not isinstance(coordinates, str):
            numbers = coordinates if isinstance(coordinates, list) else [coordinates]
            if isinstance(coordinates, list) and len(numbers) != backbone.depth:
                wrong = f"expected {backbone.depth} numbers, one for each block of {backbone.name}"
            elif not all(0 < number < math.inf for number in numbers):
                wrong = "expected positive numbers"
        if wrong:
            raise SettingsError(f"basis_coordinates is {coordinates}: {wrong}; set --model.basis_coordinates")

    @property
    def _size(self) -> tuple[int, int]:
        """Channels and blocks of the network."""
        return int(self.backbone.spec.arguments["embed_dim"]), self.backbone.depth

    @cached_property
    def basis_factors(self) -> list[float] | None:
        """Factors of the patch coordinates when the black image is encoded, one per block; None for no scaling."""
        coordinates, depth = self.basis_coordinates, self.backbone.depth
        if coordinates == "eval":
            return None
        if coordinates == "released_cuda":
            return drawn_factors("cuda", depth, 0)
        if coordinates == "released_cpu":
            return drawn_factors("cpu", depth, first_weights(*self._size))
        return coordinates if isinstance(coordinates, list) else [float(coordinates)] * depth

    def record_notes(self, data: Any) -> list[str]:
        """Return at most one sentence on how the directions that code positions were found.

        It says which factors of patch coordinates were used, because the authors' program draws them at random. The
        list is empty for a network without rotary positions.

        Args:
            data: the data module of the test, which is not used.
        """
        if not self.backbone.spec.rotary:
            return []
        if self.basis_coordinates == "eval":
            return [
                "the basis of positions is that of the network in evaluation (basis_coordinates eval); the released "
                "program draws another one (released_cuda)"
            ]
        return [f"the basis of positions has scaled coordinates (basis_coordinates {self.basis_coordinates})"]

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Return the backbone's features (C, h, w) of an image (3, S, S), of unit length at each position."""
        return unit(self.backbone.patch_map(pixels))

    def query(self, image: Tensor) -> QueryImage:
        """Return a query's unit features, raw and with positions removed, and its cells' cluster numbers.

        `image` holds the raw unit features (1, C, h, w).
        """
        return QueryImage(image[0], debias(image[0], self._projector()), cluster_cells(image[0], self.tau))

    def support(self, image: Tensor, mask: Tensor) -> Reference:
        return Reference(image[0], mask_to_cells(mask[0], *image.shape[-2:]) if bool(mask.any()) else None)

    def join(self, supports: Iterator[Reference]) -> list[Reference]:
        """Return those supports whose mask has foreground."""
        return [support for support in supports if support.cells is not None]

    def segment(self, query: QueryImage, support: list[Reference]) -> Steps | None:
        """Return the predicted mask of a way with its intermediate results; None if no support has foreground."""
        if not support:
            return None
        cells = torch.stack([one.cells for one in support if one.cells is not None])
        references = (debias(one.features, self._projector()) for one in support)
        return predict_cells(query.clusters, query.features, query.debiased, references, cells, self.merge_threshold)

    def read(  # type: ignore[override]
        self, outputs: Iterator[Steps | None], size: tuple[int, int], attention: list[Tensor] | None = None
    ) -> Way:
        """Resize a way's mask and its cluster scores to `size` (H, W), in float32 whatever the run's precision.

        The similarity to the prototype, at least 0, is appended to `attention`; zeros if no support has foreground.
        """
        (found,) = outputs
        side = self.context.side
        if found is None:
            nothing = torch.zeros(size, device=self.device)
            if attention is not None and self.keeps_soft_masks:
                cells = side // int(self.backbone.spec.arguments["patch_size"])
                attention.append(nothing.new_zeros(1, cells, cells))
            return Way(nothing, nothing > 0)
        if attention is not None and self.keeps_soft_masks:
            attention.append(found.similarity[None].clamp(0, 1))
        mask = upsample(found.cells, (side, side))
        mask = mask if (side, side) == size else upsample(mask, size)
        return Way(F.interpolate(found.scores[None, None], size, mode="nearest")[0, 0], mask)

    def query_maps(self, episode: EpisodeBatch) -> dict[str, Tensor]:
        """Return the intermediate results of a prediction for display, as maps (h, w) over the query by name.

        Names are "clusters" and, with the way's number, "similarity", "candidates" and "cluster scores".
        """
        query, supports = self.ask(episode)
        maps = {"clusters": query.clusters}
        ways = [self.segment(query, self.join(of_way)) for of_way in supports]
        for way, steps in enumerate(ways, 1):
            if steps is None:
                continue
            name = f" {way}" if len(ways) > 1 else ""
            maps |= {f"similarity{name}": steps.similarity, f"candidates{name}": steps.candidates}
            maps[f"cluster scores{name}"] = steps.scores
        return maps

    def _projector(self) -> Tensor:
        """Return the projector for images of the side S; kept with the features, and made anew if they go."""
        side = self.context.side
        return self.backbone.cache.get(
            "position projector",
            (side, self.svd_components, repr(self.basis_coordinates), str(self.device), autocast_dtype(self.device)),
            lambda: position_projector(
                self.backbone.patch_map(black_image(side, self.device), coordinate_factors=self.basis_factors),
                self.svd_components,
            ),
        )


def black_image(side: int, device: torch.device) -> Tensor:
    """Return a black image (3, S, S), normalised like the method's images."""
    mean, std = (torch.tensor(v, device=device)[:, None, None] for v in (IMAGENET_MEAN, IMAGENET_STD))
    return (-mean / std).expand(3, side, side)
