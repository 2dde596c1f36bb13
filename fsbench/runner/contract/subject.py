"""The method under check: how it is built, which episodes it is given, and what it answers."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fsbench.base.errors import SettingsError, describe
from fsbench.core.answering import answering
from fsbench.core.classifier import FeatureClassifier
from fsbench.core.method import Method
from fsbench.core.seeded_block import seed_torch
from fsbench.data.batch import EpisodeBatch, ImageEpisode, collate
from fsbench.protocols.loop import evaluate_batches
from fsbench.protocols.reading import DEFAULT_PROTOCOLS, load_protocol
from fsbench.runner.config.parse import quiet
from fsbench.runner.contract.episodes import SyntheticData, SyntheticImages, image_episode, segmentation_episode

SHOTS = (1, 5, 2, 3, 4)
"""Numbers of shots, the first of which that the method takes is that of most episodes."""
WAYS = (2, 1, 3, 4, 5)
"""Numbers of ways, the first of which that the method takes is that of most episodes."""
NOISE = 0.1
"""Standard deviation of the noise on first weights, as a share of that of the weights themselves."""

Episode = EpisodeBatch | ImageEpisode
Answer = dict[str, Tensor]
"""A method's answer to one episode: label map, decisions and scores; of a classifier the queries' labels."""


class NotApplicableError(Exception):
    """Raised by a check that does not apply to this method; the message says why."""


class ViolationError(Exception):
    """Raised by a check if a method breaks its contract.

    Args:
        found: what the check found, in words.
        expected: what the contract demands, in words.
        advice: what the method's author can do, in words.
    """

    def __init__(self, found: str, expected: str, advice: str):
        super().__init__(f"found {found}; expected {expected}; {advice}")


class Subject:
    """A method under check: how to build it, and the sizes and seed of the synthetic episodes.

    Args:
        build: builds the method anew with initial weights from torch's generator; must be picklable.
        size: side of the square images in pixels.
        seed: random seed of initial weights, noise and episodes.
        memory_episodes: number of episodes that the check of memory predicts.

    Attributes:
        broken: name of the first basic check that failed, after which later checks do not apply; "" if none failed.

    Raises:
        SettingsError: the method accepts no images of this size, or none of the numbers of shots in `SHOTS`.
    """

    def __init__(self, build: Callable[[], Method], size: int, seed: int = 0, memory_episodes: int = 200):
        quiet()
        self.build, self.size, self.seed = build, size, seed
        self.memory_episodes = memory_episodes
        self.broken = ""
        self.images = SyntheticImages(size, seed)
        self.method.check_image_size(size)
        taken = [shots for shots in SHOTS if self.takes_shots(shots) is None]
        if not taken:
            raise SettingsError(f"the method takes none of {SHOTS} shots; expected check_shots to accept one of them")
        self.shots = taken[0]

    @cached_property
    def ways(self) -> int:
        """Number of ways that most checks use: two, or the first of `WAYS` that the method accepts."""
        return next((ways for ways in WAYS if self.takes_ways(ways) is None), WAYS[0])

    @cached_property
    def method(self) -> Method:
        """The method that most checks use, in eval mode."""
        return self.fresh()

    @property
    def segments(self) -> bool:
        return self.method.task == "segmentation"

    @property
    def training_shots(self) -> int:
        """Number of shots in training: one, unless the method refuses it."""
        try:
            self.method.check_shots(self.shots, 1)
        except SettingsError:
            return self.shots
        return 1

    def fresh(self, offset: int = 0, noise: float = NOISE) -> Method:
        """Build the method anew, in eval mode; another `offset` gives other initial weights.

        Noise of size `noise` is added to all learned weights, so that branches that start at zero also change
        predictions.
        """
        with seed_torch(self.seed + offset):
            method = self.build()
        rng = np.random.default_rng([self.seed, 5, offset])
        with torch.no_grad():
            for parameter in method.parameters():
                scale = float(parameter.detach().float().std(correction=0)) or 1.0
                drawn = noise * scale * torch.from_numpy(rng.standard_normal(parameter.shape))
                parameter.add_(drawn.to(parameter.dtype))
        if isinstance(method, FeatureClassifier):
            method.data = self.images
        return method.eval()

    def takes_shots(self, shots: int) -> str | None:
        """Return None if the method accepts this number of shots, else its reason for refusing it."""
        try:
            self.method.check_shots(shots, None)
        except SettingsError as error:
            return str(error)
        return None

    def takes_ways(self, ways: int) -> str | None:
        """Return None if the method accepts this number of ways, else its reason for refusing it."""
        if ways == 1 and not self.segments:
            return "there is no question with one class alone"
        try:
            answer(self.method, self.episode(7, ways))
        except SettingsError as error:
            return str(error)
        except Exception as error:  # no refusal: the check that asks for these ways finds it
            return f"it fails with {ways} ways: {describe(error)}"
        return None

    def episode(self, number: int = 0, ways: int | None = None, shots: int | None = None, **options: Any) -> Episode:
        """Draw a synthetic episode; `options` are those of `segmentation_episode` or `image_episode`."""
        ways, shots = ways or self.ways, shots or self.shots
        if self.segments:
            return segmentation_episode(number, self.seed, ways, shots, self.size, **options)
        return image_episode(self.images, number, ways, shots, **options)


def run_test(method: Method, batches: Sequence[Any], after: Callable[[], object] = lambda: None) -> list[Any]:
    """Return the predictions for batches in a test set up as in a run; `after` is called after each batch."""
    results: list[Any] = []
    data: Any = SimpleNamespace(dataset=SyntheticData(batches)) if method.task == "segmentation" else None

    def add(found: list[Any]) -> None:
        results.extend(found)
        after()

    with answering(method, data) as answerer:
        evaluate_batches(batches, load_protocol(DEFAULT_PROTOCOLS[method.task]), answerer, add, method.registry_name)
    return results


def answers(method: Method, episodes: Sequence[Episode], together: bool = True) -> list[Answer]:
    """Return a method's predictions for copies of episodes, in one batch or one by one."""
    copies = [copied(episode) for episode in episodes]
    batches = [join(method, copies)] if together else [join(method, [one]) for one in copies]
    return [_answer(result) for result in run_test(method, batches)]


def answer(method: Method, episode: Episode) -> Answer:
    """Return a method's prediction for one episode."""
    return answers(method, [episode])[0]


def join(method: Method, episodes: Sequence[Episode]) -> Any:
    """Join episodes into a batch in the form that the method takes."""
    return collate(episodes) if method.task == "segmentation" else list(episodes)  # type: ignore[arg-type]


def copied(episode: Episode) -> Episode:
    """Return a copy of an episode with its own tensors."""
    if isinstance(episode, EpisodeBatch):
        return episode.to("cpu", copy=True)
    images = None if episode.images is None else episode.images.clone()
    return replace(episode, support=episode.support.clone(), query=episode.query.clone(), images=images)


def require_same(first: Answer, second: Answer, found: str, advice: str, expected: str = "equal bits") -> None:
    """Raise ViolationError unless two predictions are bit-identical; `found` says what differs."""
    for name, value in first.items():
        other = second[name]
        if value.shape != other.shape:
            differs = f"{name} of shape {tuple(value.shape)} and {tuple(other.shape)}"
        elif not torch.equal(value, other):
            differs = f"{int((value != other).sum())} of {value.numel()} entries of {name} differ"
        else:
            continue
        raise ViolationError(f"{found} ({differs})", expected, advice)


def require_all_same(
    one: Sequence[Answer], other: Sequence[Answer], found: str, advice: str, expected: str = "equal bits"
) -> None:
    """Raise ViolationError unless two lists of predictions are bit-identical; `found` may contain `{episode}`."""
    for number, (first, second) in enumerate(zip(one, other, strict=True)):
        require_same(first, second, found.format(episode=f"episode {number}"), advice, expected)


def _answer(result: Any) -> Answer:
    if hasattr(result, "label_map"):
        return {name: torch.as_tensor(getattr(result, name)) for name in ("label_map", "decided", "score")}
    return {"labels": torch.as_tensor(result.named)}
