"""Installed packages that bring methods, data sets, backbones or folders of configuration files: their entry points.

Only the packages' metadata and the names of files are read here. A package is imported when something of it is built.
"""

import importlib.util
import json
import re
import subprocess
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from fsbench.base.errors import SettingsError, describe

CONFIGS_GROUP = "fsbench.configs"
GROUPS = {"methods": "fsbench.methods", "data": "fsbench.datasets", "backbones": "fsbench.backbones"}
"""Groups of entry points that name single objects, by the folder of configs whose names they join."""
PROTOCOLS_GROUP = "fsbench.protocols"
"""Group of entry points that name draws, metrics and rules, which protocols of `CONFIGS_GROUP` then name."""
METRICS_GROUP = "fsbench.metrics"
"""Group of entry points that name metrics, which can be asked for of the runs of every protocol."""
KINDS = ("methods", "data", "backbones", "protocols")
"""Folders that are read in a package's folder of configuration files."""
_WHAT = {"methods": "method", "data": "data set", "backbones": "backbone", "protocols": "protocol"}


@dataclass(frozen=True)
class PlugIn:
    """An entry point of an installed package, which adds an object or a folder of configuration files to fsbench.

    Attributes:
        group: one of `GROUPS` or `CONFIGS_GROUP`.
        name: name of the entry point, by which users choose the object.
        value: where the object is, as `package.module:Name`, or the folder, as `package.folder`.
        package: name of the installed distribution.
        version: version of the installed distribution.
    """

    group: str
    name: str
    value: str
    package: str
    version: str

    @property
    def class_path(self) -> str:
        """Full dotted name of the entry point's object."""
        return self.value.replace(":", ".")

    @property
    def origin(self) -> str:
        """Words for the package: its name and version."""
        return f"the package {self.package} {self.version}"

    def __str__(self) -> str:
        return f"{self.value} of {self.origin}"


@dataclass(frozen=True)
class NamedFile:
    """Configuration file of fsbench or, if `plug_in` is given, of an installed package."""

    path: Path
    plug_in: PlugIn | None = None

    @property
    def origin(self) -> str:
        """Words for the file: its path, and the package that it belongs to."""
        return f"{self.path} of {self.plug_in.origin if self.plug_in else 'fsbench'}"


@cache
def plug_ins(group: str) -> tuple[PlugIn, ...]:
    """Return the entry points of a group, sorted by name and package."""
    found = {
        PlugIn(group, entry.name, entry.value.replace(" ", ""), entry.dist.name, entry.dist.version)
        for entry in metadata.entry_points(group=group)
        if entry.dist
    }
    return tuple(sorted(found, key=lambda one: (one.name, one.package)))


def named_objects(kind: str) -> dict[str, PlugIn]:
    """Return {name: entry point} of the objects of one kind that installed packages add.

    Args:
        kind: kind of object, a key of `GROUPS`.

    Raises:
        SettingsError: two packages use the same name.
    """
    found: dict[str, PlugIn] = {}
    for one in plug_ins(GROUPS[kind]):
        other = found.setdefault(one.name, one)
        if other is not one:
            raise clash(kind, one.name, str(other), str(one))
    return found


def named_files(kind: str, own: Path) -> dict[str, NamedFile]:
    """Return {file name without .yaml: file} of the configuration files of one kind, of fsbench and installed packages.

    Args:
        kind: name of the folder, such as "protocols".
        own: fsbench's folder of configuration files.

    Raises:
        SettingsError: two files have the same name, a package has a file for a pair of names of which neither is its
            own, or its folder does not exist.
    """
    found = {file.stem: NamedFile(file) for file in sorted((own / kind).glob("*.yaml"))}
    for plug_in in plug_ins(CONFIGS_GROUP) if kind in KINDS else ():
        for path in sorted((_folder(plug_in) / kind).glob("*.yaml")):
            file = NamedFile(path, plug_in)
            other = found.setdefault(path.stem, file)
            if other.path != path:
                raise clash(kind, path.stem, other.origin, file.origin)
            if "." in path.stem and not _own_names(plug_in.package) & set(path.stem.split(".")):
                raise SettingsError(
                    f"{file.origin} would change {path.stem.replace('.', ' with ')} of fsbench or of another package; "
                    "expected a pair with a method, data set or backbone of its own; rename the file, or uninstall the "
                    "package"
                )
    return found


def package_files(place: Path) -> list[Path]:
    """Return the files at the relative path `place` in the configuration folders of installed packages.

    Raises:
        SettingsError: a package's folder does not exist.
    """
    files = (_folder(plug_in) / place for plug_in in plug_ins(CONFIGS_GROUP))
    return [file for file in files if file.is_file()]


def _own_names(package: str) -> set[str]:
    """Return the names of methods, data sets and backbones that a package brings."""
    objects = [one for group in GROUPS.values() for one in plug_ins(group)]
    folders = [_folder(one) for one in plug_ins(CONFIGS_GROUP) if one.package == package]
    files = [path for folder in folders for kind in GROUPS for path in (folder / kind).glob("*.yaml")]
    return {one.name for one in objects if one.package == package} | {path.stem for path in files}


def clash(kind: str, name: str, first: str, second: str) -> SettingsError:
    """Return the error for a name that two packages or files define.

    Args:
        kind: what has the name, such as "metric".
        name: the name.
        first, second: the two places where the name is defined, in words.
    """
    return SettingsError(
        f"two have the name {name} of a {_WHAT.get(kind, kind)}: {first}, and {second}; expected one; rename one, or "
        "uninstall a package"
    )


def _folder(plug_in: PlugIn) -> Path:
    """Return the folder that an entry point of `CONFIGS_GROUP` names; its package is found, not imported."""
    first, *rest = re.split("[.:/]", plug_in.value)
    try:
        spec = importlib.util.find_spec(first)
    except (ImportError, ValueError):
        spec = None
    folders = [Path(place, *rest) for place in (spec.submodule_search_locations or () if spec else ())]
    folder = next((folder for folder in folders if folder.is_dir()), None)
    if folder is None:
        raise SettingsError(
            f"{plug_in.origin} names {plug_in.value} as its folder of configuration files, which does not exist; "
            "expected package.folder; correct the package, or uninstall it"
        )
    return folder


def load_entry_point(plug_in: PlugIn) -> Any:
    """Import and return the object of an entry point; what its package prints goes to stderr.

    Raises:
        SettingsError: the package cannot be imported.
    """
    try:
        with redirect_stdout(sys.stderr):  # stdout is the command's own, such as a table in JSON
            return metadata.EntryPoint(plug_in.name, plug_in.value, plug_in.group).load()
    except (Exception, SystemExit) as error:  # a module that ends the process is as broken as one that raises
        raise SettingsError(
            f"cannot import {plug_in.value}, the entry point {plug_in.name} in {plug_in.group} of {plug_in.origin} "
            f"({describe(error)}); correct the package, or uninstall it"
        ) from error


def plug_in_part(name: str, kind: type | tuple[type, ...], group: str = PROTOCOLS_GROUP) -> Any:
    """Return the object that an installed package adds under this name; None if there is none.

    Only objects of entry points are imported, since the name may come from a record that a stranger wrote.

    Args:
        name: the name of a part of a test (a draw, a metric, a rule), or of another object of `group`.
        kind: type or types that the object may have.
        group: group of the entry points.

    Raises:
        SettingsError: two packages have the name, the object is of another type, or the package cannot be imported.
    """
    named = [one for one in plug_ins(group) if one.name == name]
    if len(named) > 1:
        raise clash("part", name, str(named[0]), str(named[1]))
    found = load_entry_point(named[0]) if named else None
    if found is None or isinstance(found, kind):
        return found
    kinds = " or ".join(one.__name__ for one in (kind if isinstance(kind, tuple) else (kind,)))
    raise SettingsError(
        f"'{name}' is {named[0]}, which is of the type {type(found).__name__}; expected "
        f"{'a class' if kind is type else f'an object of the type {kinds}'}"
    )


def owner(class_path: str) -> PlugIn | None:
    """Return an entry point of the installed package that defines the class `class_path`; None if none does."""
    first = class_path.partition(".")[0]
    everything = [
        one for group in (*GROUPS.values(), PROTOCOLS_GROUP, METRICS_GROUP, CONFIGS_GROUP) for one in plug_ins(group)
    ]
    return next((one for one in everything if re.split("[.:/]", one.value)[0] == first), None)


def package_commit(package: str) -> str | None:
    """Return the commit of a package installed from git or from a working tree; None if unknown."""
    try:
        text = metadata.distribution(package).read_text("direct_url.json")
        known = json.loads(text) if text else {}
    except (metadata.PackageNotFoundError, ValueError):
        return None
    if commit := known.get("vcs_info", {}).get("commit_id"):
        return str(commit)
    address = urlsplit(str(known.get("url", "")))
    if address.scheme != "file" or not known.get("dir_info", {}).get("editable"):
        return None
    return checkout_commit(unquote(address.path))


def checkout_commit(folder: str | Path) -> str | None:
    """Return the commit of a git checkout, marked if files were changed since; None outside one or without git."""
    describe = ["git", "-C", str(folder), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(describe, capture_output=True, text=True, check=False).stdout.strip() or None
    except OSError:
        return None
