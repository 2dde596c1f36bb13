"""Classes in single files, `FILE.py:Class` on the command line: their names, and the import of their files.

A file becomes a module `fsbench_file.m_<digits of its sha256>`, wherever it lies and whatever its name. Its code is run
only if the command that runs names it. That a stored configuration names it is not enough, since that may be anybody's
(`fsbench.runner.config.stored`).
"""

import ast
import copyreg
import hashlib
import re
import sys
from collections.abc import Iterable
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from fsbench.base.errors import SettingsError, describe, did_you_mean, near_path
from fsbench.base.files import read_bytes

PACKAGE = "fsbench_file"
"""Package of the modules that files become."""
SHA256 = "#sha256="
SOURCE = "method.py"
"""File in a run's folder that keeps the source of its method, where that is a class in a file."""
_SPEC = re.compile(r"(.+\.py):(\w+)", re.ASCII | re.DOTALL)

_named: dict[str, "ClassFile"] = {}
"""The files that this process's command names, by their modules."""


@dataclass(frozen=True)
class ClassFile:
    """A Python file with a user's class: its absolute path, and the sha256 that its content must have to be run."""

    path: Path
    sha256: str

    @classmethod
    def stated(cls, reference: str) -> "ClassFile":
        """Return the file that a configuration names in the form "<path>…<sha256>" of `ClassFile.reference`."""
        path, _, sha256 = reference.partition(SHA256)
        return cls(Path(path), sha256)

    @property
    def sha256_now(self) -> str | None:
        """Hash of the file's present content; None if the file is gone. No code is run."""
        try:
            return hashlib.sha256(read_bytes(self.path, "settings")).hexdigest()
        except (OSError, ValueError):  # nothing that can be read has this name
            return None

    @property
    def is_unchanged(self) -> bool:
        """Whether the file still has the content that its sha256 states."""
        return self.sha256_now == self.sha256

    @property
    def module(self) -> str:
        """Full name of the module under which the file is loaded."""
        return f"{PACKAGE}.m_{self.sha256[:12]}"

    @property
    def reference(self) -> str:
        """Path and sha256 of the file in one text, as configurations name a user's class file."""
        return f"{self.path}{SHA256}{self.sha256}"


def is_class_file(text: str) -> bool:
    """Return whether `text` has the form FILE.py:Class."""
    return _SPEC.fullmatch(text) is not None


def name_class_file(text: str, folder: Path | None = None) -> tuple[ClassFile, str]:
    """Allow this process to run the code of a Python file that the user names as FILE.py:Class; nothing runs yet.

    Args:
        text: file and class, FILE.py:Class.
        folder: the folder that a relative path starts from; None for the working folder.

    Returns:
        The file with the sha256 of its present content, and the class's name.

    Raises:
        SettingsError: the file cannot be read.
    """
    spec = _SPEC.fullmatch(text)
    assert spec is not None, text
    path = (folder or Path()) / Path(spec[1]).expanduser()
    try:
        file = ClassFile(path.resolve(), hashlib.sha256(read_bytes(path, "settings")).hexdigest())
    except OSError as error:
        raise SettingsError(
            f"cannot read {path} ({error.strerror}); expected FILE.py:Class{near_path(path) or '; correct the path'}"
        ) from error
    _named[file.module] = file
    return file, spec[2]


def name_class_files(texts: Iterable[str]) -> None:
    """Allow this process to run the code of several files of methods, given as FILE.py:Class.

    Raises:
        SettingsError: a text has another form, or its file cannot be read.
    """
    for text in texts:
        if not is_class_file(text):
            raise SettingsError(f"--method is '{text}', expected FILE.py:Class; runs of other methods need no --method")
        name_class_file(text)


def find_class(text: str, folder: Path | None = None) -> tuple[ClassFile, type]:
    """Run the Python file of FILE.py:Class, and return (the file with its sha256, the class).

    Args:
        text: file and class, FILE.py:Class.
        folder: the folder that a relative path starts from; None for the working folder.

    Raises:
        SettingsError: the file cannot be read or imported, or has no such class.
    """
    file, name = name_class_file(text, folder)
    classes = classes_of_file(file)
    if name not in classes:
        found = vars(sys.modules[file.module])
        if isinstance(imported := found.get(name), type):
            raise SettingsError(
                f"{file.path} has no class {name} of its own: {name} is imported from {imported.__module__}; expected "
                f"the file that defines it, FILE.py:{imported.__name__}"
            )
        if name in found:
            raise SettingsError(
                f"{file.path} has no class {name}: {name} is something else, and a class is wanted here; a function is "
                "tested in Python, by fsbench.evaluate"
            )
        there = f"it has {', '.join(classes)}" if classes else "it has no class"
        raise SettingsError(f"{file.path} has no class {name}; {there}{did_you_mean(name, classes)}")
    return file, classes[name]


def classes_of_file(file: ClassFile) -> dict[str, type]:
    """Run a user's file, once per process, and return {name: class} of the classes that it defines.

    Raises:
        SettingsError: the file has changed, or cannot be imported.
    """
    load_class_file(file.reference)
    found = vars(sys.modules[file.module])
    return {name: kind for name, kind in found.items() if isinstance(kind, type) and kind.__module__ == file.module}


def class_names(path: Path) -> list[str]:
    """Return the names of the classes that a file defines, without running it; [] if it is not Python.

    Raises:
        OSError: the file cannot be read.
    """
    try:
        body = ast.parse(read_bytes(path, "settings")).body
    except (SyntaxError, ValueError):
        return []
    return [one.name for one in body if isinstance(one, ast.ClassDef)]


def named_file(reference: str) -> ClassFile | None:
    """Return the file that the user named and whose sha256 is that in `reference` ("<path>…<sha256>"); else None."""
    sha256 = reference.rpartition(SHA256)[2]
    return next((file for file in _named.values() if file.sha256 == sha256), None)


def load_class_file(reference: str) -> ClassFile:
    """Run the Python file with a user's class that a configuration names, as a module of its own, once per process.

    Args:
        reference: path and sha256 of the file, see `ClassFile.reference`.

    Returns:
        The file with the stated sha256: one that the user named for this process, wherever it is, or else the file at
        the stated path.

    Raises:
        SettingsError: the file is absent, has changed, or cannot be imported.
    """
    file = named_file(reference)
    if file is not None and file.module in sys.modules:
        return file
    file = file or ClassFile.stated(reference)
    content = unchanged_content(file)
    _named[file.module] = file
    if file.module in sys.modules:
        return file
    package = sys.modules.setdefault(PACKAGE, ModuleType(PACKAGE))
    package.__path__ = []
    module = ModuleType(file.module)
    module.__file__, module.__package__ = str(file.path), PACKAGE
    sys.modules[file.module] = module
    try:
        with redirect_stdout(sys.stderr):  # stdout is the command's own, such as a table in JSON
            exec(compile(content, str(file.path), "exec"), module.__dict__)
    except (Exception, SystemExit) as error:
        del sys.modules[file.module]
        raise SettingsError(f"cannot import {file.path} ({describe(error)}); correct the file") from error
    setattr(package, file.module.rpartition(".")[2], module)
    for kind in vars(module).values():
        if isinstance(kind, type) and kind.__module__ == file.module and _is_plain(kind):
            copyreg.pickle(kind, partial(_pickled, file.reference))
    return file


def unchanged_content(file: ClassFile) -> bytes:
    """Return the content of a user's class file, if it still has its sha256.

    Raises:
        SettingsError: the file is absent, or has changed.
    """
    try:
        content = read_bytes(file.path, "settings")
    except OSError as error:
        raise SettingsError(
            f"the class's file {file.path} cannot be read ({error.strerror}); expected it where it was; bring it back "
            f"(its runs keep it in their folders, as {SOURCE}), or name it where it is now"
        ) from error
    found = hashlib.sha256(content).hexdigest()
    if found != file.sha256:
        raise SettingsError(
            f"the class's file {file.path} has changed: its sha256 begins with {found[:12]}, expected "
            f"{file.sha256[:12]}; bring that state back (its runs keep it in their folders, as {SOURCE}), or run the "
            "method again as it is now"
        )
    return content


def _is_plain(kind: type) -> bool:
    """Return whether values of a class are made and pickled as Python does it by itself."""
    return all(getattr(kind, name) is getattr(object, name) for name in ("__new__", "__reduce__", "__reduce_ex__"))


def _pickled(reference: str, value: object) -> tuple[Any, ...]:
    """Let a value of the file's classes pass to a process that has not loaded the file: a loader worker."""
    return _empty, (reference, type(value).__name__), value.__getstate__()


def _empty(reference: str, name: str) -> object:
    file = load_class_file(reference)
    kind: type[object] = getattr(sys.modules[file.module], name)
    return object.__new__(kind)
