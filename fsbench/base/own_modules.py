"""A user's own modules: those outside of Python, of installed packages and of fsbench, which may change between runs.

An editable package (`pip install -e`) is among them, since its code lies where its author works.
"""

import ast
import importlib.util
import os
import re
import site
import stat
import sys
import sysconfig
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, lru_cache
from hashlib import sha256
from importlib.machinery import ModuleSpec
from pathlib import Path

from fsbench.base.class_file import PACKAGE
from fsbench.base.errors import SettingsError, describe
from fsbench.base.files import read_bytes, sha256_file

INSTALLED = (*map(sysconfig.get_path, ("stdlib", "platstdlib", "purelib", "platlib")), site.getusersitepackages())
"""Folders of code that nobody edits between two starts."""
SITES = {"site-packages", "dist-packages"}
"""Names of such folders elsewhere."""
BY_NAME = {"import_module", "__import__"}
"""Functions that import the module that their first argument names."""
COMPUTED = {
    *BY_NAME, "exec", "exec_module", "iter_modules", "load_module", "module_from_spec", "resolve_name", "run_module",
    "run_path", "SourceFileLoader", "spec_from_file_location", "walk_packages",
}  # fmt: skip
"""Functions and classes that load or list modules which the code around them need not name."""
LARGEST = 2**21
"""Bytes of the largest file that is taken for code without being imported by its name."""
LONGEST_NAME = 200
"""Letters of the longest text that is taken for the name of a file."""
WRITING = {
    "FileHandler", "basicConfig", "imwrite", "save", "save_file", "savefig", "savetxt", "savez",
    "savez_compressed", "to_csv", "write_bytes", "write_text",
}  # fmt: skip
"""Functions and classes that write the file that they are given; `open` does with some modes."""


@dataclass(frozen=True)
class OwnModule:
    """The file of a user's own module, and the sha256 of its content."""

    file: Path
    sha256: str


_imported: dict[str, tuple[ModuleSpec, str]] = {}
"""By the names of imported modules: the import, and the sha256 that the file had when it was first asked for."""


def is_own(module: str, file: str | None) -> bool:
    """Return whether a module is a user's own.

    Args:
        module: its full name.
        file: its file; None if it has none, as modules in C within Python.
    """
    if file is None or module.partition(".")[0] == "fsbench" or not Path(file).is_file():
        return False
    path = Path(file).absolute()
    for one in (path, path.resolve()):
        if SITES & {*one.parts} or any(one.is_relative_to(folder) for folder in INSTALLED):
            return False
    return not _holds_packages(path.parents[min(_depth(module, path), len(path.parents) - 1)])


def own_modules(*starts: str) -> dict[str, OwnModule]:
    """Return a user's own modules among `starts` and among what these import, by their names.

    The packages that they lie in are among them, and the modules that these import, wherever in their code. Where code
    computes what it loads, all modules of its package are, or those beside a file in no package, as "<name>.py".
    Nothing is imported here.

    Args:
        starts: full names of modules, or of what is in them.

    Raises:
        SettingsError: a module cannot be read, or has changed since this process imported it.
    """
    found: dict[str, OwnModule] = {}
    left: list[tuple[str, Path | None]] = [(name, None) for start in starts for name in _with_packages(start)]
    seen = set[str | Path]()
    while left:
        name, file = left.pop()
        if (file or name) in seen:
            continue
        seen.add(file or name)
        file = file or _own_file(name)
        if file is None or (name in found and found[name].file == file):
            continue
        seen.add(file)
        try:
            content = read_bytes(file, "archive")
        except OSError as error:
            raise SettingsError(f"cannot read the module {name} ({describe(error)}); expected its code") from None
        if name in found:  # a file of this name in another folder
            name = f"{file.parent.name}/{name}"
        found[name] = OwnModule(file, _checked_sha256(name, file, content))
        if file.suffix == ".py":
            package = name if file.stem == "__init__" else name.rpartition(".")[0]
            names, computes = _imports(content, package)
            left = [*(_around(name, file) if computes else ()), *left, *((one, None) for one in sorted(names))]
    return dict(sorted(found.items()))


def files_named_by(modules: Iterable[OwnModule]) -> dict[str, OwnModule]:
    """Return the files that texts in the code of modules name, such as a table beside it, by the files' names.

    Places are the folders of all these modules, the one above the module, the working folder, and folders in these that
    texts name. A text ".yaml" is the file with the module's name and this ending. Files that the code writes are left
    out.
    """
    sources = [one.file for one in modules if one.file.suffix == ".py"]
    around, named = {one.parent for one in sources}, set[Path]()
    for source in sources:
        texts = _texts(read_bytes(source, "archive"))
        places = {*around, *source.parents[:2], Path.cwd()}
        for _ in range(2):
            places |= {one for one in _joined(places, texts) if _is(stat.S_ISDIR, one)}
        named |= _joined(places, texts)
        named |= {source.with_suffix(text) for text in texts if re.fullmatch(r"\.\w+", text)}
    found: dict[str, OwnModule] = {}
    for file in sorted({one.resolve() for one in named if _is(stat.S_ISREG, one) and os.access(one, os.R_OK)}):
        name = file.name if file.name not in found else f"{file.parent.name}/{file.name}"
        found[name] = OwnModule(file, sha256_file(file))
    return found


def _joined(places: Iterable[Path], texts: Iterable[str]) -> set[Path]:
    """Return the paths that texts name in folders, without those that begin with a name that a folder lacks."""
    begun = [(text, Path(text).parts[0]) for text in texts]
    found = set[Path]()
    for place in places:
        names = {"/", ".."}
        with suppress(OSError):
            names |= {one.name for one in place.iterdir()}
        found |= {place / text for text, first in begun if first in names}
    return found


def _is(kind: Callable[[int], bool], path: Path) -> bool:
    with suppress(OSError):  # also where this user may not look
        return kind(path.stat().st_mode)
    return False


@lru_cache(maxsize=1000)
def _texts(content: bytes) -> frozenset[str]:
    """Return the texts in some code that may name a file or a folder which the code does not write."""
    try:
        nodes = [*ast.walk(ast.parse(content))]
    except (SyntaxError, ValueError):
        return frozenset()
    writing: list[ast.AST] = [node for node in nodes if isinstance(node, ast.Call) and _writes(node)]
    named = {node.id for call in writing for node in ast.walk(call) if isinstance(node, ast.Name)}
    writing += [node for node in nodes if isinstance(node, ast.Assign) and named.intersection(map(_word, node.targets))]
    return _constants(nodes).difference(*(_constants(ast.walk(one)) for one in writing))


def _writes(call: ast.Call) -> bool:
    given = _constants([*call.args, *(one.value for one in call.keywords)])
    is_for_writing = any(re.fullmatch(r"[rbt]*[wax+][bt+]*", one) for one in given)
    return _word(call.func) in WRITING or (_word(call.func) == "open" and is_for_writing)


def _constants(nodes: Iterable[ast.AST]) -> frozenset[str]:
    values = [node.value for node in nodes if isinstance(node, ast.Constant)]
    texts = (one for one in values if isinstance(one, str) and one.isprintable() and one.strip("./ "))
    return frozenset(one for one in texts if len(one) <= LONGEST_NAME)


def _checked_sha256(name: str, file: Path, content: bytes) -> str:
    """Return the sha256 of a module's content; SettingsError if it is not what this process has imported."""
    digest = sha256(content).hexdigest()
    spec = getattr(sys.modules.get(name), "__spec__", None)
    if spec is not None:
        imported, before = _imported.setdefault(name, (spec, digest))
        if imported is not spec:  # it was loaded anew
            _imported[name] = spec, digest
        elif before != digest:
            raise SettingsError(
                f"{file} has changed since this process imported it; expected the code that runs; load it anew "
                "(importlib.reload), or start the command again"
            )
    return digest


@lru_cache(maxsize=1000)
def _imports(content: bytes, package: str) -> tuple[frozenset[str], bool]:
    """Return the names of modules that code of `package` may import, and whether it loads others that it computes."""
    try:
        nodes = [*ast.walk(ast.parse(content))]
    except (SyntaxError, ValueError):  # it says so where it is imported
        return frozenset(), False
    meant = {word: word for word in COMPUTED}
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            meant |= {one.asname: one.name for one in node.names if one.asname and one.name in COMPUTED}
    found, understood, computes = set[str](), set[ast.expr](), False
    for node in nodes:  # a call goes before the function that is called
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [one.name for one in node.names]
        elif isinstance(node, ast.ImportFrom):
            place = "." * node.level + (node.module or "")
            dot = "" if place.endswith(".") else "."
            names = [place, *(f"{place}{dot}{one.name}" for one in node.names)]
        elif isinstance(node, ast.Call) and meant.get(_word(node.func)) in BY_NAME:
            match [*node.args, *(one.value for one in node.keywords)]:
                case [ast.Constant(value=str(name)), *more]:
                    names = [name]
                    if not more or [_word(one) for one in more] == ["__package__"]:
                        understood.add(node.func)
        elif isinstance(node, ast.Name | ast.Attribute) and _word(node) in meant:
            computes |= node not in understood
        for name in names:
            with suppress(ImportError):  # beyond the package: it fails when it is run
                found.update(_with_packages(importlib.util.resolve_name(name, package)))
    return frozenset(found), computes


def _word(node: ast.expr) -> str:
    """Return the last word of a dotted name; "" for other expressions."""
    word: str = getattr(node, "attr", getattr(node, "id", ""))
    return word


def _with_packages(name: str) -> list[str]:
    """Return a name after those of the packages that it lies in."""
    parts = name.split(".")
    return [".".join(parts[: end + 1]) for end in range(len(parts))]


def _depth(module: str, file: Path) -> int:
    """Return how many folders of packages a module's file lies in; a class's file is in none."""
    return 0 if module.startswith(f"{PACKAGE}.") else module.count(".") + (file.stem == "__init__")


def _around(module: str, file: Path) -> list[tuple[str, Path]]:
    """Return (name, file) of all modules of the package of a module, or of those beside it if it is in none."""
    depth = 0 if module.endswith(file.name) else _depth(module, file)
    folder = file.parents[max(depth - 1, 0)]
    files = sorted(folder.rglob("*.py") if depth else folder.glob("*.py"))
    files = [one for one in files if one.is_file() and os.access(one, os.R_OK) and one.stat().st_size <= LARGEST]
    if not depth:
        return [(one.name, one) for one in files]
    named = [(".".join(one.relative_to(folder.parent).with_suffix("").parts), one) for one in files]
    named = [(name.removesuffix(".__init__"), one) for name, one in named]
    return [(name, one) for name, one in named if is_own(name, str(one))]


def _own_file(name: str) -> Path | None:
    """Return the file of a user's own module, imported or not; None for others, and for what is no module."""
    module = sys.modules.get(name)
    if module is not None:
        file = getattr(module, "__file__", None)
    else:
        spec = _find(name)
        file = spec.origin if spec is not None and spec.has_location else None
    return Path(file) if file is not None and is_own(name, file) else None


def _find(name: str) -> ModuleSpec | None:
    """Find a module as an import would, without importing the packages that it lies in."""
    package = name.rpartition(".")[0]
    places = _places(package) if package else None
    for finder in sys.meta_path:
        with suppress(Exception):  # Python's own fails at a namespace in a package that is not imported
            if (spec := finder.find_spec(name, places)) is not None:
                return spec
    return None


def _places(package: str) -> list[str]:
    """Return the folders that the modules of a package lie in, imported or not."""
    loaded = sys.modules.get(package)
    spec = None if loaded is not None else _find(package)
    if loaded is not None:
        return [*getattr(loaded, "__dict__", {}).get("__path__", ())]  # a module's __getattr__ is the user's code
    if spec is not None:
        return [*(spec.submodule_search_locations or ())]
    above, _, name = package.rpartition(".")
    folders = [Path(place, name) for place in (_places(above) if above else ())]
    return [str(folder) for folder in folders if folder.is_dir()]


@cache
def _holds_packages(folder: Path) -> bool:
    """Return whether pip has installed packages in a folder (`--target`), other than editable ones."""
    notes = (info / "direct_url.json" for info in folder.glob("*.dist-info"))
    return any(not note.is_file() or b'"editable": true' not in note.read_bytes() for note in notes)
