"""A study of the first hour: methods on a data set, as the grid's file that is kept."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fsbench.base.terminal import escape
from fsbench.runner.config.needs import Missing, distinct, missing_files
from fsbench.runner.config.request import Request

HEAD = "# A study made by fsbench start. What of it is done shows: fsbench grid {file}; --run runs the rest"


@dataclass(frozen=True)
class Study:
    """Methods to compare, and on what.

    Attributes:
        request: methods, folds and options of all its runs.
    """

    request: Request

    def missing(self) -> list[Missing]:
        """Return the data and weights that its runs need and that are absent, each once."""
        return distinct(
            thing
            for request, fold in self._runs()
            for thing in missing_files(request, request.configuration(request.methods[0], fold).values)
        )

    def _runs(self) -> Iterator[tuple[Request, int]]:
        for method in self.request.methods:
            for fold in self.request.folds:
                yield replace(self.request, methods=(method,), folds=(fold,)), fold

    def to_yaml(self, file: Path) -> str:
        """Return the text of its grid's file."""
        request = self.request
        lines = [
            HEAD.format(file=escape(str(file))),
            f"methods: {_yaml_list(request.methods)}",
            f"datasets: [{request.dataset}]",
            f"folds: {_yaml_list(request.folds)}",
        ]
        if request.way is not None:
            lines.append(f"ways: [{request.way}]")
        if request.shot is not None:
            lines.append(f"shots: [{request.shot}]")
        if request.protocol is not None:
            lines.append(f"protocol: {request.protocol}           # one for all methods, so that they can be compared")
        if request.backbone is not None:
            lines.append(f"backbone: {request.backbone}")
        if request.fast:
            lines.append("fast: true              # trials of a few minutes: their figures are no results")
        if request.data_root is not None:
            lines += ["data_roots:", f"  {request.dataset}: {_quote(request.data_root)}"]
        return "\n".join([*lines, ""])


def _yaml_list(values: Sequence[object]) -> str:
    return f"[{', '.join(map(str, values))}]"


def _quote(text: str) -> str:
    """Return a string of YAML."""
    return "'" + text.replace("'", "''") + "'"
