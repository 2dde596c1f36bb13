"""A class's constructor arguments and plain attributes, read from its source file: nothing is imported.

Importing a method brings torch along, which takes seconds; reading its file takes milliseconds.
"""

import ast
import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from fsbench.config.class_file import file_of_module
from fsbench.files import read_text


@dataclass(frozen=True)
class ClassSource:
    """Facts of a class that its source states.

    Attributes:
        parameters: arguments of the constructor; None where the source does not settle them.
        attributes: class attributes with plain values, those of its bases included.
    """

    parameters: tuple[str, ...] | None
    attributes: dict[str, Any]


@cache
def class_source(path: str) -> ClassSource | None:
    """Return what the source says of the class `path`, such as `methods.emat.EMAT`; None where it is not found.

    Bases are followed as far as they are in packages whose files can be read.
    """
    module, _, name = path.rpartition(".")
    tree = _module_tree(module)
    if tree is None:
        return None
    node = next((item for item in tree.body if isinstance(item, ast.ClassDef) and item.name == name), None)
    if node is None:
        origin = _imported_names(tree).get(name)
        return class_source(origin) if origin and origin != path else None
    inherited = [_base_source(base, module, tree) for base in node.bases]
    known = [source for source in inherited if source is not None]
    attributes = {key: value for source in reversed(known) for key, value in source.attributes.items()}
    return ClassSource(_parameters(node, inherited), attributes | _plain_attributes(node))


def _base_source(base: ast.expr, module: str, tree: ast.Module) -> ClassSource | None:
    if not isinstance(base, ast.Name):
        return None
    return class_source(_imported_names(tree).get(base.id) or f"{module}.{base.id}")


def _parameters(node: ast.ClassDef, bases: list[ClassSource | None]) -> tuple[str, ...] | None:
    """Return the arguments of the constructor: its own, else those of the first base that states any."""
    own = next((item for item in node.body if isinstance(item, ast.FunctionDef) and item.name == "__init__"), None)
    first = bases[0] if bases else None
    inherited = first.parameters if first is not None else None
    if own is None and node.decorator_list:  # of a dataclass, whose fields are the arguments
        return tuple(
            item.target.id
            for item in node.body
            if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
        )
    if own is None:
        return inherited
    arguments = [argument.arg for argument in [*own.args.posonlyargs, *own.args.args, *own.args.kwonlyargs][1:]]
    if own.args.kwarg is None:
        return tuple(arguments)
    return None if inherited is None else tuple(dict.fromkeys([*arguments, *inherited]))


def _plain_attributes(node: ast.ClassDef) -> dict[str, Any]:
    """Return the class attributes whose value is written as a literal."""
    found: dict[str, Any] = {}
    for item in node.body:
        targets = (
            item.targets if isinstance(item, ast.Assign) else [item.target] if isinstance(item, ast.AnnAssign) else []
        )
        if targets and isinstance(item, ast.Assign | ast.AnnAssign) and isinstance(item.value, ast.Constant):
            found.update({target.id: item.value.value for target in targets if isinstance(target, ast.Name)})
    return found


def _imported_names(tree: ast.Module) -> dict[str, str]:
    """Return the full names of what a module imports by `from … import …`."""
    return {
        alias.asname or alias.name: f"{item.module}.{alias.name}"
        for item in tree.body
        if isinstance(item, ast.ImportFrom) and item.module and not item.level
        for alias in item.names
    }


def classes_of(module: str) -> list[str]:
    """Return the names of the classes that a module's file defines; empty where it cannot be read."""
    tree = _module_tree(module)
    return [item.name for item in tree.body if isinstance(item, ast.ClassDef)] if tree else []


@cache
def _module_tree(module: str) -> ast.Module | None:
    """Parse the file of a module; None where there is none that can be read."""
    file = _module_file(module)
    try:
        return None if file is None else ast.parse(read_text(file, "settings"))
    except (OSError, ValueError, SyntaxError, RecursionError):
        return None


def _module_file(module: str) -> Path | None:
    """Return the source file of a module. Only its first package is looked up, and no package is imported."""
    named = file_of_module(module)
    if named is not None:
        return named
    first, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(first) if first.isidentifier() else None
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if not rest:
        return Path(spec.origin) if spec.origin and spec.origin.endswith(".py") else None
    for folder in spec.submodule_search_locations or ():
        place = Path(folder, *rest)
        for file in (place.with_suffix(".py"), place / "__init__.py"):
            if file.is_file():
                return file
    return None
