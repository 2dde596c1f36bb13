"""Episodes of classifiers that tune a network, beside the scheme of FORT's program (fort.md §7-§9, §13).

That program encodes the supports once for the head and once more for the position prompts, for which it keeps a graph
of the whole network and the attention of all heads; it does so for the baselines without FORT, too. Attention is a
product of matrices, gradients of frozen weights are computed and left, AdamW takes one parameter after the other, and
the queries are answered all at once. The suite reads the prompts from the pass that gives the head its features, with
a graph of the last block alone, and computes none where FORT is off. Head and roll-out are the suite's in both.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from benchmarks.speed.cases.methods import built_method
from benchmarks.speed.harness import Case, call_difference
from fsbench.core.classifier import Draws
from fsbench.methods.classifiers.fine_tuned import FineTuned
from fsbench.methods.classifiers.fort import PositionPrompts, principal_component, roll_out, weighted_focus
from fsbench.methods.classifiers.frozen import initial_head
from fsbench.methods.classifiers.tuning import LinearClassifier, Schedule, fine_tune
from fsbench.runner.config.run_config import RunConfig


def cases(
    device: torch.device, methods: str = "ft,fort", ways: int = 2, queries: int = 15, epochs: int = 0
) -> Iterator[Case]:
    """Compare an episode, 1-shot, with --ways classes and --queries images of each; images are noise, weights random.

    With 15 queries a class, supports and queries stand to each other as in the paper's episodes of 20 classes. --epochs
    replaces the method's own.
    """
    for name in methods.split(","):
        composed = RunConfig(name, "cub", weights="random").parse(build=False)
        method, side = built_method(device, composed), composed.config.data.init_args.image_size
        method.epochs = epochs or method.epochs
        method.draws = Draws(seed=0, episode=0)
        generator = torch.Generator().manual_seed(0)
        shown = torch.randn(ways, 1, 3, 16, 16, generator=generator)  # of a class; its images differ from it a little
        coarse = shown + 0.5 * torch.randn(ways, 1 + queries, 3, 16, 16, generator=generator)
        images = nn.functional.interpolate(coarse.flatten(0, 1), (side, side), mode="bilinear").to(device)
        support, query = (x.flatten(0, 1) for x in images.unflatten(0, (ways, -1)).split([1, queries], 1))
        given = query, support, torch.arange(ways, device=device)
        paths = {"authors' scheme": partial(authors, method, *given), "suite": partial(suite, method, *given)}
        network, steps = method.backbone.name, method.epochs
        what = (
            f"{name}, {network}, an episode of {ways} ways, 1 shot, {len(query)} queries, {steps} steps, {side} pixels"
        )
        yield Case(what, paths, partial(call_difference, *paths.values()), tolerance=1e-2)


@torch.no_grad()
def suite(method: FineTuned, query: Tensor, support: Tensor, labels: Tensor) -> Tensor:
    """Return the queries' scores as the suite computes them."""
    return method.scores(query, support, labels)


@torch.no_grad()
def authors(method: FineTuned, query: Tensor, support: Tensor, labels: Tensor) -> Tensor:
    """Return the queries' scores by the authors' scheme."""
    with mock.patch.object(method, "_solve_head", partial(solve_head, method)):
        net, focus, order = method.start(support, labels)
    trained = [parameter for parameter in net.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(trained, method.schedule.learning_rate, foreach=False)
    net.requires_grad_(True)
    with mock.patch.object(Schedule, "build", lambda *_: optimiser):
        fine_tune(net, method.schedule, support, labels, order, focus)
    return net(query)


def solve_head(method: FineTuned, net: LinearClassifier, support: Tensor, labels: Tensor) -> PositionPrompts | None:
    """Solve the head, then find the position prompts of a ViT by a pass of their own with all gradients (§9.1)."""
    encoder: Any = net.encoder
    maps: list[Tensor] = []
    gradients: list[Tensor] = []
    for block in encoder.blocks:
        block.attn.fused_attn = False
    kind: Any = method.head_kind
    net.set_head(*initial_head(kind, encoder(support), labels, method.schedule.temperature))
    hooks = [block.attn.attn_drop.register_forward_hook(lambda *out: maps.append(out[2])) for block in encoder.blocks]
    hooks.append(encoder.blocks[-1].norm1.register_full_backward_hook(lambda _, found, __: gradients.append(found[0])))
    trained = [parameter.requires_grad for parameter in net.parameters()]
    net.requires_grad_(True)
    with torch.enable_grad():
        net(support).gather(1, labels[:, None]).mean().backward()
    for hook in hooks:
        hook.remove()
    net.zero_grad()
    for parameter, was in zip(net.parameters(), trained, strict=True):
        parameter.requires_grad_(was)
    attention = [weights.detach()[:, :, 1:, 1:].amin(1) for weights in maps]
    importance = roll_out(attention, principal_component(gradients[0][:, 1:]), method.gradient_weight)
    focus = [weighted_focus(importance, method.patches)]
    return focus if method.schedule.alpha else None
