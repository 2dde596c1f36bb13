"""Protocols by their names: the files of `configs/protocols`, those of installed packages, and rows of the atlas.

A file names the parts of a test, each with its values:

    draw:      the rule that draws, a key of `DRAWS`, and its values
    view:      values of `fsbench.protocols.view.View`
    counting:  values of `fsbench.protocols.counting.PixelCounting`, or "images"
    metrics:   names of the scores that are shown, the first of which ranks; `more_metrics` are shown where asked for
    words:     values of `fsbench.protocols.protocol.Words`

With `base` it says in what it differs from another file.
"""

import copy
import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import fields, replace
from functools import cache, lru_cache
from inspect import isabstract
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from fsbench.base.class_file import find_class, is_class_file
from fsbench.base.errors import RecordError, SettingsError, known_names, near_path
from fsbench.base.files import load_yaml, parse_json, validate_yaml
from fsbench.base.files.opening import note_opened, opened_files
from fsbench.base.paths import CONFIGS
from fsbench.base.plugins import (
    METRICS_GROUP,
    PROTOCOLS_GROUP,
    PlugIn,
    clash,
    load_entry_point,
    named_files,
    plug_in_part,
    plug_ins,
)
from fsbench.data.episodes.episode import ClassificationEpisode, Episode
from fsbench.data.episodes.manifest import Header, Manifest, read_manifest
from fsbench.protocols.counting import ImageCounting, PixelCounting
from fsbench.protocols.draws import (
    bam_gfss,
    boxes,
    classes,
    fixed_supports,
    gfss,
    large_objects,
    listed,
    presence,
    volumes,
)
from fsbench.protocols.draws.draw import Draw
from fsbench.protocols.draws.listed import Listed
from fsbench.protocols.protocol import Protocol, Words
from fsbench.protocols.view import View
from fsbench.scores.generalised import AllAndBackgroundIoU, BaseAndBackgroundIoU, BaseAndNovelIoU, BaseIoU, NovelIoU
from fsbench.scores.ifa_figure import IFA_FIGURE, IFAFigure
from fsbench.scores.images import BY_IMAGE
from fsbench.scores.metric import Metric
from fsbench.scores.presence import PRESENCE
from fsbench.scores.scores import COMMON, FBIoUClasses, MeanIoUByDraw, MeanIoUWithBackground
from fsbench.scores.volumes import VOLUME

ATLAS = "atlas:"
"""Start of the names of protocols that are rows of the atlas (`fsbench.protocols.published_tests`)."""
HANDED_IN = Path("protocol")
"""Stands in messages for the file of a protocol that is given as its content."""
LISTED = "listed"
DEFAULT_PROTOCOLS = {"segmentation": "fscs", "classification": "fort"}
"""Protocols of methods whose configurations name none, by their tasks."""
DRAWS: Mapping[str, type[Draw]] = {
    name: draw
    for module in (listed, presence, large_objects, boxes, gfss, bam_gfss, volumes, classes, fixed_supports)
    for name, draw in module.DRAWS.items()
}
"""Name of a rule in files -> the draw, from the files of `fsbench.protocols.draws`."""
_PARTS = ("draw", "view", "counting", "words")
_KEYS = ("name", "version", "summary", *_PARTS, "metrics", "more_metrics")
_COMMON = {metric.name: metric for metric in COMMON}
_KINDS: Mapping[str, type[Metric]] = {
    **{
        kind.name: kind
        for kind in (FBIoUClasses, MeanIoUByDraw, MeanIoUWithBackground, BaseIoU, NovelIoU, BaseAndNovelIoU)
    },
    **{kind.name: kind for kind in (AllAndBackgroundIoU, BaseAndBackgroundIoU)},
    **{type(metric).name: type(metric) for metric in (*PRESENCE, *VOLUME, *BY_IMAGE)},
    IFA_FIGURE: IFAFigure,
}
"""Name of a metric that few tests have -> its class."""
_added: dict[str, tuple[Metric, str]] = {}
"""Metrics that this process was asked for and that no protocol has, with their origins in words, by their names."""


def _published() -> Any:
    """Return the module of published tests, which most commands are spared, with the schema of the atlas."""
    return resolve_name("fsbench.protocols.published_tests")


def protocol_names() -> list[str]:
    """Return the names of the protocols of fsbench and of installed packages."""
    return sorted(named_files("protocols", CONFIGS))


def load_protocol(name: str | Path | Mapping[str, Any]) -> Protocol:
    """Return a protocol by its name, from a user's file, or from a row of the atlas of evaluation programs.

    Args:
        name: name of a protocol in `configs/protocols` or of a row of the atlas; a file FILE.yaml; or the content of
            such a file.

    Raises:
        SettingsError: the name is unknown, a value is bad, the row cannot be run, or a user's file has the name of a
            protocol that is here.
    """
    if isinstance(name, Mapping):
        return _own_protocol(_with_base(copy.deepcopy(dict(name)), HANDED_IN, ()), HANDED_IN)
    if is_protocol_file(name):
        note_opened({Path(name)})
        return _own_protocol(_content(Path(name), ()), Path(name))
    protocol, files = _load(str(name))
    note_opened(files)
    return protocol


def stored_protocol(name: str | Mapping[str, Any]) -> Protocol:
    """Return the protocol that a manifest, kit or record names; names of files are refused, as anybody may write them.

    Raises:
        SettingsError: the name is unknown or that of a file, or a value is bad.
    """
    if isinstance(name, Mapping):
        return _protocol_of_parts(json.dumps(name))
    if is_protocol_file(name):
        raise SettingsError(_unknown(name[:100]))
    return load_protocol(name)


def is_protocol_file(name: str | Path) -> bool:
    """Return whether the name of a protocol is that of a YAML file."""
    return Path(name).suffix in (".yaml", ".yml")


def _own_protocol(content: dict[str, Any], where: Path) -> Protocol:
    """Return the protocol of a file of one's own, with its parts; that of its name where both are equal.

    Args:
        content: of the file, with that of its base.
        where: the file, for messages.
    """
    protocol = _made_protocol(where, copy.deepcopy(content))
    if protocol.name in protocol_names() and load_protocol(protocol.name) == protocol:
        return load_protocol(protocol.name)
    try:
        return _protocol_of_parts(json.dumps(content))
    except TypeError as error:  # YAML has dates, too
        raise SettingsError(f"{where}: {error}; expected texts, numbers, lists and mappings") from error
    except SettingsError as error:
        raise SettingsError(f"{where}: {error}") from error


MOST_PARTS, LONGEST_TEXT, LARGEST_NUMBER = 20_000, 500, 100_000
"""Characters of a protocol's parts, those of one text among them, and their largest number, but for seeds."""


def _check_size(place: str, value: Any) -> None:
    """Raise SettingsError for texts and numbers of parts that would keep a reader waiting, or fill its screen."""
    if isinstance(value, Mapping | list):
        for key, own in value.items() if isinstance(value, Mapping) else enumerate(value):
            _check_size(f"{place}.{key}"[:100], own)
    elif isinstance(value, str) and len(value) > LONGEST_TEXT:
        raise SettingsError(f"{place} has {len(value):,} characters, expected {LONGEST_TEXT} at most")
    elif isinstance(value, int | float) and not abs(value) <= (2**32 if "seed" in place else LARGEST_NUMBER):
        raise SettingsError(f"{place} is {value}, expected a number up to {LARGEST_NUMBER:,}")


@lru_cache(maxsize=64)
def _protocol_of_parts(text: str) -> Protocol:
    """Return the protocol of parts in JSON, which names no file and no base. They may be a stranger's."""
    if len(text) > MOST_PARTS:
        raise SettingsError(f"the parts have {len(text):,} characters, expected {MOST_PARTS:,} at most")
    _check_size("the parts", parse_json(text))
    protocol = _made_protocol(Path("protocol_parts"), parse_json(text))
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]{0,60}", protocol.name, re.ASCII):
        raise SettingsError(f"the name is '{protocol.name[:60]}', expected letters, digits, _, - and ., such as mine")
    if protocol.name in protocol_names():
        raise SettingsError(
            f"the name is {protocol.name}, and the protocol {protocol.name} of fsbench has other parts; expected a "
            "name of its own: change the line 'name:'"
        )
    return replace(protocol, parts=parse_json(text))


@cache
def _load(name: str) -> tuple[Protocol, set[str]]:
    """Return a protocol and the files that it was read from."""
    with opened_files() as files:
        if name.startswith(ATLAS):
            return _published().protocol_of_test(name), files
        if name not in protocol_names():  # a record's is anybody's, and no path
            raise SettingsError(_unknown(name[:100]))
        return read_protocol(named_files("protocols", CONFIGS)[name].path), files


def _unknown(name: str) -> str:
    """Return the message about an unknown name: a method's names its protocol, a program's of the atlas its rows."""
    aliased = load_yaml(CONFIGS / "aliases.yaml").get(name, {})
    method = named_files("methods", CONFIGS).get(aliased.get("method", name))
    if method is not None and (own := protocol_of_method(load_yaml(method.path) or {})):
        return f"'{name}' is a method, not a protocol; {name} is tested under {own}: give --protocol {own}"
    if rows := _published().tests_of_program(name):
        return f"unknown protocol '{name}'; the atlas has the test of its program: give --protocol {' or '.join(rows)}"
    return f"unknown protocol '{name}'{known_names(name, protocol_names(), ' (see: fsbench list protocols)')}"


def protocol_of_method(settings: Mapping[str, Any]) -> str | None:
    """Return the name of the protocol that a method's configuration names, else the default protocol of its task.

    Args:
        settings: the method's configuration as plain values {key: value}.

    Returns:
        The protocol's name; None if the configuration names neither a protocol nor a task.
    """
    found = settings
    for key in ("data", "init_args", "test"):
        found = found.get(key) or {}
    protocol: str | None = found.get("protocol") or DEFAULT_PROTOCOLS.get(settings.get("task", ""))
    return protocol


def load_segmentation(name: str | Path | Mapping[str, Any]) -> Protocol:
    """Return a segmentation protocol by its name, file or content.

    Raises:
        SettingsError: the protocol is unknown, or has no masks.
    """
    return _with_masks(load_protocol(name))


def protocol_of(header: Header) -> Protocol:
    """Return the protocol that a manifest's header names.

    Raises:
        SettingsError: the protocol is not known here, or is for another kind of manifest.
    """
    protocol = _named_by(header)
    if header.kind != protocol.kind:
        raise SettingsError(
            f"a manifest of the kind {header.kind} names the protocol {protocol.name}, whose kind is "
            f"{protocol.kind}; expected the manifest as it was written; make it again"
        )
    return protocol


def _named_by(header: Header) -> Protocol:
    """Return the protocol that a header names, or whose parts it has."""
    return stored_protocol(header.protocol_parts or header.protocol)


def check_version(protocol: Protocol, version: int | str, what: str) -> None:
    """Check that a test used this version of a protocol.

    Args:
        protocol: the protocol that the test names.
        version: the version that the test states.
        what: words for the file that states the version, such as "the kit" (an exported test), for the message.

    Raises:
        RecordError: the version is another one.
    """
    if version != protocol.version:
        raise RecordError(
            f"{what} is of version {version} of the protocol {protocol.name}, and here it is {protocol.version}; "
            "expected one version; use the fsbench that made it, or make it again"
        )


def segmentation_of(header: Header) -> Protocol:
    """Return the segmentation protocol that a manifest's header names.

    Raises:
        SettingsError: the protocol is not known here, or has no masks.
    """
    return _with_masks(protocol_of(header))


def read_test(path: Path, sha256: str | None = None) -> Manifest:
    """Read the manifest (list of episodes) of a test, which may be a stranger's.

    Args:
        path: the file.
        sha256: the expected checksum; None for any.

    Raises:
        RecordError: the file is absent, damaged or altered, or of another version of its protocol; or an episode has
            supports as its protocol never draws them. Nothing is asked of protocols that are not known here.
    """
    manifest = read_manifest(path, sha256)
    try:
        protocol = _named_by(manifest.header)
    except SettingsError:
        return manifest
    check_version(protocol, manifest.header.version, f"the manifest {path}")
    if fault := _fault(manifest):
        raise RecordError(
            f"{fault} ({path}, the protocol {protocol.name}); correct the file, get it again, or make it by fsbench "
            "data manifest build"
        )
    return manifest


@lru_cache(maxsize=8)  # runs of one test have one manifest
def _fault(manifest: Manifest) -> str:
    return manifest_fault(manifest, _named_by(manifest.header).draw)


def manifest_fault(manifest: Manifest, draw: Draw) -> str:
    """Say why a draw cannot have made a manifest, in words; "" if it can, as far as every manifest tells.

    The header lacks an entry of the draw's own, or an episode has too few or too many supports, or its query among
    them.
    """
    header = manifest.header
    if lacking := [name for name in draw.own_entries if not header.protocol_entries.get(name)]:
        return f"the header has no {' and no '.join(lacking)}"
    may_repeat = draw.query_may_support(header)
    for line, episode in enumerate(manifest.episodes, 2):
        for own, queries in _ways(episode):
            if not own and header.all_classes:  # base classes have none
                continue
            enough = len(own) >= header.shot if episode.augmented else draw.has_shot(header, len(own))
            if not enough:
                return f"shot is {header.shot}, and line {line} has a class with {len(own)} supports"
            if not may_repeat and (both := [query for query in queries if query in own]):
                return f"line {line} has its query {str(both[0])[:60]!a} among its supports, which show the answer"
    return ""


def _ways(episode: Episode | ClassificationEpisode) -> list[tuple[Sequence[str | int], Sequence[str | int]]]:
    """Return the supports of each way of an episode, and the queries that are asked with them."""
    if isinstance(episode, ClassificationEpisode):
        return list(zip(episode.support, episode.query, strict=True))
    return [(own, (episode.query,)) for own in episode.supports]


def _with_masks(protocol: Protocol) -> Protocol:
    if not protocol.has_masks:
        raise SettingsError(
            f"the protocol {protocol.name} is one of {protocol.task}, which has no masks; expected one of segmentation "
            "(see: fsbench list protocols)"
        )
    return protocol


# Metrics


def known_metrics() -> dict[str, Metric]:
    """Return {name: metric} of all scores: first those of most protocols, last those of packages and users' files.

    Metrics of a protocol or package that cannot be read are missing here; using them raises an error.

    Raises:
        SettingsError: two metrics have the same name.
    """
    found = dict(_protocols_metrics())
    for plug_in in plug_ins(METRICS_GROUP):
        with suppress(SettingsError):
            found[plug_in.name] = _package_metric(plug_in)
    return found | {name: metric for name, (metric, _) in _added.items()}


@cache
def _protocols_metrics() -> dict[str, Metric]:
    """Return the metrics of all protocols by their names, those of most protocols first."""
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
    """Return the metric with this name.

    Raises:
        SettingsError: the name is unknown, or two packages or protocols define it.
    """
    _check_unshared(name, METRICS_GROUP)
    if name in _COMMON:
        return _COMMON[name]
    if name in _added:
        return _added[name][0]
    named = [plug_in for plug_in in plug_ins(METRICS_GROUP) if plug_in.name == name]
    if len(named) > 1:
        raise clash("metric", name, str(named[0]), str(named[1]))
    if named:
        return _add(_package_metric(named[0]), str(named[0]))
    found = _protocols_metrics().get(name)
    if found is None:
        raise SettingsError(f"unknown metric '{name}'{known_names(name, known_metrics())}")
    return found


def _check_unshared(name: str, group: str) -> None:
    """Raise SettingsError where a package has an entry point in `group` with the name of a metric of fsbench."""
    own = type(_COMMON[name]) if name in _COMMON else _KINDS.get(name)
    other = next((plug_in for plug_in in plug_ins(group) if plug_in.name == name), None)
    if own is not None and other is not None:
        raise clash("metric", name, f"{own.__module__}.{own.__qualname__} of fsbench", str(other))


def _add(metric: Metric, origin: str) -> Metric:
    """Let a metric that no protocol has be asked for by its name, of the runs of every protocol, in this process."""
    _added[metric.name] = metric, origin
    return metric


def _package_metric(plug_in: PlugIn) -> Metric:
    """Return the metric that a package names."""
    metric = _made(load_entry_point(plug_in), str(plug_in))
    if metric.name != plug_in.name:
        raise SettingsError(
            f"{plug_in} is the entry point {plug_in.name} in {METRICS_GROUP}, and its metric has the name "
            f"{metric.name}; expected one name; correct the package, or uninstall it"
        )
    return metric


def _made(kind: Any, origin: str) -> Metric:
    """Make a metric that no protocol has.

    Args:
        kind: its class, which is made without values.
        origin: where the class is from, in words; from there it may come again, changed.

    Raises:
        SettingsError: it is no class of a metric, or is unfinished, or its name or that of a sum is taken.
    """
    if not (isinstance(kind, type) and issubclass(kind, Metric)):
        raise SettingsError(f"{origin} is no metric; expected a class on fsbench's Metric (fsbench.scores.metric)")
    if isabstract(kind):
        raise SettingsError(f"{origin} is unfinished: it lacks {', '.join(sorted(kind.__abstractmethods__))}")
    try:
        metric = kind()
    except TypeError as error:
        raise SettingsError(f"{origin} cannot be made without values ({error}); give each of them a default") from error
    if missing := [key for key in ("name", "meaning", "sums") if not hasattr(metric, key)]:
        raise SettingsError(f"{origin} has no {', '.join(missing)}; expected all three")
    if problem := metric.problem():
        raise SettingsError(f"{origin}: {problem}")
    _check_taken(metric, origin)
    return metric


def _check_taken(metric: Metric, origin: str) -> None:
    """Raise SettingsError where the name of a metric, or that of one of its sums, means something else already."""
    others = {name: (one, "fsbench or a protocol") for name, one in _protocols_metrics().items()}
    others |= {name: (one, where) for name, (one, where) in _added.items() if where != origin}
    other, where = others.get(metric.name, (metric, ""))
    if type(other) is not type(metric):
        raise SettingsError(f"{origin} has the name {metric.name}, which a metric of {where} has; rename it")
    for one in metric.sums:
        for name, (other, _) in others.items():
            if any(its.name == one.name and its != one for its in other.sums):
                raise SettingsError(
                    f"{origin} has a sum of the name {one.name}, which is another sum of {name}; rename it"
                )


def added_metrics() -> dict[str, tuple[Metric, str]]:
    """Return the metrics that users' files and plug-in packages added in this process, {name: (metric, its origin)}."""
    return dict(_added)


def take_metrics(added: Mapping[str, tuple[Metric, str]]) -> None:
    """Make the metrics that another process uses, as `added_metrics` returns them there, known in this process."""
    _added.update(added)


def askable_metrics(protocol: Protocol) -> tuple[Metric, ...]:
    """Return the scores that users may ask for a protocol's runs: its own, and those of files and packages."""
    if not protocol.has_masks:
        return protocol.metrics
    own = set(protocol.metric_names)
    added = [metric for name, (metric, _) in _added.items() if name not in own]
    return (*protocol.metrics, *(metric for metric in added if protocol.draw.shares_supports or not metric.by_run))


def metric_names(text: str) -> list[str]:
    """Return the names in a comma-separated text; an entry FILE.py:Class makes the metric of that file known.

    Raises:
        SettingsError: a name is unknown, a class is not a metric, or the text names none.
    """
    words = list(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    if not words:
        raise SettingsError(f"no metric was named; there are: {', '.join(known_metrics())}")
    return list(dict.fromkeys(_metric_of_word(word).name for word in words))


def _metric_of_word(word: str) -> Metric:
    if is_class_file(word):
        file, kind = find_class(word)
        origin = f"{file.path}:{kind.__name__}"
        return _add(_made(kind, origin), origin)
    if ".py" in word:
        raise SettingsError(f"the metric '{word}' is no name; expected FILE.py:Class, the class of a metric in a file")
    return metric_named(word)


# Files


def read_protocol(path: Path) -> Protocol:
    """Read a protocol from a YAML file.

    Raises:
        SettingsError: a part is unknown, or a key is absent, unknown or has a bad value.
    """
    return _made_protocol(path, _content(path, ()))


def _made_protocol(path: Path, content: Mapping[str, Any]) -> Protocol:
    """Make the protocol of a file's content; `path` is for messages, the values of `content` are used up."""
    for key in content:
        if key not in _KEYS:
            raise SettingsError(f"{path}: the key '{key}' is unknown{_place_of(str(key))}")
    for key, kind, words in (("name", str, "text"), ("version", int, "a number"), ("summary", str, "text")):
        if type(content.get(key)) is not kind:  # True is no version
            found = f"is {content[key]!r}, expected {words}" if key in content else "is missing"
            raise SettingsError(f"{path}: {key} {found}; expected the keys {', '.join(_KEYS)}")
    if "draw" not in content:
        raise SettingsError(f"{path}: draw is missing; expected the rule that draws, and its values")
    shown = _metrics(path, "metrics", content.get("metrics", list(Protocol.default_metrics)))
    more = _metrics(path, "more_metrics", content.get("more_metrics", []))
    for key, named in (("metrics", shown), ("more_metrics", more)):
        names = [metric.name for metric in named]
        twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
        if twice is not None:
            raise SettingsError(f"{path}: {key} has {twice} twice, expected each name once")
    shown_names = tuple(metric.name for metric in shown)
    more = [metric for metric in more if metric.name not in shown_names]  # a base may have it there
    protocol = Protocol(
        content["name"],
        content["version"],
        content["summary"],
        _draw(path, content["draw"]),
        _part(path, "view", content.get("view", {}), View, {}),
        _part(path, "counting", content.get("counting", {}), PixelCounting, {"images": ImageCounting()}),
        (*shown, *more),
        shown_names,
        _part(path, "words", content.get("words", {}), Words, {}),
    )
    try:
        protocol.check()
        for metric in protocol.metrics:
            _check_name(metric, _COMMON.get(metric.name, metric))
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from error
    return protocol


def _content(path: Path, derived: tuple[str, ...]) -> dict[str, Any]:
    """Return the content of a file with that of its base; `derived` are the names of files that have it as base."""
    try:
        content = load_yaml(path)
    except (OSError, ValueError) as error:
        near = near_path(path)
        raise SettingsError(f"cannot read {path} ({error}); expected a protocol in YAML{near}") from error
    if not isinstance(content, dict):
        raise SettingsError(f"{path} holds {type(content).__name__}, expected a mapping with {', '.join(_KEYS)}")
    return _with_base(content, path, derived)


def _with_base(content: dict[str, Any], where: Path, derived: tuple[str, ...]) -> dict[str, Any]:
    """Return the content of the file `where` with that of its base; see `_content`.

    Values of a part join those of the base's part, unless it has another rule; a value by data set is that of the file
    or that of the base, and no mixture of both.
    """
    base = content.pop("base", None)
    if base is None:
        return content
    files = named_files("protocols", CONFIGS)
    if not isinstance(base, str) or base not in files:
        raise SettingsError(f"{where} has the base {base!r}{known_names(str(base), protocol_names())}")
    if base in derived:
        raise SettingsError(f"{where} has the base {base}, whose own base it is; expected a file without it")
    usual = _content(files[base].path, (*derived, base))
    return usual | {key: _joined(usual.get(key), own) if key in _PARTS else own for key, own in content.items()}


def _joined(usual: Any, own: Any) -> Any:
    """Return the values of a part: those of the base and of the file, unless they are of different rules."""
    if not (isinstance(usual, dict) and isinstance(own, dict)):
        return own
    rule = usual.get("rule", LISTED)
    return usual | own if own.get("rule", rule) == rule else own


def _place_of(key: str) -> str:
    """Return where a key belongs that stands at the top of a file."""
    if key == "class_path":
        return "; a protocol names its parts and has no class, see docs/guides/protocols.md"
    parts = {"view": View, "counting": PixelCounting, "words": Words, "draw": Listed}
    part = next((name for name, kind in parts.items() if key in {one.name for one in fields(kind)}), None)
    return known_names(key, _KEYS) if part is None else f"; it is one of the part {part}"


def _draw(path: Path, content: Any) -> Draw:
    """Return the draw of a file."""
    rule = content.pop("rule", LISTED) if isinstance(content, dict) else LISTED
    kind = DRAWS.get(rule) if isinstance(rule, str) else None
    if kind is None and isinstance(rule, str):
        found = plug_in_part(rule, type)
        kind = found if found is not None and issubclass(found, Draw) else None
    if kind is None:
        raise SettingsError(
            f"{path}: draw.rule is {rule!r}{known_names(str(rule), tuple(DRAWS))}; or a draw that an installed package "
            "names as an entry point of fsbench.protocols"
        )
    _check_concrete(path, "draw", rule, kind)
    draw: Draw = _part(path, "draw", content, kind, {})
    return draw


def _check_concrete(path: Path, part: str, name: str, kind: type) -> None:
    """Raise SettingsError for the class of a package that is unfinished, or whose values a file could not give."""
    values = [name for name, of in vars(kind).get("__annotations__", {}).items() if "ClassVar" not in str(of)]
    if values and "__dataclass_fields__" not in vars(kind):
        raise SettingsError(
            f"{path}: {part} '{name}' is the class {kind.__qualname__} with the values {', '.join(values)}; expected "
            "@dataclass(frozen=True) above it"
        )
    if isabstract(kind):
        lacking = ", ".join(sorted(kind.__abstractmethods__))  # type: ignore[attr-defined]
        raise SettingsError(f"{path}: {part} '{name}' is an unfinished class: {kind.__qualname__} lacks {lacking}")


def _part(path: Path, name: str, content: Any, kind: type, named: Mapping[str, Any]) -> Any:
    """Return a part of a test: by its name, or of its values."""
    if isinstance(content, str):
        if content not in named:
            raise SettingsError(f"{path}: {name} is '{content}', expected a mapping{_or(named)}")
        return named[content]
    if not isinstance(content, dict):
        raise SettingsError(f"{path}: {name} is {content!r}, expected a mapping{_or(named)}")
    return validate_yaml(path, content, kind, name)


def _or(named: Mapping[str, Any]) -> str:
    return f", or {' or '.join(named)}" if named else ""


def _metrics(path: Path, key: str, content: Any) -> list[Metric]:
    """Return metrics of a list: each a name, or a name with values, such as {IFA-figure: {batch: 12}}."""
    if not isinstance(content, list):
        raise SettingsError(f"{path}: {key} is {content!r}, expected a list of names of metrics")
    return [_metric(path, key, item) for item in content]


def _metric(path: Path, key: str, item: Any) -> Metric:
    """Return a metric by its name, or by a name and values."""
    if not isinstance(item, str) and not (isinstance(item, dict) and len(item) == 1):
        raise SettingsError(f"{path}: {key} has {item!r}, expected a name of a metric, or {{name: its values}}")
    name, values = (item, {}) if isinstance(item, str) else next(iter(item.items()))
    if not path.is_relative_to(CONFIGS):
        _check_unshared(name, PROTOCOLS_GROUP)
    if name in _COMMON:
        if values:
            raise SettingsError(f"{path}: {key} has {name} with {values!r}; it takes no values, write its name alone")
        return _COMMON[name]
    kind = _KINDS.get(name) or plug_in_part(str(name), type)
    if kind is None or not issubclass(kind, Metric):
        raise SettingsError(
            f"{path}: {key} has '{name}'{known_names(str(name), (*_COMMON, *_KINDS))}; or a metric that an installed "
            "package names as an entry point of fsbench.protocols"
        )
    _check_concrete(path, key, name, kind)
    metric: Metric = _part(path, f"{key}.{name}", values or {}, kind, {})
    return metric
