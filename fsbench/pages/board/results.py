"""The part of a verified run that a leaderboard shows: statistics of its scores, and a hash of the truth."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fsbench.base.errors import RecordError
from fsbench.records.counts import truth_sha256
from fsbench.records.grouping import known_images
from fsbench.records.record import Record, read_record
from fsbench.results.rows.scoring import trained_on
from fsbench.scores.statistics import ScoreStatistics
from fsbench.scores.trainings import Trained, TrainedEstimate, estimates


@dataclass(frozen=True)
class RunResult:
    """Scores and statistics of a run for the leaderboard, without its count table, to save memory.

    Attributes:
        record: the run's record, of which only `run.json` and the manifest's header may be used; its folder no longer
            exists.
        statistics: sums over the run's count table, from which the leaderboard's scores are computed.
        truth: hash of the classes and numbers of true pixels of all episodes, equal for runs on the same label maps;
            without the pixels if they are counted at the method's input size.
    """

    record: Record
    statistics: ScoreStatistics
    truth: str

    @property
    def key(self) -> tuple[str, str]:
        """Run id and hash of counts, equal only for copies of one run."""
        return self.record.run.id, self.record.counted

    @property
    def test_files(self) -> tuple[str | None, ...] | None:
        """Hashes and rules on which the truth depends (`known_images`); None if the record names no files."""
        return None if self.record.run.identity.files_sha256 is None else known_images(self.record)

    @property
    def finished(self) -> str:
        """Date on which the run finished; "" if unknown."""
        found = re.match(r"(19|20)\d\d-\d\d-\d\d(?!\d)", self.record.run.provenance.finished)
        return found[0] if found else ""


def run_result(folder: Path) -> RunResult:
    """Read the scores and statistics of the run in `folder`, which may be deleted afterwards."""
    record = read_record(folder)
    if record is None or record.episodes.is_empty():
        raise RecordError(f"{folder.name} has no episodes; expected a finished run")
    frame, header = record.episodes, record.header
    truth = truth_sha256(frame, with_pixels=not record.protocol.view.counts_at_input_size)
    statistics = record.protocol.statistics(frame, header).only(score_names(record))
    kept = Record(folder, record.run)
    vars(kept).update(header=header, undefined_classes=record.undefined_classes, hashes=record.hashes)
    return RunResult(kept, statistics, truth)


def score_names(record: Record) -> tuple[str, ...]:
    """Return the names of the scores of a run on the leaderboard; rows are ranked by the first."""
    return record.protocol.default_metrics


Trainings = tuple[RunResult, ...]
"""The runs of a method on one fold, one for each training of it, by ascending seed."""


def trained_of(folds: Sequence[Trainings]) -> Trained:
    """Return the statistics of all trainings of a method on some folds, given as a tuple of runs for each fold."""
    by_path = {run.record.path: run.statistics for trainings in folds for run in trainings}
    records = [tuple(run.record for run in trainings) for trainings in folds]
    return trained_on(records, lambda _, record: by_path[record.path])


def mean_scores(folds: Sequence[Trainings]) -> dict[str, TrainedEstimate]:
    """Return {metric: score} of one fold, or the mean over several folds, with intervals."""
    return estimates(trained_of(folds))
