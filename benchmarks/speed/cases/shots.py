"""Seconds and memory of one answer by the number of shots or ways, of methods on small networks: which stay flat."""

from collections.abc import Iterator
from functools import partial

import torch

from benchmarks.speed.harness import Case, forward
from fsbench.config.build import parse
from fsbench.config.request import Request
from fsbench.core.segmenter import Segmenter
from fsbench.data.batch import EpisodeBatch
from fsbench.engine.experiment import Experiment


def drawn_episode(shots: int, side: int, ways: int = 1) -> EpisodeBatch:
    """Draw an episode of random images whose supports show their class in their middle."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.zeros(1, ways, shots, side, side, dtype=torch.uint8)
    labels[..., side // 4 : 3 * side // 4, side // 4 : 3 * side // 4] = 1
    return EpisodeBatch(
        images=torch.randint(256, (ways * shots + 1, 3, side, side), generator=generator, dtype=torch.uint8),
        image_names=[str(number) for number in range(ways * shots + 1)],
        query=torch.tensor([0]),
        support=torch.arange(1, ways * shots + 1).view(1, ways, shots),
        support_labels=labels,
        valid=torch.ones(1, ways, shots, dtype=torch.bool),
        query_sizes=torch.tensor([[side, side]]),
        episodes=torch.tensor([0]),
        truth=None,
    )


def cases(
    device: torch.device,
    methods: str = "prototype,emat,cst,hsnet,dcama,hmnet,fssdino,insid3",
    shots: tuple[int, ...] = (1, 5, 20, 80),
    side: int = 128,
) -> Iterator[Case]:
    """Measure one answer with each number of shots; seconds are those of a shot.

    Methods have first weights and the demo's small ViT, or a small pyramid (HSNet), and keep no features of earlier
    images. Memory is beyond the images and masks of the episode, which are K.
    """
    for name in methods.split(","):
        method = _method(name, side).to(device).eval()

        paths = {}
        for count in shots:
            episode = drawn_episode(count, side).to(device).without_truth()
            paths[f"{count} shots"] = forward(partial(method.predict_shots, episode))
        yield Case(
            f"{name}, an answer by the number of shots, {side} pixels",
            paths,
            units={f"{count} shots": count for count in shots},
        )


def way_cases(
    device: torch.device,
    methods: str = "dcama,hmnet",
    ways: tuple[int, ...] = (1, 5, 20),
    shot: int = 1,
    side: int = 128,
    backbone: str = "",
    settings: str = "",
) -> Iterator[Case]:
    """Measure one answer with each number of ways; seconds are those of a way.

    As `cases`; with `backbone` that network with random weights takes the place of the demo's, with `settings` such as
    width=256,blocks=8 a head of other sizes.
    """
    given = [f"--model.backbone.name={backbone}", "--model.backbone.weights=random"] if backbone else []
    given += [f"--model.{setting}" for setting in settings.split(",") if setting]
    for name in methods.split(","):
        method = _method(name, side, *given).to(device).eval()
        paths = {}
        for count in ways:
            episode = drawn_episode(shot, side, count).to(device).without_truth()
            paths[f"{count} ways"] = forward(partial(method.predict_shots, episode))
        next(iter(paths.values()))()  # builds the network
        sizes = (backbone and f" on {backbone}") + (settings and f" with {settings}")
        yield Case(
            f"{name}{sizes}, {shot}-shot, an answer by the number of ways, {side} pixels",
            paths,
            units={f"{count} ways": count for count in ways},
        )


def _method(name: str, side: int, *given: str) -> Segmenter:
    """Return a method as it is on the demo, but for what is given, without memory for features."""
    settings = [f"--data.image_size={side}", "--data.workers=0", "--model.backbone.cache_mib=0", *given]
    method = Experiment(parse(Request([name], "demo", extra=settings).arguments(name, 0))).method
    assert isinstance(method, Segmenter)
    return method
