"""Methods on SAM beside the schemes of their authors' programs, on a SAM of random weights."""

from collections.abc import Iterator

import torch
from torch import Tensor

from benchmarks.speed.harness import Case
from fsbench.backbones.sam import FrozenSam, Prompts, SamConfig
from methods.gf_sam import cosines, mean_map, overshooting_gate
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
