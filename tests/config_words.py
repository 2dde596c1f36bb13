"""A run as the words of a command line, and back."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from fsbench.base.files import fingerprint
from fsbench.runner.config.merge import merge_files, merge_settings, parted_arguments, stated_values
from fsbench.runner.config.run_config import RunConfig

if TYPE_CHECKING:
    from fsbench.runner.config.parse import ParsedRun


def parse_run(run: RunConfig, build: bool = True) -> "ParsedRun":
    """Check a run's settings, its single ones as if they stood in its files: the parser takes as long for one word of a
    command line as for all files."""
    from fsbench.runner.config.parse import parse_values  # with torch

    return parse_values(run.values, build=build)


def parse(arguments: Sequence[str], build: bool = True) -> "ParsedRun":
    """Read a run's settings from `--config` files and single settings over them, as one file would hold them."""
    from fsbench.runner.config.parse import parse_values  # with torch

    files, others = parted_arguments(arguments)
    return parse_values(merge_settings(merge_files(files), stated_values(others)), build=build)


def config_words(run: RunConfig) -> list[str]:
    """Return arguments of `fsbench bench` that make exactly this run, in LightningCLI's form."""
    files = [f"--config={file}" for file in run.files]
    return [*files, *(f"--{key}={_text(value)}" for key, value in run.settings.items()), *run.extra]


def settings_file(values: Mapping[str, Any], folder: Path) -> str:
    """Write nested settings to a file in a folder and return the argument that names it."""
    text = yaml.safe_dump(dict(values), sort_keys=False)
    file = folder / f"{fingerprint(text)}.yaml"
    file.write_text(text)
    return f"--config={file}"


def judged_parts(values: Mapping[str, Any], place: str = "") -> set[str]:
    """Return the single settings of nested values, each with its key and the class that takes it.

    The parser judges each of them by itself, and takes longer than all else: runs whose settings were all judged with
    those of others need none.
    """
    parts = set()
    for name, value in values.items():
        key = f"{place} {values.get('class_path', '')} {name}"
        parts |= judged_parts(value, key) if isinstance(value, Mapping) and value else {f"{key}: {value!r}"}
    return parts


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, str | int) else f"[{','.join(value)}]"
