"""A sweep as W&B's file states it: what is searched, by which method, for which score, and when a run ends early.

The keys are those of https://docs.wandb.ai/guides/sweeps/sweep-config-keys. What this machine cannot do as W&B would do
it is refused, and nothing is read past.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from statistics import NormalDist
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from fsbench.base.errors import SettingsError, known_names
from fsbench.base.files import fingerprint, read_yaml, sha256_file

Value = bool | int | float | str
MOST_COMBINATIONS = 100_000


class Metric(BaseModel):
    """The score that is searched for: `val/…` and others that a training logs, or `test/…` of the record."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(min_length=1, max_length=100)]
    goal: Literal["minimize", "maximize"] = "minimize"

    @property
    def sign(self) -> int:
        """Factor that makes more of the score better."""
        return 1 if self.goal == "maximize" else -1


class Hyperband(BaseModel):
    """When a run ends early, see `fsbench.runner.sweep.hyperband`; either `min_iter` or `max_iter` is given."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: Literal["hyperband"]
    min_iter: Annotated[int, Field(ge=1)] | None = None
    max_iter: Annotated[int, Field(ge=1)] | None = None
    s: Annotated[int, Field(ge=1, le=50)] | None = None
    eta: Annotated[float, Field(gt=1, le=100)] = 3
    strict: bool = False


class ParameterRule(BaseModel):
    """How the values of one parameter are drawn; `distribution` follows from the other keys where it is not given."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    value: Value | None = None
    values: Annotated[list[Value | None], Field(min_length=1, max_length=10_000)] | None = None
    probabilities: list[float] | None = None
    distribution: str | None = None
    min: float | int | None = None
    max: float | int | None = None
    mu: float = 0.0
    sigma: float = 1.0
    q: float | int = 1
    a: float | None = None
    b: float | None = None


class SweepFile(BaseModel):
    """Content of a sweep's file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: Literal["grid", "random", "bayes"]
    parameters: Annotated[dict[str, Any], Field(min_length=1)]
    command: list[str]
    metric: Metric | None = None
    early_terminate: Hyperband | None = None
    run_cap: Annotated[int, Field(ge=1, le=100_000)] | None = None
    program: str | None = None
    name: str | None = None
    description: str | None = None
    project: str | None = None
    entity: str | None = None


@dataclass(frozen=True)
class Parameter:
    """A parameter that is searched.

    Attributes:
        name: an option of `fsbench bench` without dashes.
        kind: W&B's name of the distribution.
        rule: its numbers.
    """

    name: str
    kind: str
    rule: ParameterRule

    @property
    def choices(self) -> list[Value | None] | None:
        """The values of a parameter that has a list of them; None of a range."""
        if self.kind == "constant":
            return [self.rule.value]
        return None if self.rule.values is None else list(self.rule.values)

    @property
    def is_logarithmic(self) -> bool:
        """Whether values that differ by a factor are equally far apart."""
        return "log" in self.kind

    def grid(self) -> list[Value | None]:
        """Return all values. Raises SettingsError for a range that has no finite number of them."""
        if self.choices is not None:
            return self.choices
        low, high, step = self.rule.min, self.rule.max, 1 if self.kind == "int_uniform" else self.rule.q
        if self.kind not in ("int_uniform", "q_uniform") or low is None or high is None:
            raise SettingsError(
                f"the parameter {self.name} is {self.kind}, of which a grid has no end; expected values, int_uniform "
                "or q_uniform; or method: random"
            )
        number = math.floor((high - low) / step + 1e-9) + 1
        if number > MOST_COMBINATIONS:
            raise SettingsError(f"the parameter {self.name} has {number} values, expected at most {MOST_COMBINATIONS}")
        return [
            _rounded(low + place * step, step, isinstance(low, int) and float(step).is_integer())
            for place in range(number)
        ]

    def at(self, unit: float) -> Value | None:
        """Return the value below which a share `unit` (0 to 1) of the distribution is; of choices the one there."""
        rule, kind = self.rule, self.kind
        if self.choices is not None:
            shares = np.cumsum(rule.probabilities or [1 / len(self.choices)] * len(self.choices))
            return self.choices[min(int(np.searchsorted(shares, unit, side="right")), len(self.choices) - 1)]
        if kind == "int_uniform":
            assert rule.min is not None and rule.max is not None
            return min(int(rule.min) + int(unit * (int(rule.max) - int(rule.min) + 1)), int(rule.max))
        number = self._real(min(max(unit, 1e-9), 1 - 1e-9))
        return (
            _rounded(round(number / rule.q) * rule.q, rule.q, float(rule.q).is_integer())
            if kind.startswith("q_")
            else number
        )

    def _real(self, unit: float) -> float:
        rule = self.rule
        kind = self.kind.removeprefix("q_")
        if kind in ("normal", "log_normal"):
            number = NormalDist(rule.mu, rule.sigma).inv_cdf(unit)
            return math.exp(number) if kind == "log_normal" else number
        assert rule.min is not None and rule.max is not None
        low, high = float(rule.min), float(rule.max)
        if kind == "uniform":
            return low + unit * (high - low)
        if kind == "log_uniform":  # its ends are exponents of e
            return math.exp(low + unit * (high - low))
        return math.exp(math.log(low) + unit * (math.log(high) - math.log(low)))  # log_uniform_values


_RANGES = {
    "int_uniform", "uniform", "q_uniform", "log_uniform", "q_log_uniform", "log_uniform_values", "q_log_uniform_values",
}  # fmt: skip
_NORMAL = {"normal", "q_normal", "log_normal", "q_log_normal"}
KINDS = sorted({"constant", "categorical", "categorical_w_probabilities", *_RANGES, *_NORMAL})
"""Names of W&B's distributions that are drawn from here."""


@dataclass(frozen=True)
class Sweep:
    """A sweep that can be run here.

    Attributes:
        name: of its file.
        method: grid, random or bayes.
        metric: the score that is searched for; None of a grid or a random search that names none.
        parameters: that are searched, and constants.
        words: of the command after `fsbench bench`, with ARGUMENTS where the parameters stand.
        early: when runs end early; None for never.
        most: largest number of runs that the file wants; None where it says nothing.
        digits: hash of the file, by which its trials are found again.
    """

    name: str
    method: Literal["grid", "random", "bayes"]
    metric: Metric | None
    parameters: tuple[Parameter, ...]
    words: tuple[str, ...]
    early: Hyperband | None
    most: int | None
    digits: str

    @property
    def searched(self) -> list[Parameter]:
        """The parameters that have more than one value."""
        return [one for one in self.parameters if one.choices is None or len(one.choices) > 1]

    def combinations(self) -> Iterator[dict[str, Value | None]]:
        """Yield the settings of a grid, the last parameter's values first, in the file's order."""
        names = [one.name for one in self.parameters]
        for values in product(*(one.grid() for one in self.parameters)):
            yield dict(zip(names, values, strict=True))

    @property
    def grid_size(self) -> int:
        """Number of combinations of a grid."""
        return math.prod(len(one.grid()) for one in self.parameters)

    def with_words(self, more: Sequence[str], seed: int) -> "Sweep":
        """Return the sweep with further words of the command, and a search by a seed: its trials are its own."""
        digits = fingerprint([self.digits, list(more), seed])[:10]
        return replace(self, words=(*self.words, *more), digits=digits)

    def arguments(self, settings: Mapping[str, Value | None]) -> list[str]:
        """Return the words of `fsbench bench` for these settings."""
        given = [f"--{name}={_text(value)}" for name, value in settings.items()]
        return [word for part in self.words for word in (given if part == ARGUMENTS else [part])]


ARGUMENTS = "${args}"
_PROGRAM = {"${env}", "/usr/bin/env", "${interpreter}", "python", "python3", "-m", "${program}", "fsbench"}


def read_sweep(file: Path) -> Sweep:
    """Read a sweep's file.

    Raises SettingsError where a key is unknown or a value of another kind, where the command is not `fsbench bench`,
    and for what this machine does otherwise than W&B.
    """
    content = read_yaml(file, SweepFile, "a sweep of W&B")
    parameters = tuple(_parameters(content.parameters, file))
    if content.method == "bayes" and content.metric is None:
        raise SettingsError(f"{file}: bayes needs a metric, and there is none; expected metric: {{name: …, goal: …}}")
    if content.early_terminate is not None:
        if content.metric is None or content.metric.name.startswith("test/"):
            raise SettingsError(
                f"{file}: early_terminate needs a metric that a training logs, such as val/mIoU; a test's comes last"
            )
        if (content.early_terminate.min_iter is None) == (content.early_terminate.max_iter is None):
            raise SettingsError(f"{file}: early_terminate has min_iter and max_iter, or neither; expected one of them")
        if content.early_terminate.max_iter is not None and content.early_terminate.s is None:
            raise SettingsError(f"{file}: early_terminate has max_iter without s; expected the number of brackets")
    sweep = Sweep(
        file.stem,
        content.method,
        content.metric,
        parameters,
        _words(content.command, file),
        content.early_terminate,
        content.run_cap,
        fingerprint([sha256_file(file)])[:10],
    )
    if sweep.method == "grid" and sweep.grid_size > MOST_COMBINATIONS:
        raise SettingsError(f"{file} has {sweep.grid_size} combinations, expected at most {MOST_COMBINATIONS}")
    return sweep


def _words(command: list[str], file: Path) -> tuple[str, ...]:
    """Return the words after `fsbench bench`. Raises SettingsError for another program and other macros."""
    place = next((number for number, word in enumerate(command) if word not in _PROGRAM), len(command))
    rest = command[place:]
    if not rest or rest[0] != "bench" or not {"fsbench", "${program}"} & {*command[:place]}:
        raise SettingsError(
            f"{file}: the command is {' '.join(command)[:100]!r}, expected one of fsbench bench, such as python "
            "-m fsbench bench --method=emat ${args}"
        )
    macros = [word for word in rest if re.search(r"\$\{", word) and word != ARGUMENTS]
    if macros or ARGUMENTS not in rest:
        found = macros[0] if macros else "no ${args}"
        raise SettingsError(f"{file}: the command has {found}, expected {ARGUMENTS} once, where the parameters stand")
    return tuple(rest[1:])


def _parameters(entries: Mapping[str, Any], file: Path, prefix: str = "") -> Iterator[Parameter]:
    """Yield the parameters of a file; nested ones have names with dots."""
    for key, entry in entries.items():
        name = f"{prefix}{key}"
        if isinstance(entry, dict) and entry.keys() == {"parameters"} and isinstance(entry["parameters"], dict):
            yield from _parameters(entry["parameters"], file, f"{name}.")
            continue
        if not re.fullmatch(r"[A-Za-z_][\w.-]*", name, re.ASCII):
            raise SettingsError(
                f"{file}: the parameter {name!r} is none; expected an option of fsbench bench without dashes"
            )
        try:
            rule = ParameterRule.model_validate(entry)
        except ValueError:
            raise SettingsError(
                f"{file}: the parameter {name} is {json.dumps(entry, default=str)[:100]}; expected value, values, or "
                "distribution with its numbers"
            ) from None
        yield Parameter(name, _kind(name, rule, file), rule)


def _kind(name: str, rule: ParameterRule, file: Path) -> str:
    """Return a parameter's distribution, W&B's own where the file names none. Raises SettingsError where none fits."""
    given = rule.model_fields_set
    kind = rule.distribution
    if kind is None:
        whole = isinstance(rule.min, int) and isinstance(rule.max, int)
        kind = (
            "constant" if "value" in given
            else "categorical" if rule.values is not None
            else "int_uniform" if whole else "uniform"
        )  # fmt: skip
    if kind not in KINDS:
        raise SettingsError(f"{file}: the parameter {name} has the distribution '{kind}'{known_names(kind, KINDS)}")
    problem = ""
    if kind in _RANGES and (rule.min is None or rule.max is None or not rule.min <= rule.max):
        problem = "min and max, min below max"
    elif kind == "int_uniform" and not (isinstance(rule.min, int) and isinstance(rule.max, int)):
        problem = "whole numbers as min and max"
    elif kind.endswith("log_uniform_values") and not (rule.min is not None and rule.min > 0):
        problem = "a min above 0"
    elif kind in _NORMAL and not rule.sigma > 0:
        problem = "a sigma above 0"
    elif kind.startswith("q_") and not rule.q > 0:
        problem = "a q above 0"
    elif kind.startswith("categorical") and rule.values is None:
        problem = "values"
    elif kind == "constant" and "value" not in given:
        problem = "value"
    elif rule.probabilities is not None and (
        len(rule.probabilities) != len(rule.values or ())
        or abs(sum(rule.probabilities) - 1) > 1e-6
        or min(rule.probabilities) < 0
    ):
        problem = "a probability for each of the values, which add up to 1"
    if problem:
        raise SettingsError(f"{file}: the parameter {name} ({kind}) lacks something; expected {problem}")
    return kind


def _rounded(number: float, step: float, whole: bool) -> float | int:
    """Return a multiple of a step without the noise of its computation."""
    return round(number) if whole else round(number, max(0, 12 - math.floor(math.log10(abs(step)))))


def _text(value: Value | None) -> str:
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else value if isinstance(value, str) else repr(value)
