"""Whole episodes and training steps of methods at their own sizes, and answers by the number of ways and shots."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from benchmarks.speed.harness import Case, forward
from fsbench.core.segmenter import Segmenter
from fsbench.data.batch import EpisodeBatch, Hints, Truth
from fsbench.methods.modules.base_ensemble import EnsembleSegmenter
from fsbench.runner.config.run_config import NO_DATASET, RunConfig
from fsbench.runner.contract.episodes import segmentation_episode
from fsbench.runner.engine.experiment import Experiment


def episode_cases(
    device: torch.device,
    methods: str = "prototype,linear_probe_dense,emat,cst,dcama,hsnet,pfenet,bam,hdmnet,hmnet,fssdino",
) -> Iterator[Case]:
    """Measure an episode of each method, 1-way 1-shot, no features kept from another one.

    Weights are random and images are noise, on which no figure here depends.
    """
    yield from _cases(device, methods, is_step=False)


def step_cases(device: torch.device, methods: str = "emat,cst,dcama,hsnet,pfenet,bam,hdmnet,hmnet") -> Iterator[Case]:
    """Measure a training step of each method on one episode, 1-way 1-shot: loss and gradients, features not kept."""
    yield from _cases(device, methods, is_step=True)


def _cases(device: torch.device, methods: str, is_step: bool) -> Iterator[Case]:
    for name in methods.split(","):
        settings = method_settings(name)
        call = method_call(device, name, is_step)
        call()  # builds the network
        side, network = settings.config.data.init_args.image_size, settings.config.model.init_args.backbone.name
        yield Case(
            f"{name}, {'a training step' if is_step else 'an episode'}, {network}, {side} pixels", {"ours": call}
        )


def method_settings(name: str, demo: bool = False) -> Any:
    """Return the settings of a method with random weights, on the network of its own settings or on the demo's."""
    if name == "hmnet" and not demo:
        # its PSPNet's weights belong to a fold; the trunk takes the same time but for the base learner
        network = ("--model.backbone.name=dilated_resnet50", "--model.backbone.weights=random", "--model.bam=false")
        return RunConfig(name, NO_DATASET, extra=network).parse(build=False)
    return RunConfig(name, "demo" if demo else NO_DATASET, weights="random").parse(build=False)


def method_call(device: torch.device, name: str, is_step: bool, demo: bool = False) -> Callable[[], None]:
    """Return a call that evaluates an episode, or learns from one; every image is encoded anew."""
    composed = method_settings(name, demo)
    method = composed.build_method().to(device).train(is_step)
    if isinstance(method, EnsembleSegmenter):
        method.base_classes = range(1, 16)  # those of a fold of PASCAL; the truth's class is the first
    batch = training_batch(int(composed.config.data.init_args.image_size), device)
    return partial(_learn if is_step else _answer, method, batch)


def _answer(method: Segmenter, batch: EpisodeBatch) -> None:
    method.backbone.cache.clear()
    with torch.inference_mode():
        method.predict_shots(batch.without_truth())


def _learn(method: Any, batch: EpisodeBatch) -> None:
    method.backbone.cache.clear()
    method.zero_grad(set_to_none=True)
    loss = method.losses_of_step(batch)["loss"]
    with torch.autocast(batch.images.device.type, enabled=False):  # as Lightning does
        loss.backward()


def noise_episode(size: int, shots: int, device: torch.device) -> EpisodeBatch:
    """Build a 1-way episode of distinct images of noise, (`size`, `size`), whose support masks are discs."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (1 + shots, 3, size, size), generator=generator, dtype=torch.uint8)
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    disc = ((y - size / 2) ** 2 + (x - size / 2) ** 2 < (0.3 * size) ** 2).to(torch.uint8)
    return EpisodeBatch(
        images=images,
        image_names=[f"noise {i}" for i in range(1 + shots)],
        query=torch.zeros(1, dtype=torch.int64),
        support=torch.arange(1, 1 + shots)[None, None],
        support_labels=disc.expand(1, 1, shots, size, size).contiguous(),
        valid=torch.ones(1, 1, shots, dtype=torch.bool),
        query_sizes=torch.tensor([[size, size]]),
        episodes=torch.zeros(1, dtype=torch.int64),
        truth=None,
        hints=[Hints(class_names=("noise",))],
    ).to(device)


def training_batch(size: int, device: torch.device) -> EpisodeBatch:
    """Return a 1-way 1-shot episode of images of noise of `size` pixels with a truth, so that a method can learn."""
    episode = noise_episode(size, 1, device)
    label_map = episode.support_labels[0, 0, 0].flip(0)
    shown = torch.ones(1, 1, dtype=torch.bool, device=device)
    return replace(episode, truth=Truth([label_map], shown, shown.long()))


def answer_cases(
    device: torch.device,
    methods: str = "prototype,insid3,emat,hsnet,fssdino,dcama,hmnet",
    episodes: str = "1x1,1x80,20x1",
    side: int = 128,
) -> Iterator[Case]:
    """Measure one answer by the number of ways and shots (--episodes WAYSxSHOTS,…), on the demo's small networks.

    Weights are the first ones, and no features of earlier images are kept. Memory is beyond the episode's own images
    and masks.
    """
    for name in methods.split(","):
        method = small_method(name, side).to(device).eval()
        for ways, shots in (map(int, word.split("x")) for word in episodes.split(",")):
            episode = segmentation_episode(0, 0, ways, shots, side).without_truth().to(device)
            answer = forward(partial(method.predict_shots, episode))
            yield Case(
                f"{name}, an answer, the demo's network, {side} pixels, {ways}-way {shots}-shot", {"ours": answer}
            )


def small_method(name: str, side: int) -> Segmenter:
    """Return a method as it is on the demo, without memory for features."""
    settings = (f"--data.image_size={side}", "--data.loading.workers=0", "--model.backbone.cache_mib=0")
    method = Experiment(RunConfig(name, "demo", extra=settings).parse()).method
    assert isinstance(method, Segmenter)
    return method
