"""Print the shape of the source tree: `python -m benchmarks.structure [--root CHECKOUT]`.

Files and lines by folder and by package, the longest files, counts of what makes code hard to read (`HABITS`), and the
graph of imports, of files and at the level that a reader sees first: the packages and files that stand directly in
`fsbench`, `methods` and `datamodules`. Imports are read from the sources, those inside functions and under
`TYPE_CHECKING` included; nothing is imported, so that any checkout can be measured.
"""

import argparse
import ast
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from statistics import median

PACKAGES = ("fsbench", "methods", "datamodules")
OTHERS = ("benchmarks", "tests")
"""Folders of Python files whose lines are counted, and nothing else of them."""
LONGEST = 5
"""Files that are named with their lines."""

HABITS = (
    "imports inside functions",
    "functions named of_… or …_of",
    "functions named by one word in -ed or -ing",
    "uses of dict[str, Any]",
)
"""Names of the counts of a file, in the order of `habits`."""

OF = re.compile(r"_*(of|of_\w+|\w+_of)")
PARTICIPLE = re.compile(r"_*[a-z]+(ed|ing)")

Graph = dict[str, set[str]]


def modules(root: Path) -> dict[str, Path]:
    """Return the source files of `root` by dotted name; a package's `__init__.py` has the package's name."""
    files = sorted(file for package in PACKAGES for file in (root / package).rglob("*.py"))
    names = (file.relative_to(root).with_suffix("").as_posix().replace("/", ".") for file in files)
    return {name.removesuffix(".__init__"): file for name, file in zip(names, files, strict=True)}


def imported(file: Path, known: Mapping[str, Path]) -> Iterator[str]:
    """Yield the modules among `known` that `file` imports anywhere in its text."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield from [name for name in (full, node.module) if name in known][:1]


def package(name: str) -> str:
    """Return the package or file of the first level that a module belongs to."""
    return ".".join(name.split(".")[:2])


def habits(text: str) -> tuple[int, ...]:
    """Count `HABITS` in the source `text`."""
    nodes = list(ast.walk(ast.parse(text)))
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    inside = {
        node for function in functions for node in ast.walk(function) if isinstance(node, ast.Import | ast.ImportFrom)
    }
    names = [function.name for function in functions]
    return (
        len(inside),
        sum(bool(OF.fullmatch(name)) for name in names),
        sum(bool(PARTICIPLE.fullmatch(name)) for name in names),
        sum(isinstance(node, ast.Subscript) and ast.unparse(node) == "dict[str, Any]" for node in nodes),
    )


def file_graph(files: Mapping[str, Path]) -> Graph:
    """Return which file imports which."""
    return {name: {target for target in imported(file, files) if target != name} for name, file in files.items()}


def first_level(graph: Graph) -> Graph:
    """Merge the files of every package directly below `PACKAGES` into one node."""
    node = {name: package(name) for name in graph}
    merged: Graph = {place: set() for place in node.values()}
    for name, targets in graph.items():
        merged[node[name]] |= {node[target] for target in targets} - {node[name]}
    return merged


def components(graph: Graph) -> list[set[str]]:
    """Return the strongly connected components, imported ones before those that import them (Tarjan)."""
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    result: list[set[str]] = []

    def visit(name: str) -> None:
        number[name] = low[name] = len(number)
        stack.append(name)
        for target in sorted(graph[name]):
            if target not in number:
                visit(target)
            if target in stack:
                low[name] = min(low[name], low[target])
        if low[name] == number[name]:
            at = stack.index(name)
            result.append(set(stack[at:]))
            del stack[at:]

    for name in sorted(graph):
        if name not in number:
            visit(name)
    return result


def levels(graph: Graph) -> int:
    """Return the number of files on the longest chain of imports; a circle counts as one."""
    depth: dict[str, int] = {}
    for component in components(graph):
        below = {target for name in component for target in graph[name]} - component
        for name in component:
            depth[name] = 1 + max((depth[target] for target in below), default=0)
    return max(depth.values(), default=0)


def circles(graph: Graph) -> list[set[str]]:
    """Return the groups of files that import each other."""
    return [component for component in components(graph) if len(component) > 1]


def report(root: Path) -> str:
    """Return the figures of the checkout `root` as text."""
    files = modules(root)
    lines = {name: file.read_text(encoding="utf-8").count("\n") for name, file in files.items()}
    folders = Counter(file.parent.relative_to(root).as_posix() for file in files.values() if file.name != "__init__.py")
    of_folder = {folder: sum(lines[n] for n, f in files.items() if f.parent == root / folder) for folder in folders}
    graph = file_graph(files)
    top = first_level(graph)
    longest = sorted(lines, key=lambda name: -lines[name])[:LONGEST]
    contents = [count for name, count in lines.items() if files[name].name != "__init__.py"]
    found = {name: habits(file.read_text(encoding="utf-8")) for name, file in files.items()}
    packages = sorted({package(name) for name in files})
    own = {place: [name for name in files if package(name) == place] for place in packages}
    head = f"{'package':28} {'files':>5} {'lines':>7}" + "".join(f"{f'({n})':>6}" for n in range(1, len(HABITS) + 1))
    by_package = [
        f"{place:28} {len(names):5} {sum(lines[n] for n in names):7}" + "".join(f"{count or '':>6}" for count in counts)
        for place, names in own.items()
        for counts in [[sum(column) for column in zip(*(found[n] for n in names), strict=True)]]
    ]
    rows = [f"{folder:40} {count:5} {of_folder[folder]:7}" for folder, count in sorted(folders.items())]
    return "\n".join(
        [
            f"{'folder':40} {'files':>5} {'lines':>7}",
            *rows,
            "",
            head,
            *by_package,
            "",
            *(
                f"({number}) {habit}: {sum(counts[number - 1] for counts in found.values())}"
                for number, habit in enumerate(HABITS, 1)
            ),
            "",
            f"lines of Python: {sum(lines.values())} in {', '.join(PACKAGES)}; "
            + "; ".join(f"{_lines(root / folder)} in {folder}" for folder in OTHERS),
            f"files without __init__.py: {len(contents)}, {sum(contents)} lines, median {median(contents):.0f}",
            f"most files in a folder: {max(folders.values())}; directly in fsbench: {folders['fsbench']}",
            f"longest files: {', '.join(f'{name} {lines[name]}' for name in longest)}",
            f"packages and files at the first level: {len(top)}, imports between them: {_edges(top)}",
            f"levels of imports: {levels(top)} at the first level, {levels(graph)} of files",
            f"circles at the first level: {_named(circles(top))}",
            f"circles of files: {_named(circles(graph))}",
        ]
    )


def _lines(folder: Path) -> int:
    return sum(file.read_text(encoding="utf-8").count("\n") for file in folder.rglob("*.py"))


def _edges(graph: Graph) -> int:
    return sum(map(len, graph.values()))


def _named(groups: Iterable[set[str]]) -> str:
    return "; ".join(" <-> ".join(sorted(group)) for group in groups) or "none"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="The shape of the source tree.")
    parser.add_argument("--root", type=Path, default=Path(__file__).parents[1], help="checkout to measure")
    print(report(parser.parse_args().root))
