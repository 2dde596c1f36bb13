"""Protocols by their names: the files of `configs/protocols` and those of installed packages."""

from functools import cache
from inspect import isabstract
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from fsbench.base.errors import SettingsError, known_names
from fsbench.base.files import load_yaml, validate_yaml
from fsbench.base.paths import CONFIGS
from fsbench.base.plugins import PROTOCOLS_GROUP, load_entry_point, named_files, plug_ins
from fsbench.data.episodes.header import Header
from fsbench.protocols.base import Protocol
from fsbench.scores.metric import Metric
from fsbench.scores.scores import COMMON

OWN = "fsbench.protocols."
"""Start of the full names of the suite's protocol classes."""
ATLAS = "atlas:"
"""Start of the names of protocols that are rows of the atlas (`fsbench.protocols.rows`)."""
_COMMON = {metric.name: metric for metric in COMMON}


def _rows() -> Any:
    """Return the module of the rows, which most commands are spared, with the schema of the atlas."""
    return resolve_name(f"{OWN}rows")


def protocol_names() -> list[str]:
    """Return the names of the protocols of fsbench and of installed packages."""
    return sorted(named_files("protocols", CONFIGS))


@cache
def load_protocol(name: str) -> Protocol:
    """Return the protocol `name` of `configs/protocols`, or that of a row of the atlas.

    Raises:
        SettingsError: the name is unknown, a value is bad, or the row cannot be run.
    """
    if name.startswith(ATLAS):
        return _rows().protocol_of_row(name)
    if name not in protocol_names():  # a record's is anybody's, and no path
        raise SettingsError(f"unknown protocol '{name[:100]}'{known_names(name[:100], protocol_names())}")
    return read_protocol(named_files("protocols", CONFIGS)[name].path)


def protocol_of(header: Header) -> Protocol:
    """Return the protocol of a manifest's header.

    Raises:
        SettingsError: it is not known here, or the header is not one of its manifests.
    """
    protocol = load_protocol(header.protocol)
    if header.kind != protocol.kind:
        raise SettingsError(
            f"a manifest of the kind {header.kind} names the protocol {protocol.name}, whose kind is "
            f"{protocol.kind}; expected the manifest as it was written; make it again"
        )
    return protocol


@cache
def known_metrics() -> dict[str, Metric]:
    """Return the metrics of all protocols by their names, those of most protocols first.

    A protocol that cannot be read has none here; who uses it is told why.

    Raises:
        SettingsError: metrics of two protocols have the same name.
    """
    found = dict(_COMMON)
    for name in protocol_names():
        try:
            metrics = load_protocol(name).metrics
        except SettingsError:
            continue
        for metric in metrics:
            _check_name(metric, found.setdefault(metric.name, metric))
    return found


def _check_name(metric: Metric, other: Metric) -> None:
    """Raise SettingsError unless the metrics of one name are of one class, so that a name is one score everywhere."""
    if type(other) is not type(metric):
        raise SettingsError(
            f"two have the name {metric.name} of a metric: {_class_name(other)}, and {_class_name(metric)}; expected "
            "one; rename one, or uninstall a package"
        )


def _class_name(metric: Metric) -> str:
    return f"{type(metric).__module__}.{type(metric).__qualname__}"


def metric_named(name: str) -> Metric:
    """Return the metric `name` of some protocol; SettingsError for an unknown name."""
    found = _COMMON.get(name) or known_metrics().get(name)
    if found is None:
        raise SettingsError(f"unknown metric '{name}'{known_names(name, known_metrics())}")
    return found


def metric_names(text: str) -> list[str]:
    """Split names of metrics written with commas between. Raises SettingsError for unknown ones, and for none."""
    names = list(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    if not names:
        raise SettingsError(f"no metric was named; there are: {', '.join(known_metrics())}")
    return [metric_named(name).name for name in names]


def read_protocol(path: Path) -> Protocol:
    """Read the protocol of a YAML file, which may have another protocol as its `base` and then says what differs.

    Raises:
        SettingsError: the class is none that may be used, or a key is absent, unknown or of another value.
    """
    content = _values(path, ())
    protocol_class = _protocol_class(content.pop("class_path", None), path)
    protocol: Protocol = validate_yaml(path, content, protocol_class)
    try:
        protocol.check_values()
        protocol.check_own_metrics()
        for metric in protocol.metrics:
            _check_name(metric, _COMMON.get(metric.name, metric))
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from error
    return protocol


def _values(path: Path, derived: tuple[str, ...]) -> dict[str, Any]:
    """Return the values of a file, those of its base among them; `derived` are the names of files that have it as base.

    A value by data set is that of the file or that of the base, and no mixture of both.
    """
    try:
        content = load_yaml(path)
    except (OSError, ValueError) as error:
        raise SettingsError(f"cannot read {path} ({error}); expected a protocol in YAML") from error
    if not isinstance(content, dict):
        raise SettingsError(f"{path} holds {type(content).__name__}, expected a mapping with class_path, or with base")
    base = content.pop("base", None)
    if base is None:
        return content
    files = named_files("protocols", CONFIGS)
    if not isinstance(base, str) or base not in files:
        raise SettingsError(f"{path} has the base {base!r}{known_names(str(base), protocol_names())}")
    if base in derived:
        raise SettingsError(f"{path} has the base {base}, whose own base it is; expected a file without it")
    return _values(files[base].path, (*derived, base)) | content


def _protocol_class(class_path: Any, path: Path) -> type[Protocol]:
    """Return the class that the file `path` names; only classes of the suite and of entry points are imported."""
    expected = f"{path} has the class_path {class_path!r}"
    if class_path is None:
        expected = f"{path} has no class_path"
    found = None
    if isinstance(class_path, str):
        plug_in = next((one for one in plug_ins(PROTOCOLS_GROUP) if one.class_path == class_path), None)
        if plug_in is not None:
            found = load_entry_point(plug_in)
        elif class_path.startswith(OWN):
            try:
                found = resolve_name(class_path)
            except (ImportError, AttributeError, ValueError):
                found = None
    if not (isinstance(found, type) and issubclass(found, Protocol) and not isabstract(found)):
        raise SettingsError(
            f"{expected}; expected a protocol's class: {OWN}composed.Composed, another of this package, or one that an "
            f"installed package names as an entry point of {PROTOCOLS_GROUP}"
        )
    if found.manifest is not Protocol.manifest:
        raise SettingsError(
            f"{expected}, which has a method manifest of its own, so that --draws and --data.nested_in would change "
            "nothing; expected official_manifest in its place"
        )
    return found
