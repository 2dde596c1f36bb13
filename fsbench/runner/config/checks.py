"""Everything of runs that can be wrong and is seen without importing torch or a method: all of it at once.

What needs the data, the networks or the classes themselves is checked where these are built.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from fsbench.base.errors import FsbenchError, SettingsError
from fsbench.base.files import check_can_be_made
from fsbench.data.episodes.settings import SETTINGS, unknown_setting
from fsbench.runner.config.needs import missing_files
from fsbench.runner.config.registry import check_known
from fsbench.runner.config.run_config import RunConfig


def wrong_names(runs: Sequence[RunConfig]) -> list[FsbenchError]:
    """Return an error about each name, word or folder that is wrong in any of the runs, each once."""
    return _distinct(error for run in runs for error in _of_run(run))


def absent_files(runs: Sequence[RunConfig]) -> list[FsbenchError]:
    """Return an error about each file or folder that any of the runs needs and that is absent."""
    return _distinct(missing.error for run in runs for missing in missing_files(run))


def _of_run(run: RunConfig) -> Iterator[FsbenchError]:
    names = [*_raised(lambda: run.choice), *_raised(check_known, "data", "data set", run.dataset)]
    yield from names
    if run.protocol is not None:
        yield from (wrong := _raised(check_known, "protocols", "protocol", run.protocol))
        names += wrong
    if run.setting is not None and run.setting not in SETTINGS:
        yield SettingsError(unknown_setting(run.setting))
    yield from _raised(check_can_be_made, Path(run.runs))
    if not names:
        yield from _raised(lambda: run.values)


def _raised(check: Callable[..., Any], *arguments: Any) -> list[FsbenchError]:
    """Return the error that a check raises, in a list; an empty one where it raises none."""
    try:
        check(*arguments)
    except FsbenchError as error:
        return [error]
    return []


def _distinct(errors: Iterator[FsbenchError]) -> list[FsbenchError]:
    return list({str(error): error for error in errors}.values())
