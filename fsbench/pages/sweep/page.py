"""Write the page of a sweep, which needs no server: a drawing in parallel coordinates, importance, and the trials."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fsbench.base.errors import missing_package
from fsbench.base.files import make_folder, write_text
from fsbench.base.version import __version__
from fsbench.pages.report.theme import TEMPLATES, read_inlined, template_environment
from fsbench.results.tables.layout import Grid, Sheet
from fsbench.runner.sweep.run import Trial, best_trial
from fsbench.runner.sweep.search import importances
from fsbench.runner.sweep.spec import Parameter, Sweep, Value

OWN = Path(__file__).with_name("templates")
WIDTH, WHOLE, HEIGHT, TOP, SIDE = 190, 1150, 300, 48, 90
"""Pixels of the drawing: between two axes, of all of them at most, of an axis, above it, and beside the outer ones."""
SHADES = 5
"""Number of colours, from the worst fifth of the trials to the best."""


@dataclass(frozen=True)
class Axis:
    """An axis of the drawing: its place, its name and that one's height, and labels, each at its height."""

    x: float
    name: str
    name_y: float
    labels: list[tuple[float, str]]


@dataclass(frozen=True)
class Line:
    """A trial in the drawing: its points as SVG has them, its class, and its words."""

    points: str
    kind: str
    words: str


def sweep_sheet(sweep: Sweep, trials: Sequence[Trial]) -> Sheet:
    """Return the table of a sweep: a line for each trial, the best first."""
    sign = 1 if sweep.metric is None else sweep.metric.sign
    metric = "score" if sweep.metric is None else sweep.metric.name
    searched = [one.name for one in sweep.searched]

    def place(trial: Trial) -> tuple[bool, float, int]:
        return trial.value is None, -sign * (trial.value or 0.0), trial.number

    grid: Grid = [["trial", "state", metric, *searched]]
    for trial in sorted(trials, key=place):
        score = "–" if trial.value is None else f"{trial.value:.4g}"
        grid.append([str(trial.number + 1), trial.state, score, *(_short(trial.settings[name]) for name in searched)])
    states = [trial.state for trial in trials]
    counted = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    notes = [f"trial {trial.number + 1}: {trial.reason}" for trial in trials if trial.reason]
    shares, why = importance_of(sweep, trials)
    if shares:
        notes.append("importance: " + ", ".join(f"{name} {share:.2f}" for name, share in shares.items()))
    elif why:
        notes.append(f"importance: {why}")
    best = best_trial(sweep, trials)
    if best is not None and sweep.metric is not None and len([s for s in states if s in ("done", "stopped")]) > 1:
        notes.append(
            f"the best of {len(trials)} trials is chosen by its score, which is therefore too high; test it on other "
            "classes or folds, and say in its card how many were tried"
        )
    return Sheet(f"{sweep.name}: {sweep.method}, {len(trials)} trials: {counted}", [("", grid)], notes)


def importance_of(sweep: Sweep, trials: Sequence[Trial]) -> tuple[dict[str, float], str]:
    """Return the importance of each parameter, or why there is none."""
    if sweep.metric is None:
        return {}, "the file names no metric"
    try:
        shares = importances(sweep, [trial.tried for trial in trials if trial.state == "done"])
    except ModuleNotFoundError as error:
        return {}, missing_package(error)
    return shares, "" if shares else "four finished trials with different scores and settings are needed"


def write_page(sweep: Sweep, trials: Sequence[Trial], runs: Path, file: Path) -> Path:
    """Write the page of a sweep to `file` and return it; what files and records say is escaped."""
    environment = template_environment((OWN, TEMPLATES))
    axes, lines = draw(sweep, trials)
    shares, why = importance_of(sweep, trials)
    sheet = sweep_sheet(sweep, trials)
    page = environment.get_template("sweep.html").render(
        styles=read_inlined([TEMPLATES / "style.css", OWN / "sweep.css"]),
        scripts=read_inlined([TEMPLATES / "report.js"]), refused=(), version=__version__, up="",
        sweep=sweep, best=best_trial(sweep, trials), sheet=sheet, grid=sheet.parts[0][1], axes=axes, lines=lines,
        width=SIDE + (axes[-1].x if axes else SIDE), height=HEIGHT + TOP + 24, top=TOP, bottom=TOP + HEIGHT,
        shares=shares, why=why, runs=runs,
    )  # fmt: skip
    make_folder(file.absolute().parent)
    write_text(file, page)
    return file


def draw(sweep: Sweep, trials: Sequence[Trial]) -> tuple[list[Axis], list[Line]]:
    """Return the axes and lines of parallel coordinates: an axis for each searched parameter, the score's last."""
    scales = [_Scale.of_parameter(one, [trial.settings[one.name] for trial in trials]) for one in sweep.searched]
    values = [trial.value for trial in trials if trial.value is not None]
    score = _Scale.of_numbers(values, False) if values else None
    names = [one.name for one in sweep.searched] + ([sweep.metric.name] if score and sweep.metric else [])
    every = [*scales, *([score] if score is not None else [])]
    between = min(WIDTH, (WHOLE - 2 * SIDE) / max(len(every) - 1, 1))
    axes = [  # names stand in two rows, since they may be longer than there is room between axes
        Axis(SIDE + between * number, name, 14 + 16 * (number % 2), scale.labels)
        for number, (name, scale) in enumerate(zip(names, every, strict=False))
    ]
    sign = 1 if sweep.metric is None else sweep.metric.sign
    order = sorted(sign * value for value in values)
    lines = []
    for trial in sorted(trials, key=lambda one: -math.inf if one.value is None else sign * one.value):
        heights = [scale.height(trial.settings[one.name]) for scale, one in zip(scales, sweep.searched, strict=True)]
        if trial.value is not None and score is not None:
            heights.append(score.height(trial.value))
            kind = f"shade{min(SHADES * order.index(sign * trial.value) // len(order), SHADES - 1)}"
        else:
            kind = "unscored"
        points = " ".join(f"{axis.x:.1f},{height:.1f}" for axis, height in zip(axes, heights, strict=False))
        settings = ", ".join(f"{one.name} {_short(trial.settings[one.name])}" for one in sweep.searched)
        value = "no score" if trial.value is None else f"{trial.value:.4g}"
        kind += " stopped" if trial.state == "stopped" else ""
        lines.append(Line(points, kind, f"trial {trial.number + 1} ({trial.state}): {value}; {settings}"))
    return axes, lines


@dataclass(frozen=True)
class _Scale:
    """Heights of the values of an axis: places of choices, or numbers between two ends."""

    choices: list[Value | None] | None
    low: float = 0.0
    high: float = 1.0
    is_logarithmic: bool = False

    @classmethod
    def of_parameter(cls, parameter: Parameter, values: Sequence[Value | None]) -> "_Scale":
        """Return the scale of a parameter: its choices, or what was tried of its range."""
        if parameter.choices is not None:
            return cls(list(dict.fromkeys(parameter.choices)))
        return cls.of_numbers(
            [float(value) for value in values if isinstance(value, int | float)], parameter.is_logarithmic
        )

    @classmethod
    def of_numbers(cls, values: Sequence[float], is_logarithmic: bool) -> "_Scale":
        """Return the scale of numbers from the least to the largest."""
        low, high = min(values), max(values)
        return cls(None, low, high, is_logarithmic and low > 0)

    @property
    def labels(self) -> list[tuple[float, str]]:
        if self.choices is not None:
            return [(self.height(value), _short(value)) for value in self.choices]
        ends = [self.low, self.high] if self.high > self.low else [self.low]
        return [(self.height(value), f"{value:.4g}") for value in ends]

    def height(self, value: Value | None) -> float:
        if self.choices is not None:
            number = len(self.choices)
            share = self.choices.index(value) / (number - 1) if number > 1 else 0.5
        else:
            assert isinstance(value, int | float)
            low, high, at = (
                (math.log(self.low), math.log(self.high), math.log(value))
                if self.is_logarithmic
                else (self.low, self.high, value)
            )
            share = (at - low) / (high - low) if high > low else 0.5
        return TOP + HEIGHT * (1 - share)


def _short(value: Value | None) -> str:
    """Write a value of a parameter: a path by its last part, a number with four digits."""
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value).rsplit("/", 1)[-1][:40]
