"""Parts that figures share: colors, intervals, a row for each method, legends, and files that carry fsbench's mark."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

from fsbench.base.errors import SettingsError
from fsbench.base.files import replacing
from fsbench.base.files.figures import STAMPS
from fsbench.results.rows.row import fold_in_words
from fsbench.results.sheets.names import wrap_name
from fsbench.scores.estimate import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a7000", "#7f7f7f")
"""Colors that the color-blind can tell apart (Okabe and Ito); each also has a marker of its own."""
MARKERS = "os^Dv<>P"
ROW_NAME = 24
"""Letters in a line of a row's name."""
PLOTS = tuple(STAMPS)
"""Endings of the files that a figure can be written to."""


def fold_words(folds: Sequence[int]) -> str:
    """Name the folds that a plot is about.

    >>> fold_words([1]), fold_words([0, 1, 3]), fold_words([])
    ('fold 1', 'mean over folds 0, 1, 3', '')
    """
    if len(folds) < 2:
        return "".join(f"fold {fold}" for fold in folds)
    return f"mean over folds {', '.join(map(str, folds))}"


def shared_fold_words(folds: Iterable[Sequence[int]], several: str) -> str:
    """Name the folds that all plots are about, or return `several` if they differ.

    >>> shared_fold_words([[0], [0]], "several"), shared_fold_words([[0], [0, 1]], "several")
    ('fold 0', 'several')
    """
    first, *others = dict.fromkeys(map(tuple, folds))
    return several if others else fold_words(first)


def row_fold_words(folds: Iterable[str]) -> str:
    """Name the folds of some result rows, given their `fold` entries.

    >>> row_fold_words(["mean", "mean"]), row_fold_words(["0", "2", "0"])
    ('mean over folds', 'fold 0 and fold 2')
    """
    return " and ".join(map(fold_in_words, dict.fromkeys(folds)))


def check_plot(path: Path) -> None:
    """Raise SettingsError unless the ending of `path` is that of a plot format (`PLOTS`)."""
    if path.suffix not in PLOTS:
        raise SettingsError(f"--plot is {path}, expected a name that ends in {', '.join(PLOTS)}")


def save_figure(path: Path, figure: "Figure") -> None:
    """Write a plot to `path` in the format of the path's ending; equal runs give equal bytes.

    Raises:
        SettingsError: the ending of `path` is not that of a plot format.
    """
    check_plot(path)
    from matplotlib import rc_context  # slow to import

    with replacing(path) as temporary, rc_context({"svg.hashsalt": "fsbench"}):
        figure.savefig(temporary, format=path.suffix[1:], dpi=150, metadata=cast(Any, STAMPS[path.suffix]))


def whiskers(scores: Sequence[Estimate]) -> list[list[float]]:
    """Return the lengths of error bars below and above scores, for matplotlib; NaN draws none."""
    return [[max(s.value - s.low, 0) for s in scores], [max(s.high - s.value, 0) for s in scores]]


def whole_names(names: Iterable[str], width: int = 34) -> dict[str, str]:
    """Break names into lines of at most `width` letters, for figures.

    >>> whole_names(["emat", "prototype_demo (support_annotation box)"], width=24)
    {'emat': 'emat', 'prototype_demo (support_annotation box)': 'prototype_demo (support_\\nannotation box)'}
    """
    return {name: "\n".join(wrap_name(name, lambda line: len(line) <= width)) for name in names}


def most_lines(names: Iterable[str], width: int = 34) -> int:
    """Return the largest number of lines into which names are broken at `width` letters (see `whole_names`)."""
    return max((words.count("\n") + 1 for words in whole_names(names, width).values()), default=1)


def name_rows(axis: "Axes", methods: Sequence[str], remarks: Mapping[str, str] = MappingProxyType({})) -> None:
    """Make a row of the plot for each method, from the top, labelled with the method's name and a remark."""
    names = whole_names(methods, ROW_NAME)
    words = [f"{names[method]}\n{remarks.get(method, '')}".rstrip() for method in methods]
    axis.set_ylim(len(words) - 0.5, -0.5)
    axis.set_yticks(range(len(words)), words)
    axis.grid(axis="y", visible=False)


def draw_interval(
    axis: "Axes", row: float, score: Estimate, marker: str, color: str, label: str, size: int = 7
) -> None:
    """Draw a score or a difference, with its interval as an error bar, in a row of the plot."""
    axis.errorbar(
        score.value, row, xerr=whiskers([score]), fmt=marker, color=color, capsize=3, markersize=size, label=label
    )


def legend_above(axis: "Axes", columns: int) -> None:
    """Put the legend above the axes, with each label once, if there is anything to name."""
    named: dict[str, Any] = {}
    for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
        named.setdefault(label, handle)
    if named:
        axis.legend(
            list(named.values()), list(named),
            loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False, ncols=columns, fontsize="small",
            handlelength=1.2, columnspacing=1.0,
        )  # fmt: skip
