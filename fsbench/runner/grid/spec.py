"""A grid: every combination of methods, data sets, folds, ways, shots, settings, seeds and variants that a file names.

A variant is a list of further arguments in LightningCLI's form, such as one rule of the method.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from fsbench.base.files import read_yaml
from fsbench.runner.config.registry import grid_file
from fsbench.runner.config.run_config import RunConfig, run_configs, run_options

NEEDED = ("methods", "datasets", "folds")
"""Axes that a grid must name."""


@cache
def grid_schema() -> Any:
    """Return the pydantic model of a grid's file: axes with one or more values, and single options."""
    from pydantic import BeforeValidator, ConfigDict, Field, create_model  # other commands spare its import

    def listed(value: Any) -> Any:
        return value if isinstance(value, list) else [value]

    schema: dict[str, Any] = {}
    for option in run_options():
        kind: Any = option.kind
        if kind is int:
            kind = Annotated[int, Field(ge=option.least or 0, le=2**32 - 1)]
        if option.axis is not None:
            values = Annotated[list[kind], Field(min_length=1), BeforeValidator(listed)]
            schema[option.axis] = (values, ... if option.axis in NEEDED else [None])
        elif option.grid:
            schema[option.field] = (kind if kind is bool else kind | None, None)
    schema["lists"] = (list[str], [])
    schema["extra"] = (list[str], [])
    schema["variants"] = (Annotated[list[list[str]], Field(min_length=1)], [[]])
    schema["data_roots"] = (dict[str, str], {})
    return create_model("Grid", __config__=ConfigDict(extra="forbid"), **schema)


def read_grid(files: Sequence[str | Path], data_roots: Mapping[str, str] = {}, **common: Any) -> list[RunConfig]:
    """Return the runs of grid files, each once, in the files' order.

    Args:
        files: YAML files of grids (settings with lists of values, which make a run for each combination), or names in
            configs/grids.
        data_roots: {data set: folder}, which override those of the files.
        **common: fields for all runs, which override those of the files, such as `fast=True`.

    Raises:
        SettingsError: a key, method, data set or backbone is unknown, or a value has the wrong type.
    """
    runs: list[RunConfig] = []
    for file in map(grid_file, files):
        grid = read_yaml(file, grid_schema(), "a grid").model_dump()
        roots = {**grid.pop("data_roots"), **data_roots}
        variants = [tuple(arguments) for arguments in grid.pop("variants")]
        axes = {option.field: grid.pop(option.axis) for option in run_options() if option.axis is not None}
        extra, lists = tuple(grid.pop("extra")), tuple(grid.pop("lists"))
        given = {key: value for key, value in (grid | common).items() if value is not None}
        for run in run_configs(axes | {"extra": [(*extra, *variant) for variant in variants]}, lists=lists, **given):
            _ = run.files  # all names are known
            runs.append(replace(run, data_root=roots.get(run.dataset)))
    return list(dict.fromkeys(runs))
