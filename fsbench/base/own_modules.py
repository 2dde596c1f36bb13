"""A user's own modules: those outside of Python, of installed packages and of fsbench, which may change between runs.

An editable package (`pip install -e`) is among them, since its code lies where its author works.
"""

import ast
import importlib.util
import site
import sys
import sysconfig
from dataclasses import dataclass
from functools import cache, lru_cache
from hashlib import sha256
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

from fsbench.base.errors import SettingsError, describe
from fsbench.base.files import read_bytes

INSTALLED = (*map(sysconfig.get_path, ("stdlib", "platstdlib", "purelib", "platlib")), site.getusersitepackages())
"""Folders of code that nobody edits between two starts."""
SITES = {"site-packages", "dist-packages"}
"""Names of such folders elsewhere."""


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
    depth = module.count(".") + (path.stem == "__init__")
    return not _holds_packages(path.parents[min(depth, len(path.parents) - 1)])


def own_modules(start: str) -> dict[str, OwnModule]:
    """Return a user's own modules that the module `start` imports, by their names, and itself if it is one.

    The modules that these import are among them, wherever in their code. Nothing is imported here.

    Raises:
        SettingsError: a module cannot be read, or has changed since this process imported it.
    """
    found: dict[str, OwnModule] = {}
    left, seen = [start], set[str]()
    while left:
        name = left.pop()
        if name in seen:
            continue
        seen.add(name)
        file = _file(name)
        if file is None or not is_own(name, file):
            continue
        try:
            content = read_bytes(file, "archive")
        except OSError as error:
            raise SettingsError(f"cannot read the module {name} ({describe(error)}); expected its code") from None
        found[name] = OwnModule(Path(file), _checked_sha256(name, Path(file), content))
        package = name if Path(file).stem == "__init__" else name.rpartition(".")[0]
        left += _imports(content, package) if file.endswith(".py") else ()
    return dict(sorted(found.items()))


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
def _imports(content: bytes, package: str) -> frozenset[str]:
    """Return the names of modules that code of `package` may import, with the packages that they lie in."""
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError):  # it says so where it is imported
        return frozenset()
    found = set[str]()
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [one.name for one in node.names]
        elif isinstance(node, ast.ImportFrom):
            place = "." * node.level + (node.module or "")
            dot = "" if place.endswith(".") else "."
            names = [place, *(f"{place}{dot}{one.name}" for one in node.names)]
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            names = [str(node.args[0].value)] if called in ("import_module", "__import__") else []
        for name in names:
            try:
                full = importlib.util.resolve_name(name, package)
            except ImportError:  # beyond the package: it fails when it is run
                continue
            parts = full.split(".")
            found |= {".".join(parts[: end + 1]) for end in range(len(parts))}
    return frozenset(found)


def _file(name: str) -> str | None:
    """Return the file of a module, imported or not; None if it has none or cannot be found."""
    module = sys.modules.get(name)
    if module is not None:
        return getattr(module, "__file__", None)
    spec = _find(name)
    return spec.origin if spec is not None and spec.has_location else None


def _find(name: str) -> ModuleSpec | None:
    """Find a module as an import would, without importing the packages that it lies in."""
    parent = name.rpartition(".")[0]
    places = None
    if parent:
        loaded: ModuleType | None = sys.modules.get(parent)
        above = None if loaded is not None else _find(parent)
        places = getattr(loaded, "__path__", None) if above is None else above.submodule_search_locations
        if places is None:
            return None
    return next((spec for finder in sys.meta_path if (spec := finder.find_spec(name, places)) is not None), None)


@cache
def _holds_packages(folder: Path) -> bool:
    """Return whether pip has installed packages in a folder (`--target`), other than editable ones."""
    notes = (info / "direct_url.json" for info in folder.glob("*.dist-info"))
    return any(not note.is_file() or b'"editable": true' not in note.read_bytes() for note in notes)
