"""Whole episodes and training steps of methods at their own sizes, and the same with the plain form of a fast path.

Weights are random and images are noise, on which no figure here depends. A fifth of each support is masked, and every
image is encoded anew.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from functools import partial
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from benchmarks.speed.cases.formulas import plain_contrast
from benchmarks.speed.harness import Case, call_difference
from fsbench.data.batch import EpisodeBatch, Hints, Truth
from fsbench.methods.abcdfss import head
from fsbench.methods.modules.base_ensemble import EnsembleSegmenter
from fsbench.networks.ops.center_pivot_conv import CenterPivotConv4d
from fsbench.networks.ops.plane_norm import GroupNormReLU
from fsbench.runner.config.run_config import NO_DATASET, RunConfig

KEPT = 0.2
"""Share of a support that its mask, a square, keeps."""


def episode_cases(
    device: torch.device,
    methods: str = "prototype,linear_probe_dense,emat,cst,dcama,hsnet,pfenet,bam,hdmnet,hmnet,fssdino",
) -> Iterator[Case]:
    """Measure an episode of each method, 1-way 1-shot, no features kept from another one."""
    for name in methods.split(","):
        yield _case(device, name, "an episode")


def step_cases(device: torch.device, methods: str = "emat,cst,dcama,hsnet,pfenet,bam,hdmnet,hmnet") -> Iterator[Case]:
    """Measure a training step of each method on one episode, 1-way 1-shot: loss and gradients, features not kept."""
    for name in methods.split(","):
        yield _case(device, name, "a training step")


def plain_hsnet() -> AbstractContextManager[Any]:
    """Let HSNet's learner compute by its formulas: the whole correlation, batches of planes, torch's GroupNorm."""

    def convolve(layer: CenterPivotConv4d, x: Any) -> Tensor:
        return layer.reference(x if isinstance(x, Tensor) else x.dense())

    stack = ExitStack()
    stack.enter_context(mock.patch.object(CenterPivotConv4d, "forward", convolve))
    stack.enter_context(mock.patch.object(GroupNormReLU, "forward", GroupNormReLU.reference))
    return stack


def _setting(name: str, value: str) -> Callable[[], AbstractContextManager[Any]]:
    return partial(mock.patch.dict, os.environ, {name: value})


PLAIN: Mapping[str, Callable[[], AbstractContextManager[Any]]] = {
    "hsnet": plain_hsnet,
    "patnet": plain_hsnet,
    "dcama": _setting("FSBENCH_MASK_ATTENTION", "reference"),
    "emat": _setting("FSBENCH_ATTENTION", "reference"),
    "abcdfss_every": partial(mock.patch.object, head, "contrast", plain_contrast),
}
"""Methods with a fast path, and what lets them compute by its plain form. The paths are the learner on planes of the
kept support, the attention in chunks, that of packed tokens, and the contrast by rows.
HMNet's scans are measured alone: an episode by their reference takes minutes."""


def plain_cases(device: torch.device, methods: str = ",".join(PLAIN), steps: str = "hsnet,dcama") -> Iterator[Case]:
    """Compare an episode, and a training step, of methods with that by the plain form of their fast path."""
    for kind, names in {"an episode": methods, "a training step": steps}.items():
        for name in filter(None, names.split(",")):
            case = _case(device, name, kind)
            ours: Callable[[], Tensor] = case.paths["ours"]  # type: ignore[assignment]  # no command
            plain = partial(_plainly, name, ours)
            difference = partial(call_difference, plain, ours)
            yield replace(case, paths={"plain": plain, "ours": ours}, check=difference, tolerance=1e-2)


def _plainly(name: str, call: Callable[[], Tensor]) -> Tensor:
    with PLAIN[name]():
        return call()


def _case(device: torch.device, name: str, kind: str) -> Case:
    settings = method_settings(name).config
    side, network = settings.data.init_args.image_size, settings.model.init_args.backbone.name
    call = partial(CALLS[kind], *method_and_batch(device, name))
    call()  # builds the network
    return Case(f"{name}, {kind}, {network}, {side} pixels", {"ours": call})


def method_settings(name: str, dataset: str = NO_DATASET) -> Any:
    """Return the settings of a method with random weights, on the network of its own settings or on the demo's."""
    if name == "hmnet" and dataset != "demo":
        # its PSPNet's weights belong to a fold; the trunk takes the same time but for the base learner
        network = ("--model.backbone.name=dilated_resnet50", "--model.backbone.weights=random", "--model.bam=false")
        return RunConfig(name, dataset, extra=network).parse(build=False)
    return RunConfig(name, dataset, weights="random").parse(build=False)


def built_method(device: torch.device, composed: Any) -> Any:
    """Return the method of such settings; one with a base learner knows fifteen classes, as in a fold of PASCAL."""
    torch.manual_seed(0)
    method = composed.build_method().to(device)
    if isinstance(method, EnsembleSegmenter):
        method.base_classes = range(6, 21)  # those of fold 0; the truth's class is the first
    return method


def method_and_batch(
    device: torch.device, name: str, demo: bool = False, precision: str = "fp32"
) -> tuple[Any, EpisodeBatch]:
    """Return a method with random weights, its frozen network in a precision, and an episode of its image size."""
    composed = method_settings(name, "demo" if demo else NO_DATASET)
    composed.config.model.init_args.backbone.precision = precision
    return built_method(device, composed), noise_episode(int(composed.config.data.init_args.image_size), device)


def answer(method: Any, batch: EpisodeBatch) -> Tensor:
    """Return the margin of the foreground at each pixel, or its label where the method gives no logits."""
    method.eval().backbone.cache.clear()
    with torch.inference_mode():
        found = method.predict_shots(batch.without_truth())
    return (found.label_map if found.logits is None else found.logits[:, 1] - found.logits[:, 0]).flatten()


def learn(method: Any, batch: EpisodeBatch) -> Tensor:
    """Return the loss of a training step and all gradients."""
    torch.manual_seed(0)  # of dropout
    method.train().backbone.cache.clear()
    method.zero_grad(set_to_none=True)
    loss: Tensor = method.losses_of_step(batch)["loss"]
    with torch.autocast(loss.device.type, enabled=False):  # as Lightning does
        loss.backward()
    return torch.cat([loss.detach().view(1), *(p.grad.flatten() for p in method.parameters() if p.grad is not None)])


CALLS: Mapping[str, Callable[[Any, EpisodeBatch], Tensor]] = {"an episode": answer, "a training step": learn}


def noise_episode(size: int, device: torch.device) -> EpisodeBatch:
    """Build a 1-way 1-shot episode with its truth: two images of noise, (`size`, `size`), which show a square."""
    generator = torch.Generator().manual_seed(0)
    mask, edge = torch.zeros(size, size, dtype=torch.uint8), round(size * KEPT**0.5)
    start, shown = (size - edge) // 2, torch.ones(1, 1, dtype=torch.bool)
    mask[start : start + edge, start : start + edge] = 1
    return EpisodeBatch(
        images=torch.randint(256, (2, 3, size, size), generator=generator, dtype=torch.uint8),
        image_names=["noise 0", "noise 1"],
        query=torch.zeros(1, dtype=torch.int64),
        support=torch.ones(1, 1, 1, dtype=torch.int64),
        support_labels=mask.expand(1, 1, 1, size, size).contiguous(),
        valid=torch.ones(1, 1, 1, dtype=torch.bool),
        query_sizes=torch.tensor([[size, size]]),
        episodes=torch.zeros(1, dtype=torch.int64),
        truth=Truth([mask], shown, shown.long()),
        hints=[Hints(class_names=("noise",))],
    ).to(device)
