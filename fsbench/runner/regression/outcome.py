"""The outcome of a regression case, and the JSON file that keeps an accepted one."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydantic import TypeAdapter, ValidationError

from fsbench.base.errors import RecordError
from fsbench.base.files import parse_json, write_text
from fsbench.base.files.validation import first_problem
from fsbench.base.statements import Statement, contradicted
from fsbench.scores.confusion import COUNTS


class Row(NamedTuple):
    """Compared columns of a run's record, for one slot of an episode."""

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
    """The prediction of one episode and its counts.

    Attributes:
        episode: the episode as the manifest has it.
        slots: rows of the record, of any foreground and of each way.
        size: height and width of the label map.
        masks: one for each way, as COCO's compressed run lengths.
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
        identity: identity of the run, and how its counts are scored: `void`, `class_ids`.
        made_with: versions of packages and the processor's instruction set.
        losses: losses of the training steps.
        scores: scores of the run, and those that a validation would give.
        answers: predictions, one for each episode.
    """

    identity: dict[str, Any]
    made_with: dict[str, str]
    losses: list[float]
    scores: dict[str, float]
    answers: list[CaseEpisode]


def score_answers(identity: dict[str, Any], answers: list[CaseEpisode], names: Iterable[str] = ()) -> dict[str, float]:
    """Compute `Outcome.scores` from the counts of the predictions.

    Args:
        identity: as in `Outcome`.
        answers: as in `Outcome`.
        names: scores to compute besides the common ones, where a protocol here has a metric of the name.
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


def _answers(outcome: Outcome) -> Iterator[str]:
    if not outcome.answers:
        yield "there are no answers"
    for answer in outcome.answers:
        if len(answer.slots) != len(answer.masks) + 1:
            yield f"an episode has {len(answer.slots)} rows and {len(answer.masks)} masks"
            continue
        pixels = np.bincount(answer.label_map().ravel(), minlength=len(answer.slots))
        for row in answer.slots[1:]:
            if row.valid + row.void == answer.size[0] * answer.size[1] and row.pred + row.pred_void != pixels[row.slot]:
                yield (
                    f"episode {answer.number}, way {row.slot}: {row.pred + row.pred_void} pixels are counted, and its "
                    f"mask has {pixels[row.slot]}"
                )


STATEMENTS: Mapping[str, Statement[Outcome]] = {
    "identity": Statement("the identity of the case as it is run; a case with another one differs"),
    "made_with": Statement("believed: what a machine said of itself"),
    "losses": Statement("believed until the case is run again"),
    "answers": Statement("the masks, whose pixels are those that are counted; else the case as it is run", _answers),
    "scores": Statement("the counts of the answers, of which a comparison computes them again and says what moved"),
}
"""Entry of an accepted outcome -> what it is held against."""


def read_outcome(path: Path) -> Outcome | None:
    """Read an accepted outcome.

    Returns:
        The outcome, or None if there is no file.

    Raises:
        RecordError: the file is damaged.
    """
    try:
        text = path.read_bytes()
        parse_json(text)  # refuses keys that stand twice
        outcome = TypeAdapter(Outcome).validate_json(text, strict=True)
        score_answers(outcome.identity, outcome.answers)  # which raises where there is nothing to score
        if wrong := next(contradicted(STATEMENTS, outcome), None):
            raise ValueError(wrong)
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
    """Write an outcome as JSON, one line per episode, so that diffs show which episodes changed."""
    head = {key: value for key, value in vars(outcome).items() if key != "answers"}
    lines = [f"  {json.dumps(key)}: {json.dumps(value)},\n" for key, value in head.items()]
    answers = ",\n".join(f"    {json.dumps(asdict(answer))}" for answer in outcome.answers)
    write_text(path, f'{{\n{"".join(lines)}  "answers": [\n{answers}\n  ]\n}}\n')
