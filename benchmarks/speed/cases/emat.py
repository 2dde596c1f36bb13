"""EMAT's masked attention as a loop over samples, with a dense mask, and on its two fast paths."""

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.speed.harness import Case, forward, relative_difference, training_step
from fsbench.backbones.base import BackboneConfig
from fsbench.data.batch import EpisodeBatch
from fsbench.ops.masked_attention import masked_attention
from methods.emat import EMAT, emat_learner
from methods.modules.correlation import HEADS

CHANNELS, HIDDEN, WIDTH = 72, 32, 64  # correlation channels, D and head width of the features
PATHS = ("reference", "dense", "packed", "fused")
Calls = dict[str, Callable[[], object]]


def dense_masked(q: Tensor, x: Tensor, weight: Tensor, bias: Tensor, keep: Tensor, heads: int) -> Tensor:
    """Attend over all keys and values with -1e9 where the mask drops a token, as CST does."""
    k, v = F.conv2d(x, weight[:, :, None, None], bias).unflatten(1, (2, heads, -1)).unbind(1)
    logits = torch.einsum("bhetd,bhetm->bhtdm", q.unflatten(1, (heads, -1)), k)
    attention = logits.masked_fill(~keep[:, None, None, None], -1e9).softmax(-1)
    return torch.einsum("bhtdm,bhetm->bhetd", attention, v).flatten(1, 2)


def attention(
    device: torch.device, side: int, share: float, query_side: int, batch: int, paths: Sequence[str] = PATHS
) -> dict[str, Calls]:
    """Return forward pass and training step of the attention alone, by path.

    Args:
        device: where it computes.
        side: of the support's tokens, of which there are side² + 1.
        share: of them that the mask keeps.
        query_side: of the query's tokens.
        batch: samples.
        paths: some of `PATHS`.
    """
    tokens, positions, queries = side * side + 1, query_side**2, (side // 2) ** 2 + 1
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(device)

    q = random(batch, HIDDEN, positions, queries)
    x = random(batch, CHANNELS, positions, tokens)  # from frozen features: no gradient
    weight, bias = random(2 * HIDDEN, CHANNELS) / 8, random(2 * HIDDEN)
    keep = _foreground(batch, side, share).to(device)

    def attend(path: str) -> Tensor:
        if path == "dense":
            return dense_masked(q, x, weight, bias, keep, HEADS)
        return masked_attention(q, x, weight, bias, keep, HEADS, path)  # type: ignore[arg-type]

    return {
        "forward": {path: forward(partial(attend, path)) for path in paths},
        "training step": {path: training_step(partial(attend, path), (q, weight, bias)) for path in paths},
    }


def _foreground(batch: int, side: int, share: float) -> Tensor:
    """Return a mask (batch, 1 + side²) that keeps the class token and about `share` of the others in every sample."""
    kept = max(1, round(share * side * side))
    order = torch.rand(batch, side * side, generator=torch.Generator().manual_seed(1)).argsort(1)
    keep = torch.zeros(batch, side * side, dtype=torch.bool).scatter(1, order[:, :kept], True)
    return F.pad(keep, (1, 0), value=True)


def attention_cases(
    device: torch.device,
    sides: tuple[int, ...] = (12, 18, 20),
    shares: tuple[float, ...] = (0.02, 0.2, 1.0),
    query_side: int = 25,
    batch: int = 2,
) -> Iterator[Case]:
    """Compare the operation (layer 1 at the paper's widths) with the plain loop, which is the oracle of the tests.

    The paper's query side is 50, which needs 30 GB for the plain path.
    """
    for side in sides:
        for share in shares:
            shape = f"{side * side + 1} support tokens, {share:.0%} kept, {query_side}² query tokens, batch {batch}"
            for kind, paths in attention(device, side, share, query_side, batch).items():
                yield Case(f"EMAT {kind}, {shape}", paths, partial(_all_agree, paths), tolerance=1e-4)


def _all_agree(paths: Calls) -> float:
    """Return the largest difference of any path from the first."""
    first, *others = (call() for call in paths.values())
    return max((relative_difference(first, other) for other in others), default=0.0)


def learner_cases(
    device: torch.device, shares: tuple[float, ...] = (1.0,), query_side: int = 25, batch: int = 2
) -> Iterator[Case]:
    """Compare the whole learner, from features to the gradient of a loss.

    "reference" is the plain loop, "kept" the packed attention on a correlation that is kept for the backward pass as a
    whole.
    """
    side = 20
    net, query, support = _learner(device, query_side, batch, batch)
    for share in shares:
        masks = torch.zeros(batch, 700, 700, device=device)
        edge = round(700 * share**0.5)
        masks[:, :edge, :edge] = 1

        def answers(path: str, masks: Tensor = masks) -> tuple[Tensor, Tensor]:
            os.environ["FSBENCH_ATTENTION"] = "packed" if path == "kept" else path
            is_whole = path in ("reference", "kept")
            return net.decode(net.transform(query @ support.mT, masks)) if is_whole else net(query, support, masks)

        shape = f"{side * side + 1} support tokens, {share:.0%} kept, {query_side}² query tokens, batch {batch}"
        paths = {path: partial(answers, path) for path in ("kept", "packed", "fused", "reference")}
        yield Case(f"EMAT learner forward, {shape}", {name: forward(call) for name, call in paths.items()})
        steps = {name: training_step(call, net.parameters()) for name, call in paths.items()}
        yield Case(f"EMAT learner training step, {shape}", steps)


def _learner(device: torch.device, query_side: int, queries: int, supports: int) -> tuple[Any, Tensor, Tensor]:
    """Return EMAT's learner, and drawn features of queries and of supports with 20² tokens."""
    torch.manual_seed(0)
    net = emat_learner(CHANNELS, 20).to(device)
    query = F.normalize(torch.randn(queries, CHANNELS, query_side**2, WIDTH), dim=-1).to(device)
    support = F.normalize(torch.randn(supports, CHANNELS, 401, WIDTH), dim=-1).to(device)
    return net, query, support


def way_cases(device: torch.device, ways: tuple[int, ...] = (1, 5, 20), query_side: int = 25) -> Iterator[Case]:
    """Compare the learner's evaluation of a query and so many ways, a quarter of each support kept.

    "whole" does all at once with the whole correlation stored, "chunks" one way at a time with the correlation in
    chunks.
    """
    for count in ways:
        net, query, support = _learner(device, query_side, 1, count)
        net.requires_grad_(False)
        masks = torch.zeros(count, 700, 700, device=device)
        masks[:, :350, :350] = 1

        def chunks(net=net, query=query, support=support, masks=masks) -> Tensor:  # type: ignore[no-untyped-def]
            return net(query, support, masks)[1]

        def whole(net=net, query=query, support=support, masks=masks) -> Tensor:  # type: ignore[no-untyped-def]
            with torch.enable_grad():  # which keeps the modules from working in place; nothing is to differentiate
                return net.decode(net.transform(query @ support.mT, masks))[1]

        paths = {"whole": whole, "chunks": forward(chunks)}
        what = f"EMAT learner, {count} ways, evaluation, {query_side}² query tokens"
        yield Case(what, paths, partial(_all_agree, paths), tolerance=1e-4)


def episode_cases(device: torch.device, ways: int = 20, side: int = 700) -> Iterator[Case]:
    """Measure one 1-shot episode of drawn images through the whole method, with random weights."""
    method = EMAT(BackboneConfig("dinov2_vits14", "random:0")).to(device).eval()
    generator = torch.Generator().manual_seed(0)
    labels = torch.zeros(1, ways, 1, side, side, dtype=torch.uint8)
    labels[..., : side // 2, : side // 2] = 1
    episode = EpisodeBatch(
        images=torch.randint(256, (ways + 1, 3, side, side), generator=generator, dtype=torch.uint8).to(device),
        image_names=[str(i) for i in range(ways + 1)],
        query=torch.tensor([0]),
        support=torch.arange(1, ways + 1).view(1, ways, 1),
        support_labels=labels.to(device),
        valid=torch.ones(1, ways, 1, dtype=torch.bool),
        query_sizes=torch.tensor([[375, 500]]),
        episodes=torch.tensor([0]),
        truth=None,
    )
    yield Case(
        f"EMAT, an episode, {ways}-way 1-shot, {side} pixels", {"ours": torch.inference_mode()(lambda: method(episode))}
    )
