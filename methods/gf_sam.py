"""GF-SAM (NeurIPS 2024): training-free segmentation by a graph of SAM's masks over DINOv2's points (gf-sam.md).

Cells of the query that look like the supports' foreground more than like their background become points, each a prompt
for one mask of SAM. Masks and points are a directed graph (a mask covers a point); its weakly connected components are
filtered by how much positive area their masks gain, and by whether they point at themselves; what is left is merged.

Shapes: K shots, C channels, g side of the grid of patches, n points, D side of the masks, N ways.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import reduce
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from fsbench.base.errors import SettingsError
from fsbench.core.prediction import Instances, Prediction
from fsbench.core.query_maps import Sketch, join_ways, stacked_regions
from fsbench.core.segmenter import Segmenter
from fsbench.core.shots import Way
from fsbench.data.batch import IMAGENET_MEAN, IMAGENET_STD, EpisodeBatch
from fsbench.networks.backbones.sam import BesideSamConfig, PromptableNetwork, Prompts, ViTAndSam

EMPTY_SIDE = 7
"""Half the side in pixels of the square that stands for supports without any foreground (§2)."""


def channel_normalised(tokens: Tensor) -> Tensor:
    """Divide each channel of tokens (g², C) by the channel's Euclidean norm over the image's g² tokens (§3)."""
    return F.normalize(tokens, dim=0, eps=1e-12)


def cosines(support: Tensor, query: Tensor) -> Tensor:
    """Return the similarity (g², n) of a support's tokens (g², C) with n query tokens (n, C) (§4)."""
    lengths = support.norm(dim=1)[:, None] * query.norm(dim=1)[None]
    return (support @ query.T) / (lengths + 1e-7)


def grid_weights(mask: Tensor, side: int) -> Tensor:
    """Return a mask (H, W) resized bilinearly, with aligned corners, to a grid of side g, flattened to (g²,) (§4)."""
    return F.interpolate(mask[None, None].float(), (side, side), mode="bilinear", align_corners=True).flatten()


def mean_map(weights: Tensor, similarity: Tensor) -> Tensor:
    """Return each query token's mean similarity (n,) with the support cells, weighted by `weights` (§4).

    `weights` are (g²,) of the support's grid cells, `similarity` is (g², n).
    """
    cells = len(weights)
    return (weights @ similarity / cells) / (weights.sum() / cells + 1e-7)


@dataclass(frozen=True)
class Prior:
    """Maps (g, g) of a query's similarity to the supports, and of where to place SAM's point prompts (§4).

    Attributes:
        pos_mean, pos_max: mean and largest similarity with the supports' foreground.
        neg_mean: mean similarity with the supports' background.
        prompt_map: weight of each grid cell as a point prompt.
    """

    pos_mean: Tensor
    pos_max: Tensor
    neg_mean: Tensor
    prompt_map: Tensor


def filled_masks(masks: Tensor) -> Tensor:
    """Return support masks (K, H, W) as float32; if all are empty, each gets a square in the middle (§2)."""
    masks = masks.float()
    if bool(masks.any()):
        return masks
    masks = masks.clone()
    rows, columns = (slice(max(side // 2 - EMPTY_SIDE, 0), side // 2 + EMPTY_SIDE) for side in masks.shape[1:])
    masks[:, rows, columns] = 1
    return masks


def similarity_prior(query: Tensor, supports: Tensor, masks: Tensor) -> Prior:
    """Return maps of the query's similarity to the supports' foreground and background, and point weights (§4).

    Args:
        query: channel-normalised tokens (g², C).
        supports: channel-normalised tokens (K, g², C).
        masks: foreground of the supports (K, H, W) float, not all empty.
    """
    side = round(len(query) ** 0.5)
    maps = []
    for tokens, mask in zip(supports, masks, strict=True):
        similarity = cosines(tokens, query)
        inside, outside = grid_weights(mask, side), grid_weights(1 - mask, side)
        largest = (inside[:, None] * similarity).amax(0)
        maps.append(torch.stack([mean_map(inside, similarity), largest, mean_map(outside, similarity)]))
    pos_mean, pos_max, neg_mean = torch.stack(maps).mean(0).view(3, side, side)
    return Prior(pos_mean, pos_max, neg_mean, prompt_map(pos_mean, pos_max, neg_mean))


def prompt_map(pos_mean: Tensor, pos_max: Tensor, neg_mean: Tensor) -> Tensor:
    """Return the weight (g, g) of each grid cell as a point prompt (§4).

    The product of a cell's mean and largest similarity with the supports' foreground, and its mean similarity with
    their background, are each scaled to 0..1 over the grid. The weight is the first, and 0 where the second is larger.

    Args:
        pos_mean, pos_max, neg_mean: these similarities, (g, g) each.
    """
    cross, negative = (_stretched(values) for values in (pos_mean * pos_max, neg_mean))
    return torch.where(negative > cross, torch.zeros_like(cross), cross)


def _stretched(values: Tensor) -> Tensor:
    return (values - values.min()) / (values.max() - values.min() + 1e-6)


def select_points(weights: Tensor, max_points: int) -> Tensor:
    """Return the grid cells (n, 2), x and y, with the largest weights in a map (g, g), ordered by x, then y (§5).

    Their number is the sum of the weights, rounded down, but at most `max_points` and at least 1 if the sum is above 0.
    """
    total = float(weights.sum())
    count = min(int(total), max_points) or int(total > 0)
    side = weights.shape[-1]
    cells = torch.sort(weights.flatten(), descending=True, stable=True).indices[:count]
    columns, rows = cells % side, cells // side
    order = torch.argsort(columns * side + rows)
    return torch.stack([columns, rows], 1)[order]


def points_in_pixels(cells: Tensor, grid: int, side: int) -> Tensor:
    """Return the top left pixels (n, 2) int64, x and y, of grid cells in an image of `side` x `side` pixels (§5).

    `cells` are (n, 2), x and y, in a grid of side `grid`.
    """
    return (cells.double() * side / grid).long()


def covered_points(masks: Tensor, cells: Tensor) -> Tensor:
    """Return a matrix (n, n) bool, whose entry (i, j) says whether the mask of point i covers point j (§7).

    Args:
        masks: (n, g, g) bool, the masks on the grid.
        cells: (n, 2), x and y of the points, in cells of the grid.
    """
    return masks[:, cells[:, 1], cells[:, 0]]


def graph_components(masks: Tensor, cells: Tensor, connection: str = "weak") -> Tensor:
    """Return each point's connected component (n,) int64 in the graph of which masks cover which points (§7).

    Components are numbered in the order of their first points.

    Args:
        masks: (n, g, g) bool, the masks on the grid.
        cells: (n, 2), x and y of the masks' points, in cells of the grid.
        connection: "weak" or "strong" components of the directed graph; the method uses weak ones.
    """
    graph = covered_points(masks, cells).cpu().numpy()
    labels = connected_components(graph, directed=True, connection=connection)[1]
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return torch.from_numpy(first.argsort().argsort()[inverse]).to(masks.device)


def positive_gate(masks: Tensor, components: Tensor, prior: Prior) -> tuple[Tensor, Tensor]:
    """Find the masks that add more foreground-like than background-like area to their component (§8).

    The masks of a component are visited by descending score.

    Args:
        masks: (n, g, g) float32, the masks of the points, resized to the grid, from 0 to 1.
        components: (n,), component of each mask.
        prior: similarity maps of the query.

    Returns:
        Whether each mask is kept, (n,) bool; and scores (n,) float32, which are the same for all masks of a component:
        the area gained by the mask that was visited last.
    """
    half = (prior.pos_mean.max() + prior.pos_mean.min()) / 2
    positive, negative = prior.pos_mean**2, prior.neg_mean * half
    region = (positive > negative).float()
    rank = (masks * (positive - negative)).sum((1, 2)) / (masks.sum((1, 2)) + 1e-6)
    kept = torch.zeros(len(masks), dtype=torch.bool, device=masks.device)
    score = torch.zeros(len(masks), device=masks.device)
    for component in components.unique():
        members = (components == component).nonzero()[:, 0]
        inner = torch.zeros_like(region)
        gain = score.new_zeros(())
        for k in members[torch.sort(rank[members], descending=True, stable=True).indices]:
            outside = masks[k] * (1 - inner)
            inside, beyond = (region * outside).sum(), ((1 - region) * outside).sum()
            gain = inside - beyond
            if bool(inside > beyond):
                inner = inner + outside
                kept[k] = True
        score[members] = gain  # that of the mask visited last
    return kept, score


def overshooting_gate(unions: Tensor, cells: Tensor, components: Tensor, query: Tensor) -> Tensor:
    """Find the points whose own component is the one most similar and closest to them (§9).

    Args:
        unions: (components, g, g) float32, the union of each component's masks, resized to the grid, from 0 to 1.
        cells: (n, 2), x and y of the points.
        components: (n,), component of each point.
        query: channel-normalised tokens (g², C).

    Returns:
        Whether a point is kept, (n,) bool; no point of a component is kept if fewer than half of them pass.
    """
    side = unions.shape[-1]
    similarity = cosines(query, query[cells[:, 1] * side + cells[:, 0]])  # (g², n): only the points' columns are asked
    values = torch.stack([mean_map(union.flatten(), similarity) for union in unions], 1)  # (n, components)
    apart = torch.cdist(cells.float(), cells.float(), compute_mode="donot_use_mm_for_euclid_dist")
    distances = torch.stack([apart[:, components == a].amin(1) for a in range(len(unions))], 1)
    values = values / torch.where(distances == 0, 1.0, distances)
    own = values.argmax(1) == components
    for a in range(len(unions)):
        inside = components == a
        if 2 * int(own[inside].sum()) < int(inside.sum()):
            own = own & ~inside
    return own


@dataclass(frozen=True)
class Gated:
    """Result of clustering, filtering (§7 to 9) and merging (§10) the masks of n points.

    Attributes:
        masks: (n, D, D) bool, SAM's mask of each point.
        components: (n,) int64, each point's connected component in the graph of which masks cover which points.
        positive: (n,) bool, whether the mask adds more foreground-like than background-like area to its component.
        score: (n,) float32, area gained by the mask's component.
        state: (n,) int64: 1 if both filters keep the mask, 2 if one does, 0 if none does.
        chosen: indices of the masks whose union is the prediction, int64.
        mask: (D, D) bool, the prediction.
        probability: (D, D) float32, mean similarity of the best mask at each pixel; NaN if the only mask is empty.
    """

    masks: Tensor
    components: Tensor
    positive: Tensor
    score: Tensor
    state: Tensor
    chosen: Tensor
    mask: Tensor
    probability: Tensor


def to_grid(masks: Tensor, side: int, mode: str) -> Tensor:
    """Resize masks (n, D, D) bool to (n, g, g) float32, g = `side`, a few at a time to save memory.

    `mode` is "nearest" (§7) or "bilinear" (§8).
    """
    align = {} if mode == "nearest" else {"align_corners": False}
    small = [F.interpolate(part[:, None].float(), (side, side), mode=mode, **align)[:, 0] for part in masks.split(16)]
    return torch.cat(small)


def gate_and_merge(masks: Tensor, cells: Tensor, prior: Prior, query: Tensor) -> Gated:
    """Cluster, filter and merge SAM's masks of n point prompts to one prediction (§7 to 10).

    Args:
        masks: (n, D, D) bool, at least one.
        cells: (n, 2), x and y of the masks' points, in cells of the grid.
        prior: similarity maps (g, g) of the query to the supports.
        query: channel-normalised tokens (g², C).
    """
    side = prior.pos_mean.shape[-1]
    components = graph_components(to_grid(masks, side, "nearest") > 0, cells)
    positive, score = positive_gate(to_grid(masks, side, "bilinear"), components, prior)
    unions = torch.stack([masks[components == a].any(0) for a in range(int(components.max()) + 1)])
    own = overshooting_gate(to_grid(unions, side, "bilinear"), cells, components, query)
    state = torch.where(own & positive, 1, torch.where(own | positive, 2, 0))
    chosen = (state == 1).nonzero()[:, 0]
    mask = masks[chosen].any(0)
    if not bool(mask.any()):
        chosen = torch.where(state != 2, 0.0, score).argmax()[None]
        mask = masks[chosen[0]]
    probability = merged_probability(masks[chosen], prior.pos_mean)
    return Gated(masks, components, positive, score, state, chosen, mask, probability)


def merged_probability(masks: Tensor, pos_mean: Tensor) -> Tensor:
    """Return for each pixel (D, D) the largest mean similarity among the masks that cover it (§10).

    A mask's mean similarity is the mean of `pos_mean` (g, g), resized to D x D, inside the mask. `masks` are (n, D, D)
    bool.
    """
    size = (masks.shape[-2], masks.shape[-1])
    similarity = F.interpolate(pos_mean[None, None], size, mode="bilinear", align_corners=False)[0, 0]
    spread = (inside * ((similarity * inside).sum() / inside.sum()) for inside in (mask.float() for mask in masks))
    return reduce(torch.maximum, spread)


def point_masks(network: PromptableNetwork, encoding: Tensor, points: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the mask (n, H, W) bool that SAM predicts for each point prompt alone (§6).

    Args:
        network: SAM.
        encoding: SAM's encoding of the image.
        points: (n, 2), x and y in pixels of the image.
        size: (H, W) of the image.
    """
    prompts = Prompts(points[:, None].double(), torch.ones(len(points), 1, dtype=torch.int64))
    masks = (network.decode(encoding, size, chunk, multimask=False) for chunk in prompts.chunks(network.prompts))
    return torch.cat([network.full_size(chunk.low_res[:, 0], size) > 0 for chunk in masks])


def dino_pixels(image: Tensor, side: int, antialias: bool) -> Tensor:
    """Resize an image (3, H, W) uint8 and normalise it for DINOv2: (3, side, side) float32 (§2)."""
    small = F.interpolate(
        image[None].float() / 255, (side, side), mode="bilinear", align_corners=False, antialias=antialias
    )[0]
    mean, std = (torch.tensor(values, device=image.device)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (small - mean) / std


@dataclass(frozen=True)
class Steps:
    """GF-SAM's prediction of one way (class of the episode) with its intermediate results.

    Attributes:
        prior: similarity maps of the query.
        cells: (n, 2), x and y of the point prompts on the grid.
        gated: the filtered and merged masks; None if no point prompts were found.
    """

    prior: Prior
    cells: Tensor
    gated: Gated | None

    def way(self, side: int) -> Way:
        """Return the prediction as a soft map and a mask (D, D); the class is present if the mask is not empty (§11).

        `side` is D, the side of the images, used for an empty prediction without points.
        """
        if self.gated is None:
            nothing = torch.zeros(side, side, device=self.cells.device)
            return Way(nothing, nothing > 0, present=nothing.any(), presence_score=nothing.amax())
        present = self.gated.mask.any()
        sure = torch.where(present, self.gated.probability.max().clamp(1e-6, 1), 0.0)
        return Way(self.gated.probability.nan_to_num(nan=-1.0), self.gated.mask, present=present, presence_score=sure)


class Query(NamedTuple):
    """A query's channel-normalised tokens (g², C), and SAM's encoding of the image."""

    tokens: Tensor
    encoding: Tensor


class Support(NamedTuple):
    """A support's channel-normalised tokens (g², C), and its foreground mask (D, D)."""

    tokens: Tensor
    mask: Tensor


def segment_class(
    network: PromptableNetwork, query: Query, supports: list[Support], side: int, max_points: int
) -> Steps:
    """Segment one class in a query (§4 to 10).

    Args:
        network: SAM.
        query: tokens and SAM encoding of the query.
        supports: tokens and masks of the class's supports.
        side: D, side of the images in pixels.
        max_points: largest number of point prompts.
    """
    masks = filled_masks(torch.stack([one.mask for one in supports]))
    prior = similarity_prior(query.tokens, torch.stack([one.tokens for one in supports]), masks)
    cells = select_points(prior.prompt_map, max_points)
    if not len(cells):
        return Steps(prior, cells, None)
    points = points_in_pixels(cells, len(prior.prompt_map), side)
    found = point_masks(network, query.encoding, points, (side, side))
    return Steps(prior, cells, gate_and_merge(found, cells, prior, query.tokens))


class GFSAM(Segmenter):
    """GF-SAM: SAM's masks of point prompts, chosen by a graph of masks and points; without training.

    Each way is segmented by itself, as the authors segment one class; a pixel in the predictions of several ways goes
    to the way with the largest soft map there (§11). The similarity maps of several shots are averaged.

    Args:
        backbone: the frozen ViT, and SAM beside it.
        vit_size: side in pixels of the images that the ViT sees, a multiple of its patches.
        max_points: largest number of point prompts for a prediction.
        antialias: whether images are antialiased when they are resized for the ViT. The authors' torchvision 0.14 does
            not antialias by default.
    """

    backbone: ViTAndSam
    backbone_type = ViTAndSam
    learns = False
    predicts_presence = True
    raw_images = True
    decides_by_order = True
    finds_instances = True
    attention_meaning = "weights of the query's cells as points for SAM"

    def __init__(self, backbone: BesideSamConfig, vit_size: int = 518, max_points: int = 128, antialias: bool = False):
        super().__init__(backbone)
        if max_points < 1:
            raise SettingsError(f"max_points is {max_points}, expected 1 or more; set --model.max_points")
        patch = int(self.backbone.spec.arguments["patch_size"])
        if vit_size < patch or vit_size % patch:
            raise SettingsError(
                f"vit_size is {vit_size}, expected a multiple of {patch}, the patch size of {self.backbone.name}; set "
                "--model.vit_size"
            )
        self.vit_size, self.max_points, self.antialias = vit_size, max_points, antialias

    def check_image_size(self, size: int) -> None:
        """Accept every image size, because images are resized to what the networks take."""

    def encode_image(self, image: Tensor) -> Tensor:
        """Return the ViT's patch tokens (g², C) of an image (3, H, W) uint8, before the ViT's last norm (§1)."""
        pixels = dino_pixels(image, self.vit_size, self.antialias)
        return self.backbone.patch_map(pixels, norm=False).flatten(1).T.contiguous()

    def as_query(self, encoded: Tensor, image: Tensor) -> tuple[Tensor, ...]:
        """Return what is cached of a query: its ViT tokens `encoded`, and SAM's encoding of its image (3, H, W)."""
        return encoded, self.backbone.sam.encode(image)

    def query(self, image: tuple[Tensor, ...]) -> Query:
        tokens, encoding = (part[0] for part in image)
        return Query(channel_normalised(tokens), encoding)

    def support(self, image: Tensor, mask: Tensor) -> Support:
        return Support(channel_normalised(image[0]), mask[0])

    def join(self, supports: Iterator[Support]) -> list[Support]:
        return list(supports)

    def segment(self, query: Query, support: list[Support]) -> Steps:
        network = self.backbone.sam.promptable(self.device)
        return segment_class(network, query, support, self.context.side, self.max_points)

    def decide(self, ways: Iterator[Iterator[Steps]], size: tuple[int, int]) -> Prediction:  # type: ignore[override]
        """Assign each pixel to the way whose soft map is largest there, then resize the label map to `size` (§11)."""
        steps = [found for outputs in ways for found in outputs]
        prediction = self.predict([one.way(self.context.side) for one in steps], [])
        return replace(
            prediction,
            label_map=resized_labels(prediction.label_map, len(steps), size),
            attention=torch.stack([one.prior.prompt_map for one in steps]) if self.keeps_soft_masks else None,
            instances=Instances.of_ways(component_objects(one) for one in steps) if self.keeps_instances else None,
        )

    def query_maps(self, episode: EpisodeBatch) -> dict[str, Tensor | Sketch]:
        """Return the intermediate results of a prediction for display, as maps and sketches over the query.

        Returns:
            {"foreground map", "background map", "points", "graph", "kept masks": map (g, g) or sketch}; with several
            ways, names end with the way's number.
        """
        return join_ways([step_maps(steps) for steps in self.way_outputs(episode)])


def resized_labels(label_map: Tensor, ways: int, size: tuple[int, int]) -> Tensor:
    """Resize a label map (H, W) of 0..`ways` to `size` (h, w).

    Each label is resized bilinearly as a mask. A pixel is foreground if the labels' shares in it sum to more than one
    half, and gets the label with the largest share.
    """
    if tuple(label_map.shape) == size:
        return label_map
    shares = torch.stack([label_map == way + 1 for way in range(ways)]).float()
    shares = F.interpolate(shares[None], size, mode="bilinear", align_corners=False)[0]
    return torch.where(shares.sum(0) > 0.5, shares.argmax(0) + 1, 0)


def component_objects(steps: Steps) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield each component's merged mask (D, D) bool as an object, with a score () in [0, 1].

    The mask is the union of the component's kept masks, the score the largest mean similarity among them.
    """
    if steps.gated is None:
        return
    of_chosen = steps.gated.components[steps.gated.chosen]
    for component in of_chosen.unique():
        members = steps.gated.masks[steps.gated.chosen[of_chosen == component]]
        if bool(members.any()):
            score = merged_probability(members, steps.prior.pos_mean).nan_to_num().max().clamp(0, 1)
            yield members.any(0), score


def step_maps(steps: Steps) -> dict[str, Tensor | Sketch]:
    """Return a way's intermediate results for display.

    Returns:
        {"foreground map" and "background map": similarity maps (g, g); "points", and, if there are points, "graph" and
        "kept masks": sketches}.
    """
    prior, side = steps.prior, len(steps.prior.prompt_map)
    places = steps.cells.cpu().numpy() / side
    maps: dict[str, Tensor | Sketch] = {
        "foreground map": prior.pos_mean,
        "background map": prior.neg_mean,
        "points": Sketch(places, values=prior.prompt_map.cpu().numpy()),
    }
    if steps.gated is not None:
        masks, groups = steps.gated.masks.cpu().numpy(), (steps.gated.components + 1).cpu().numpy()
        graph = covered_points(to_grid(steps.gated.masks, side, "nearest") > 0, steps.cells)
        edges = (graph & ~torch.eye(len(graph), dtype=torch.bool, device=graph.device)).nonzero().cpu().numpy()
        kept = steps.gated.chosen.cpu().numpy()
        regions = stacked_regions(masks[kept], groups[kept])
        maps["graph"] = Sketch(places, groups, edges, regions=stacked_regions(masks, groups))
        maps["kept masks"] = Sketch(places[kept], groups[kept], regions=regions)
    return maps
