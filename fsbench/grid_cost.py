"""What cells of a grid will cost, from what finished runs did cost."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from statistics import median
from typing import Any

from fsbench.errors import RecordError, user_message
from fsbench.grid import GridCell
from fsbench.manifest import classifies
from fsbench.paths import CONFIGS
from fsbench.protocol import load_protocol
from fsbench.records import Record

log = logging.getLogger("fsbench")


@dataclass(frozen=True)
class Cost:
    """Expected of a cell: seconds of training and of evaluation, memory, and what that is known from."""

    training: float
    evaluation: float
    peak_mib: float
    source: str

    @property
    def seconds(self) -> float:
        return self.training + self.evaluation


class Estimates:
    """From finished runs; those whose manifest cannot be read are left out, which is said."""

    def __init__(self, records: Iterable[Record]):
        self.records: dict[str, list[Record]] = {}
        for record in records:
            self.records.setdefault(record.run["identity"]["method"]["name"], []).append(record)

    def _runs(self, method: str) -> list[Record]:
        self.records[method] = [record for record in self.records.get(method, ()) if _is_sound(record)]
        return self.records[method]

    def of(self, cell: GridCell) -> Cost | None:
        """The median of the runs that are most like it: same data set, way, shot and setting; the same data set; the
        same method; seconds of evaluation for as many episodes as the cell has.

        A run with a checkpoint says nothing of a training, and a training of a trial nothing of a whole one.
        """
        trains = cell.checkpoint is None
        like = [
            record
            for record in self._runs(cell.method)
            if record.run["cost"].get("episodes_per_second") and (not trains or _trained_like(record, cell))
        ]
        task = {"way": cell.way or 1, "shot": cell.shot or 1, "setting": cell.setting or "original"}
        here = [record for record in like if record.header["dataset"] == cell.dataset]
        same = [record for record in here if all(record.header[key] == value for key, value in task.items())]
        for chosen, what in ((same, "this task"), (here, f"other tasks on {cell.dataset}"), (like, "other data")):
            if chosen:
                training = [_training_seconds(record) or 0.0 for record in chosen]
                evaluation = [_episodes(cell, r.header) / r.run["cost"]["episodes_per_second"] for r in chosen]
                peak = max(record.run["cost"]["peak_mib"] for record in chosen)
                runs = f"{len(chosen)} run{'s' * (len(chosen) > 1)} of {what}"
                return Cost(median(training) if trains else 0.0, median(evaluation), peak, runs)
        return None


def _is_sound(record: Record) -> bool:
    try:
        return bool(record.header)
    except RecordError as error:
        log.warning("fsbench: %s is left out of the estimates: %s", record.path, user_message(error))
        return False


def _training_seconds(record: Record) -> float | None:
    """None where nothing was trained."""
    seconds: float | None = (record.run.get("made") or {}).get("training_seconds")
    return seconds


def _trained_like(record: Record, cell: GridCell) -> bool:
    """Whether the run's training tells how long the cell's takes. A method without a training never has one."""
    training = record.run["identity"]["training"] or {}
    if "checkpoint_sha256" in training:
        return False
    trial = all(training.get(key) == value for key, value in _trial()["trainer"].items())
    return _training_seconds(record) is None or trial == cell.fast


def _episodes(cell: GridCell, header: Mapping[str, Any]) -> int:
    """How many test episodes the cell has, as far as that can be told without its data; `header` is of a like run."""
    names = ("--data.episodes=", "--data.init_args.episodes=")
    given = [value for name, sign, value in (text.partition("=") for text in cell.extra) if name + sign in names]
    if given and given[-1].isdecimal():
        return int(given[-1])
    if cell.fast:
        return int(_trial()["data"]["init_args"]["episodes"])
    official = int(header["official_episodes"])
    protocol = cell.protocol or header["protocol"]
    alike = (header["dataset"], header["protocol"]) == (cell.dataset, protocol)
    return official if alike or classifies(header) else load_protocol(protocol).episode_count(cell.dataset, official)


@cache
def _trial() -> dict[str, Any]:
    """What makes a run a trial."""
    import yaml

    values: dict[str, Any] = yaml.safe_load((CONFIGS / "fast.yaml").read_text())
    return values
