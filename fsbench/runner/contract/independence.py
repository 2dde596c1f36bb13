"""Checks of what an answer must not change (its inputs) or depend on: truth, other episodes, ways' numbers, moment."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from fsbench.base.errors import TruthError, describe
from fsbench.core.method import Method
from fsbench.core.seeded_block import seed_torch
from fsbench.data.batch import EpisodeBatch, Hints, ImageEpisode
from fsbench.protocols.evaluation import Answerer
from fsbench.protocols.reading import load_protocol
from fsbench.records.asked_alone import Tally, ask_alone, differing_episodes
from fsbench.records.evaluation import Answering
from fsbench.runner.contract.episodes import (
    CLASSES,
    telling_episodes,
    telling_images,
    training_batch,
    with_another_truth,
    with_revealed_truth,
)
from fsbench.runner.contract.outcome import (
    DifferenceError,
    NotApplicableError,
    ReadsTruthError,
    ViolationError,
    frame_words,
)
from fsbench.runner.contract.subject import (
    PROTOCOLS,
    Answer,
    Episode,
    Subject,
    answer,
    answers,
    copied,
    join,
    require_same,
    run_test,
    test_of,
)

EPISODES = 4
WAY_ORDER = 0.01
"""Share of pixels or queries whose answer may change with the order of the ways: rounding, and the first on ties."""


def check_inputs(subject: Subject) -> str:
    """The images and masks of an episode are the same after it was answered: others and caches may share them."""
    for index in range(EPISODES):
        episode = subject.episode(index)
        given = copied(episode)
        run_test(subject.method, [join(subject.method, [given])])
        _compare_inputs(episode, given)
        if isinstance(given, EpisodeBatch):
            with torch.inference_mode():
                subject.method.predict_shots(given.without_truth())  # type: ignore[operator]
            _compare_inputs(episode, given)
    return f"images, masks and sizes of {EPISODES} episodes are the same bits after they were answered"


def _compare_inputs(before: Episode, after: Episode) -> None:
    """Raise ViolationError where a tensor of an episode was changed."""
    for field in fields(before):
        one, other = getattr(before, field.name), getattr(after, field.name)
        if isinstance(one, Tensor) and not torch.equal(one, other):
            raise ViolationError(
                f"{field.name} of an episode changed by the method ({_number_of_changes(one, other)})",
                "equal bits",
                "copy what is to be changed (.clone()), and use no operation whose name ends with _ on it",
            )


def _number_of_changes(one: Tensor, other: Tensor) -> str:
    return "another shape" if one.shape != other.shape else f"{int((one != other).sum())} of {one.numel()} entries"


def check_truth(subject: Subject) -> str:
    """The truth is never asked for, in no hook of a test, and with another one the answer has the same bits.

    In segmentation it has the same bits where that truth is not withheld, too: a method may take it silently where it
    finds it, and do without where it does not.
    """
    advice = "predict from the supports and the query's image alone"
    words = "label maps, presence" if subject.segments else "the order of the queries"
    for index in range(EPISODES):
        episode = subject.episode(index)
        given = _answer_without_truth(subject, episode)
        if not isinstance(episode, EpisodeBatch):
            changed = _answer_mixed_queries(subject.method, episode)
            require_same(given, changed, "other answers with another truth", advice)
            continue
        another = with_another_truth(episode, subject.seed)
        for found, other in (
            ("other answers with another truth", another),
            ("other answers where the truth is not withheld", with_revealed_truth(another)),
        ):
            require_same(given, answer(subject.method, other), found, advice)
    return f"not asked for, and equal bits in {EPISODES} episodes where {words} and classes were exchanged"


def _answer_without_truth(subject: Subject, episode: Episode) -> Answer:
    """Return the answer to an episode; ReadsTruthError where the method asks for the truth or fails only without it."""
    advice = "predict from the episode alone"
    try:
        return answer(subject.method, episode)
    except TruthError as error:
        raise ReadsTruthError(f"a method that asks for the truth ({frame_words(error, -2)})", "none", advice) from error
    except Exception as error:
        if not (isinstance(episode, EpisodeBatch) and _answers(subject.method, with_revealed_truth(episode))):
            raise
        raise ReadsTruthError(
            f"a method that reads the truth: it answers with it, and fails without ({describe(error)}, "
            f"{frame_words(error)})",
            "an answer without it",
            advice,
        ) from error


def _answers(method: Method, episode: Episode) -> bool:
    try:
        answer(method, episode)
    except Exception:
        return False
    return True


def _answer_mixed_queries(method: Method, episode: ImageEpisode) -> Answer:
    """Answer an episode whose queries are mixed, which its order gives away else; the labels return in their order."""
    order = torch.randperm(episode.query.numel(), generator=torch.Generator().manual_seed(1))
    classes = tuple(number % CLASSES + 1 for number in episode.classes)
    mixed = replace(episode.mixed(order.numpy()), classes=classes)
    labels = answer(method, mixed)["labels"].flatten()
    return {"labels": torch.empty_like(labels).index_copy(0, order, labels).view(episode.query.shape)}


def check_batch(subject: Subject) -> str:
    """An episode has the same answer alone, in a batch, and after others in any order."""
    episodes = [subject.episode(10 + index) for index in range(EPISODES)]
    method = subject.method
    alone = [answer(method, episode) for episode in episodes]
    ways = {
        "in a batch": lambda: answers(method, episodes),
        "in the opposite order": lambda: [answer(method, episode) for episode in episodes[::-1]][::-1],
        "in a batch in the opposite order": lambda: answers(method, episodes[::-1])[::-1],
    }
    for words, predict in ways.items():
        method.backbone.cache.clear()
        for index, (first, second) in enumerate(zip(alone, predict(), strict=True)):
            advice = "keep nothing from one episode to the next and compute each by itself"
            require_same(first, second, f"episode {index} answered otherwise {words} than alone", advice)
    return f"equal bits of {EPISODES} episodes alone, in a batch and in the opposite order"


def check_other_episodes(subject: Subject) -> str:
    """A query that other episodes have shown as a support, with its mask, has the answer of a method that saw none."""
    numbers = [50 + index for index in range(EPISODES)]
    shots = {"queries": subject.shots} if not subject.segments else {}
    asked = {number: subject.episode(number, **shots) for number in numbers}
    told = [each for episode in asked.values() for each in _telling_episodes(subject, episode)]
    counted = Tally()
    counted.add(run_test(subject.fresh(), [join(subject.method, [copied(one)]) for one in (*told, *asked.values())]))

    def batches(chosen: Sequence[int]) -> list[Any]:
        return [join(subject.method, [copied(asked[number])]) for number in chosen]

    def fresh() -> AbstractContextManager[Answerer]:
        return test_of(subject.fresh(), batches(numbers))

    protocol = load_protocol(PROTOCOLS[subject.method.task])
    alone = ask_alone(Answering(subject.method.registry_name, protocol, fresh, fresh, batches), numbers[::-1])
    if differing := differing_episodes(alone, counted, numbers):
        raise DifferenceError(
            f"{len(differing)} of {EPISODES} episodes answered otherwise where others had shown their queries",
            "equal bits",
            "keep no images, masks or features from one episode to the next",
        )
    return f"equal bits of {EPISODES} episodes, of which others had shown the queries as supports with their masks"


def _telling_episodes(subject: Subject, episode: Episode) -> Sequence[Episode]:
    if isinstance(episode, EpisodeBatch):
        number = int(episode.episodes[0])
        return telling_episodes(number, subject.seed, subject.ways, subject.shots, subject.size)
    return [telling_images(episode)]


def check_way_order(subject: Subject) -> str:
    """With the ways in another order the answer is the same but for their numbers, to within `WAY_ORDER`."""
    ways = next((number for number in (3, 2) if subject.takes_ways(number) is None), None)
    if ways is None:
        raise NotApplicableError(f"the method takes neither 3 ways nor 2: {subject.takes_ways(2)}")
    worst = 0.0
    for index in range(EPISODES):
        episode = subject.episode(20 + index, ways)
        before, after = answer(subject.method, episode), answer(subject.method, _rotate_ways(episode))
        expected = before["label_map" if "label_map" in before else "labels"]
        worst = max(worst, float(torch.ne(_restore_way_numbers(after, ways), expected).float().mean()))
    words = f"{worst:.2%} of an answer change with the order of the ways (at most {WAY_ORDER:.0%})"
    if subject.method.depends_on_way_order:
        raise NotApplicableError(f"the method says depends_on_way_order; {words}")
    if worst > WAY_ORDER:
        raise DifferenceError(
            f"{worst:.2%} of an answer that change with the order of the ways",
            f"at most {WAY_ORDER:.0%}",
            "treat all ways alike, or say depends_on_way_order = True",
        )
    return words


def _rotate_ways(episode: Episode) -> Episode:
    """Move the last way to the front."""
    if isinstance(episode, EpisodeBatch):
        return replace(
            episode,
            support=episode.support.roll(1, 1),
            support_labels=episode.support_labels.roll(1, 1),
            support_ways=None,
            hints=None if episode.hints is None else [_rotate_names(hints) for hints in episode.hints],
        )
    images = episode.images
    if images is not None:
        shots, queries = episode.support.shape[1], episode.query.shape[1]
        supports = episode.support.numel()
        images = torch.cat([images[:supports].roll(shots, 0), images[supports:].roll(queries, 0)])
    return replace(
        episode,
        support=episode.support.roll(1, 0),
        query=episode.query.roll(1, 0),
        classes=(episode.classes[-1], *episode.classes[:-1]),
        images=images,
    )


def _rotate_names(hints: Hints) -> Hints:
    """Move the name of the last way to the front; synthetic episodes have no other hints."""
    names = hints.class_names
    return hints if names is None else Hints(class_names=(names[-1], *names[:-1]))


def _restore_way_numbers(found: Answer, ways: int) -> Tensor:
    """Return the answer to a turned episode under the numbers of the original."""
    if "labels" in found:
        return ((found["labels"] - 1) % ways).roll(-1, 0)
    label_map = found["label_map"].long()
    return torch.where(label_map == 0, 0, (label_map + ways - 2) % ways + 1)


def check_determinism(subject: Subject) -> str:
    """Two objects of the same seed give equal bits, whatever was drawn from the global generators before."""
    first, second = subject.fresh(), subject.fresh()
    episodes = [subject.episode(30 + index) for index in range(EPISODES)]
    found: list[list[Any]] = []
    for seed, method in ((1, first), (2, second)):
        method.backbone.cache.clear()
        with seed_torch(seed):
            found.append([answer(method, episode) for episode in episodes])
    for one, other in zip(*found, strict=True):
        require_same(
            one,
            other,
            "two runs that differ",
            "draw from a generator that is seeded by the episode, and start from seeded weights",
            "equal bits from weights and episode alone",
        )
    if not (first.learns and subject.segments):
        return f"equal bits of {EPISODES} episodes in two runs"
    losses = []
    for _ in range(2):
        with seed_torch(3):
            method = subject.fresh().train()
            batch = training_batch(subject.seed, subject.training_shots, subject.size)
            losses.append(method.batch_loss(batch)["loss"].detach())  # type: ignore[operator]
    if not torch.equal(losses[0], losses[1]):
        raise ViolationError(
            f"losses {float(losses[0])} and {float(losses[1])} of one step from one seed",
            "equal bits",
            "draw from torch's generator, which a run seeds for each step",
        )
    return f"equal bits of {EPISODES} episodes and of a training loss in two runs"
