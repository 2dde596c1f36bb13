"""Methods on SAM beside the schemes of their authors' programs, and where an episode's time goes; random weights."""

from collections.abc import Iterator

import torch
from torch import Tensor

from benchmarks.speed.harness import Case
from fsbench.backbones.sam import FrozenSam, Prompts, SamConfig
from fsbench.backbones.vit_and_sam import ViTAndSamConfig
from fsbench.engine.cost.method_cost import noise_episode
from methods.gf_sam import (
    GFSAM,
    channel_normalised,
    cosines,
    dino_pixels,
    filled_masks,
    gate_and_merge,
    mean_map,
    overshooting_gate,
    point_masks,
    points_in_pixels,
    select_points,
    similarity_prior,
)
from methods.persam import locate_positive, mixed, scale_logits, tune_weights, tuning_losses

COMPONENTS = 8
"""Components of GF-SAM's graph."""


def cases(device: torch.device, grid: int = 37, points: int = 64, steps: int = 20) -> Iterator[Case]:
    """Compare GF-SAM's second gate and PerSAM-F's tuning with their authors' schemes, after a check of the answers.

    The gate asks for the similarity of the query with itself: of all cells anew for each component, or of the points'
    columns once. The tuning mixes three masks of the decoder, which do not depend on what is tuned: the authors decode
    them in every step, here they are decoded once.

    Args:
        device: where it is computed.
        grid: side g of the query's tokens.
        points: number of GF-SAM's points.
        steps: of the tuning; the authors have 1000.
    """
    yield _gate(device, grid, points)
    yield _tuning(device, steps)


def _gate(device: torch.device, grid: int, points: int) -> Case:
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(grid * grid, 256, generator=generator).to(device)
    places = torch.randperm(grid * grid, generator=generator)[:points]
    cells = torch.stack([places % grid, places // grid], 1).to(device)
    components = (torch.arange(points) % COMPONENTS).to(device)
    unions = torch.rand(COMPONENTS, grid, grid, generator=generator).to(device)

    def authors() -> Tensor:
        return authors_gate(unions, cells, components, query)

    def own() -> Tensor:
        return overshooting_gate(unions, cells, components, query)

    return Case(
        f"GF-SAM's second gate, {grid} x {grid} cells, {points} points, {COMPONENTS} components",
        {"authors' scheme": authors, "fsbench": own},
        lambda: float((authors() != own()).sum()),
        tolerance=0.0,
    )


def authors_gate(unions: Tensor, cells: Tensor, components: Tensor, query: Tensor) -> Tensor:
    """Return what `methods.gf_sam.overshooting_gate` does, with the whole similarity for each component (§9)."""
    side = unions.shape[-1]
    maps = torch.stack([mean_map(union.flatten(), cosines(query, query)) for union in unions])
    values = maps[:, cells[:, 1] * side + cells[:, 0]].T
    apart = torch.cdist(cells.float(), cells.float(), compute_mode="donot_use_mm_for_euclid_dist")
    for a in range(len(unions)):
        distance = apart[:, components == a].amin(1)
        values[:, a] = values[:, a] / torch.where(distance == 0, 1.0, distance)
    own = values.argmax(1) == components
    for a in range(len(unions)):
        inside = components == a
        if int(own[inside].sum()) < int((~own[inside]).sum()):
            own[inside] = False
    return own


def _tuning(device: torch.device, steps: int) -> Case:
    generator = torch.Generator().manual_seed(0)
    sam = FrozenSam(SamConfig("sam_demo", "random:0"))
    network = sam.promptable(device)
    size = (sam.spec.side, sam.spec.side)
    encoding = network.encode(torch.randint(256, (3, *size), generator=generator, dtype=torch.uint8).to(device))
    target = encoding[0][0].mean((1, 2))
    mask = torch.zeros(size, dtype=torch.bool, device=device)
    mask[20:90, 30:100] = True

    def authors() -> Tensor:
        found = locate_positive(target, encoding[0][0], network.preparation.frame(size))
        prompts = Prompts(found.points[None], found.labels[None])
        weights = torch.nn.Parameter(torch.full((2,), 1 / 3, device=device))
        optimizer = torch.optim.AdamW([weights], lr=1e-3, eps=1e-4, weight_decay=0.01)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(steps):
            low_res = network.decode_all(encoding, size, prompts, multimask=True).low_res[0]
            logits = network.full_size(low_res, size).flatten(1)
            loss = sum(tuning_losses(mixed(weights, logits), mask.flatten().float()))
            optimizer.zero_grad()
            torch.as_tensor(loss).backward()
            optimizer.step()
            scheduler.step()
        return weights.detach()

    def own() -> Tensor:
        return tune_weights([scale_logits(network, encoding, size, target)[2]], [mask], steps, 1e-3).weights[-1]

    return Case(
        f"PerSAM-F's tuning, {steps} steps, images of {size[0]} pixels",
        {"authors' scheme": authors, "fsbench": own},
        lambda: float((authors() - own()).abs().max() / own().abs().max()),
        tolerance=1e-4,
    )


def share_cases(
    device: torch.device, vit: str = "dinov2_vits14", sam: str = "sam_vit_b", points: int = 16, size: int = 1024
) -> Iterator[Case]:
    """Measure encoders, decoder and algorithm of one GF-SAM episode, one shot, at the size of true networks.

    Args:
        device: where it is computed.
        vit, sam: the networks, of random weights.
        points: that are decoded; the method has up to 128.
        size: side of the images in pixels.
    """
    method = GFSAM(ViTAndSamConfig(vit, "random:0", sam=sam), max_points=points).to(device).eval()
    episode = noise_episode(size, 1, device)
    network, extent = method.backbone.sam.promptable(device), (size, size)

    def tokens() -> list[Tensor]:
        with torch.inference_mode():
            pixels = [dino_pixels(image, method.vit_size, False) for image in episode.images]
            return [channel_normalised(method.backbone.patch_map(p, norm=False).flatten(1).T) for p in pixels]

    query, support = tokens()
    side = round(len(query) ** 0.5)
    prior = similarity_prior(query, support[None], filled_masks(episode.support_masks[0, 0]))
    cells = select_points(torch.rand_like(prior.prompt_map), points)  # as many as are asked for, whatever the weights
    corners = points_in_pixels(cells, side, size)
    encoded = method.backbone.sam.encode(episode.images[0])
    masks = point_masks(network, encoded, corners, extent)

    def algorithm() -> Tensor:
        again = similarity_prior(query, support[None], filled_masks(episode.support_masks[0, 0]))
        return gate_and_merge(masks, cells, again, query).mask

    about = f"GF-SAM, {vit} and {sam}, images of {size} pixels"
    yield Case(f"{about}: the ViT on query and support", {"encoder of tokens": tokens})
    yield Case(f"{about}: SAM on the query", {"encoder of SAM": lambda: method.backbone.sam.encode(episode.images[0])})
    yield Case(
        f"{about}: a mask of each of {points} points, one point",
        {"decoder": lambda: point_masks(network, encoded, corners, extent)},
        units=points,
    )
    yield Case(f"{about}: similarity, graph, gates, merging", {"algorithm": algorithm})
