"""The registry: the folders of configs name the methods, data sets, backbones and protocols."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, Literal, get_args

from fsbench.errors import SettingsError, did_you_mean
from fsbench.paths import CONFIGS

TaskName = Literal["segmentation", "classification"]
TASKS: tuple[TaskName, ...] = get_args(TaskName)


@cache
def names(kind: str) -> dict[str, str]:
    """Return the names in configs/`kind`, each with the first comment line of its file."""
    files = sorted((CONFIGS / kind).glob("*.yaml"))
    return {f.stem: f.read_text().split("\n")[0].removeprefix("# ") for f in files if "." not in f.stem}


@cache
def task_of(kind: str, name: str) -> TaskName:
    """Return the task of configs/`kind`/`name`, its key `task`.

    Raises SettingsError for a file that has none.
    """
    file = CONFIGS / kind / f"{name}.yaml"
    task = _read_yaml(file).get("task")
    if task not in TASKS:
        given = "no key 'task'" if task is None else f"the task '{task}'"
        raise SettingsError(f"{file} has {given}; expected a line 'task: {TASKS[0]}' or 'task: {TASKS[1]}'")
    return task


@dataclass(frozen=True)
class MethodChoice:
    """A method of configs/methods, with the backbone of configs/backbones that was asked for (None: its own)."""

    method: str
    backbone: str | None = None

    @property
    def name(self) -> str:
        """Name of its runs: the alias where the pair has one, the method with its own backbone, else both names."""
        for alias, choice in aliases().items():
            if choice == self:
                return alias
        if self.backbone is None or self.backbone == _own_backbone(self.method):
            return self.method
        return f"{self.method}_{self.backbone}"


@cache
def aliases() -> dict[str, MethodChoice]:
    """Return the pairs of method and backbone that configs/aliases.yaml names."""
    return {name: MethodChoice(**pair) for name, pair in _read_yaml(CONFIGS / "aliases.yaml").items()}


def choose_method(name: str, backbone: str | None = None) -> MethodChoice:
    """Return the method, or the alias's method and backbone, that `name` stands for.

    Raises SettingsError for unknown names, and where an alias is given together with another backbone than its own.
    """
    choice = aliases().get(name)
    if choice is None:
        if name not in names("methods"):
            known = [*names("methods"), *aliases()]
            raise SettingsError(_unknown("method", name, known))
        choice = MethodChoice(name, backbone)
    elif backbone not in (None, choice.backbone):
        raise SettingsError(
            f"{name} is {choice.method} with the backbone {choice.backbone}, but the backbone {backbone} is asked for; "
            f"expected the method {choice.method} with it"
        )
    if choice.backbone is not None:
        check_known("backbones", "backbone", choice.backbone)
    return choice


def _own_backbone(method: str) -> str | None:
    """Return the backbone that configs/methods/`method` asks for itself."""
    model = _read_yaml(CONFIGS / "methods" / f"{method}.yaml").get("model") or {}
    return model.get("init_args", {}).get("backbone", {}).get("name")


def check_known(kind: str, what: str, name: str) -> None:
    """Raise SettingsError unless configs/`kind` has `name`; `what` names the kind in the message."""
    if name not in names(kind):
        raise SettingsError(_unknown(what, name, names(kind)))


def _unknown(what: str, name: str, known: Iterable[str]) -> str:
    return f"unknown {what} '{name}'; there are: {', '.join(known)} (see: fsbench list){did_you_mean(name, known)}"


def method_classes() -> dict[str, Any]:
    """Import the class of every method in configs/methods.

    Returns:
        The classes by their registry names.

    Raises:
        SettingsError: two classes have one registry name, so that records and checkpoints could not tell them apart.
    """
    configs = map(_read_yaml, sorted((CONFIGS / "methods").glob("*.yaml")))
    paths = dict.fromkeys(
        config["model"]["class_path"] for config in configs if "class_path" in config.get("model", {})
    )
    classes: dict[str, Any] = {}
    for path in paths:
        method = resolve_name(path)
        other = classes.setdefault(method.registry_name, method)
        if other is not method:
            raise SettingsError(
                f"{path} and {other.__module__}.{other.__qualname__} are both '{method.registry_name}' in records; "
                "expected classes whose names differ in lower case; rename one"
            )
    return classes


def _read_yaml(file: Path) -> dict[str, Any]:
    import yaml  # with its 20 ms: most commands read no configuration

    return yaml.safe_load(file.read_text()) or {}


def config_files(
    method: str, dataset: str | None = None, fast: bool = False, backbone: str | None = None
) -> list[Path]:
    """Return the configuration files of a run, later ones over earlier ones.

    These are base.yaml, the method's, the data set's, what the two need together, the backbone's, what method and
    backbone need together, and those of a trial: of any, on the data set, of the method on it. An explicit backbone so
    wins over the data set's.

    Args:
        method: a method or an alias.
        dataset: the data set; None for the method alone.
        fast: whether the run is a trial of a few minutes.
        backbone: the explicit backbone; None for that of the method or the data set.

    Raises:
        SettingsError: a name is unknown, or the data set is for another task.
    """
    methods, backbones = CONFIGS / "methods", CONFIGS / "backbones"
    choice = choose_method(method, backbone)
    method, backbone = choice.method, choice.backbone
    task = task_of("methods", method)
    files = [CONFIGS / "base.yaml", methods / f"{method}.yaml"]
    if dataset is not None:
        _check_dataset(dataset, method, task)
        files += [CONFIGS / "data" / f"{dataset}.yaml", *_existing(methods / f"{method}.{dataset}.yaml")]
    if backbone is not None:
        files += [backbones / f"{backbone}.yaml", *_existing(backbones / f"{backbone}.{method}.yaml")]
    if fast:
        files.append(CONFIGS / ("fast.yaml" if task == "segmentation" else "fast_classification.yaml"))
        files += _existing(CONFIGS / "data" / f"{dataset}.fast.yaml")
        files += _existing(methods / f"{method}.{dataset}.fast.yaml")
    return files


@cache
def configured_protocol(files: tuple[Path, ...]) -> str | None:
    """Return the protocol that configuration files name, the last one's; None for a method of classification."""
    if any(_read_yaml(file).get("task") == "classification" for file in files):
        return None
    named = [_read_yaml(file).get("data", {}).get("init_args", {}).get("protocol") for file in files]
    return next((name for name in reversed(named) if name is not None), None)


def _existing(file: Path) -> list[Path]:
    return [file] if file.is_file() else []


def _check_dataset(dataset: str, method: str, task: TaskName) -> None:
    """Raise SettingsError unless the data set is known and for the method's task."""
    check_known("data", "data set", dataset)
    other = task_of("data", dataset)
    if other != task:
        suitable = ", ".join(name for name in names("data") if task_of("data", name) == task)
        raise SettingsError(
            f"{method} is a method of {task}, and {dataset} a data set for {other}; data sets for {method}: "
            f"{suitable} (see: fsbench list)"
        )
