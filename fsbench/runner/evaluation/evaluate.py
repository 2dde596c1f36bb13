"""`fsbench.evaluate`: a function, a method's object or a method's name answers a test; its answers are counted."""

import copy
import math
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from inspect import signature
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from fsbench.base.environment import check_environment
from fsbench.base.errors import ContractError, SettingsError, did_you_mean
from fsbench.base.files import fingerprint, locked, make_folder, read_text, write_text
from fsbench.base.progress import track
from fsbench.base.terminal import print_note
from fsbench.protocols.kit.answers import TOLD_WORDS
from fsbench.protocols.loop import Answerer
from fsbench.protocols.test import Test, VisibleEpisode, VisibleImages, check_test
from fsbench.records.asked_alone import NAMED, ask_alone, check_asked_alone, differing_episodes, episodes_to_ask
from fsbench.records.journal import Journal
from fsbench.records.remaining_episodes import Answering, Share, evaluate_episodes
from fsbench.records.run import Cost, Keep, WentOn
from fsbench.runner.config.limits import check_label, check_name
from fsbench.runner.evaluation.code import code_sha256
from fsbench.runner.evaluation.handed_in import read_given_card, record_answers
from fsbench.runner.evaluation.result import Result
from fsbench.scores.answers import SegmentationAnswer


def evaluate(
    model: Any,
    test: Test,
    *,
    name: str | None = None,
    label: str | None = None,
    runs: str | Path = "runs",
    card: str | Path | None = None,
    resume: bool = True,
    asked_alone: int = 0,
    progress: bool = True,
    **options: Any,
) -> Result:
    """Let a model predict all episodes of a test, and score its predictions by the same code as any run of fsbench.

    Finished episodes are stored: after Ctrl-C, or a crash of the model, the same call continues where it stopped.

    Args:
        model: one of three.
            A function of an episode, see `fsbench.protocols.test.VisibleEpisode`, that returns its mask (h, w) of
            integers, 0 background and 1 to N the ways, or (mask, presence), or (mask, presence, score), with N bools
            (or 1 and 0) and N numbers from 0 to 1, one form for all episodes; in classification the way from 1 of each
            query.
            A `torch.nn.Module` is such a function if its `forward` takes an episode; it answers in eval mode. An
            autocast around the call is put off, one within the function is the function's.
            A method of the suite as an object, such as a `Segmenter` of one's own.
            The name of a method (see `fsbench list`), which is built, trained if need be and run as by `fsbench bench`.
        test: the test, as `fsbench.load_test` returns it.
        name: name of the model in tables; by default that of the function, module or method.
        label: words that are shown beside the name in tables and pages. A run stays the same run under another label:
            the label given last is kept, and "" removes it.
        runs: folder of all runs.
        card: YAML file that states how the model was trained and what labels it uses, which no record can prove (see
            `fsbench bundle --new-card`).
        resume: whether to continue an earlier call with this name that was interrupted; a note and the record say so.
            Some of the finished episodes are predicted again (all of them if the function's code has changed since),
            and a model that now predicts something else is refused.
        asked_alone: number of episodes that are also predicted one by one before the test, by a fresh copy of the model
            if it can be copied. A model that predicts one of them differently in the test depends on other episodes,
            and is refused.
        progress: whether to show a progress bar.
        **options: for a method given as an object, `image_size`, `workers`, `device` and `input_resize`; for a method
            given by its name, settings of a run such as `backbone="demo"` or `checkpoint="best.ckpt"`.

    Returns:
        The result, with scores and intervals; its record is stored in the folder `runs`.

    Raises:
        SettingsError: a prediction has a wrong size or labels, or an argument does not fit. An unreadable card, or an
            environment variable that changes scores, is refused before any episode is predicted.
        NumericsError: a presence score is NaN or infinite.
        ContractError: a prediction depends on other episodes than its own; nothing is recorded.

    Examples:
        >>> import fsbench
        >>> test = fsbench.load_test("demo", protocol="pfenet", episodes=5)
        >>> def everywhere(episode):
        ...     return np.ones(episode.size, bool)
        >>> result = fsbench.evaluate(everywhere, test, runs="evaluated", progress=False)
        >>> result.name, round(result.scores["mIoU"], 2)
        ('everywhere', 13.05)
        >>> interval = result.interval("mIoU")
        >>> interval.has_interval, result.by("size").height  # five episodes have too few images
        (False, 5)
    """
    check_test(test)
    check_label(label)
    check_environment()
    if type(asked_alone) is not int or asked_alone < 0:
        raise SettingsError(f"asked_alone is {asked_alone!r}, expected a number of episodes, 0 for none")
    if isinstance(model, str):
        from fsbench.runner.config.registry import choose_method
        from fsbench.runner.evaluation.named import evaluate_named  # with torch

        choose_method(model)  # raises an error if there is no such method, before what follows says that there is
        if not (name is None and card is None and resume):
            raise SettingsError(
                f"name, card and resume are not for a method of fsbench, and {model} is the name of one; leave them "
                "out: fsbench names such a run itself, and continues it if it was interrupted"
            )
        options |= {"asked_alone": asked_alone} if asked_alone else {}
        options |= {} if label is None else {"label": label}
        return Result(evaluate_named(model, test, runs, progress, options), test)
    chosen = name or _own_name(model)
    check_name(chosen, "name")
    given_card = read_given_card(card, chosen)
    if hasattr(model, "answer_batch"):
        from fsbench.runner.evaluation.method import answer_by_method  # with torch

        answered_by, parameters, known = answer_by_method(model, test, chosen, **options)
    elif options:
        nearest = did_you_mean(next(iter(options)), signature(evaluate).parameters)
        raise SettingsError(
            f"evaluate was given {', '.join(options)}, which a function does not take{nearest or '; leave it out'}"
        )
    else:
        answered_by, parameters, known = _answer_by_function(model, test, chosen), (None, None), []
    counted, folder = answered_by.test, make_folder(Path(runs))
    # `known` is what answers follow from besides the test: with another one nothing goes on
    digits = fingerprint([chosen, counted.manifest.sha256, counted.files_state, counted.image_size, *known])
    work = folder / f".{chosen}-{digits[:10]}.answers"
    journal = Journal(work, digits)
    taken = f"another process is evaluating {chosen} on this test; wait for it, or give another name"
    with locked(work.with_name(f"{work.name}.lock"), refusal=taken):
        if not resume and work.exists():
            journal.remove()
        asked = episodes_to_ask(answered_by.in_order(test.manifest.episodes), asked_alone)
        seconds, went_on = _evaluate_rest(answered_by, journal, model, asked, progress)
        cost = Cost(
            trainable_parameters=parameters[0],
            total_parameters=parameters[1],
            evaluation_seconds=seconds,
            episodes_per_second=len(test) / seconds if seconds else None,
            peak_mib=None,
        )
        notes = journal.notes()
        record = record_answers(counted, chosen, journal, runs, given_card, cost, len(asked), went_on, label, notes)
        journal.remove()
    return Result(record, test)


def _evaluate_rest(
    answered_by: Answering, journal: Journal, model: Any, asked: Sequence[int], progress: bool
) -> tuple[float | None, WentOn | None]:
    """Evaluate the episodes that an interrupted evaluation has left, all where there was none.

    Nothing of the journal stays where no answers are in it, or such as no test may have.

    Returns:
        The seconds, or what stood from before where it went on; the other is None.
    """
    test, name = answered_by.test, answered_by.name
    least: Keep = "masks" if test.protocol.has_masks else "none"
    done = journal.done(least)
    left = [episode.number for episode in test.manifest.episodes if episode.number not in done]
    alone = ask_alone(answered_by, asked)
    began = time.perf_counter()
    try:
        code = code_sha256(model)
        went_on = _check_alike(answered_by, journal, sorted(done), code) if done else None
        write_text(make_folder(journal.folder) / CODE, code)
        show = partial(track, description=name, unit="episode") if progress else iter
        evaluate_episodes([Share(answered_by, left, journal, lambda _: least)], show)
        check_asked_alone(alone, journal, asked, name)
    except BaseException as error:
        if isinstance(error, ContractError) or not journal.done(least):  # answers that no test may have, or none at all
            journal.remove()
        raise
    return (time.perf_counter() - began, None) if went_on is None else (None, went_on)


CODE = "code.sha256"
"""File beside a journal with the hash of the code that answered."""
SHARE, SURE = 1 / 8, 0.95
"""A change of this share of all answers is seen with this probability where an evaluation goes on."""
ASKED_AGAIN = math.ceil(math.log(1 - SURE) / math.log(1 - SHARE))
"""Finished episodes that are asked again for it, 23: (1 - SHARE) ** 23 is 4.6 %; where there are fewer, all of them."""


def _check_alike(answered_by: Answering, journal: Journal, done: Sequence[int], code: str) -> WentOn:
    """Ask finished episodes again, all where the code has changed, else one drawn of each of `ASKED_AGAIN` parts.

    Raises SettingsError unless the model answers them as it did; what is done stays.
    """
    file, name = journal.folder / CODE, answered_by.name
    before = read_text(file, "journal") if file.is_file() else None
    state: Any = "unknown" if before is None else "same" if before == code else "changed"
    parts = len(done) if state == "changed" else min(ASKED_AGAIN, len(done))
    borders = [len(done) * part // parts for part in range(parts + 1)]
    drawn = random.Random(f"{journal.identity} {len(done)}")
    chosen = [done[drawn.randrange(start, end)] for start, end in pairwise(borders)]
    again = ask_alone(answered_by, chosen, fresh=False)
    if differing := differing_episodes(journal, again, chosen):
        listed = ", ".join(map(str, differing[:NAMED])) + ", …" * (len(differing) > NAMED)
        raise SettingsError(
            f"{name} answers {len(differing)} of {len(chosen)} finished episodes differently than before the "
            f"interruption: {listed}; expected the same model; nothing is lost: go on with the earlier model, start "
            "again with resume=False, or give another name"
        )
    changed = ", although its code has changed" if state == "changed" else ""
    print_note(
        f"{name} goes on after an interruption: {len(done)} episodes had been answered. {len(chosen)} of these "
        f"{len(done)} were asked again, with equal answers{changed}"
    )
    return WentOn(episodes=len(done), asked_again=len(chosen), code=state)


def _answer_by_function(model: Any, test: Test, name: str) -> Answering:
    """Return a test that a function answers, one episode after the other."""
    if not callable(model):
        raise SettingsError(
            f"evaluate was given a {type(model).__name__}; expected a function of an episode, a method, or its name"
        )
    if test.image_size is None and test.protocol.view.counts_at_input_size:
        with _answering_mode(model):
            first = read_output(_ask(model, test[0]), test[0])
        test = replace(test, image_size=first.label_map.shape[0])

    told_first: dict[str, int] = {}

    def answer(asked: Callable[[Any], Any], episode: VisibleEpisode | VisibleImages) -> Any:
        read = read_output(_ask(asked, episode), episode)
        if isinstance(read, SegmentationAnswer):
            told_first.setdefault(TOLD_WORDS[read.present is not None, read.score is not None], episode.number)
        if len(told_first) > 1:
            (usual, first), (other, number), *_ = told_first.items()
            raise SettingsError(
                f"episode {number}: the answer has {other}, and that of episode {first} has {usual}; expected one form "
                "for all episodes: tell presence, and its score, of each of them or of none"
            )
        return read

    @contextmanager
    def answerer(asked: Callable[[Any], Any]) -> Iterator[Answerer]:
        with _answering_mode(asked):
            yield lambda seen: [answer(asked, episode) for episode in seen]

    def begin_fresh() -> AbstractContextManager[Answerer]:
        try:
            return answerer(copy.deepcopy(model))  # of a function, the function itself
        except Exception:  # locks, generators, open files: not every object can be copied
            return answerer(model)

    return Answering(name, test, lambda: answerer(model), begin_fresh, lambda numbers: [[n] for n in numbers])


@contextmanager
def _answering_mode(model: Any) -> Iterator[None]:
    """Within the block, a network is in eval mode, and an autocast that is open around the call is put off."""
    torch: Any = sys.modules.get("torch")  # both are here only where torch is
    if torch is None:
        yield
        return
    from fsbench.core.answering import in_eval_mode
    from fsbench.core.global_state import apart_from_program

    is_network = isinstance(model, torch.nn.Module)
    with apart_from_program(keeps_type=True), in_eval_mode(model) if is_network else nullcontext():
        yield


def _ask(model: Any, episode: VisibleEpisode | VisibleImages) -> Any:
    """Return what a function answers; SettingsError for a network that takes something else than an episode."""
    try:
        return model(episode)
    except Exception as error:
        if not hasattr(model, "state_dict") or not _takes_no_episode(model, episode, error):
            raise
        raise SettingsError(
            f"{type(model).__name__}, a torch.nn.Module, takes no episode ({type(error).__name__}: {error}); "
            "expected a function from an episode to a mask; wrap the network in one, which makes its tensors of "
            "episode.query and of the image and mask of each episode.supports[way][shot], and returns a mask of "
            "episode.size: fsbench.evaluate(answer, test)"
        ) from error


def _takes_no_episode(network: Any, episode: VisibleEpisode | VisibleImages, error: Exception) -> bool:
    """Return whether a network failed since it got an episode, not since its own code is wrong.

    It then has other arguments, or took the episode for a tensor.
    """
    from torch import Tensor  # a network is here, and so is torch

    try:
        signature(getattr(network, "forward", network)).bind(episode)
    except TypeError:
        return True
    if isinstance(error, AttributeError):
        return error.obj is episode and hasattr(Tensor, error.name or "")
    called = "'tuple' object is not callable", "'NoneType' object is not callable"  # as `x.size()` on an episode
    return isinstance(error, TypeError) and (type(episode).__name__ in str(error) or str(error) in called)


def read_output(output: Any, episode: VisibleEpisode | VisibleImages) -> Any:
    """Check a function's prediction for an episode and return it in the form that is counted.

    Args:
        output: a mask (h, w) of integers, 0 background and 1..N ways, or (mask, presence), or (mask, presence, score),
            as arrays, lists or tensors. In classification the way, from 1, of each query image.
        episode: the episode that was predicted.

    Raises:
        SettingsError: the prediction has none of these forms, or values that are not allowed.
    """
    if isinstance(episode, VisibleImages):
        labels = _array(output, episode.number)
        if labels.shape != (len(episode.queries),) or not _is_whole(labels):
            raise SettingsError(
                f"episode {episode.number}: the answer is {labels.dtype} of shape {labels.shape}, expected "
                f"{len(episode.queries)} integers from 1 to {len(episode.classes)}, the way of each query image"
            )
        if labels.min() < 1 or labels.max() > len(episode.classes):
            raise SettingsError(
                f"episode {episode.number}: the answer has labels from {labels.min()} to {labels.max()}, expected 1 to "
                f"{len(episode.classes)}, the way of each query image"
            )
        return labels.astype(np.int64) - 1
    mask, *told = output if isinstance(output, tuple) else (output,)
    label_map = _array(mask, episode.number)
    label_map = label_map.astype(np.uint8) if label_map.dtype == bool else label_map
    if label_map.ndim != 2 or label_map.dtype.kind not in "iuf" or len(told) > 2:
        raise SettingsError(
            f"episode {episode.number}: the answer is {label_map.dtype} of shape {label_map.shape}"
            f"{f' with {len(told)} more' if told else ''}, expected a mask (h, w) of integers, or (mask, presence), or "
            "(mask, presence, score)"
        )
    if label_map.dtype.kind == "f" and not np.isfinite(label_map).all():
        raise SettingsError(f"episode {episode.number}: the mask has NaN or infinity, expected whole labels")
    presence = None if not told or told[0] is None else _of_ways(told[0], "presence", episode)
    score = None if len(told) < 2 or told[1] is None else _of_ways(told[1], "score", episode)
    if presence is not None:
        if not (_is_whole(presence) or presence.dtype == bool) or not np.isin(presence, (0, 1)).all():
            raise SettingsError(
                f"episode {episode.number}: presence is {presence.tolist()}, expected True or False (or 1, 0) for each "
                "way; scores come third"
            )
        presence = presence.astype(bool)
    if score is None:
        return SegmentationAnswer(label_map, presence)
    if presence is None:
        raise SettingsError(f"episode {episode.number}: it has a score without presence; expected both, or none")
    score = score.astype(np.float32)
    if not ((score >= 0) & (score <= 1)).all():
        raise SettingsError(f"episode {episode.number}: a presence score is {score.tolist()}, expected 0 to 1")
    return SegmentationAnswer(label_map, presence, score)


def _is_whole(values: np.ndarray) -> bool:
    """Return whether these are whole numbers, of whatever type of numbers."""
    return values.dtype.kind in "iuf" and np.array_equal(values, np.rint(values))


def _of_ways(values: Any, what: str, episode: VisibleEpisode) -> np.ndarray:
    found = np.atleast_1d(_array(values, episode.number))
    if found.shape != (episode.way,):
        raise SettingsError(
            f"episode {episode.number}: {what} has the shape {found.shape}, expected ({episode.way},), one for each way"
        )
    return found


def _array(values: Any, number: int) -> np.ndarray:
    """Return numbers as an array, those of a tensor of any device included."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
    if np.ma.is_masked(values):
        raise SettingsError(
            f"episode {number}: the answer is a masked array; expected values in all places, as mask.filled(0) has them"
        )
    try:
        return np.asarray(values)
    except (TypeError, ValueError) as error:  # ragged lists; bfloat16, which numpy does not have
        raise SettingsError(
            f"episode {number}: the answer is no array ({error}); expected a mask (h, w) of integers, or a tuple "
            "(mask, presence) or (mask, presence, score)"
        ) from None


def _own_name(model: Any) -> str:
    """Return the name of a method or a function; SettingsError where it has none that a run may have."""
    name = getattr(model, "registry_name", None) or getattr(model, "__name__", None) or type(model).__name__
    if not str(name).isidentifier():
        raise SettingsError(f"the model has no name of its own (found {name!r}); give one: evaluate(…, name='mine')")
    return str(name).lower()
