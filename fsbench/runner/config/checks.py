"""Everything of runs that can be wrong and is seen without importing torch or a method: all of it at once.

What needs the data, the networks or the classes themselves is checked where these are built.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from fsbench.base.errors import FsbenchError, SettingsError
from fsbench.base.files import check_can_be_made
from fsbench.data.episodes.settings import SETTINGS, unknown_setting
from fsbench.protocols.reading import load_segmentation
from fsbench.runner.config.merge import setting
from fsbench.runner.config.needs import missing_files
from fsbench.runner.config.registry import check_known, task_of
from fsbench.runner.config.run_config import RunConfig


def wrong_names(runs: Sequence[RunConfig]) -> list[FsbenchError]:
    """Return an error for each wrong name, value or folder in the settings of runs, each once."""
    return _distinct(error for run in runs for error in _of_run(run))


def absent_files(runs: Sequence[RunConfig]) -> list[FsbenchError]:
    """Return an error for each missing file or folder (data, weights, checkpoint, lists) that the runs need."""
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
        wrong = _raised(lambda: run.values)
        yield from wrong or _of_task(run)


def _of_task(run: RunConfig) -> Iterator[FsbenchError]:
    """Yield what is wrong with fold, way and setting, as far as the data set's class and the protocol tell."""
    if task_of("data", run.dataset) != "segmentation":
        if run.fold != 0:
            yield SettingsError(f"unknown fold {run.fold} for {run.dataset}; classification has no folds, only 0")
        return
    folds, classes = _fact(run, "folds"), _fact(run, "classes_of_fold")
    if isinstance(folds, int) and run.fold >= folds:
        yield SettingsError(f"unknown fold {run.fold} for {run.dataset}; it has folds 0 to {folds - 1}")
    elif run.way is not None and isinstance(classes, int) and run.way > classes:
        yield SettingsError(f"way {run.way} is more than the {classes} classes of fold {run.fold}")
    protocol = setting(run.values, "data.test.protocol")
    if isinstance(protocol, str) and run.setting in (None, *SETTINGS):
        draw = load_segmentation(protocol).draw
        yield from _raised(draw.check_choices, protocol, run.setting or SETTINGS[0], run.way or 1)


def _fact(run: RunConfig, name: str) -> Any:
    """Return an attribute of the data set's class, whose import needs no torch; None if it has none."""
    try:
        return getattr(resolve_name(str(setting(run.values, "data.dataset.class_path"))), name, None)
    except (ImportError, AttributeError, ValueError):
        return None  # the parser says what is wrong with the class


def _raised(check: Callable[..., Any], *arguments: Any) -> list[FsbenchError]:
    """Return the error that a check raises, in a list; an empty one where it raises none."""
    try:
        check(*arguments)
    except FsbenchError as error:
        return [error]
    return []


def _distinct(errors: Iterator[FsbenchError]) -> list[FsbenchError]:
    return list({str(error): error for error in errors}.values())
