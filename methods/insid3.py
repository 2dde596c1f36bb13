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
from fsbench.networks.backbones.base import BackboneConfig
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
    """Build the projector that removes a black image's shared position features (§3).

    Args:
        black: features (C, h, w) of the black image.
        components: number k of directions that are removed, at most C.

    Returns:
        Projector (C, C), zero for k = C.
    """
    cells = unit(black).flatten(1)
    directions, _, _ = torch.linalg.svd(cells - cells.mean(1, keepdim=True), full_matrices=False)
    basis = directions[:, :components]
    return torch.eye(len(cells), dtype=cells.dtype, device=cells.device) - basis @ basis.T


def drawn_factors(device: Literal["cpu", "cuda"], depth: int, constructor_draws: int, seed: int = 0) -> list[float]:
    """Return the coordinate factors that the authors' program draws for the black image, one per block (§3).

    Args:
        device: where its network runs, whose generator draws them.
        depth: number of blocks.
        constructor_draws: numbers that the generator draws before, for first weights.
        seed: the seed of the program.
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
    """Return how many random numbers DINOv3's first weights take, with `channels` and `depth` blocks (§3)."""
    return 769 * channels + depth * (12 * channels**2 + 9 * channels)


def debias(features: Tensor, projector: Tensor) -> Tensor:
    """Project unit features (C, h, w) and scale them to length 1 again (§3)."""
    return unit((projector @ features.flatten(1)).view_as(features))


def mask_to_cells(mask: Tensor, height: int, width: int) -> Tensor:
    """Convert a mask to grid cells: those more than half in it, else by centre, else one cell (step 1).

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
    """Return the similarity (h, w) of a debiased target (C, h, w) with the prototype (step 3)."""
    return torch.einsum("chw,c->hw", target, prototype)


def compare_references(target: Tensor, references: Iterable[Tensor], cells: Tensor) -> tuple[Tensor, Tensor]:
    """Compare a target with its references one after the other (steps 2 and 3).

    Args:
        target: debiased (C, h, w).
        references: debiased, K of (C, h, w).
        cells: foreground of the references (K, h, w) bool.

    Returns:
        The prototype (C,), the mean over references of the means over foreground, of length 1; and (h, w) bool, the
        target's cells whose nearest cells are foreground in half of the references or more.
    """
    means, votes = [], torch.zeros(target[0].numel(), dtype=torch.int64, device=target.device)
    for reference, inside in zip(references, cells, strict=True):
        means.append(reference[:, inside].mean(1))
        nearest = (target.flatten(1).T @ reference.flatten(1)).argmax(1)
        votes += inside.flatten()[nearest]
    matched = votes >= (len(means) + 1) // 2  # of two references one is enough
    return unit(torch.stack(means).mean(0)), matched.view(target.shape[1:])


def cells_alike(similarity: Tensor) -> Tensor:
    """Return the cells (h, w) bool that look like foreground by their similarity with the prototype (step 3)."""
    alike = similarity > 0
    return alike if bool(alike.any()) else similarity > torch.quantile(similarity, FALLBACK_QUANTILE)


def cluster_cells(features: Tensor, tau: float) -> Tensor:
    """Return the clusters (h, w) int64 of a target's raw unit features (C, h, w) (step 4)."""
    cells = features.flatten(1)
    distances = 1 - (cells.T @ cells).clamp(-1, 1)
    return average_linkage(distances, 1 - tau).view(features.shape[1:])


@dataclass(frozen=True)
class Aggregation:
    """Seed cluster and scores of the clusters (steps 5 and 6).

    Attributes:
        debiased, original: unit means of the debiased and the raw features (G, C).
        seed: number of the seed cluster.
        cross, intra, area, combined: scores (G,).
        cells: (h, w) bool, the clusters above the threshold.
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
    """Choose the seed cluster and the clusters that go with it (steps 5 and 6).

    Args:
        labels: clusters (h, w), numbered from 0 without gaps.
        candidates: (h, w) bool, at least one.
        target: raw unit features (C, h, w).
        debiased: the same without positions.
        prototype: (C,).
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
    """Resize a binary mask (h, w) to `size`, bilinear, more than half (step 7)."""
    resized = F.interpolate(cells[None, None].float(), size, mode="bilinear", align_corners=False)
    return resized[0, 0] > 0.5


@dataclass(frozen=True)
class Steps:
    """A prediction with its intermediate results (§4).

    Attributes:
        prototype: (C,).
        similarity: (h, w).
        candidates: (h, w) bool.
        cells: (h, w) bool, the mask on the grid.
        scores: (h, w), the combined score of each cell's cluster; zero without a candidate.
    """

    prototype: Tensor
    similarity: Tensor
    candidates: Tensor
    cells: Tensor
    scores: Tensor


def predict_cells(
    labels: Tensor, target: Tensor, debiased: Tensor, references: Iterable[Tensor], cells: Tensor, threshold: float
) -> Steps:
    """Predict the mask of one class on the grid (steps 2, 3, 5 and 6).

    Args:
        labels: the target's clusters (h, w).
        target: its raw unit features (C, h, w).
        debiased: the same without positions.
        references: debiased, K of (C, h, w).
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
    """A query's unit features (C, h, w) with and without positions, and its clusters (h, w)."""

    features: Tensor
    debiased: Tensor
    clusters: Tensor


class Reference(NamedTuple):
    """A support's unit features (C, h, w), and its foreground (h, w) bool; None without any."""

    features: Tensor
    cells: Tensor | None


class INSID3(Segmenter):
    """INSID3: segmentation by clusters of frozen features that match the supports' foreground.

    Each way is segmented by itself, as the authors' program segments one class; a pixel in the masks of several ways
    goes to the one whose cluster has the largest score. Supports without foreground are left out.

    Args:
        backbone: the frozen ViT.
        svd_components: number k of directions that positional debiasing removes; fewer than the channels C of a token
            and than the cells of an image, less one.
        tau: cosine down to which clusters of the target are merged.
        merge_threshold: score that a cluster must exceed to be in the mask, at least 0.
        basis_coordinates: factors of the patch coordinates of the black image, whose features are the basis of
            positions: `eval` for none; `released_cuda` and `released_cpu` for those that the released program draws,
            block by block, with seed 0 on such a device; one number for all blocks, or one for each. Other than `eval`
            only for networks with rotary positions, and `released_cpu` only for ViT-S, B and L.
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
        """Coordinate factors of the black image, one per block; None without scaling."""
        coordinates, depth = self.basis_coordinates, self.backbone.depth
        if coordinates == "eval":
            return None
        if coordinates == "released_cuda":
            return drawn_factors("cuda", depth, 0)
        if coordinates == "released_cpu":
            return drawn_factors("cpu", depth, first_weights(*self._size))
        return coordinates if isinstance(coordinates, list) else [float(coordinates)] * depth

    def record_notes(self, data: Any) -> list[str]:
        """Say which position basis is used, if the authors' program may have used several."""
        if not self.backbone.spec.rotary:
            return []
        if self.basis_coordinates == "eval":
            return [
                "the basis of positions is that of the network in evaluation (basis_coordinates eval); the released "
                "program draws another one (released_cuda)"
            ]
        return [f"the basis of positions has scaled coordinates (basis_coordinates {self.basis_coordinates})"]

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Return the unit features (C, h, w) of an image."""
        return unit(self.backbone.patch_map(pixels))

    def query(self, image: Tensor) -> QueryImage:
        """Return features with and without positions, and their clusters."""
        return QueryImage(image[0], debias(image[0], self._projector()), cluster_cells(image[0], self.tau))

    def support(self, image: Tensor, mask: Tensor) -> Reference:
        return Reference(image[0], mask_to_cells(mask[0], *image.shape[-2:]) if bool(mask.any()) else None)

    def join(self, supports: Iterator[Reference]) -> list[Reference]:
        """Return the supports with foreground."""
        return [support for support in supports if support.cells is not None]

    def segment(self, query: QueryImage, support: list[Reference]) -> Steps | None:
        """Return the steps of a way; None without foreground in a support."""
        if not support:
            return None
        cells = torch.stack([one.cells for one in support if one.cells is not None])
        references = (debias(one.features, self._projector()) for one in support)
        return predict_cells(query.clusters, query.features, query.debiased, references, cells, self.merge_threshold)

    def read(  # type: ignore[override]
        self, outputs: Iterator[Steps | None], size: tuple[int, int], attention: list[Tensor] | None = None
    ) -> Way:
        """Return the mask and its clusters' scores, in float32 whatever the run's precision.

        The attention is the similarity, at least 0; zeros for a way without foreground (step 3).
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
        """Return the steps of the prediction as maps over the query."""
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
            f"{side} {self.svd_components} {self.basis_coordinates}",
            lambda: position_projector(
                self.backbone.patch_map(black_image(side, self.device), coordinate_factors=self.basis_factors),
                self.svd_components,
            ),
        )


def black_image(side: int, device: torch.device) -> Tensor:
    """Return a black image (3, S, S), normalised."""
    mean, std = (torch.tensor(v, device=device)[:, None, None] for v in (IMAGENET_MEAN, IMAGENET_STD))
    return (-mean / std).expand(3, side, side)
