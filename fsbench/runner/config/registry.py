"""The registry: the folders of configs name the methods, data sets, backbones and protocols.

Installed packages add folders of their own and single classes (`fsbench.base.plugins`); `FILE.py:Class` and `FILE.yaml`
stand for themselves.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, Literal, get_args

from fsbench.base.class_file import class_names, is_class_file
from fsbench.base.errors import SettingsError, known_names, near_path
from fsbench.base.files import is_file, load_yaml, read_text
from fsbench.base.paths import CONFIGS
from fsbench.base.plugins import GROUPS, NamedFile, PlugIn, clash, named_files, named_objects, owner
from fsbench.data.source import Source
from fsbench.protocols.reading import load_protocol, protocol_of_method
from fsbench.runner.config.class_settings import settings_of_file, settings_of_object, with_class_file

TaskName = Literal["segmentation", "classification"]
TASKS: tuple[TaskName, ...] = get_args(TaskName)


@cache
def _named(kind: str) -> dict[str, NamedFile | PlugIn]:
    """Return the files of the folder `kind` by their stems, and the objects that packages name and that have no file.

    Files of pairs such as `emat.coco` are among them. A package's own file goes before its object.

    Raises SettingsError where a name is given twice.
    """
    found: dict[str, NamedFile | PlugIn] = {**named_files(kind, CONFIGS)}
    for name, plug_in in named_objects(kind).items() if kind in GROUPS else ():
        other = found.setdefault(name, plug_in)
        if isinstance(other, NamedFile) and (other.plug_in is None or other.plug_in.package != plug_in.package):
            raise clash(kind, name, other.origin, str(plug_in))
    return found


@cache
def names(kind: str) -> dict[str, str]:
    """Return {name: description} of all methods, data sets or other things in configs/`kind` of fsbench and packages.

    Args:
        kind: folder below configs, such as "methods", "data" or "backbones".

    Raises:
        SettingsError: a name is used twice, by packages or as an alias.
    """
    known = {}
    for name, one in _named(kind).items():
        if isinstance(one, PlugIn):
            known[name] = str(one)
        elif "." not in name:
            known[name] = read_text(one.path, "settings").split("\n")[0].removeprefix("# ")
    if kind == "methods":
        for name in known.keys() & aliases():
            plug_in = plug_in_of(kind, name)
            raise clash(kind, name, f"an alias of {CONFIGS / 'aliases.yaml'}", plug_in.origin if plug_in else "a file")
    return dict(sorted(known.items()))


def read_config(kind: str, name: str) -> dict[str, Any]:
    """Return the settings for a known name, such as a method, from its file or its class; do not change them.

    Args:
        kind: folder of configs, such as "methods", "data" or "backbones".
        name: the known name.

    Raises:
        SettingsError: the file or class behind the name cannot be used.
    """
    config = _config(kind, name)
    return read_settings(config) if isinstance(config, Path) else config


def _config(kind: str, name: str) -> Path | dict[str, Any]:
    """Return the configuration file of a name of `kind`; of a class without one, its settings."""
    if is_class_file(name):
        return settings_of_file(kind, name, known=[*names(kind), *(aliases() if kind == "methods" else ())])
    if _is_path(name):
        if not is_file(name):
            near = near_path(Path(name)) or "; correct the path"
            raise SettingsError(f"there is no file {name}; expected a configuration in YAML{near}")
        return Path(name).absolute()
    one = _named(kind).get(name)
    if isinstance(one, PlugIn):
        return settings_of_object(kind, one)
    return one.path if one else CONFIGS / kind / f"{name}.yaml"


def shipped_file(path: str | Path) -> Path:
    """Return `path`, or fsbench's own file if `path` is missing and begins with configs/."""
    path = Path(path)
    own = CONFIGS.parent / path
    if path.parts[:1] == (CONFIGS.name,) and not is_file(path) and ".." not in path.parts and is_file(own):
        return own
    return path


def grid_file(name: str | Path) -> Path:
    """Return the file of a grid of runs, given as a path or as a name in configs/grids.

    Raises:
        SettingsError: there is no such file or name.
    """
    path = shipped_file(name)
    if is_file(path) or _is_path(path.name) or len(path.parts) != 1:
        return path  # who reads it says what is wrong with it
    if path.name not in names("grids"):
        raise SettingsError(f"there is no file and no grid '{path.name}'{known_names(path.name, names('grids'))}")
    grid = _named("grids")[path.name]
    assert isinstance(grid, NamedFile)  # packages name no single grid
    return grid.path


def _is_path(name: str) -> bool:
    """Return whether a name is that of a YAML file of the user's."""
    return name.endswith((".yaml", ".yml"))


def is_shipped(kind: str, name: str) -> bool:
    """Return whether `name` in configs/`kind` belongs to fsbench itself; else it is a package's or a user's own."""
    one = _named(kind).get(name)
    return isinstance(one, NamedFile) and one.plug_in is None


def plug_in_of(kind: str, name: str) -> PlugIn | None:
    """Return the package entry point behind a name of `kind`; None for names of fsbench and users' files."""
    one = _named(kind).get(name)
    return one.plug_in if isinstance(one, NamedFile) else one


def plug_in_classes() -> set[str]:
    """Return the full names of all classes that installed packages register with fsbench."""
    classes: set[str] = set()
    for one in (*_named("methods").values(), *_named("data").values()):
        if isinstance(one, PlugIn):
            classes.add(one.class_path)
        elif one.plug_in is not None:
            classes.update(_class_paths(_read(one.path)))
    return classes


def plug_in_of_class(class_path: str) -> PlugIn | None:
    """Return the entry point of the package that contains or registers a class; None for fsbench's classes."""
    if class_path.startswith("fsbench."):
        return None
    files = [one for kind in ("methods", "data") for one in _named(kind).values() if isinstance(one, NamedFile)]
    naming = (file.plug_in for file in files if file.plug_in and class_path in _class_paths(_read(file.path)))
    return owner(class_path) or next(naming, None)


def _class_paths(values: Any) -> Iterator[str]:
    """Yield the values of all keys `class_path` of a configuration's model and data."""
    for key, value in values.items() if isinstance(values, dict) else ():
        if key == "class_path" and isinstance(value, str):
            yield value
        yield from _class_paths(value)


def label(kind: str, name: str) -> str:
    """Return the name that runs and tables print for `name`: itself, or the name of its class or file."""
    if is_class_file(name):
        return name.rpartition(":")[2].lower()
    return Path(name).name.partition(".")[0] if _is_path(name) else name


@cache
def dataset_class(name: str) -> str:
    """Return the full name of the class of the data set `name`."""
    data = read_config("data", name).get("data", {})
    return str(data.get("init_args", {}).get("dataset", {}).get("class_path", ""))


def dataset_source(name: str) -> Source:
    """Return where the data set `name` comes from (download, synthetic, own files), as its class states.

    Raises SettingsError if the class cannot be imported.
    """
    path = dataset_class(name)
    try:
        kind = resolve_name(path)
    except (ImportError, AttributeError, ValueError) as error:
        raise SettingsError(
            f"the data set {name} has the class '{path}', which cannot be imported ({error}); correct its file, or "
            "reinstall its package"
        ) from error
    source: Source = getattr(kind, "source", Source())
    return source


def task_of(kind: str, name: str) -> TaskName:
    """Return "segmentation" or "classification": the task of the method or data set `name`.

    Raises SettingsError if the configuration of `name` states no task.

    Args:
        kind: "methods" or "data".
        name: name of the method or data set.
    """
    task = read_config(kind, name).get("task")
    if task not in TASKS:
        given = "no key 'task'" if task is None else f"the task '{task}'"
        raise SettingsError(
            f"{_config(kind, name)} has {given}; expected a line 'task: {TASKS[0]}' or 'task: {TASKS[1]}'"
        )
    return task


def names_by_task(kind: str) -> tuple[dict[TaskName, dict[str, str]], list[str]]:
    """Return {task: {name of `kind`: description}}, and messages about names whose task is unknown."""
    found: dict[TaskName, dict[str, str]] = {task: {} for task in TASKS}
    problems = []
    for name, line in names(kind).items():
        try:
            found[task_of(kind, name)][name] = line
        except SettingsError as error:  # a package that is broken says nothing of others
            problems.append(str(error))
    return found, problems


def methods_by_protocol() -> dict[str, list[str]]:
    """Return {name of a protocol: methods whose default protocol it is}."""
    found: dict[str, list[str]] = {}
    for known in names_by_task("methods")[0].values():
        for name in known:
            found.setdefault(protocol_of_method(read_config("methods", name)) or "", []).append(name)
    return found


@dataclass(frozen=True)
class MethodChoice:
    """A method of configs/methods with the backbone to use; None stands for the method's own backbone."""

    method: str
    backbone: str | None = None

    @property
    def name(self) -> str:
        """Name in runs and tables: the alias for method and backbone if there is one, else the method's name.

        A backbone that is not the method's own is added to the method's name.
        """
        for alias, choice in aliases().items():
            if choice == self:
                return alias
        method = label("methods", self.method)
        if self.backbone is None or self.backbone == _own_backbone(self.method):
            return method
        return f"{method}_{self.backbone}"


@cache
def aliases() -> dict[str, MethodChoice]:
    """Return {alias: method and backbone} of configs/aliases.yaml."""
    return {name: MethodChoice(**pair) for name, pair in _read(CONFIGS / "aliases.yaml").items()}


def choose_method(name: str, backbone: str | None = None) -> MethodChoice:
    """Return a method with its backbone, from the name of a method or an alias and an optional backbone.

    An alias stands for a method with a certain backbone. Raises SettingsError for an unknown name, and for an alias
    together with another backbone.
    """
    choice = aliases().get(name)
    if choice is None:
        if is_class_file(name) or _is_path(name):
            read_config("methods", name)
        elif name not in names("methods"):
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
    model = read_config("methods", method).get("model") or {}
    return model.get("init_args", {}).get("backbone", {}).get("name")


def check_known(kind: str, what: str, name: str) -> None:
    """Raise SettingsError unless configs/`kind` has `name`; `what` is a word for the kind, such as "method"."""
    if kind == "data" and (is_class_file(name) or _is_path(name)):
        read_config(kind, name)
    elif kind == "protocols":
        load_protocol(name)
    elif name not in names(kind):
        raise SettingsError(_unknown(what, name, names(kind)))


def _unknown(what: str, name: str, known: Iterable[str]) -> str:
    if name.endswith(".py"):
        if not is_file(name):
            return f"there is no file {name}; expected FILE.py:Class{near_path(Path(name)) or '; correct the path'}"
        classes = " or ".join(f"{name}:{one}" for one in class_names(Path(name)))
        if not classes:
            return f"{name} is a file without a class; expected FILE.py:Class"
        return f"{name} is a file; expected one of its classes: {classes}"
    return f"unknown {what} '{name}'{known_names(name, known, ' (see: fsbench list)')}"


def method_classes() -> dict[str, Any]:
    """Import the class of every method of configs/methods and of packages.

    Returns:
        {registry name: class}.

    Raises:
        SettingsError: two classes have the same registry name, by which records and checkpoints identify them.
    """
    named = _named("methods").values()
    configs = [read_settings(one.path) for one in named if isinstance(one, NamedFile)]
    configs += [settings_of_object("methods", one) for one in named if isinstance(one, PlugIn)]
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


def read_settings(file: Path) -> dict[str, Any]:
    """Read a configuration file as plain values, importing a class FILE.py:Class beside it; do not change them."""
    return with_class_file(_read(file), file.parent)


@cache
def _read(file: Path) -> dict[str, Any]:
    try:
        content = load_yaml(file) or {}
    except (OSError, ValueError) as error:
        near = near_path(file) if isinstance(error, FileNotFoundError) else ""
        raise SettingsError(
            f"cannot read the configuration {file} ({error}); expected a mapping in YAML{near}"
        ) from error
    if not isinstance(content, dict):
        raise SettingsError(f"{file} holds {type(content).__name__}, expected a mapping of settings")
    return content


def config_files(
    method: str, dataset: str | None = None, fast: bool = False, backbone: str | None = None
) -> list[Path | dict[str, Any]]:
    """Return the configuration files of a run, later ones overriding earlier ones.

    In order these are base.yaml, the file of the method, in a trial that of its smaller networks, the file of the data
    set, of method and data set together, of the backbone, of method and backbone together, and those of a trial (any,
    on this data set, of this method on it). Hence an explicit backbone overrides the data set's.

    Args:
        method: name of a method, or of an alias for a method with a backbone.
        dataset: name of the data set; None to leave its files out.
        fast: whether the run is a short trial of a few minutes.
        backbone: name of the backbone to use; None for that of the method or the data set.

    Raises:
        SettingsError: a name is unknown, or the data set is for another task.
    """
    choice = choose_method(method, backbone)
    method, backbone = choice.method, choice.backbone
    task = task_of("methods", method)
    files = [CONFIGS / "base.yaml", _config("methods", method)]
    files += _pair("methods", method, "fast") if fast else []
    if dataset is not None:
        check_known("data", "data set", dataset)
        if (other := task_of("data", dataset)) != task:
            suitable = ", ".join(names_by_task("data")[0][task])
            raise SettingsError(
                f"{method} is a method of {task}, and {dataset} a data set for {other}; data sets for {method}: "
                f"{suitable} (see: fsbench list)"
            )
        files += [_config("data", dataset), *_pair("methods", method, label("data", dataset))]
    if backbone is not None:
        files += [_config("backbones", backbone), *_pair("backbones", backbone, method)]
    if fast:
        files.append(CONFIGS / ("fast.yaml" if task == "segmentation" else "fast_classification.yaml"))
        if dataset is not None:
            files += [*_pair("data", dataset, "fast"), *_pair("methods", method, f"{label('data', dataset)}.fast")]
    return files


def _pair(kind: str, first: str, second: str) -> list[Path]:
    """Return the file of what two names need together, if there is one; beside FILE.yaml its own FILE.<second>.yaml."""
    if _is_path(first):
        own = Path(first).absolute().with_suffix(f".{second}.yaml")
        return [own] if own.is_file() else []
    file = _named(kind).get(f"{first}.{second}")
    return [file.path] if isinstance(file, NamedFile) else []
