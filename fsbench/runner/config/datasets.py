"""Data sets of configs/data as objects, without a configuration's parser and without torch."""

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from fsbench.base.errors import SettingsError, did_you_mean
from fsbench.runner.config.registry import check_known, names, read_config


def choose_dataset(given: str | None, stated: str, source: str) -> str:
    """Return the name of the data set that the user gives, else the name that a file states.

    Args:
        given: the user's choice, a name, FILE.py:Class or FILE.yaml; None if there is none.
        stated: name of the data set in the file. The file need not be trusted: only known names are accepted, so that
            no class is imported.
        source: words for the file in error messages, such as "the manifest e.jsonl".

    Raises:
        SettingsError: the user names none, and the name in the file is unknown.
    """
    if given is None and stated not in names("data"):
        raise SettingsError(
            f"{source} is of the data set {stated[:100]!a}, which is not known here; expected a name of fsbench list; "
            "name it with --dataset (dataset=…)"
        )
    return given or stated


def open_dataset(name: str, root: str | Path | None = None, lists: Sequence[str] = ()) -> Any:
    """Build a data set from its configuration in configs/data.

    Args:
        name: name of the data set in configs/data or of an installed package.
        root: folder of the data; None for the configuration's.
        lists: folders with official list files; empty for the configuration's.

    Raises:
        SettingsError: the data set is unknown, or has no such setting.
        DataError: files of the data set are missing or invalid.
    """
    content = _settings(name)
    arguments = dict(content.get("init_args", {}))
    arguments |= {"root": str(root)} if root is not None else {}
    arguments |= {"lists": [str(folder) for folder in lists]} if lists else {}
    return build_dataset(name, resolve_name(content["class_path"]), arguments)


def build_dataset(name: str, kind: type, arguments: Mapping[str, Any]) -> Any:
    """Build a data set from plain values, as YAML has them.

    Args:
        name: name of the data set, for messages.
        kind: class of the data set.
        arguments: {name: value} of the class's arguments.

    Raises:
        SettingsError: the class has no such argument, or cannot use a value.
        DataError: files of the data set are missing or invalid.
    """
    known = inspect.signature(kind).parameters
    for key in arguments:
        if key not in known:
            raise SettingsError(
                f"the data set {name} has no setting {key}{did_you_mean(key, list(known))}; it has {', '.join(known)}"
            )
    try:
        return kind(**arguments)
    except (TypeError, AttributeError) as error:  # of a value of another kind, which the class did not look at
        raise SettingsError(
            f"the data set {name} cannot be made of {dict(arguments)} ({error}); expected values that {kind.__name__} "
            "takes"
        ) from error


def takes_as_they_are(kind: type, arguments: Any) -> bool:
    """Return whether `arguments` are {name: value} of a class, each value of a type that the class states.

    False if nothing can be said, since a type is known to the class's file alone.
    """
    from pydantic import ConfigDict, TypeAdapter, ValidationError  # 0.1 s, which other commands spare

    config = ConfigDict(strict=True, arbitrary_types_allowed=True)
    try:
        known = inspect.signature(kind, eval_str=True).parameters
        if not isinstance(arguments, dict) or not all(name in known for name in arguments):
            return False
        for name, value in arguments.items():
            TypeAdapter(known[name].annotation, config=config).validate_python(value)
    except (ValidationError, NameError):
        return False
    return True


def root_of(name: str | None, given: str) -> str:
    """Return the folder that a user gives for a data set, as DIR or as DATASET=DIR.

    Args:
        name: name of the data set; None if it is not known because a file states it.
        given: the user's text. A path may contain "=", unless the name of a data set stands before it.

    Raises:
        SettingsError: the text begins with the name of another data set.

    Examples:
        >>> root_of("coco", "/data/coco"), root_of("coco", "coco=/data/coco"), root_of("coco", "seed=1/coco")
        ('/data/coco', '/data/coco', 'seed=1/coco')
    """
    other, sign, folder = given.partition("=")
    if not sign or (other != name and other not in names("data")):
        return given
    if name not in (None, other):
        raise SettingsError(
            f"--data-root is '{given}', a folder of {other}, and the data set is {name}; expected its own folder, DIR "
            f"or {name}=DIR"
        )
    return folder


def usual_protocol(name: str, root: str | Path | None) -> str | None:
    """Return the protocol of tests of a folder of one's own without `folds.yaml`; None for others and absent ones.

    All its classes are in one fold, so that there is nothing to train on. `root` may be None for the configuration's.
    """
    if name != "folder":
        return None
    folder = Path(root or _settings(name)["init_args"]["root"]).expanduser()
    return "fixed_supports" if folder.exists() and not (folder / "folds.yaml").is_file() else None


def usual_root(name: str) -> Path | None:
    """Return the folder in which a data set's configuration expects the data; None if the configuration names none.

    Raises SettingsError for an unknown data set.
    """
    root = _settings(name).get("init_args", {}).get("root")
    return None if root is None else Path(root)


def _settings(name: str) -> dict[str, Any]:
    check_known("data", "data set", name)
    settings: dict[str, Any] = read_config("data", name)["data"]["init_args"]["dataset"]
    return settings
