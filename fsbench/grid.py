"""A grid: every combination of methods, data sets, folds, ways, shots, settings and seeds that a YAML file names."""

import difflib
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

from fsbench import __version__
from fsbench.catalogue import config_files
from fsbench.errors import SettingsError
from fsbench.request import Request

AXES = {"methods": str, "datasets": str, "folds": int, "ways": int, "shots": int, "settings": str, "seeds": int}
"""Keys of a grid's file that hold lists, and what is in them; the first three must be there."""

OPTIONS = {"protocol": str, "devices": int, "fast": bool, "checkpoint": str, "data_roots": dict, "extra": list}
"""Keys that hold for all cells. `checkpoint` may contain {method}, {dataset}, {fold} and {seed}; `data_roots` has the
folder of each data set; `extra` are arguments in LightningCLI's form."""


@dataclass(frozen=True)
class GridCell:
    """One cell; None leaves the configuration's value."""

    method: str
    dataset: str
    fold: int
    way: int | None
    shot: int | None
    setting: str | None
    seed: int | None
    protocol: str | None = None
    devices: int | None = None
    fast: bool = False
    checkpoint: str | None = None
    data_root: str | None = None
    extra: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        seed = "" if self.seed is None else f"seed {self.seed}"
        return " ".join(word for word in (self.method, self.dataset, f"fold {self.fold}", self.task, seed) if word)

    @property
    def task(self) -> str:
        """As far as it was asked for."""
        words = [] if self.way is None and self.shot is None else [f"{self.way or 1}-way {self.shot or 1}-shot"]
        return " ".join([*words, *(word for word in (self.setting, self.protocol) if word)])

    @property
    def options(self) -> str:
        """What else was asked for, in words."""
        words = [f"checkpoint {self.checkpoint}"] if self.checkpoint else []
        words += ["trial"] * self.fast + [f"{self.devices} devices"] * (self.devices is not None)
        return ", ".join([*words, *self.extra]) or "–"

    @property
    def variant(self) -> tuple[str, ...]:
        """What the cell has in common with those of other folds and seeds. A cell without a seed has the
        configuration's, which may be one of theirs: it stands alone, lest a run be counted twice."""
        parts = asdict(self) | {"fold": None, "seed": self.seed is None}
        return tuple(str(value) for value in parts.values())

    def arguments(self, runs: Path) -> list[str]:
        """Of `fsbench run`."""
        names = {"method": self.method, "dataset": self.dataset, "seed": self.seed}
        checkpoint = self.checkpoint
        for name, value in names.items():
            checkpoint = checkpoint and checkpoint.replace(f"{{{name}}}", str(value))
        request = Request(
            methods=[self.method],
            dataset=self.dataset,
            folds=[self.fold],
            runs=str(runs),
            way=self.way,
            shot=self.shot,
            setting=self.setting,
            protocol=self.protocol,
            devices=self.devices,
            checkpoint=checkpoint,
            seed=self.seed,
            data_root=self.data_root,
            fast=self.fast,
            extra=self.extra,
        )
        return request.arguments(self.method, self.fold)

    def fingerprint(self, runs: Path) -> str:
        """Of everything that is asked for, the text of the configuration files included; where the runs are is not."""
        configs = _texts(self.method, self.dataset, self.fast)
        given = [text for text in self.arguments(runs) if not text.startswith(("--config=", "--run.runs="))]
        files = [Path(text.partition("=")[2]) for text in given if text.startswith("--run.checkpoint=")]
        states = [(path.stat().st_mtime_ns, path.stat().st_size) if path.is_file() else None for path in files]
        return hashlib.sha256(json.dumps([__version__, configs, given, states]).encode()).hexdigest()[:20]


@cache
def _texts(method: str, dataset: str, fast: bool) -> dict[str, str]:
    """The configuration's files."""
    return {path.name: path.read_text() for path in config_files(method, dataset, fast)}


def read_grid(files: Sequence[Path], data_roots: Mapping[str, str] = {}, fast: bool = False) -> list[GridCell]:
    """Cells of grid files, each once, in the files' order. `data_roots` come before the files' own; `fast` makes trials
    of all.

    Raises SettingsError for unknown keys, methods and data sets, and for values of another kind.
    """
    cells: list[GridCell] = []
    for file in files:
        values = _read(file)
        axes = [values.get(key, [None]) for key in AXES]
        roots = {**values.get("data_roots", {}), **data_roots}
        for method, dataset, fold, way, shot, setting, seed in product(*axes):
            config_files(method, dataset)  # both are known
            cells.append(
                GridCell(
                    method,
                    dataset,
                    fold,
                    way,
                    shot,
                    setting,
                    seed,
                    values.get("protocol"),
                    values.get("devices"),
                    fast or values.get("fast", False),
                    values.get("checkpoint"),
                    roots.get(dataset),
                    tuple(map(str, values.get("extra", ()))),
                )
            )
    return list(dict.fromkeys(cells))


def _read(file: Path) -> dict[str, Any]:
    import yaml

    try:
        values = yaml.safe_load(file.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"cannot read {file} ({' '.join(str(error).split())}); expected a grid in YAML") from error
    if not isinstance(values, dict):
        raise SettingsError(f"{file} holds {type(values).__name__}, expected a mapping with {', '.join(AXES)}")
    known = [*AXES, *OPTIONS]
    for key in values:
        if key not in known:
            close = difflib.get_close_matches(str(key), known, 1)
            hint = f"did you mean '{close[0]}'?" if close else f"there are: {', '.join(known)}"
            raise SettingsError(f"{file} has the unknown key '{key}'; {hint}")
    for key, kind in AXES.items():
        entries = values.get(key)
        needed = key in ("methods", "datasets", "folds")
        if not entries and (needed or (key in values and entries in (None, []))):
            left = "" if needed else ", or the key left out for the configuration's value"
            raise SettingsError(f"{file} has no {key}; expected a list of them{left}")
        if key in values and not (isinstance(entries, list) and all(type(entry) is kind for entry in entries)):
            raise SettingsError(f"{file}: {key} is {entries!r}, expected a list of {kind.__name__}")
    for key, kind in OPTIONS.items():
        if key in values and type(values[key]) is not kind:
            raise SettingsError(f"{file}: {key} is {values[key]!r}, expected {kind.__name__}")
    return values
