"""The request of a blind test: the options that it may have, and the files that the method's process needs."""

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

from fsbench.base.errors import SettingsError
from fsbench.doors.blind.sandbox import importable_files
from fsbench.runner.config.class_file import is_class_file
from fsbench.runner.config.compose import compose, setting, split_arguments
from fsbench.runner.config.request import Request

_NOT_TAKEN = {
    "devices": "a blind test is one process on one device",
    "support_annotation": "supports of a blind test have masks",
    "keep_predictions": "a blind test keeps masks",
    "force": "a blind test that is finished is repeated without it, and one that is not goes on where it was",
    "filter": "a blind test does not train",
    "micro_batch": "a blind test does not train",
}
"""Options of `fsbench bench` that a blind test does not have, and why."""


def check_request(request: Request) -> None:
    """Raise SettingsError for an option that a blind test does not have."""
    for option in fields(Request):
        value = getattr(request, option.name)
        if option.name in _NOT_TAKEN and value != option.default and not (option.name == "devices" and value == 1):
            raise SettingsError(
                f"--blind is given with --{option.name.replace('_', '-')}, and {_NOT_TAKEN[option.name]}; leave one out"
            )
    if setting(compose(request.extra).values, "data.dataset") is not None:
        raise SettingsError(
            "--blind is given with data.dataset; expected --dataset, --data-root and --lists, since this process reads "
            "the data set and the method's does not"
        )


def absolute_request(request: Request) -> Request:
    """Return a request of one method and one fold that means the same in another folder, with the files that it names.

    Its placeholders are filled in, and a checkpoint's folder is its file.
    """
    method, fold = request.methods[0], request.folds[0]
    checkpoint, weights = request.checkpoint_of(method, fold), request.weights_of(method, fold)
    manifest = request.manifest_of(method, fold)
    return replace(
        request,
        methods=[_absolute_name(method)],
        dataset=_absolute_name(request.dataset),
        checkpoint=None if checkpoint is None else str(_absolute(checkpoint)),
        manifest=None if manifest is None else str(_absolute(manifest)),
        weights=str(_absolute(weights)) if weights and _absolute(weights).exists() else weights,
        extra=_absolute_configs(request.extra),
    )


def method_files(request: Request) -> dict[str, Path]:
    """Return the files of a request that a method's answers follow from: "method", "checkpoint" and "weights".

    Args:
        request: see `absolute_request`.
    """
    named = {
        "method": _file_of_name(request.methods[0]),
        "checkpoint": None if request.checkpoint is None else Path(request.checkpoint),
        "weights": None if request.weights is None else Path(request.weights),
    }
    return {name: file for name, file in named.items() if file is not None and file.is_file()}


def readable_files(request: Request) -> list[Path]:
    """Return all files that a method's process may read: its own with the modules beside, weights, configurations.

    Args:
        request: see `absolute_request`.
    """
    classes = [file for name in (request.methods[0], request.dataset) if (file := _file_of_name(name)) is not None]
    configs = [Path(value) for key, value in split_arguments(request.extra) if key == "config" and value]
    beside = [found for file in classes for found in files_beside(file)]
    return [*beside, *method_files(request).values(), *configs]


def files_beside(path: Path) -> list[Path]:
    """Return a method's file, and the modules and packages in its folder, which it may import."""
    settings = sorted(path.parent.glob(f"{path.stem}*.yaml")) if path.suffix in (".yaml", ".yml") else []
    return list(dict.fromkeys([path, *importable_files(path.parent), *settings]))


def _file_of_name(name: str) -> Path | None:
    """Return the file of FILE.py:Class or FILE.yaml; None for other names."""
    if is_class_file(name):
        return Path(name.rpartition(":")[0])
    return Path(name) if name.endswith((".yaml", ".yml")) else None


def _absolute_name(name: str) -> str:
    """Return FILE.py:Class or FILE.yaml with an absolute path; other names as they are."""
    file = _file_of_name(name)
    if file is None:
        return name
    return f"{_absolute(file)}:{name.rpartition(':')[2]}" if is_class_file(name) else str(_absolute(file))


def _absolute(path: str | Path) -> Path:
    return Path(path).expanduser().absolute()


def _absolute_configs(extra: Sequence[str]) -> list[str]:
    """Return arguments in LightningCLI's form with absolute paths of files of `--config`; its names stay names."""
    words = []
    for key, value in split_arguments(extra):
        if key == "config" and value is not None and _absolute(value).is_file():
            value = str(_absolute(value))
        words.append("=".join(filter(None, [f"--{key}" * bool(key), value])))
    return words
