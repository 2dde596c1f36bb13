"""The outcome of a regression case, and the JSON file that keeps an accepted one."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from pydantic import Field, TypeAdapter, ValidationError

from fsbench.base.errors import RecordError
from fsbench.base.files import parse_json, write_text
from fsbench.base.files.validation import first_problem
from fsbench.scores.confusion import COUNTS


class Row(NamedTuple):
    """Row of a count table for one slot of an episode (any foreground, or a way), with the compared columns."""

    slot: int
    class_id: int
    tp: int
    pred: int
    gt: int
    pred_void: int
    void: int
    valid: int
    present: bool
    decided: bool
    score: float
    rom: float
    rum: float


@dataclass(frozen=True)
class CaseEpisode:
    """Prediction of one episode, with the counts from which scores are computed.

    Attributes:
        episode: {entry: value} of the episode as in a manifest: number, classes, query and supports.
        slots: rows of the count table: first any foreground, then each way.
        size: height and width of the label map.
        masks: for each way its mask, as COCO's compressed run lengths.
    """

    episode: dict[str, Any]
    slots: list[Row]
    size: list[int]
    masks: list[str]

    @property
    def number(self) -> int:
        return int(self.episode["index"])

    def label_map(self) -> np.ndarray:
        """Return the predicted label map (h, w) uint8: 0 background, 1..N ways."""
        # spared until it is needed
        from pycocotools import mask

        label_map = np.zeros(self.size, dtype=np.uint8)
        for way, counts in enumerate(self.masks, 1):
            label_map[mask.decode({"size": self.size, "counts": counts.encode()}) == 1] = way
        return label_map


@dataclass(frozen=True)
class Outcome:
    """Result of a regression case.

    Attributes:
        identity: the identity of the run (everything that its result depends on), with `void`, the rule for void
            pixels, and `class_ids`, the classes that means are taken over.
        made_with: {name: version} of packages, and the processor's instruction set.
        losses: the training loss of each step.
        scores: {metric: score of the run}, and {"validation " + metric: score that a validation would give}.
        answers: prediction and counts of each episode.
    """

    identity: dict[str, Any]
    made_with: dict[str, str]
    losses: list[float]
    scores: dict[str, float]
    answers: Annotated[list[CaseEpisode], Field(min_length=1)]


def score_answers(identity: dict[str, Any], answers: list[CaseEpisode], names: Iterable[str] = ()) -> dict[str, float]:
    """Compute {metric: score} of a regression case (`Outcome.scores`) from the counts of its predictions.

    Args:
        identity: identity of the run, with the rule for void pixels (`void`) and the classes (`class_ids`).
        answers: prediction and counts of each episode.
        names: names of further metrics to compute beside the common ones, as far as a known protocol has them.
    """
    if not answers:
        return {}
    # spared until it is needed
    import polars as pl

    from fsbench.core.episodic_scores import EpisodicScores
    from fsbench.protocols.reading import known_metrics
    from fsbench.scores.answers import SegmentationResult
    from fsbench.scores.run_statistics import episode_statistics
    from fsbench.scores.scores import COMMON

    frame = pl.DataFrame([row for answer in answers for row in answer.slots], schema=Row._fields, orient="row")
    owner = [answer.episode for answer in answers for _ in answer.slots]
    frame = frame.with_columns(
        episode=pl.Series([episode["index"] for episode in owner]),
        query=pl.Series([episode["query"] for episode in owner]),
    )
    class_ids, void = identity["class_ids"], identity["void"]
    common = {metric.name: metric for metric in COMMON}
    named = common | {name: metric for name, metric in known_metrics().items() if name in set(names)}
    scores = episode_statistics(frame, class_ids, void, tuple(named.values())).scores()
    validation = EpisodicScores(class_ids, void)
    for (number,), rows in frame.group_by("episode", maintain_order=True):
        ways = rows.filter(pl.col("slot") > 0)
        classes, present, decided, score = (
            np.array(ways[name].to_list()) for name in ("class_id", "present", "decided", "score")
        )
        counts = np.array(rows.select(COUNTS).rows())
        validation.update(SegmentationResult(number, classes, counts, present, decided, score, np.empty(0)))
    return scores | {f"validation {name}": value for name, value in validation.compute().items()}


def read_outcome(path: Path) -> Outcome | None:
    """Read the accepted (reference) outcome of a regression case from a JSON file.

    Returns:
        The outcome, or None if there is no file.

    Raises:
        RecordError: the file is damaged.
    """
    try:
        text = path.read_bytes()
        parse_json(text)  # refuses keys that stand twice
        outcome = TypeAdapter(Outcome).validate_json(text, strict=True)
        score_answers(outcome.identity, outcome.answers)  # raises where there is nothing to score
        for answer in outcome.answers:
            answer.label_map()  # raises where a mask cannot be decoded
        return outcome
    except FileNotFoundError:
        return None
    except Exception as error:  # whatever a damaged file makes the decoders say
        reason = first_problem(error) if isinstance(error, ValidationError) else " ".join(str(error).split())
        raise RecordError(
            f"{path} holds no regression figures ({type(error).__name__}: {reason}); restore it with git checkout, or "
            "make it anew: remove it, then fsbench regress --accept"
        ) from error


def write_outcome(path: Path, outcome: Outcome) -> None:
    """Write a regression case's outcome as JSON, one line per episode, so that diffs show which episodes changed."""
    head = {key: value for key, value in vars(outcome).items() if key != "answers"}
    lines = [f"  {json.dumps(key)}: {json.dumps(value)},\n" for key, value in head.items()]
    answers = ",\n".join(f"    {json.dumps(asdict(answer))}" for answer in outcome.answers)
    write_text(path, f'{{\n{"".join(lines)}  "answers": [\n{answers}\n  ]\n}}\n')
