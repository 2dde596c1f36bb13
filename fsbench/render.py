"""Write table blocks as aligned text, Markdown, CSV, LaTeX or JSON."""

import csv
import io
import json
from collections.abc import Callable
from dataclasses import asdict

from fsbench.stats import Interval
from fsbench.tables import SIZES, Block, Row

METRICS = ("mIoU", "FB-IoU", "accuracy")
Grid = list[list[str]]


def render(blocks: list[Block], form: str) -> str:
    """`form` is a key of `FORMATS`."""
    return FORMATS[form](blocks)


def _interval(interval: Interval | None) -> str:
    return f"{interval.value:.2f} [{interval.low:.2f}, {interval.high:.2f}]" if interval else "–"


def _cost(row: Row) -> list[str]:
    return [
        "–" if row.trainable is None else f"{row.trainable:,}",
        "–" if row.episodes_per_second is None else f"{row.episodes_per_second:.2f}",
        "–" if row.peak_mib is None else f"{row.peak_mib:,.0f} MiB",
    ]


def _main(block: Block) -> Grid:
    head = ["method", "fold", *METRICS, "trainable", "episodes/s", "peak memory"]
    return [head, *([r.method, r.fold, *(_interval(r.scores[m]) for m in METRICS), *_cost(r)] for r in block.rows)]


def _sizes(block: Block, metric: str) -> Grid:
    def cell(count: int, scores: dict[str, Interval]) -> str:
        return f"{_interval(scores.get(metric))} ({count})"

    head = ["method", "fold", *(f"{name} % of the image" for name in SIZES)]
    return [head, *([r.method, r.fold, *(cell(*r.by_size[name]) for name in SIZES)] for r in block.rows)]


def _classes(block: Block) -> Grid:
    """One line per (row, class): classes differ from fold to fold."""
    head = ["method", "fold", "class", "IoU", "acc.", "pairs"]
    lines = [
        [r.method, r.fold, name, _interval(scores.get("mIoU")), _interval(scores.get("accuracy")), str(count)]
        for r in block.rows
        if r.fold != "mean"
        for name, (count, scores) in r.by_class.items()
    ]
    return [head, *lines] if lines else []


def _parts(block: Block) -> list[tuple[str, Grid]]:
    parts = [
        ("", _main(block)),
        ("mIoU by object size, over the (episode, way) pairs that show the way (their number)", _sizes(block, "mIoU")),
        ("presence found, by object size, over the same pairs", _sizes(block, "accuracy")),
        ("by class, over all its (episode, way) pairs", _classes(block)),
    ]
    return [(caption, grid) for caption, grid in parts if grid]


def _text(blocks: list[Block]) -> str:
    lines: list[str] = []
    for block in blocks:
        lines += [block.title, ""]
        for caption, grid in _parts(block):
            widths = [max(len(row[i]) for row in grid) for i in range(len(grid[0]))]
            lines += [caption] if caption else []
            for n, row in enumerate(grid):
                cells = [c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))]
                lines.append("  ".join(cells).rstrip())
                if n == 0:
                    lines.append("  ".join("-" * w for w in widths))
            lines.append("")
        lines += [f"* {note}" for note in block.notes] + [INTERVAL_NOTE, ""]
    return "\n".join(lines)


INTERVAL_NOTE = "* [low, high]: 95 % interval, bootstrap over query images; scores in percent"


def _markdown(blocks: list[Block]) -> str:
    lines: list[str] = []
    for block in blocks:
        lines += [f"### {block.title}", ""]
        for caption, grid in _parts(block):
            lines += [f"*{caption}*", ""] if caption else []
            lines += ["| " + " | ".join(grid[0]) + " |", "|" + "---|" * len(grid[0])]
            lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in grid[1:]] + [""]
        lines += [f"- {note.removeprefix('* ')}" for note in [*block.notes, INTERVAL_NOTE]] + [""]
    return "\n".join(lines)


def _csv(blocks: list[Block]) -> str:
    """One line per number: block, method, fold, part (all, a size, a class), metric, value, low, high, pairs, run, and
    the block's notes."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["block", "method", "fold", "part", "metric", "value", "low", "high", "pairs", "run", "notes"])
    for block in blocks:
        notes = "; ".join(block.notes)
        for row in block.rows:
            costs = {
                "trainable parameters": row.trainable,
                "episodes/s": row.episodes_per_second,
                "peak memory MiB": row.peak_mib,
            }
            for metric, cost in costs.items():
                if cost is not None:
                    number = f"{cost:.10g}"
                    writer.writerow(
                        [block.title, row.method, row.fold, "all", metric, number, *[""] * 3, row.run, notes]
                    )
            parts = {"all": ("", row.scores), **row.by_size, **row.by_class}
            for part, (count, scores) in parts.items():
                for metric, i in scores.items():
                    numbers = [f"{x:.4f}" for x in (i.value, i.low, i.high)]
                    writer.writerow([block.title, row.method, row.fold, part, metric, *numbers, count, row.run, notes])
    return out.getvalue()


def _latex(blocks: list[Block]) -> str:
    special = str.maketrans(
        {
            "_": r"\_",
            "%": r"\%",
            "&": r"\&",
            "#": r"\#",
            "–": "--",
            "·": r"$\cdot$",
            ">": "$>$",
            "×": r"$\times$",
            "*": r"$^*$",
            "$": r"\$",
            "{": r"\{",
            "}": r"\}",
            "\\": r"\textbackslash{}",
            "~": r"\textasciitilde{}",
            "^": r"\textasciicircum{}",
            "<": "$<$",
        }
    )
    lines: list[str] = []
    for block in blocks:
        lines.append("% " + block.title)
        for caption, grid in _parts(block):
            lines += [f"% {caption}"] if caption else []
            lines.append(r"\begin{tabular}{ll" + "r" * (len(grid[0]) - 2) + "}")
            lines += [r"\hline", " & ".join(cell.translate(special) for cell in grid[0]) + r" \\", r"\hline"]
            lines += [" & ".join(cell.translate(special) for cell in row) + r" \\" for row in grid[1:]]
            lines += [r"\hline", r"\end{tabular}", ""]
        lines += [f"% {note}" for note in [*block.notes, INTERVAL_NOTE]] + [""]
    return "\n".join(lines)


def _json(blocks: list[Block]) -> str:
    return json.dumps([asdict(block) for block in blocks], indent=2, ensure_ascii=False) + "\n"


FORMATS: dict[str, Callable[[list[Block]], str]] = {
    "text": _text,
    "markdown": _markdown,
    "csv": _csv,
    "latex": _latex,
    "json": _json,
}
