"""Whole episodes and training steps of methods at their own sizes.

Weights are random and images are noise, on which no figure here depends. A fifth of each support is masked, and every
image is encoded anew.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.speed.harness import Case
from fsbench.data.batch import EpisodeBatch, Hints, Truth
from fsbench.methods.modules.base_ensemble import EnsembleSegmenter
from fsbench.runner.config.run_config import NO_DATASET, RunConfig

KEPT = 0.2
"""Share of a support that its mask, a square, keeps."""


def episode_cases(
    device: torch.device,
    methods: str = "prototype,linear_probe_dense,cst,pfenet,bam,fssdino",
) -> Iterator[Case]:
    """Measure an episode of each method, 1-way 1-shot, no features kept from another one."""
    for name in methods.split(","):
        yield method_case(device, name, "an episode")


def step_cases(device: torch.device, methods: str = "emat,cst,pfenet,bam,hdmnet,hmnet") -> Iterator[Case]:
    """Measure a training step of each method on one episode, 1-way 1-shot: loss and gradients, features not kept."""
    for name in methods.split(","):
        yield method_case(device, name, "a training step")


def method_case(device: torch.device, name: str, kind: str, shots: int = 1) -> Case:
    """Return the measurement of "an episode" or "a training step" of a method."""
    settings = method_settings(name).config
    side, network = settings.data.init_args.image_size, settings.model.init_args.backbone.name
    call = partial(CALLS[kind], *method_and_batch(device, name, shots=shots))
    call()  # builds the network
    return Case(f"{name}, {kind}{'' if shots == 1 else f' of {shots} shots'}, {network}, {side} pixels", {"ours": call})


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
    device: torch.device, name: str, demo: bool = False, precision: str = "fp32", shots: int = 1
) -> tuple[Any, EpisodeBatch]:
    """Return a method with random weights, its frozen network in a precision, and an episode of its image size."""
    composed = method_settings(name, "demo" if demo else NO_DATASET)
    composed.config.model.init_args.backbone.precision = precision
    return built_method(device, composed), noise_episode(int(composed.config.data.init_args.image_size), device, shots)


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


def noise_episode(size: int, device: torch.device, shots: int = 1) -> EpisodeBatch:
    """Build a 1-way episode with its truth: images of noise, (`size`, `size`), which show a square."""
    generator = torch.Generator().manual_seed(0)
    mask, edge = torch.zeros(size, size, dtype=torch.uint8), round(size * KEPT**0.5)
    start, shown = (size - edge) // 2, torch.ones(1, 1, dtype=torch.bool)
    mask[start : start + edge, start : start + edge] = 1
    return EpisodeBatch(
        images=torch.randint(256, (1 + shots, 3, size, size), generator=generator, dtype=torch.uint8),
        image_names=[f"noise {number}" for number in range(1 + shots)],
        query=torch.zeros(1, dtype=torch.int64),
        support=torch.arange(1, 1 + shots).view(1, 1, shots),
        support_labels=mask.expand(1, 1, shots, size, size).contiguous(),
        valid=torch.ones(1, 1, shots, dtype=torch.bool),
        query_sizes=torch.tensor([[size, size]]),
        episodes=torch.zeros(1, dtype=torch.int64),
        truth=Truth([mask], shown, shown.long()),
        hints=[Hints(class_names=("noise",))],
    ).to(device)
