"""Reported figures, and the rules of `benchmarks/published/atlas/links.yaml`: which program made each of them."""

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from fsbench.base.errors import DataError
from fsbench.base.files import read_yaml
from fsbench.protocols.programs import parse_row, read_rows

COLUMNS = ("method", "backbone", "dataset", "fold", "way", "shot", "setting", "metric", "value", "source")
SAME = tuple(name for name in COLUMNS if name != "value")
"""Columns that tell one figure from another."""


class Figure(BaseModel):
    """A published score from a line of a csv file; `value` is the number, `printed` its text in the source.

    `fold` is a number, "mean", or "test" or "-" if there are no folds.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True)

    method: Annotated[str, Field(min_length=1)]
    backbone: str
    dataset: str
    fold: str = "-"
    way: str
    shot: str
    setting: str
    metric: Annotated[str, Field(min_length=1)]
    value: Annotated[float, Field(allow_inf_nan=False)]
    printed: str = ""
    source: Annotated[str, Field(min_length=1)]

    @property
    def is_whole(self) -> bool:
        """Whether the score is about the whole test, not one fold."""
        return self.fold in ("mean", "test", "-", "all")


def _words(value: object) -> object:
    return [value] if isinstance(value, str) else value


class Rule(BaseModel):
    """Assigns rows of a csv file of published scores to an evaluation program, by patterns.

    Attributes:
        method, setting, metric, backbone, dataset, shot: patterns for the row's values, in which * is any text; one of
            each list must match.
        test: name of the evaluation program's method, or "not found" if there is no program.
        name: the method's name, if it differs from that of the program.
        variant: what distinguishes the score from other scores of the method, in a word or two; part of the entry's id.
        repeated: whether another paper or repository than the method's own prints the score.
        changes: {condition: value} where the score was made under other conditions than the program's.
        note: remark that tables print beside the score; "" for none.
        skip: reason why scores that match the rule are left out of the table of published scores; "" to keep them.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True)

    method: Annotated[list[str], BeforeValidator(_words)] = ["*"]
    setting: Annotated[list[str], BeforeValidator(_words)] = ["*"]
    metric: Annotated[list[str], BeforeValidator(_words)] = ["*"]
    backbone: Annotated[list[str], BeforeValidator(_words)] = ["*"]
    dataset: Annotated[list[str], BeforeValidator(_words)] = ["*"]
    shot: Annotated[list[str], BeforeValidator(_words)] = ["*"]
    test: str = ""
    name: str = ""
    variant: str = ""
    repeated: bool = False
    changes: dict[str, str] = {}
    note: str = ""
    skip: str = ""

    def fits(self, cells: Mapping[str, str]) -> bool:
        """Return whether the rule applies to a row of a csv file, {column: text}."""
        return all(pattern.fullmatch(cells[cell]) for cell, pattern in self._patterns)

    @cached_property
    def _patterns(self) -> list[tuple[str, re.Pattern[str]]]:
        """Cells that not all rows fit, each with its words as one expression, in which * is any text."""
        cells = {cell: getattr(self, cell) for cell in ("method", "setting", "metric", "backbone", "dataset", "shot")}
        return [
            (cell, re.compile("|".join(re.escape(word).replace(r"\*", ".*") for word in words), re.DOTALL))
            for cell, words in cells.items()
            if "*" not in words
        ]


class Links(BaseModel):
    """Names of data sets, and for each csv file its rules; the first rule that fits a row applies."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True)

    datasets: dict[str, str]
    files: dict[str, list[Rule]]


def read_links(file: Path) -> Links:
    """Read the rules that assign published scores to evaluation programs. Raises SettingsError for an invalid file."""
    links: Links = read_yaml(file, Links, "rules about reported figures")
    for name, rules in links.files.items():
        for i, rule in enumerate(rules, start=1):
            if bool(rule.test) == bool(rule.skip):
                raise DataError(f"{file.name}, rule {i} of {name}: expected one of test and skip")
    return links


def read_figures(
    file: Path, rules: Sequence[Rule], datasets: Mapping[str, str], strict: bool = True
) -> list[tuple[Figure, Rule, int]]:
    """Read the published scores of a csv file, each as (score, rule that fits it, line number).

    Rows that a rule excludes (`Rule.skip`), such as ablation studies and costs, are left out.

    Raises:
        DataError: a line is not a score, no rule fits it (with `strict`), its value is no percentage, or another line
            has the same score with another value.
    """
    found = []
    printed: dict[tuple[str, ...], tuple[float, int]] = {}
    for line, cells in read_rows(file, COLUMNS, optional="fold"):
        where = f"{file.name}, line {line}"
        rule = next((rule for rule in rules if rule.fits(cells)), None)
        if rule is None and not strict:
            continue
        if rule is None:
            raise DataError(
                f"{where}: no rule of links.yaml is about {cells['method']}, setting '{cells['setting']}', metric "
                f"'{cells['metric']}'; add one with the evaluation program that made the figure"
            )
        if rule.test:
            figure = parse_row(Figure, cells | {"printed": cells["value"]}, where)
            if not 0 <= figure.value <= 100:
                raise DataError(f"{where}: value is {figure.printed}, expected a percentage from 0 to 100")
            value, first = printed.setdefault(tuple(getattr(figure, name) for name in SAME), (figure.value, line))
            if value != figure.value:
                raise DataError(
                    f"{where}: {figure.method}, {figure.metric} is {figure.printed}, but {value:g} in line {first} of "
                    f"the same source and setting; expected one of them"
                )
            dataset = datasets.get(figure.dataset, figure.dataset)
            found.append((figure.model_copy(update={"dataset": dataset}), rule, line))
    return found
