"""Estimate the cost of runs from finished runs."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from fsbench.base.errors import RecordError, user_message
from fsbench.data.episodes.manifest import Header
from fsbench.protocols.reading import load_protocol, protocol_of
from fsbench.records.record import Record
from fsbench.runner.config.merge import setting, stated_values
from fsbench.runner.config.run_config import RunConfig

log = logging.getLogger("fsbench")


@dataclass(frozen=True)
class CostEstimate:
    """Estimated cost of a run: seconds of training and of evaluation, peak memory in MiB, and the runs it is based on.

    `peak_mib` is None if all similar runs were evaluated together with other runs in one process. `source` says in
    words which finished runs the estimate is taken from.
    """

    training: float
    evaluation: float
    peak_mib: float | None
    source: str

    @property
    def seconds(self) -> float:
        return self.training + self.evaluation


class Estimates:
    """Estimates the cost of runs (time, memory) from finished runs."""

    def __init__(self, records: Iterable[Record]):
        self.records: dict[str, list[Record]] = {}
        for record in records:
            self.records.setdefault(record.run.identity.method.name, []).append(record)

    def _runs(self, method: str) -> list[Record]:
        self.records[method] = [record for record in self.records.get(method, ()) if _is_sound(record)]
        return self.records[method]

    def estimate(self, run: RunConfig) -> CostEstimate | None:
        """Estimate a run's cost from finished runs of its method; None if there are none.

        The medians of the most similar runs are taken: those on the same data set, way, shot and setting; or else on
        the same data set; or else on any. Seconds of evaluation are scaled to the run's number of episodes.

        Runs from a checkpoint are not used for the cost of training, nor are short trials for that of a full training.
        """
        trains = run.checkpoint is None
        like = [
            record
            for record in self._runs(run.name)
            if record.run.cost.episodes_per_second and (not trains or _trained_like(record, run))
        ]
        task = {"way": run.way or 1, "shot": run.shot or 1, "setting": run.setting or "original"}
        here = [record for record in like if record.header.dataset == run.dataset]
        same = [record for record in here if all(getattr(record.header, key) == value for key, value in task.items())]
        for chosen, what in ((same, "this task"), (here, f"other tasks on {run.dataset}"), (like, "other data")):
            if chosen:
                training = [record.run.made.training_seconds or 0.0 for record in chosen]
                speeds = [(record, record.run.cost.episodes_per_second) for record in chosen]
                evaluation = [_predicted_episodes(run, record.header) / speed for record, speed in speeds if speed]
                peak = max((peak for record in chosen if (peak := record.run.cost.peak_mib)), default=None)
                runs = f"{len(chosen)} run{'s' * (len(chosen) > 1)} of {what}"
                return CostEstimate(median(training) if trains else 0.0, median(evaluation), peak, runs)
        return None


def _is_sound(record: Record) -> bool:
    try:
        return bool(record.header)
    except RecordError as error:
        log.warning("fsbench: %s is left out of the estimates: %s", record.path, user_message(error))
        return False


def _trained_like(record: Record, run: RunConfig) -> bool:
    """Return whether the run's training time holds for the run; that of a method without training always does."""
    training = record.run.identity.training or {}
    if "checkpoint_sha256" in training:
        return False
    if record.run.made.training_seconds is None:
        return True
    limit = training.get("limit_train_batches")
    is_trial = isinstance(limit, int)  # a number of batches; a share is a float
    if is_trial and not run.fast:
        return bool(limit == setting(run.values, "trainer.limit_train_batches"))  # epochs may be as short in full runs
    return is_trial == run.fast


def _predicted_episodes(run: RunConfig, header: Header) -> int:
    """Return how many episodes the run predicts: its test with every draw, and those that only calibrate.

    The number of official ones is known as far as it is without the run's data; `header` is the manifest's of a similar
    run.
    """
    protocol = load_protocol(run.protocol) if run.protocol else protocol_of(header)
    alike = (header.dataset, header.protocol) == (run.dataset, protocol.name)
    stated = setting(stated_values(run.arguments), "data.test.episodes") or run.episodes
    if stated is None and run.fast:
        stated = setting(run.file_values, "data.test.episodes")
    official = int(stated or header.official_episodes)
    if not stated and not alike:
        official = protocol.draw.episode_count(run.dataset, official)
    calibrates = not alike or header.calibration_ids
    calibrating = protocol.draw.calibration_count(official) if calibrates else 0
    return official * (run.draws or 1) + calibrating
