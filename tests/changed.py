"""`pytest --changed`: run the tests that reach a changed file, and no others.

A test reaches a changed file where

* its own file imports the file's module, directly or through at most two others (the import graph is grimp's, as for
  import-linter), or names a changed file that is no module, such as a template;
* its function, or its own file outside of all tests, names a method, data set, protocol or backbone whose class or
  configuration was changed, or runs a command of fsbench whose module reaches the change as above; a parameter of the
  test counts like a word of its function.

Of a method, data set or protocol that was changed itself its own member of a family is run, too, though all members but
one are slow: a method's own contract is tested.

This is a quick first answer. It misses a test that comes to a change through more than two modules, or only by a
default that it does not name, such as the protocol of the demo; `make test` runs them all.

pytest-testmon 2.2 was tried in its place. Of four tests of one function it chose, after a change of that function, the
one that calls it in its own process. It missed those that call it in a fork or in a process of their own, as the tests
of commands do here, and one that reads a changed YAML file. It also knows nothing before it has traced a whole run,
which a fresh clone has not. pytest-picked runs changed files of tests and looks at no import.
"""

import ast
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import grimp
import pytest
import yaml

from fsbench.base.paths import CONFIGS, REPOSITORY

PACKAGES = ("fsbench", "benchmarks", "tests")
LINKED = ("methods", "datamodules")
"""Folders that are imported by links in the folder `fsbench`."""
EVERYTHING = ("pyproject.toml", "constraints.txt", "tests/conftest.py", "tests/changed.py")
"""Files on which every test depends."""
REGISTRIES = ("methods", "data", "protocols", "backbones")
"""Folders of configurations, most of which name a class."""
LISTS = {"fsbench.base.paths", "fsbench.runner.config.registry", "tests.documents"}
"""Modules by which a test lists files of the repository, or names of configurations, as its parameters."""
RUNNERS = {"main", "fsbench", "spawn", "warm"}
"""Functions of tests that run a command: its name is the first word that they get, or the first of a list."""
STEPS = 3
"""Imports from a test's file to a changed module, at most."""
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
    """Choose the tests, before `-m "not slow"` leaves members of families out that were changed themselves."""
    if REACH not in config.stash:
        return
    reach = config.stash[REACH]
    chosen = [item for item in items if reach.reaches(item)]
    config.hook.pytest_deselected(items=[item for item in items if item not in set(chosen)])
    for item in chosen:
        if parameter_words(item) & reach.names:
            make_quick(item)
    items[:] = chosen


def pytest_report_header(config: pytest.Config) -> str | None:
    if REACH not in config.stash:
        return None
    return "changed, of which tests are chosen: " + (
        ", ".join(map(str, sorted(config.stash[REACH].files))) or "no file"
    )


def make_quick(item: pytest.Item) -> None:
    """Take the mark `slow` from a test that has it for its parameters, as a family's member that another stands for."""
    marks = item.callspec.marks  # type: ignore[attr-defined]  # it has parameters
    item.own_markers = [mark for mark in item.own_markers if mark.name != "slow" or mark not in marks]


def changed_files(commit: str) -> list[str]:
    """Return the files that differ from a commit, or are not tracked yet, as paths in the repository.

    Args:
        commit: The commit, or `UPSTREAM`.

    Raises:
        pytest.UsageError: There is no such commit, as where a path of tests was taken for it.
    """

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout

    if commit == UPSTREAM:
        try:
            commit = git("merge-base", UPSTREAM, "HEAD").strip()
        except subprocess.CalledProcessError:
            commit = "HEAD"
    try:
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
        self._of_file: dict[Path, bool] = {}

    def reaches(self, item: pytest.Item) -> bool:
        """Return whether a test reaches a changed file."""
        if self.everything or self.file_reaches(item.path) or parameter_files(item) & self.files:
            return True
        words = file_words(item.path)
        own = words.of_tests.get(getattr(item, "originalname", item.name), Words())
        return self._are_reached(words.shared) or self._are_reached(own) or bool(parameter_words(item) & self.names)

    def may_reach(self, path: Path) -> bool:
        """Return whether some test of a file may reach a changed file, if only by its parameters."""
        return self.everything or self.some_reach(path) or bool(imported_by(path) & LISTS)

    def some_reach(self, path: Path) -> bool:
        """Return whether some tests of a file reach a changed file, whatever their parameters."""
        words = file_words(path)
        return self.file_reaches(path) or any(map(self._are_reached, (words.shared, *words.of_tests.values())))

    def file_reaches(self, path: Path) -> bool:
        """Return whether all tests of a file reach a changed file: by its imports, its `conftest.py` or its text."""
        if path not in self._of_file:
            file = repository_path(path)
            folders = {changed.parent for changed in self.files if changed.name == "conftest.py"}
            other = [changed.name for changed in self.files if changed.suffix != ".py"]
            self._of_file[path] = (
                module_name(file) in self.modules
                or bool(folders & set(file.parents))
                or any(name in path.read_text(encoding="utf-8") for name in other)
            )
        return self._of_file[path]

    def _are_reached(self, words: "Words") -> bool:
        commands = {f"fsbench.cli.{word.replace('-', '_')}" for word in words.commands}
        return bool(words.names & self.names or commands & self.modules)

    @cached_property
    def modules(self) -> set[str]:
        """Names of the modules that a changed file belongs to, and of those that reach one in `STEPS` imports."""
        graph = import_graph()
        found: set[str] = set()
        for file in self.files:
            found |= {module_name(file)} if file.suffix == ".py" else modules_beside(file, graph.find_children)
            found |= registered_classes().get(str(file), set())
        found &= graph.modules
        for _ in range(STEPS):
            found = found.union(*map(graph.find_modules_that_directly_import, found))
        return found

    @cached_property
    def names(self) -> set[str]:
        """Names of the methods, data sets, protocols and backbones whose configuration or class is changed itself."""
        changed = {module_name(file) for file in self.files if file.suffix == ".py"}
        return {
            registered_name(file)
            for file, homes in registered_classes().items()
            if PurePosixPath(file) in self.files
            or any(f"{module}.".startswith(f"{home}.") for module in changed for home in homes)
        }


@dataclass(frozen=True)
class Words:
    """Words by which a part of a file of tests reaches what no import shows.

    Attributes:
        names: All words, of which some are names of configurations.
        commands: Those that are commands of fsbench where they stand.
    """

    names: frozenset[str] = frozenset()
    commands: frozenset[str] = frozenset()


@dataclass(frozen=True)
class FileWords:
    """Words of a file of tests: of each test by its name, and of what is outside of all tests."""

    of_tests: dict[str, Words]
    shared: Words


@cache
def file_words(path: Path) -> FileWords:
    """Return the words of a file of tests."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    tests = [node for node in body if isinstance(node, ast.FunctionDef) and node.name.startswith("test")]
    return FileWords({test.name: words_in(test) for test in tests}, words_in(*(x for x in body if x not in tests)))


def words_in(*nodes: ast.AST) -> Words:
    """Return the words of parts of a file."""
    names, commands = set(), set()
    for node in (inner for outer in nodes for inner in ast.walk(outer)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            names.update(node.value.split(",") if re.fullmatch(r"[\w.,-]+", node.value) else ())
            commands.update(re.findall(r"fsbench ([a-z-]+)", node.value))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in RUNNERS:
            first = node.args[0] if node.args else None
            commands.update(first_word(first.elts if isinstance(first, ast.List) else node.args))
        elif isinstance(node, ast.List):
            commands.update(set(first_word(node.elts)) - registered_names())  # of arguments, not of data sets
    return Words(frozenset(names), frozenset(commands))


def first_word(nodes: list[ast.expr]) -> Iterator[str]:
    """Yield the first of some words, if it is one."""
    if nodes and isinstance(nodes[0], ast.Constant) and isinstance(nodes[0].value, str):
        yield nodes[0].value


def parameters(item: pytest.Item) -> Iterable[Any]:
    """Return the values of a test's parameters."""
    return item.callspec.params.values() if hasattr(item, "callspec") else ()


def parameter_words(item: pytest.Item) -> set[str]:
    """Return the words of a test's parameters: each that is one, and those of lists and joined by commas."""
    values = [one for value in parameters(item) for one in (value if isinstance(value, list | tuple) else [value])]
    return {word for value in values if isinstance(value, str) for word in value.split(",")}


def parameter_files(item: pytest.Item) -> set[PurePosixPath]:
    """Return the files of the repository among a test's parameters."""
    paths = (value for value in parameters(item) if isinstance(value, Path) and value.is_relative_to(REPOSITORY))
    return {*map(repository_path, paths), *(PurePosixPath(x) for x in parameters(item) if isinstance(x, str))}


@cache
def import_graph() -> grimp.ImportGraph:
    """Return the imports of the repository."""
    graph = grimp.build_graph(*PACKAGES, cache_dir=None)
    for kind in graph.find_children("tests.goldens.kinds"):  # its files are found by their folder
        graph.add_import(importer="tests.goldens.test_goldens", imported=kind)
    return graph


def imported_by(path: Path) -> set[str]:
    """Return the modules that a file of tests imports."""
    return import_graph().find_modules_directly_imported_by(module_name(repository_path(path)))


def repository_path(path: Path) -> PurePosixPath:
    """Return a file's path in the repository."""
    return PurePosixPath(path.relative_to(REPOSITORY).as_posix())


def module_name(file: PurePosixPath) -> str:
    """Return the name under which a file of Python is imported."""
    module = ".".join(file.with_suffix("").parts).removesuffix(".__init__")
    return f"fsbench.{module}" if file.parts[0] in LINKED else module


def modules_beside(file: PurePosixPath, children: Callable[[str], set[str]]) -> set[str]:
    """Return the modules of the nearest package around a file that is no module, such as a page's template."""
    for folder in file.parents:
        if (REPOSITORY / folder / "__init__.py").is_file():
            package = module_name(folder / "__init__.py")
            return {package, *children(package)}
    return set()


@cache
def registered_classes() -> dict[str, set[str]]:
    """Return the modules of the classes that each configuration names, by the configuration's path."""
    files = [path for kind in REGISTRIES for path in sorted((CONFIGS / kind).glob("*.yaml"))]
    return {
        path.relative_to(REPOSITORY).as_posix(): set(class_modules(yaml.safe_load(path.read_text(encoding="utf-8"))))
        for path in files
    }


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
