"""Checks of what a method answers: shapes, numbers of ways and shots, empty supports, a query without any way."""

from dataclasses import replace

import torch
from torch import Tensor

from fsbench.base.errors import SettingsError
from fsbench.core.method import Method
from fsbench.core.prediction import Prediction
from fsbench.data.batch import EpisodeBatch, ImageEpisode
from fsbench.runner.contract.subject import Episode, NotApplicableError, Subject, ViolationError, answer

WAYS = (1, 2, 5)
SHOTS = (1, 5)


def check_shapes(subject: Subject) -> str:
    """Check the shapes, types and ranges of a method's predictions; return a sentence on what was measured."""
    words, method = _examine(subject.method, subject.episode()), subject.method
    if subject.segments and predict(method, subject.episode(), keep=False).attention is not None:
        raise ViolationError(
            "attention where keeps_soft_masks is False", "None", "compute it only where self.keeps_soft_masks"
        )
    return f"{words}; {subject.ways}-way {subject.shots}-shot"


def check_ways_and_shots(subject: Subject) -> str:
    """Check that the method predicts every number of ways and shots, or refuses it with a reason.

    Ways may have different numbers of shots; what stands in the place of absent ones must not change an answer.
    A method must not refuse a number of shots for which it states that the authors' rule for several shots covers it.

    Returns:
        A sentence on what was measured.
    """
    _examine_authors_shots(subject)
    done, refused = [], []
    for shots in SHOTS:
        reason = subject.takes_shots(shots)
        for ways in WAYS:
            if not subject.segments and ways == 1:
                continue  # no question with one class alone
            if reason is None:
                try:
                    _examine(subject.method, subject.episode(7, ways, shots))
                except SettingsError as error:
                    refused.append(f"{ways}-way {shots}-shot ({error})")
                else:
                    done.append(f"{ways}-way {shots}-shot")
        if reason is not None:
            refused.append(f"{shots}-shot ({reason})")
    if subject.segments and {"2-way 1-shot", "2-way 5-shot"} <= set(done):
        _examine_unequal_shots(subject)
        done.append("2 ways of 5 shots and 1")
    if not done:
        raise ViolationError(
            f"no answer: {'; '.join(refused)}",
            "an answer for some number of ways and shots",
            "mend `support`, `join` or `segment`",
        )
    return ", ".join(done) + (f"; by its contract not: {'; '.join(refused)}" if refused else "")


def _examine_unequal_shots(subject: Subject) -> None:
    """Examine the answer about a way of 5 shots and one of 1, and that it does not change with what pads the latter."""
    episode = subject.episode(7, 2, 5)
    assert isinstance(episode, EpisodeBatch)
    valid, labels, support = episode.valid.clone(), episode.support_labels.clone(), episode.support.clone()
    valid[:, 1, 1:] = False
    found = []
    for padding in (0, 1):
        labels[:, 1, 1:], support[:, 1, 1:] = padding, (episode.support[:, 0, 0] if padding else episode.query)[:, None]
        padded = replace(episode, valid=valid, support_labels=labels.clone(), support=support.clone())
        _examine(subject.method, padded)
        found.append(predict(subject.method, padded, keep=False).label_map)
    if not torch.equal(*found):
        raise ViolationError(
            "the answer changes with what stands in place of a shot that is absent (`EpisodeBatch.valid`)",
            "an answer from the supports that are there",
            "take supports from `EpisodeBatch.way`, and join as many as each way has",
        )


def _examine_authors_shots(subject: Subject) -> None:
    """Raise ViolationError where a number of shots that the authors' rule covers is refused."""
    covered = subject.method.authors_shots
    for shots in () if covered is None else covered.numbers:
        if reason := subject.takes_shots(shots):
            raise ViolationError(
                f"authors_shots covers {shots}, which check_shots refuses: {reason}",
                "a method that takes every number of its authors' rule",
                "leave the number out, or let check_shots take it",
            )


def check_empty_supports(subject: Subject) -> str:
    """Check that support masks without a labelled pixel give a valid prediction; return what was measured in words."""
    if not subject.segments:
        raise NotApplicableError("classifiers get no masks")
    for value in (0, 255):
        episode = subject.episode(3)
        assert isinstance(episode, EpisodeBatch)
        for way in (slice(0, 1), slice(None)):  # one way's, then every way's
            labels = episode.support_labels.clone()
            labels[:, way] = value
            _examine(subject.method, replace(episode, support_labels=labels))
    return "valid answers where supports of one way or all are background or void alone"


def check_empty_query(subject: Subject) -> str:
    """Check that a query without the episode's classes gives a valid prediction; return what was measured, in words."""
    if not subject.segments:
        raise NotApplicableError("every query image of a classifier is of one of the classes")
    episode = subject.episode(4, query_shows=False)
    assert isinstance(episode, EpisodeBatch)
    _examine(subject.method, episode)
    label_map = answer(subject.method, episode)["label_map"]
    return f"valid answer; {int((label_map > 0).sum())} of {label_map.numel()} pixels are taken for a way"


def predict(method: Method, episode: Episode, keep: bool) -> Prediction:
    """Predict one episode; `keep` says whether soft masks and attention maps are kept (`keeps_soft_masks`)."""
    assert isinstance(episode, EpisodeBatch)
    (single,), before = episode.split(), method.keeps_soft_masks
    method.keeps_soft_masks = keep
    try:
        with torch.inference_mode():
            return method.predict_shots(single.without_truth())  # type: ignore[operator]
    finally:
        method.keeps_soft_masks = before


def _examine(method: Method, episode: Episode) -> str:
    """Predict one episode and raise ViolationError unless its answer has the right form; return that in words."""
    if isinstance(episode, ImageEpisode):
        queries = episode.query.numel()
        with torch.inference_mode():
            labels = method.answer(episode)  # type: ignore[operator]
        _expect("the labels", labels, (queries,), (0, episode.ways - 1), torch.int64)
        return f"labels ({queries},) int64"
    prediction = predict(method, episode, keep=True)
    parts = ("label_map", "present", "presence_score", "logits", "probability", "attention")
    given = {name: value for name in parts if (value := getattr(prediction, name)) is not None}
    label_map = prediction.label_map
    if label_map.is_floating_point() or label_map.dtype == torch.bool:
        raise ViolationError(f"label_map of {label_map.dtype}", "integers", "return argmax or .long()")
    presence = {"present", "presence_score"}
    if given.keys() & presence != (presence if method.predicts_presence else set()):
        raise ViolationError(
            f"presence {'given' if presence <= given.keys() else 'left out'} where predicts_presence is "
            f"{method.predicts_presence}",
            "both where predicts_presence is True, else neither",
            "give both, or say predicts_presence = False",
        )
    if "attention" in given and not method.attention_meaning:
        raise ViolationError(
            "attention where attention_meaning is empty", "words for its readers", "say what it means on the class"
        )
    ways, size = episode.support.shape[1], tuple(episode.query_sizes[0].tolist())
    forms: dict[str, tuple[tuple[int, ...], tuple[int, int] | None]] = {
        "label_map": (size, (0, ways)),
        "present": ((ways,), (0, 1)),
        "presence_score": ((ways,), (0, 1)),
        "logits": ((ways, 2, *size), None),
        "probability": ((ways, *size), (0, 1)),
        "attention": ((ways, *(given["attention"].shape[-2:] if "attention" in given else ())), (0, 1)),
    }
    for name, value in given.items():
        _expect(name, value, *forms[name], torch.bool if name == "present" else None)
    del given["label_map"]
    return ", ".join([f"label map {size} {str(label_map.dtype).removeprefix('torch.')}", *given])


def _expect(
    name: str, value: Tensor, shape: tuple[int, ...], bounds: tuple[int, int] | None, dtype: torch.dtype | None
) -> None:
    """Raise ViolationError unless a tensor has this shape and type, if any, and finite values within the bounds."""
    if tuple(value.shape) != shape or value.dtype != (dtype or value.dtype):
        raise ViolationError(
            f"{name} {tuple(value.shape)} {value.dtype}",
            f"{shape} {dtype or value.dtype}",
            "return it in the contract's form",
        )
    if value.is_floating_point() and not bool(value.isfinite().all()):
        raise ViolationError(f"{name} with NaN or infinity", "finite numbers", "look for divisions by an empty mask")
    if bounds is not None and (int(value.min() < bounds[0]) or int(value.max() > bounds[1])):
        raise ViolationError(
            f"{name} in {float(value.min()):g}..{float(value.max()):g}",
            f"{bounds[0]}..{bounds[1]}",
            "return ways, decisions and scores in their range",
        )
