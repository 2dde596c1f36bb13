"""A grid: every combination of methods, data sets, folds, ways, shots, settings, seeds and variants that a file names.

A variant is a list of further arguments in LightningCLI's form, such as one side of images.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

from fsbench.base.files import read_yaml
from fsbench.base.paths import CONFIGS
from fsbench.base.version import __version__
from fsbench.data.file_digests import states_sha256
from fsbench.runner.config.compose import Configuration
from fsbench.runner.config.registry import config_files, grid_file
from fsbench.runner.config.request import DEFAULT_PROTOCOL, Request


@dataclass(frozen=True)
class GridCell:
    """A combination of a grid: a request for one method on one fold.

    Attributes:
        request: what is asked for.
        composed: its configuration with records in the request's own folder of runs, where it is known.
    """

    request: Request
    composed: Configuration | None = field(default=None, compare=False, repr=False)

    @property
    def method(self) -> str:
        """Name of the method in tables, its backbone included where that is not its own."""
        method = self.request.methods[0]
        choice = self.request.choice_of(method)
        return method if choice.backbone is None else choice.name

    @property
    def fold(self) -> int:
        return self.request.folds[0]

    @property
    def label(self) -> str:
        """The cell in words: method, data set, fold, task, what supports are labelled with, and seeds."""
        seed = "" if self.request.seed is None else f"seed {self.request.seed}"
        words = (self.method, self.request.dataset, f"fold {self.fold}", self.task, *self._of_test, seed)
        return " ".join(word for word in words if word)

    @property
    def task(self) -> str:
        """Way, shot, setting and protocol in words, as far as the grid names them or the method has its own."""
        way, shot = self.request.way, self.request.shot
        words = [] if way is None and shot is None else [f"{way or 1}-way {shot or 1}-shot"]
        protocol = self.request.protocol or (self.protocol if self.protocol != DEFAULT_PROTOCOL else None)
        return " ".join([*words, *(word for word in (self.request.setting, protocol) if word)])

    @property
    def protocol(self) -> str | None:
        """Name of the protocol; None for classification, and where a manifest or an argument says it."""
        return self.request.protocol or self.request.own_protocol(self.request.methods[0])

    @property
    def options(self) -> str:
        """The other options in words."""
        request = self.request
        words = [f"checkpoint {request.checkpoint}"] if request.checkpoint else []
        words += self._of_test
        words += ["trial"] * request.fast + [f"{request.devices} devices"] * (request.devices is not None)
        return ", ".join([*words, *request.extra]) or "–"

    @property
    def _of_test(self) -> list[str]:
        """Words for the annotation of the supports and the test's seed, where the grid gives them."""
        annotation, seed = self.request.support_annotation, self.request.test_seed
        words = [] if annotation is None else [f"annotation {annotation}"]
        return words + ([] if seed is None else [f"test seed {seed}"])

    @property
    def variant(self) -> tuple[str, ...]:
        """Return what the cell has in common with those of other folds and seeds.

        A cell without a seed has the configuration's, which may be one of theirs: it stands alone, lest a run be
        counted twice.
        """
        values = {f.name: getattr(self.request, f.name) for f in fields(self.request)}
        return tuple(str(value) for value in (values | {"folds": None, "seed": self.request.seed is None}).values())

    def as_dict(self) -> dict[str, Any]:
        """Return the cell's method, fold and options as plain values."""
        plural = {"methods": self.method, "folds": self.fold}
        names = [f.name for f in fields(self.request) if f.name not in ("runs", "force", "debug")]
        return {name.removesuffix("s") if name in plural else name: plural.get(name, getattr(self.request, name))
                for name in names}  # fmt: skip

    def arguments(self, runs: Path) -> list[str]:
        """Return the arguments of `fsbench bench`, with `--config` and with records in the folder `runs`."""
        return replace(self.request, runs=str(runs)).arguments(self.request.methods[0], self.fold)

    def configuration(self, runs: Path) -> Configuration:
        """Return the configuration of the run, with records in the folder `runs`."""
        if self.composed is not None and str(runs) == self.request.runs:
            return self.composed
        return replace(self.request, runs=str(runs)).configuration(self.request.methods[0], self.fold)

    def fingerprint(self, runs: Path) -> str:
        """Return a hash of all options, of the configuration files' texts and of the states of files that options name.

        It does not depend on the folder of the runs.
        """
        request = self.request
        configs = _texts(request.methods[0], request.backbone_of(request.methods[0]), request.dataset, request.fast)
        given = [text for text in self.arguments(runs) if not text.startswith(("--config=", "--run.runs="))]
        files = [Path(text.partition("=")[2]) for text in given if text.startswith(FILES)]
        states = states_sha256(files)
        return hashlib.sha256(json.dumps([__version__, configs, given, states]).encode()).hexdigest()[:20]


def request_cells(request: Request) -> list[GridCell]:
    """Return a cell for each method and fold of a request, each once.

    Raises SettingsError for what the data set does not have, and where one checkpoint would stand for several folds.
    """
    pairs = [(method, fold) for method in dict.fromkeys(request.methods) for fold in dict.fromkeys(request.folds)]
    return [
        GridCell(replace(request, methods=(method,), folds=(fold,)), request.configuration(method, fold))
        for method, fold in pairs
    ]


FILES = ("--run.checkpoint=", "--data.manifest=", "--model.backbone.weights=")
"""Options whose value is a file: a cell is another one when the file changes."""


@cache
def _texts(method: str, backbone: str | None, dataset: str, fast: bool) -> dict[str, str]:
    """Return the texts of the configuration files by their places in configs.

    For a package's file or the user's own its number among all and its name stand, since two may have one name.
    """
    files = config_files(method, dataset, fast, backbone)
    return {
        path.relative_to(CONFIGS).as_posix() if path.is_relative_to(CONFIGS) else f"{number} {path.name}": (
            path.read_text()
        )
        for number, path in enumerate(files)
    }


AXES = {f.metadata["axis"]: f for f in fields(Request) if f.metadata["axis"]}
"""Keys of a grid's file that hold lists, and the fields of `Request` that take one value each."""

NEEDED = ("methods", "datasets", "folds")
"""Axes that a grid must name."""


RANGES = {
    "folds": (0, 9999), "ways": (1, 9999), "shots": (1, 9999), "seeds": (0, 2**32 - 1), "test_seeds": (0, 2**32 - 1),
    "devices": (1, 9999),
}  # fmt: skip
"""Least and largest numbers of a grid's file."""


@cache
def grid_schema() -> Any:
    """Return the pydantic model of a grid's file: lists for axes, single values for the other options of a request."""
    # spared until it is needed
    from pydantic import ConfigDict, Field, create_model

    hints = get_type_hints(Request)
    schema: dict[str, Any] = {}
    for key, axis in AXES.items():
        default: Any = axis.default
        item = get_args(hints[axis.name])[0] if get_args(hints[axis.name]) else hints[axis.name]
        if key in RANGES:
            item = Annotated[item, Field(ge=RANGES[key][0], le=RANGES[key][1])]
        kind = Annotated[list[item], Field(min_length=1)]  # type: ignore[valid-type]
        schema[key] = (kind, ... if key in NEEDED else [default])
    for f in fields(Request):
        if f.metadata["grid"] and f.metadata["axis"] is None:
            schema[f.name] = (hints[f.name], f.default)
            if f.name in RANGES:
                schema[f.name] = (hints[f.name], Field(f.default, ge=RANGES[f.name][0], le=RANGES[f.name][1]))
    schema["variants"] = (Annotated[list[list[str]], Field(min_length=1)], [[]])
    schema["data_roots"] = (dict[str, str], {})
    return create_model("Grid", __config__=ConfigDict(extra="forbid"), **schema)


def read_grid(files: Sequence[str | Path], data_roots: Mapping[str, str] = {}, fast: bool = False) -> list[GridCell]:
    """Return the cells of grid files, each once, in the files' order.

    Args:
        files: the grids, or names of configs/grids.
        data_roots: folders of data sets by name, before the files' own.
        fast: whether to make trials of all.

    Raises:
        SettingsError: a key, method, data set or backbone is unknown, or a value of another kind.
    """
    cells: list[GridCell] = []
    for file in map(grid_file, files):
        grid = read_yaml(file, grid_schema(), "a grid").model_dump()
        roots = {**grid.pop("data_roots"), **data_roots}
        variants = [tuple(arguments) for arguments in grid.pop("variants")]
        axes = [grid.pop(key) for key in AXES]
        common: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in grid.items()
        }
        common["fast"] = fast or common["fast"]
        for *values, variant in product(*axes, variants):
            one: dict[str, Any] = {axis.name: value for axis, value in zip(AXES.values(), values, strict=True)}
            one |= {"methods": (one["methods"],), "folds": (one["folds"],), "data_root": roots.get(one["dataset"])}
            request = Request(**(common | {"extra": (*common["extra"], *variant)}), **one)
            backbone = request.backbone_of(request.methods[0])
            config_files(request.methods[0], request.dataset, backbone=backbone)  # all names are known
            cells.append(GridCell(request))
    return list(dict.fromkeys(cells))
