"""`pytest --changed`: run the tests that reach a changed file, and no others.

A test reaches a file where its function, or a fixture, helper or constant that this uses in its own file or in a
`conftest.py` above it,

* imports the file's module, or one that imports it (the import graph is grimp's, as for import-linter): what lies
  further away has tests of its own that lie nearer;
* runs a command of fsbench whose module is, or imports, the changed one;
* names a method, data set, protocol or backbone whose class or configuration is changed, in its own file or a
  parameter;
* has the changed file as a parameter, or a golden of the changed check.

The slow members of a family run too where they are what was changed: a method's own contract is tested, though the
whole suite calls it slow.

This is a quick first answer, not the last one. It misses a test that comes to the change through more than one module;
one that runs a command with defaults that it does not name, such as the protocol of the demo; and names that are put
together while a test runs. `make test` runs all of them.
"""

import ast
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import copy
from dataclasses import dataclass, field
from functools import cache, cached_property
from itertools import compress
from operator import not_
from pathlib import Path, PurePosixPath
from typing import Any

import grimp
import pytest
import yaml

from fsbench.paths import CONFIGS, REPOSITORY

PACKAGES = ("fsbench", "methods", "datamodules", "benchmarks", "tests")
EVERYTHING = ("pyproject.toml", "constraints.txt", "tests/conftest.py", "tests/changed.py")
"""Files on which every test depends."""
REGISTRIES = ("methods", "data", "protocols", "backbones")
"""Folders of configurations, most of which name a class."""
LISTS = {"fsbench.paths", "fsbench.config.registry", "tests.documents", "tests.goldens.harness"}
"""Modules by which a test lists files of the repository, names of configurations, or goldens, as its parameters."""
KINDS = "tests.goldens.kinds"
"""Package of the goldens' checks, which are found by their folder."""
RUNNERS = {"main", "fsbench", "spawn", "warm"}
"""Functions of tests that run a command of fsbench: the first word that they get, or the first of a list."""
AUTOMATIC = "autouse"
"""The fixtures of a file that every test has, among its definitions."""
UPSTREAM = "@{upstream}"

REACH = pytest.StashKey["Reach"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--changed",
        nargs="?",
        const=UPSTREAM,
        metavar="COMMIT",
        help="run only the tests that reach a file changed since COMMIT (default: where this branch left its upstream, "
        "or the last commit where it has none); before a path of tests write --changed=COMMIT",
    )


def pytest_configure(config: pytest.Config) -> None:
    commit = config.getoption("--changed")
    if commit is not None:
        config.stash[REACH] = Reach(changed_files(commit))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave a file of tests out before it is imported, which takes most of the time where few reach a change."""
    reach = config.stash.get(REACH, None)
    if reach is None or collection_path.suffix != ".py" or reach.may_reach(collection_path):
        return None
    return True


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Choose the tests, before `-m "not slow"` does: the slow member of a family that was changed itself stays."""
    if REACH not in config.stash:
        return
    reach = config.stash[REACH]
    found = [reach.reaches(item.path, function_name(item), parameters(item)) for item in items]
    chosen = list(compress(items, found))
    config.hook.pytest_deselected(items=list(compress(items, map(not_, found))))
    for item in chosen:
        if not reach.everything and reach.names_changed(parameters(item)):
            make_quick(item)
    items[:] = chosen


def pytest_report_header(config: pytest.Config) -> str | None:
    if REACH not in config.stash:
        return None
    return "changed, of which tests are chosen: " + (
        ", ".join(map(str, sorted(config.stash[REACH].files))) or "no file"
    )


def function_name(item: pytest.Item) -> str:
    """Return the name by which the test, or the class around it, is defined in its file."""
    return item.nodeid.split("::")[1].partition("[")[0]


def make_quick(item: pytest.Item) -> None:
    """Take the mark `slow` from a test that has it for its parameters, as a family's member that others stand for."""
    marks = item.callspec.marks  # type: ignore[attr-defined]  # it has parameters
    item.own_markers = [mark for mark in item.own_markers if mark.name != "slow" or mark not in marks]


def parameters(item: pytest.Item) -> Mapping[str, Any]:
    """Return the parameters of a test."""
    return item.callspec.params if hasattr(item, "callspec") else {}


def changed_files(commit: str) -> list[str]:
    """Return the files that differ from a commit, or are not tracked yet, as paths in the repository.

    Args:
        commit: The commit, or `UPSTREAM`.

    Raises:
        pytest.UsageError: There is no such commit, as where a path of tests was taken for it.
    """

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout

    try:
        if commit == UPSTREAM:
            try:
                commit = git("merge-base", UPSTREAM, "HEAD").strip()
            except subprocess.CalledProcessError:
                commit = "HEAD"
        git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{commit}^{{commit}}")
    except subprocess.CalledProcessError:
        raise pytest.UsageError(
            f"--changed: {commit!r} is no commit; expected a commit, as in --changed=HEAD~1 tests/methods"
        ) from None
    differing = git("diff", "--name-only", "--no-renames", commit, "--").splitlines()
    return sorted({*differing, *git("ls-files", "--others", "--exclude-standard").splitlines()})


class Reach:
    """Which tests reach some changed files.

    Args:
        files: Paths in the repository, with slashes.
    """

    def __init__(self, files: Iterable[str]):
        self.files = {PurePosixPath(file) for file in files}
        self.everything = any(str(file) in EVERYTHING for file in self.files)
        self._whole_file: dict[Path, bool] = {}

    def reaches(self, path: Path, function: str, given: Mapping[str, Any]) -> bool:
        """Return whether a test reaches a changed file.

        Args:
            path: File of the test.
            function: Name of the test's function in it.
            given: Parameters of the test.
        """
        return (
            self.everything
            or self._file_is_reached(path)
            or self._is_evidence(evidence(path, function))
            or self.names_changed(given)
            or any(module in self.modules for module in checks_of_goldens(given.values()))
        )

    def may_reach(self, path: Path) -> bool:
        """Return whether some test of a file may reach a changed file: by what it uses, or by a parameter."""
        return self.everything or self._lists_files(path) or bool(self.functions(path))

    def functions(self, path: Path) -> list[str]:
        """Return the definitions of a file of tests that reach a changed file, whatever their parameters."""
        everything = self.everything or self._file_is_reached(path)
        return [name for name in definitions(path) if everything or self._is_evidence(evidence(path, name))]

    def names_changed(self, given: Mapping[str, Any]) -> bool:
        """Return whether parameters of a test name what was changed: a file, or a class by its configuration."""
        return any(value in self.names or value in self.files for value in plain_values(given.values()))

    def _lists_files(self, path: Path) -> bool:
        imported = import_graph().find_modules_directly_imported_by(module_name(repository_path(path)))
        return bool(imported & LISTS)

    def _file_is_reached(self, path: Path) -> bool:
        """Return whether a file of tests, its `conftest.py`, or a file that it names is changed."""
        if path not in self._whole_file:
            file = repository_path(path)
            folders = {changed.parent for changed in self.files if changed.name == "conftest.py"}
            other = [changed.name for changed in self.files if changed.suffix != ".py"]
            source = path.read_text(encoding="utf-8")
            self._whole_file[path] = bool(
                file in self.files or folders & set(file.parents) or any(name in source for name in other)
            )
        return self._whole_file[path]

    def _is_evidence(self, found: "Evidence") -> bool:
        return bool(found.modules & self.modules or found.words & self.names)

    @cached_property
    def modules(self) -> set[str]:
        """Names of the modules that a changed file belongs to, and of those that import one of them."""
        graph = import_graph()
        changed: set[str] = set()
        for file in self.files:
            changed |= {module_name(file)} if file.suffix == ".py" else modules_beside(file, graph.find_children)
            changed |= registered_classes().get(str(file), set())
        for home in sorted(class_homes()):  # a method in a folder of its own is one thing
            if any(f"{module}.".startswith(f"{home}.") for module in changed) and home in graph.modules:
                changed |= graph.find_descendants(home)
        changed &= graph.modules
        return changed.union(*(graph.find_modules_that_directly_import(module) for module in changed))

    @cached_property
    def names(self) -> set[str]:
        """Names of the methods, data sets, protocols and backbones whose configuration or class is changed itself."""
        own = {module_name(file) for file in self.files if file.suffix == ".py"}
        return {
            registered_name(file)
            for file, homes in registered_classes().items()
            if PurePosixPath(file) in self.files
            or any(f"{module}.".startswith(f"{home}.") for module in own for home in homes)
        }


@cache
def import_graph() -> grimp.ImportGraph:
    """Return the imports of the repository."""
    return grimp.build_graph(*PACKAGES, cache_dir=None)


@dataclass
class Evidence:
    """What a definition of a file of tests says of the code that it reaches.

    Attributes:
        modules: Names of the modules that it imports, or whose command it runs.
        words: Words that may be names of classes.
        uses: Names of other definitions.
    """

    modules: set[str] = field(default_factory=set)
    words: set[str] = field(default_factory=set)
    uses: set[str] = field(default_factory=set)

    def add(self, node: ast.AST) -> None:
        """Add a node of a syntax tree, without what is inside it."""
        if isinstance(node, ast.Import):
            self.modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            self.modules |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Name):
            self.uses.add(node.id)
        elif isinstance(node, ast.arg):  # perhaps a fixture
            self.uses.add(node.arg)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            self.words |= {str(word) for word in plain_values([node.value])}
            self.modules |= {command_module(word) for word in re.findall(r"fsbench ([a-z-]+)", node.value)}
        elif isinstance(node, ast.List | ast.Tuple):
            self._add_command(node.elts)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in RUNNERS:
            first = node.args[0] if node.args else None
            self._add_command(first.elts if isinstance(first, ast.List) else node.args, runs=True)

    def _add_command(self, words: list[ast.expr], runs: bool = False) -> None:
        """Add the command that a list begins with; where nothing `runs` the list, no word that names a class, too."""
        first = words[0].value if words and isinstance(words[0], ast.Constant) else None
        if isinstance(first, str) and (runs or first not in registered_names()):
            self.modules.add(command_module(first))


def command_module(word: str) -> str:
    """Return the module of a command of fsbench, if the word is one."""
    return f"fsbench.cli.{word.replace('-', '_')}"


@cache
def definitions(path: Path) -> dict[str, Evidence]:
    """Return what each name says that a file defines at its top level."""
    found: dict[str, Evidence] = {}
    statements = ast.parse(path.read_text(encoding="utf-8")).body
    for statement in statements:
        for alias in statement.names if isinstance(statement, ast.Import | ast.ImportFrom) else ():
            own = copy(statement)
            own.names = [alias]
            found.setdefault((alias.asname or alias.name).partition(".")[0], Evidence()).add(own)
    imported = set(found)
    for statement in statements:
        for name in defined_names(statement):
            for node in walk_without_parameters(statement, imported):
                found.setdefault(name, Evidence()).add(node)
            if any("autouse" in ast.unparse(one) for one in getattr(statement, "decorator_list", [])):
                found.setdefault(AUTOMATIC, Evidence()).uses.add(name)
    return found


def defined_names(statement: ast.stmt) -> set[str]:
    """Return the names that a statement defines, other than by import."""
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        return {statement.name}
    return {node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}


@cache
def evidence(path: Path, name: str) -> Evidence:
    """Return what a function of a file of tests reaches with its fixtures, helpers and constants.

    Of a test's parameters only its own values count, and of a `conftest.py`, which serves many tests, no words.
    """
    homes = [path, *(folder / "conftest.py" for folder in path.parents if (folder / "conftest.py").is_file())]
    found = Evidence()
    left = {name}.union(*(definitions(home)[AUTOMATIC].uses for home in homes if AUTOMATIC in definitions(home)))
    while left := left - found.uses:
        found.uses |= left
        homes_of_left = {one: next((home for home in homes if one in definitions(home)), None) for one in left}
        left = set()
        for one, home in homes_of_left.items():
            if home:
                found.modules |= definitions(home)[one].modules
                found.words |= definitions(home)[one].words if home == path else set()
                left |= definitions(home)[one].uses
    return found


def walk_without_parameters(statement: ast.stmt, imported: set[str]) -> Iterator[ast.AST]:
    """Yield the nodes of a statement, of `parametrize` only the names of what is imported, such as classes."""
    nodes: list[ast.AST] = [statement]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "parametrize":
            nodes += [inner for inner in ast.walk(node) if isinstance(inner, ast.Name) and inner.id in imported]
        else:
            yield node
            nodes += ast.iter_child_nodes(node)


def plain_values(values: Iterable[Any]) -> Iterator[str | PurePosixPath]:
    """Yield the words and the files of the repository among values, and in the lists and mappings among them."""
    for value in values:
        if isinstance(value, str) and re.fullmatch(r"[\w.,-]+", value):
            yield from value.split(",")
        elif isinstance(value, Path) and value.is_relative_to(REPOSITORY):
            yield repository_path(value)
        elif isinstance(value, Mapping):
            yield from plain_values([*value, *value.values()])
        elif isinstance(value, list | tuple | set):
            yield from plain_values(value)


def checks_of_goldens(values: Iterable[Any]) -> Iterator[str]:
    """Yield the modules of the checks of those values that are cases of goldens."""
    for value in values:
        if (type(value).__module__, type(value).__name__) == ("tests.goldens.harness", "Case"):
            yield from (name for name, text in checks().items() if f'"{value.entry["kind"]}"' in text)


@cache
def checks() -> dict[str, str]:
    """Return the source of every module of goldens' checks, which names their kinds: importing them takes long."""
    modules = import_graph().find_children(KINDS)
    return {name: (REPOSITORY / name.replace(".", "/")).with_suffix(".py").read_text("utf-8") for name in modules}


def repository_path(path: Path) -> PurePosixPath:
    """Return a file's path in the repository."""
    return PurePosixPath(path.relative_to(REPOSITORY).as_posix())


def module_name(file: PurePosixPath) -> str:
    """Return the name under which a file of Python is imported."""
    return ".".join(file.with_suffix("").parts).removesuffix(".__init__")


def modules_beside(file: PurePosixPath, children: Callable[[str], set[str]]) -> set[str]:
    """Return the modules of the nearest package around a file that is no module, such as a page's template."""
    for folder in file.parents:
        if (REPOSITORY / folder / "__init__.py").is_file():
            package = ".".join(folder.parts)
            return {package, *children(package)}
    return set()


@cache
def registered_classes() -> dict[str, set[str]]:
    """Return the modules of the classes that each configuration names, by the configuration's path."""
    files = [path for kind in REGISTRIES for path in sorted((CONFIGS / kind).glob("*.yaml"))]
    return {
        path.relative_to(CONFIGS.parent).as_posix(): set(
            class_modules(yaml.safe_load(path.read_text(encoding="utf-8")))
        )
        for path in files
    }


@cache
def class_homes() -> set[str]:
    """Return the modules and packages in which the classes of all configurations are."""
    return set().union(*registered_classes().values())


@cache
def registered_names() -> set[str]:
    """Return the names of all methods, data sets, protocols and backbones."""
    return {registered_name(file) for file in registered_classes()}


def registered_name(file: str) -> str:
    """Return the name of what a configuration is of: `hsnet` of `configs/methods/hsnet.demo.yaml`."""
    return PurePosixPath(file).name.partition(".")[0]


def class_modules(settings: Any) -> Iterator[str]:
    """Yield the module of every `class_path` in a configuration."""
    for key, value in settings.items() if isinstance(settings, dict) else ():
        if key == "class_path":
            yield value.rpartition(".")[0]
        yield from class_modules(value)
