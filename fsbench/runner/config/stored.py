"""The `config.yaml` of a finished run, which may be anybody's.

Only classes of the suite, of installed packages, and of files that the command itself names are built from it.
"""

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from pkgutil import resolve_name
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from fsbench.base.class_file import named_file
from fsbench.base.errors import SettingsError
from fsbench.base.files.yaml_files import load_yaml
from fsbench.data.dataset import AnyData, ClassificationData, SegmentationData
from fsbench.protocols.reading import is_protocol_file
from fsbench.records.class_files import class_not_named
from fsbench.runner.config.class_settings import CLASSES, FILES
from fsbench.runner.config.datasets import build_dataset, takes_as_they_are
from fsbench.runner.config.merge import full_key, merge_settings, nested, value_at
from fsbench.runner.config.registry import plug_in_classes
from fsbench.runner.config.shared_parts import SharedParts, dataset_key
from fsbench.runner.config.trainer_settings import REFUSED

if TYPE_CHECKING:
    from fsbench.runner.config.parse import ParsedRun

TRUSTED = re.compile(r"fsbench\.(methods|datamodules)(\.\w+)+", re.ASCII)
"""Class paths that a stored configuration may name, besides those that installed packages name."""

DATA_SETS = re.compile(r"fsbench\.datamodules\.datasets(\.\w+)+", re.ASCII)
"""Class paths of the suite's data sets."""

NEEDED = ("seed_everything", "trainer", "model", "data", "task", "run", "ckpt_path")
"""Settings that opening a run takes; an optimiser of the user's is for training alone."""

BUILT = ("trainer", "run", "model", "backbone", "data", "dataset", "source", "validation_source")
"""Keys whose values are mappings; a text there is a class or a file to the parser."""

NOT_NEEDED = {"callbacks", "logger", "plugins", "profiler", "strategy", "accelerator"} | REFUSED.keys()
"""Settings of the trainer that name classes or that a new run would refuse; who opens a run trains nothing."""

STAND_IN: Mapping[str, str] = MappingProxyType({"class_path": "lightning.LightningModule"})
"""Stands for the method where the data of a run are opened alone; it is never built."""

NONE: Mapping[str, Any] = MappingProxyType({})
"""No settings on top of a run's own."""


def parse_stored(config: Path, settings: Mapping[str, Any] = NONE, build: bool = True) -> "ParsedRun":
    """Read a finished run's configuration, and build the method and data that it names.

    Args:
        config: the run's config.yaml.
        settings: {dotted key: value} that replace values of config.yaml, such as `data.dataset.root` for the folder of
            the data on this machine.
        build: whether to build method and data module; else settings are only checked.

    Raises:
        SettingsError: the file is not a run's configuration, or names a class that may not be imported.
        FsbenchError: a constructor fails.
    """
    from fsbench.runner.config.parse import parse_values  # with torch and Lightning, which a data set alone spares

    return parse_values(_with_settings(_read_stored(config), settings), build=build)


def parse_stored_data(
    config: Path, settings: Mapping[str, Any] = NONE, shared: SharedParts | None = None
) -> "ParsedRun":
    """Read a finished run's configuration for its data only; the method's class is not loaded.

    Args:
        config: the run's config.yaml.
        settings: {dotted key: value} that replace values of config.yaml, such as `data.dataset.root` for the folder of
            the data on this machine.
        shared: cache of what several runs share, see `parse_values`.

    Raises:
        SettingsError: the file is not a run's configuration, or names a class that may not be imported.
    """
    from fsbench.runner.config.parse import parse_values  # with torch and Lightning, which a data set alone spares

    values = _with_settings(_read_stored(config, has_method=False), settings)
    return parse_values(values, build=False, shared=shared)


def stored_dataset(config: Path, settings: Mapping[str, Any], shared: SharedParts) -> AnyData | None:
    """Build the data set of the suite that a finished run's configuration names, without torch.

    Args:
        config: the run's config.yaml.
        settings: {dotted key: value} that replace values of config.yaml, such as `data.dataset.root` for the folder of
            the data on this machine.
        shared: cache of what several runs share, so that a data set is built once.

    Returns:
        The data set; None if its class is not the suite's or does not take the arguments as they are, which is for the
        parser to judge (`parse_stored_data`).

    Raises:
        SettingsError: the file is not a run's configuration, names a class that may not be imported, or one that is no
            data set.
        FsbenchError: the data are missing.
    """
    values = _with_settings(_read_stored(config, has_method=False), settings)
    stated = value_at(values, CLASSES["data"][:-1]) or {}
    class_path, arguments = str(stated.get("class_path")), stated.get("init_args") or {}
    if not DATA_SETS.fullmatch(class_path) or stated.keys() - {"class_path", "init_args"}:
        return None
    try:
        kind = resolve_name(class_path)
    except ModuleNotFoundError as error:
        if not class_path.startswith(str(error.name)):
            raise
        raise _foreign(config, class_path) from None
    except AttributeError:
        raise _foreign(config, class_path) from None
    if not (isinstance(kind, type) and issubclass(kind, SegmentationData | ClassificationData)):
        raise _foreign(config, class_path)
    if not takes_as_they_are(kind, arguments):
        return None
    key = dataset_key(kind, **arguments)
    if key not in shared.datasets:
        shared.datasets[key] = build_dataset(f"{kind.__name__} of {config}", kind, arguments)
    found: AnyData = shared.datasets[key]
    return found


def _with_settings(values: dict[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    for key, value in settings.items():
        values = merge_settings(values, nested(full_key(key), value))
    return values


def _read_stored(config: Path, has_method: bool = True) -> dict[str, Any]:
    """Return the settings of a finished run that opening it takes; raises SettingsError as `parse_stored`.

    Args:
        config: its config.yaml.
        has_method: whether the method is opened; else `STAND_IN` stands in its place.
    """
    try:
        values = load_yaml(config)
    except (OSError, ValueError) as error:
        raise SettingsError(f"cannot read {config} ({error}); expected the config.yaml of a run") from error
    if not isinstance(values, dict) or not isinstance(values.get("trainer"), dict):
        raise SettingsError(f"{config} holds no configuration with a trainer; expected the config.yaml of a run")
    for key in values:
        _check_key(key, config)
    _check_protocols(values, config)
    values = {key: values[key] for key in NEEDED if key in values}
    values["trainer"] = {key: value for key, value in values["trainer"].items() if key not in NOT_NEEDED}
    if not has_method:
        values.pop("model", None)
        if isinstance(values.get("run"), dict):
            values["run"].pop(FILES["methods"], None)
    _check_classes(values, config, plug_in_classes() | _classes_of_files(values, config))
    return values if has_method else {**values, "model": dict(STAND_IN)}


def _check_protocols(values: dict[str, Any], config: Path) -> None:
    """Raise SettingsError where a configuration, which may be anybody's, names a file as a protocol."""
    options = (values.get("data") or {}).get("init_args") if isinstance(values.get("data"), dict) else None
    for group, key in (("test", "protocol"), ("training", "training_protocol")):
        own = options.get(group) if isinstance(options, dict) else None
        named = own.get(key) if isinstance(own, dict) else None
        if isinstance(named, str) and is_protocol_file(named):
            raise SettingsError(
                f"{config} names the file {named[:100]} as {key}; expected a name, or the parts of the file as a run "
                "states them"
            )


def _classes_of_files(values: dict[str, Any], config: Path) -> set[str]:
    """Return the stated classes of the files that the command itself names; their references become those files'.

    A file's code is run only if the command that opens the run names a file with the same content.

    Raises:
        SettingsError: the configuration states a file that the command does not name, or with another content.
    """
    options = values["run"] if isinstance(values.get("run"), dict) else {}
    stated = [class_path for place in CLASSES.values() if isinstance(class_path := value_at(values, place), str)]
    allowed: set[str] = set()
    for kind, option in FILES.items():
        reference = options.get(option)
        if reference is None:
            continue
        file = named_file(str(reference))
        if file is None:
            class_path = value_at(values, CLASSES[kind])
            raise class_not_named(config.parent, str(reference), str(class_path).rpartition(".")[2])
        options[option] = file.reference
        allowed |= {path for path in stated if path.rpartition(".")[0] == file.module}
    return allowed


def _check_classes(values: Any, config: Path, known: Collection[str]) -> None:
    """Raise SettingsError where the parser would take anything in `values` for a class or a file that is foreign."""
    if isinstance(values, dict):
        for key, value in values.items():
            _check_key(key, config)
            if key == "class_path" and not (isinstance(value, str) and (value in known or TRUSTED.fullmatch(value))):
                raise _foreign(config, value)
            if key in BUILT and value is not None and not isinstance(value, dict):
                raise _foreign(config, value)
            _check_classes(value, config, known)
    elif isinstance(values, list):
        for value in values:
            _check_classes(value, config, known)


def _check_key(key: Any, config: Path) -> None:
    """Raise SettingsError for a key that the parser reads as another: a path of keys, an addition, or a file."""
    if key == "config" or "." in str(key) or str(key).endswith("+"):
        raise _foreign(config, key)


def _foreign(config: Path, name: Any) -> SettingsError:
    return SettingsError(
        f"{config} names the class {str(name)!r}, which is none of fsbench's; expected methods and data of this suite; "
        "nothing of it was loaded"
    )
