"""`pytest --changed`: run the tests that reach a changed file, and no others.

A test file reaches what it imports, directly or not (the import graph is grimp's, as for import-linter), the commands
of fsbench that it names, and the classes of the methods, data sets, protocols and backbones that it names: both are
loaded by name, which no import shows. A test whose parameter is such a name, or a changed file, is taken by itself.
"""

import ast
import subprocess
from collections.abc import Callable, Iterable, Iterator
from functools import cache, cached_property
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
LISTS = {"fsbench.paths", "fsbench.config.registry", "tests.documents"}
"""Modules by which a test lists files of the repository, or names of configurations, as its parameters."""
UPSTREAM = "@{upstream}"

REACH = pytest.StashKey["Reach"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--changed",
        nargs="?",
        const=UPSTREAM,
        metavar="COMMIT",
        help="run only the tests that reach a file changed since COMMIT (default: where this branch left its upstream, "
        "or the last commit where it has none)",
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


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if REACH in config.stash:
        reaches = config.stash[REACH].reaches
        config.hook.pytest_deselected(items=[item for item in items if not reaches(item)])
        items[:] = [item for item in items if reaches(item)]


def pytest_report_header(config: pytest.Config) -> str | None:
    if REACH not in config.stash:
        return None
    return "changed, of which tests are chosen: " + (
        ", ".join(map(str, sorted(config.stash[REACH].files))) or "no file"
    )


def changed_files(commit: str) -> list[str]:
    """Return the files that differ from a commit, or are not tracked yet, as paths in the repository.

    Args:
        commit: The commit, or `UPSTREAM`.
    """

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout

    if commit == UPSTREAM:
        try:
            commit = git("merge-base", UPSTREAM, "HEAD").strip()
        except subprocess.CalledProcessError:
            commit = "HEAD"
    try:
        differing = git("diff", "--name-only", "--no-renames", commit)
    except subprocess.CalledProcessError as error:
        raise pytest.UsageError(f"--changed: {error.stderr.strip() or f'{commit} is no commit'}") from None
    return sorted({*differing.splitlines(), *git("ls-files", "--others", "--exclude-standard").splitlines()})


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
        return self.everything or self.file_reaches(item.path) or self._parameter_is_changed(item)

    def may_reach(self, path: Path) -> bool:
        """Return whether a file of tests reaches a changed file, or has parameters that name files or classes."""
        return self.everything or self.file_reaches(path) or self._lists_files(path)

    def _lists_files(self, path: Path) -> bool:
        imported = import_graph().find_modules_directly_imported_by(module_name(repository_path(path)))
        return bool(imported & LISTS)

    def file_reaches(self, path: Path) -> bool:
        """Return whether a file of tests reaches a changed file."""
        if path not in self._of_file:
            self._of_file[path] = self._file_reaches(path)
        return self._of_file[path]

    def _file_reaches(self, path: Path) -> bool:
        file = repository_path(path)
        folders = {changed.parent for changed in self.files if changed.name == "conftest.py"}
        if module_name(file) in self.modules or folders & set(file.parents):
            return True
        source = path.read_text(encoding="utf-8")
        other = (changed.name for changed in self.files if changed.suffix != ".py")
        if any(name in source for name in other):
            return True
        words = {node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)}
        words = {word for word in words if isinstance(word, str)}
        commands = {f"fsbench.cli.{word.replace('-', '_')}" for word in words}
        return bool(words & self.names or commands & self.modules)

    def _parameter_is_changed(self, item: pytest.Item) -> bool:
        parameters = item.callspec.params if hasattr(item, "callspec") else {}
        for value in parameters.values():
            if isinstance(value, Path) and value.is_relative_to(REPOSITORY):
                value = repository_path(value)
            if isinstance(value, str | PurePosixPath) and (value in self.names or value in self.files):
                return True
        return False

    @cached_property
    def modules(self) -> set[str]:
        """Names of the modules that a changed file belongs to, and of all that import them."""
        graph = import_graph()
        changed: set[str] = set()
        for file in self.files:
            changed |= {module_name(file)} if file.suffix == ".py" else modules_beside(file, graph.find_children)
            changed |= registered_classes().get(str(file), set())
        changed &= graph.modules
        return changed.union(*(graph.find_downstream_modules(module) for module in changed))

    @cached_property
    def names(self) -> set[str]:
        """Names of the methods, data sets, protocols and backbones whose file or class is reached."""
        return {
            PurePosixPath(file).stem
            for file, modules in registered_classes().items()
            if PurePosixPath(file) in self.files or modules & self.modules
        }


@cache
def import_graph() -> grimp.ImportGraph:
    """Return the imports of the repository."""
    graph = grimp.build_graph(*PACKAGES, cache_dir=None)
    for kind in graph.find_children("tests.goldens.kinds"):  # its files are found by their folder
        graph.add_import(importer="tests.goldens.harness", imported=kind)
    return graph


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


def registered_classes() -> dict[str, set[str]]:
    """Return the modules of the classes that each configuration names, by the configuration's path."""
    files = [path for kind in REGISTRIES for path in sorted((CONFIGS / kind).glob("*.yaml"))]
    return {
        path.relative_to(REPOSITORY).as_posix(): set(class_modules(yaml.safe_load(path.read_text(encoding="utf-8"))))
        for path in files
    }


def class_modules(settings: Any) -> Iterator[str]:
    """Yield the module of every `class_path` in a configuration."""
    for key, value in settings.items() if isinstance(settings, dict) else ():
        if key == "class_path":
            yield value.rpartition(".")[0]
        yield from class_modules(value)
