"""Checks of what an answer must not change (its inputs) or depend on: truth, other episodes, ways' numbers, process."""

import multiprocessing
import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from traceback import extract_tb
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fsbench.base.errors import TruthError, describe
from fsbench.base.generators import steady
from fsbench.base.handed_out import unchanged, whole_contents
from fsbench.core.global_state import kept_global_state
from fsbench.core.method import Method
from fsbench.core.seeded_block import seed_torch
from fsbench.data.batch import EpisodeBatch, Hints, ImageEpisode
from fsbench.runner.contract.answers import predict
from fsbench.runner.contract.episodes import (
    CLASSES,
    telling_episodes,
    telling_images,
    training_batch,
    with_another_truth,
)
from fsbench.runner.contract.subject import (
    Answer,
    Episode,
    NotApplicableError,
    Subject,
    ViolationError,
    answer,
    answers,
    copied,
    join,
    require_all_same,
    require_same,
    run_test,
)

EPISODES = 4
AWAY = 20_011
"""Seed of the generators before an answer, which no method is likely to take itself."""
WAY_ORDER = 0.01
"""Share of pixels or queries whose answer may change with the order of the ways: rounding, and the first on ties."""


def check_inputs(subject: Subject) -> str:
    """Check that prediction does not change its inputs: images, masks, features and states.

    Returns a sentence on what was measured. Raises an error if an input changes.
    """
    subject.method.backbone.cache.clear()  # what an earlier check left there may be changed already
    for episode_number in range(EPISODES):
        given = copied(subject.episode(episode_number))
        with whole_contents(), unchanged(type(subject.method).__name__, episode=given):
            run_test(subject.method, [join(subject.method, [given])] * 2)
    return f"equal bits of images, masks, features and states after {EPISODES} episodes were answered"


def check_side_effects(subject: Subject) -> str:
    """Check that prediction leaves random generators and torch's switches unchanged, and modules in eval mode.

    Returns a sentence on what was measured. Raises ViolationError if one of them changes.
    """
    advice = "set back what is switched, and draw from generators of one's own (seeded_block)"
    with kept_global_state():  # the first answers may import what sets variables
        method = subject.method
        batch = join(method, [subject.episode()])
        run_test(method, [batch])
    with kept_global_state():
        for seed in (torch.default_generator.manual_seed, np.random.seed, random.seed):
            seed(AWAY + subject.seed)
        training, told = list[str](), list[str]()
        with kept_global_state() as before:
            with steady(type(method).__name__, told.append):
                run_test(method, [batch], lambda: training.extend(_in_training(method)))
            with kept_global_state() as after:
                pass
    changed = [name for name, value in before.items() if not _are_equal(value, after.get(name))]
    if changed:
        raise ViolationError(f"{' and '.join(changed)} changed by an answer", "the same before and after it", advice)
    if training:
        raise ViolationError(f"{training[0]} in training mode after an answer", "eval mode", advice)
    if told:
        raise ViolationError(told[0], "eval mode", advice)
    return f"{len(before)} generators and switches are as before an answer, and all modules in eval mode"


def _in_training(method: Method) -> Iterator[str]:
    """Yield the names of modules of a method, and of its frozen networks, that are in training mode."""
    networks = [("backbone", each._model) for each in method.backbone.networks if each._model is not None]
    for where, network in [(type(method).__name__, method), *networks]:
        yield from (f"{where} {name}".strip() for name, module in network.named_modules() if module.training)


def _are_equal(one: Any, other: Any) -> bool:
    """Compare states: plain values, arrays and tensors, and sequences of them."""
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(_are_equal, one, other))
    return bool(np.all(np.asarray(one == other)))


def check_truth(subject: Subject) -> str:
    """Check that the method never reads the truth in a test, and that another truth gives identical predictions.

    Returns a sentence on what was measured. Raises ViolationError if the method breaks this rule.
    """
    advice = "predict from the supports and the query's image alone"
    for episode_number in range(EPISODES):
        episode = subject.episode(episode_number)
        try:
            given = answer(subject.method, episode)
            require_same(given, answer(subject.method, episode), "two answers", "")
        except TruthError as error:
            found = f"a method that asks for the truth ({raised_at(error, -2)})"
            raise ViolationError(found, "none", advice) from error
        except Exception as error:
            what = "two answers to one episode differ" if isinstance(error, ViolationError) else describe(error)
            raise NotApplicableError(f"no answer to compare ({what}); other checks say why") from error
        if isinstance(episode, EpisodeBatch):
            changed = answer(subject.method, with_another_truth(episode, subject.seed))
        else:
            changed = _answer_mixed_queries(subject.method, episode)
        require_same(given, changed, "other answers with another truth", advice)
    return f"not asked for, and equal bits of {EPISODES} episodes with another truth"


def raised_at(error: BaseException, last: int = -1) -> str:
    """Return "file, line" where an exception was raised; `last` -2 is the caller's line, and so on."""
    frames = extract_tb(error.__traceback__)
    place = frames[max(last, -len(frames))]
    return f"{Path(place.filename).name}, line {place.lineno}"


def _answer_mixed_queries(method: Method, episode: ImageEpisode) -> Answer:
    """Answer an episode whose queries are mixed, which its order gives away else; the labels return in their order."""
    order = torch.randperm(episode.query.numel(), generator=torch.Generator().manual_seed(1))
    classes = tuple(number % CLASSES + 1 for number in episode.classes)
    mixed = replace(episode.mixed(order.numpy()), classes=classes)
    labels = answer(method, mixed)["labels"].flatten()
    return {"labels": torch.empty_like(labels).index_copy(0, order, labels).view(episode.query.shape)}


def check_batch(subject: Subject) -> str:
    """Check that an episode gets the same prediction alone, in a batch, and in another order.

    Returns a sentence on what was measured. Raises ViolationError if a prediction differs.
    """
    episodes = [subject.episode(10 + episode_number) for episode_number in range(EPISODES)]
    method = subject.method
    alone = [answer(method, episode) for episode in episodes]
    ways = {
        "in a batch": lambda: answers(method, episodes),
        "in the opposite order": lambda: [answer(method, episode) for episode in episodes[::-1]][::-1],
        "in a batch in the opposite order": lambda: answers(method, episodes[::-1])[::-1],
    }
    for words, ask in ways.items():
        method.backbone.cache.clear()
        advice = "keep nothing from one episode to the next and compute each by itself"
        require_all_same(alone, ask(), f"{{episode}} answered otherwise {words} than alone", advice)
    return f"equal bits of {EPISODES} episodes alone, in a batch and in the opposite order"


def check_other_episodes(subject: Subject) -> str:
    """Check that a prediction does not change after the query was a support in earlier episodes.

    Returns a sentence on what was measured. Raises ViolationError if the prediction changes.
    """
    shots = {"queries": subject.shots} if not subject.segments else {}
    asked = [subject.episode(50 + episode_number, **shots) for episode_number in range(EPISODES)]
    told = [each for episode in asked for each in _telling_episodes(subject, episode)]
    after = answers(subject.fresh(), [*told, *asked], together=False)[len(told) :]
    fresh = subject.fresh()
    alone = [answer(fresh, episode) for episode in asked[::-1]][::-1]
    advice = "keep no images, masks or features from one episode to the next"
    require_all_same(alone, after, "{episode} answered otherwise where others had shown its query", advice)
    return f"equal bits of {EPISODES} episodes whose queries others had shown with their masks"


def _telling_episodes(subject: Subject, episode: Episode) -> Sequence[Episode]:
    if isinstance(episode, EpisodeBatch):
        number = int(episode.episodes[0])
        return telling_episodes(number, subject.seed, subject.ways, subject.shots, subject.size)
    return [telling_images(episode)]


def check_way_order(subject: Subject) -> str:
    """Check that reordering the ways only renumbers the prediction, up to a share `WAY_ORDER` of pixels.

    Returns a sentence on what was measured. Raises ViolationError if more pixels change.
    """
    ways = next((number for number in (3, 2) if subject.takes_ways(number) is None), None)
    if ways is None:
        raise NotApplicableError(f"the method takes neither 3 ways nor 2: {subject.takes_ways(2)}")
    worst, ties = 0.0, 0
    for episode_number in range(EPISODES):
        episode = subject.episode(20 + episode_number, ways)
        before, after = answer(subject.method, episode), answer(subject.method, _rotate_ways(episode))
        expected = before["label_map" if "label_map" in before else "labels"]
        changed = torch.ne(_restore_way_numbers(after, ways), expected)
        worst = max(worst, float(changed.float().mean()))
        ties += _ties(subject.method, episode, changed) if bool(changed.any()) and subject.segments else 0
    tied = f"; {ties} pixels tie at probability 1.0, where the first way wins" if ties else ""
    words = f"{worst:.2%} of an answer change with the order of the ways (at most {WAY_ORDER:.0%}){tied}"
    if subject.method.depends_on_way_order:
        raise NotApplicableError(f"the method says depends_on_way_order; {words}")
    if worst > WAY_ORDER:
        raise ViolationError(
            f"{worst:.2%} of an answer that change with the order of the ways{tied}",
            f"at most {WAY_ORDER:.0%}",
            "compare ways by their logits, not by probabilities"
            if ties
            else "find the step that depends on the order of the ways, or say depends_on_way_order = True",
        )
    return words


def _ties(method: Method, episode: Episode, changed: Tensor) -> int:
    """Return the number of changed pixels (h, w) in which the foreground of two ways or more has probability 1."""
    probability = predict(method, episode, keep=True).foreground()
    return 0 if probability is None else int((changed & ((probability == 1).sum(0) > 1)).sum())


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
    """Check that two objects of the method, built with the same seed, give bit-identical predictions.

    Returns a sentence on what was measured. Raises ViolationError if the predictions differ.
    """
    first, second = subject.fresh(), subject.fresh()
    episodes = [subject.episode(30 + episode_number) for episode_number in range(EPISODES)]
    found = []
    for seed, method in ((1, first), (2, second)):
        method.backbone.cache.clear()
        with seed_torch(seed):
            found.append([answer(method, episode) for episode in episodes])
    require_all_same(
        found[0],
        found[1],
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


def check_another_process(subject: Subject) -> str:
    """Check that a new process, with the same settings, gives the same predictions.

    Returns a sentence on what was measured. Raises ViolationError if the predictions differ.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, max_tasks_per_child=1) as pool:
        settings = (subject.build, subject.size, subject.seed, torch.get_num_threads())
        try:
            there = pool.submit(_answers_there, *settings).result()
        except BrokenProcessPool as error:
            raise ViolationError(
                "another process that ended before it answered", "answers", "look for a crash or a lack of memory"
            ) from error
    others = [{name: torch.from_numpy(array) for name, array in arrays.items()} for arrays in there]
    advice = "keep all that an answer depends on in the object, not in globals of a module"
    require_all_same(_answers_of(subject), others, "other answers in another process", advice)
    return f"equal bits of {len(there)} episodes in a spawned process"


def _answers_there(build: Callable[[], Method], size: int, seed: int, threads: int) -> list[dict[str, np.ndarray]]:
    """Return the answers of the other process in arrays: the memory of its tensors ends with it."""
    torch.set_num_threads(threads)
    return [{name: value.numpy() for name, value in one.items()} for one in _answers_of(Subject(build, size, seed))]


def _answers_of(subject: Subject) -> list[Answer]:
    return [answer(subject.method, subject.episode(40 + episode_number)) for episode_number in range(2)]
