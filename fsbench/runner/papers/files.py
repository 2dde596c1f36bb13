"""Papers as files: `configs/papers/<name>.yaml` lists the tables of a paper and the runs that repeat their rows."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from fsbench.base.errors import SettingsError, known_names
from fsbench.base.files import read_yaml
from fsbench.base.paths import CONFIGS
from fsbench.data.episodes.task import Task
from fsbench.runner.config.registry import check_known, choose_method, config_files, names
from fsbench.runner.config.run_config import RunConfig, asked_options


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PrintedName(_Strict):
    """How the csv files of published scores name a row of a paper's table.

    Attributes:
        method, backbone: values of the columns `method` and `backbone` of `benchmarks/published`.
        stated: value of the column `setting`; None if data set, way, shot and setting already identify the row.
        source: beginning of the value in the column `source`, if it differs from that of the paper's table; else None.
    """

    method: str
    backbone: str
    stated: str | None = None
    source: str | None = None


class Remark(_Strict):
    """A reason why scores cannot be reproduced, with its data sets, shots and settings (empty lists: all)."""

    why: str
    datasets: list[str] = []
    shots: list[int] = []
    settings: list[str] = []


class BaseLearner(_Strict):
    """A training whose best checkpoint becomes another method's backbone weights, on the same data set and fold."""

    method: str
    backbone: str | None = None


class RowEntry(_Strict):
    """Rows of a paper's table that differ only in data set, way, shot and setting.

    The training settings of a paper are in the configuration of its method. `batch` and `epochs` repeat what the paper
    states, so that a configuration that differs is noticed.

    Attributes:
        method, backbone, protocol, settings: names as for `fsbench bench`; backbone and protocol None for the method's
            own.
        datasets, folds, ways, shots: lists of values; each combination of data set, way, shot and setting is a row,
            over all folds.
        reported: names under which the row's published scores are listed; None if `benchmarks/published` has no scores
            of the row.
        ablation: name of a file in configs/ablations, without ending, whose settings are added; None for none.
        options: arguments in LightningCLI's form that change the training or the test.
        task: {field of the test's task: value} beside way, shot and setting; rows that differ only in it share a
            training.
        test_options: further arguments in LightningCLI's form that change only the test.
        checkpoint: "trained" if fsbench trains the method; "none" if nothing is learned before the test.
        released: path of the authors' checkpoint, relative to the folder of weights; `{dataset}` and `{fold}` are
            replaced. None if unknown.
        weights_of: the training of another method that makes the backbone's weights; None for the usual weights.
        batch: number of episodes in an optimiser step over all devices that the paper states, or {data set: number}.
        epochs: number of epochs that the paper states, or {data set: number}.
        cannot_run: reason why fsbench cannot run these rows at all; "" if it can.
        cannot_equal: reasons why the published scores cannot be expected to be reproduced.
    """

    method: str
    reported: PrintedName | None = None
    datasets: list[str] = Field(min_length=1)
    folds: list[int] = Field(default=[0, 1, 2, 3], min_length=1)
    ways: list[int] = Field(default=[1], min_length=1)
    shots: list[int] = Field(default=[1], min_length=1)
    settings: list[str] = Field(default=["original"], min_length=1)
    backbone: str | None = None
    protocol: str | None = None
    ablation: str | None = None
    options: list[str] = []
    task: dict[str, int | bool] = {}
    test_options: list[str] = []
    checkpoint: Literal["trained", "none"] = "trained"
    released: str | None = None
    weights_of: BaseLearner | None = None
    batch: int | dict[str, int] | None = None
    epochs: int | dict[str, int] | None = None
    cannot_run: str = ""
    cannot_equal: list[Remark] = []


class Table(_Strict):
    """A table of a paper; the column `source` of `benchmarks/published` begins with `source` for its scores."""

    caption: str
    source: str
    rows: list[RowEntry] = Field(min_length=1)


class Paper(_Strict):
    """A paper: its title, and its tables, as far as they have methods of fsbench."""

    title: str
    tables: dict[str, Table] = Field(min_length=1)


@dataclass(frozen=True)
class PaperRow:
    """Row of a paper's table: one method on one data set with one way, shot and setting, over all folds."""

    paper: str
    table: str
    source: str
    entry: RowEntry = field(hash=False)  # it holds lists; rows are still told apart by it
    dataset: str
    way: int
    shot: int
    setting: str

    @property
    def method(self) -> str:
        """Name of the method in tables, with its backbone if that is not its own."""
        name = choose_method(self.entry.method, self.entry.backbone).name
        return f"{name} ({self.variant})" if self.variant else name

    @property
    def variant(self) -> str:
        """What distinguishes the row from others of its method (ablation, other options), in words; "" if nothing."""
        entry = self.entry
        words = [Path(entry.ablation).name] if entry.ablation else []
        words += [f"{name}={value}" for name, value in asked_options(entry.task).items()]
        return ", ".join(words + [text.rpartition(".")[2] for text in (*entry.options, *entry.test_options)])

    @property
    def task(self) -> str:
        """Data set, way, shot, setting and protocol, in words."""
        setting = "" if self.setting == "original" else self.setting
        words = (self.dataset, f"{self.way}-way {self.shot}-shot", setting, self.entry.protocol)
        return " ".join(word for word in words if word)

    @property
    def cannot_equal(self) -> list[str]:
        """Reasons why the paper's scores cannot be expected to be reproduced."""
        return [
            remark.why
            for remark in self.entry.cannot_equal
            if self.dataset in (remark.datasets or [self.dataset])
            and self.shot in (remark.shots or [self.shot])
            and self.setting in (remark.settings or [self.setting])
        ]

    def stated_setting(self, what: Literal["batch", "epochs"]) -> int | None:
        """Return the batch size or number of epochs that the paper states for the row's data set; None if none."""
        value: int | Mapping[str, int] | None = getattr(self.entry, what)
        return value.get(self.dataset) if isinstance(value, Mapping) else value

    @property
    def training_arguments(self) -> tuple[str, ...]:
        """Arguments in LightningCLI's form that change the training as well as the test."""
        entry = self.entry
        ablation = [f"--config={CONFIGS / 'ablations' / entry.ablation}.yaml"] if entry.ablation else []
        return (*ablation, *entry.options)

    @cached_property
    def request(self) -> RunConfig:
        """Run configuration of the row for its first fold, without checkpoint and weights."""
        entry = self.entry
        classifies = entry.checkpoint == "none" and entry.protocol is None
        return RunConfig(
            method=entry.method,
            dataset=self.dataset,
            fold=entry.folds[0],
            backbone=entry.backbone,
            way=self.way,
            shot=self.shot,
            protocol=entry.protocol,
            setting=None if classifies else self.setting,
            **asked_options(entry.task),
            extra=(*self.training_arguments, *entry.test_options),
        )


def read_paper(name: str, folder: Path | None = None) -> Paper:
    """Read the file of a paper in configs/papers: which tables it has, and how fsbench runs their rows.

    Raises:
        SettingsError: there is no such paper, or its file has a wrong key, value or name.
    """
    if folder is None:
        check_known("papers", "paper", name)
    file = (folder or CONFIGS / "papers") / f"{name}.yaml"
    paper: Paper = read_yaml(file, Paper, "a paper")
    for row in paper_rows(name, paper):
        try:
            config_files(row.entry.method, row.dataset, backbone=row.entry.backbone)  # all names are known
            Task.chosen(row.entry.task, "a test")
            if row.entry.weights_of is not None:
                choose_method(row.entry.weights_of.method, row.entry.weights_of.backbone)
            if row.entry.ablation and not (CONFIGS / "ablations" / f"{row.entry.ablation}.yaml").is_file():
                raise SettingsError(f"no ablation {row.entry.ablation}; see configs/ablations")
        except SettingsError as error:
            raise SettingsError(f"{file}, table {row.table}: {error}") from None
    return paper


def papers() -> dict[str, Paper]:
    """Read all papers of configs/papers, by name."""
    return {name: read_paper(name) for name in names("papers")}


def paper_rows(name: str, paper: Paper, table: str | None = None) -> list[PaperRow]:
    """List the rows of a paper, or of one of its tables, in the file's order: one for each combination of settings.

    Raises SettingsError for an unknown table.
    """
    if table is not None and table not in paper.tables:
        raise SettingsError(f"{name} has no table '{table}'{known_names(table, paper.tables)}")
    return [
        PaperRow(name, number, paper.tables[number].source, entry, *task)
        for number in (paper.tables if table is None else [table])
        for entry in paper.tables[number].rows
        for task in product(entry.datasets, entry.ways, entry.shots, entry.settings)
    ]
