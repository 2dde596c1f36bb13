"""Predicted masks for the explorer: those that a run kept, or, of some episodes, those predicted again."""

from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from fsbench.base.errors import FsbenchError, RecordError, user_message
from fsbench.data.label_maps import over_image
from fsbench.data.rle import encode_ways
from fsbench.pages.report.collect import Study
from fsbench.pages.report.episodes import worth_a_look
from fsbench.protocols.reading import segmentation_of
from fsbench.records.predictions import LAYERS, StoredPredictions, encode, label_map_of, read_predictions
from fsbench.records.record import Record

if TYPE_CHECKING:
    from fsbench.scores.answers import SegmentationResult

Ways = list[dict[str, Any]]
"""The ways of an episode's prediction in order, each with `size`, `rle` and `LAYERS` (base64 or None)."""


@dataclass
class MethodMasks:
    """Masks of one run by episode number: stored ones, or masks that were predicted again.

    `attention_meaning` says what the method's attention maps show; "" if it has none. `frame` is the side of the square
    in which pixels were counted; masks in such a square are mapped back to the image, and then have no soft masks and
    attention (`LAYERS`). It is None if pixels were counted at the image's size.
    """

    stored: StoredPredictions | None = None
    again: dict[int, Ways] = field(default_factory=dict)
    attention_meaning: str = ""
    frame: int | None = None

    def ways(self, episode: int) -> Ways | None:
        """Return the predicted masks of an episode's ways; None if there is no prediction."""
        if self.stored is None:
            found = self.again.get(episode)
        else:
            found = [
                {**row, **{name: None if row.get(name) is None else b64encode(row[name]).decode() for name in LAYERS}}
                for row in self.stored.ways(episode)
            ]
        return found if found is None or self.frame is None else _over_image(found, self.frame)


def study_masks(
    study: Study, count: int, missing: list[str], report: Callable[[str], None]
) -> dict[int, dict[int, MethodMasks]]:
    """Return {fold: {index of a method: its predicted masks}} for the explorer (page of single episodes) of a study.

    Args:
        study: The runs on one test.
        count: Number of episodes to predict again for each pair of methods, for runs that kept no predictions.
        missing: List to which a sentence is added for each run whose masks are missing.
        report: Called with a line of text for each run that predicts again.
    """
    labels = list(study.methods)
    chosen = worth_a_look(study.folds, labels if len(labels) > 1 else labels * 2, count)
    masks: dict[int, dict[int, MethodMasks]] = {fold: {} for fold in study.folds}
    for number, (label, runs) in enumerate(study.shown.items()):
        for fold, record in runs.items():
            episodes = [study.folds[fold].episodes[position].number for position in chosen[fold]]
            masks[fold][number] = run_masks(record, episodes, f"{label}, fold {fold}", missing, report)
    return masks


def run_masks(
    record: Record, chosen: Sequence[int], place: str, missing: list[str], report: Callable[[str], None]
) -> MethodMasks:
    """Return the masks of a run; without stored ones, predict `chosen` again. `place` names it in messages."""
    try:
        stored = read_predictions(record)
        if stored is not None:
            return MethodMasks(stored, attention_meaning=record.run.attention, frame=_frame(record))
        reason = "the run kept no predictions"
    except RecordError as error:
        reason = user_message(error).splitlines()[0]
    if not chosen:
        missing.append(
            f"No masks of {place}: {reason}; add --gallery 12 to the command to predict some episodes again."
        )
        return MethodMasks()
    if not (record.path / "config.yaml").is_file():
        missing.append(f"No masks of {place}: {reason}, and there is no config.yaml beside the record.")
        return MethodMasks()
    report(f"explorer: {place} predicts {len(chosen)} episodes again")
    try:
        results, meaning = predict_again(record, chosen)
    except FsbenchError as error:
        missing.append(f"No masks of {place}: {reason}; {user_message(error).splitlines()[0]}")
    except Exception as error:  # unreadable images, too little memory: the numbers are shown without masks
        missing.append(f"No masks of {place}: {reason}; {type(error).__name__}: {error}")
    else:
        missing.append(f"{place}: masks of only {len(results)} episodes, which were predicted again: {reason}.")
        return MethodMasks(None, {result.episode: _ways(result) for result in results}, meaning, _frame(record))
    return MethodMasks()


def predict_again(record: Record, chosen: Sequence[int]) -> "tuple[list[SegmentationResult], str]":
    """Predict the episodes `chosen` of a run again; return the results, and what the method's attention maps show.

    Raises RecordError if data or counts differ from those of the record.
    """
    import torch  # slow to import; a report of kept predictions needs none

    from fsbench.runner.engine.answering import evaluate_batch
    from fsbench.runner.engine.restore import check_counts, reopen_at

    experiment, episodes = reopen_at(record, chosen)
    cast(Any, experiment.method).keeps_soft_masks = True
    protocol = experiment.data.protocol
    with torch.inference_mode():
        results: list[SegmentationResult] = [
            result for episode in episodes for result in evaluate_batch(experiment.method, protocol, episode)
        ]
    check_counts(record, results)
    return results, experiment.method.attention_meaning


def _ways(result: "SegmentationResult") -> Ways:
    ways = encode(result, "soft")
    decided, scores = result.decided.tolist(), result.score.tolist()
    return [{**way, "decided": d, "score": s} for way, d, s in zip(ways, decided, scores, strict=True)]


def _frame(record: Record) -> int | None:
    return segmentation_of(record.header).view.frame


def _over_image(ways: Ways, frame: int) -> Ways:
    """Lay masks that were stretched from a frame over the image."""
    labels = over_image(label_map_of(ways), frame)
    masks = encode_ways(labels, len(ways))
    return [{**way, **dict.fromkeys(LAYERS), "rle": mask} for way, mask in zip(ways, masks, strict=True)]
