"""Scores that papers report: how the csv files of `benchmarks/published` are read.

`benchmarks/published/mapping.yaml` says how the columns of each file are read.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsbench.base.errors import DataError
from fsbench.base.files import load_yaml
from fsbench.base.paths import BENCHMARKS
from fsbench.protocols.programs import read_rows
from fsbench.protocols.words import OTHERS
from fsbench.records.run import TF32
from fsbench.results.atlas.figures import COLUMNS

if TYPE_CHECKING:
    from fsbench.results.atlas.atlas import Entry

UNSTATED_TRAINING: dict[str, Any] = {
    "training_shot": 1, "training_items": "episodes", "epoch_length": None, "augmentation": "none", "max_steps": -1,
    "overfit_batches": 0.0, "check_val_every_n_epoch": 1, "val_check_interval": None, "fast_dev_run": False,
    "limit_train_batches": None, "limit_val_batches": None, "min_epochs": None, "max_time": None,
    "gradient_clip_val": None, "gradient_clip_algorithm": None, "callbacks": None, "fill_to": 1, "drop_last": False,
    "training_protocol": None, "first_validation": 0, "middle_validation": None, "validation_every": 1,
    "patience": None,
}  # fmt: skip
"""Settings of training data, trainer and run, besides epochs and batch, that change what is learned or chosen, and
their values where neither a configuration file nor the identity of a run states them."""

FOLDER = BENCHMARKS / "published"
NO_SCORE = ("std", "")
"""Folds of rows that are no score of a fold or of all."""


Shipped = Callable[[str, str, str | None], Mapping[str, Any]]
"""Names of method, data set and backbone -> the settings that configuration files state for them."""


@dataclass(frozen=True)
class PaperSettings:
    """Training and model settings behind a published score; a setting that is unknown is None.

    Attributes:
        image_size: side of the images in pixels.
        precision, tf32: number format in training and test, and whether TF32 is used. If `tf32` is unknown, scores are
            compared with a caveat, since it depends on the GPU, which papers seldom name.
        epochs, batch: epochs of the training, and number of episodes in an optimiser step over all devices.
        validation: the classes of validation episodes by whose scores the checkpoint was chosen.
        training: {name: value} of further training settings in the configuration (`UNSTATED_TRAINING`, micro-batch).
        method: {name: value} of the method's settings in the configuration.
        trained: whether the method is trained.
    """

    image_size: int | None
    precision: str | None
    tf32: TF32 | None
    epochs: int | None
    batch: int | None
    validation: str | None
    training: tuple[tuple[str, Any], ...]
    method: tuple[tuple[str, Any], ...]
    trained: bool = True


@dataclass(frozen=True)
class PublishedScore:
    """A score that a paper or repository published.

    Attributes:
        method, backbone, stated: names of method, backbone and setting as they are printed.
        dataset, fold, way, shot, metric: names as in fsbench; `fold` is a number or "mean".
        value, digits: the score in percent, and the number of decimals with which it is printed.
        source: the paper or repository, and where in it the score is printed.
        protocol: name in fsbench of the protocol whose rules the score follows.
        kind: class of the method in fsbench; with the settings `options` it is the published method.
        setting: name in fsbench of the setting of the test, such as "original".
        backbones: names in fsbench for the printed backbone; empty if the source does not name it.
        options: {setting of the method: value}; "any" stands for any value but false.
        episodes, seed: number of episodes and seed of the test; None for those of the protocol.
        annotation: what the supports are labelled with, in the names of fsbench, such as "mask" or "box".
        doubt: reason why the score cannot be expected to be reproduced; "" for none.
        configuration: name of the method in `configs/methods` that has the paper's settings.
        made_with: training and model settings of the paper.
        row: id of the method's entry in the atlas (`Entry.id`); "" for none.
        test: key of the published test that its evaluation program runs; "" if none was found.
        conditions: {condition: value} of the evaluation program that produced the score; empty if none was found.
        marks: remarks about the evaluation program, such as "partly read".
    """

    method: str
    backbone: str
    stated: str
    dataset: str
    fold: str
    way: int
    shot: int
    metric: str
    value: float
    digits: int
    source: str
    protocol: str
    kind: str
    setting: str = "original"
    backbones: tuple[str, ...] = ()
    options: tuple[tuple[str, Any], ...] = ()
    episodes: int | None = None
    seed: int | None = None
    annotation: str = "mask"
    doubt: str = ""
    configuration: str = ""
    made_with: PaperSettings | None = None
    row: str = ""
    test: str = ""
    conditions: tuple[tuple[str, str], ...] = ()
    marks: tuple[str, ...] = ()


def read_published(shipped: Shipped, folder: Path = FOLDER) -> list[PublishedScore]:
    """Read the published scores of methods that fsbench has, from all csv files of `folder`; repeated scores once.

    Args:
        shipped: takes names of method, data set and backbone and returns the settings of fsbench's configuration files,
            which are those of the papers.
        folder: folder of the csv files and of `mapping.yaml`, which maps printed names to those of fsbench.

    Raises DataError for names that the mapping does not know.
    """
    from fsbench.results.atlas.atlas import read_atlas, shipped_atlas  # spared until it is needed

    file = folder / "mapping.yaml"
    if not file.is_file():
        raise DataError(
            f"{file} is not there; expected the published figures that come with the suite; install it again"
        )
    mapping = load_yaml(file)
    unmatched = {path.name for path in folder.glob("*.csv")} ^ {name for name in mapping["files"] if "/" not in name}
    if unmatched:
        raise DataError(f"{', '.join(sorted(unmatched))}: either not in {folder} or not in mapping.yaml; expected both")
    scores: list[tuple[str, int, PublishedScore]] = []
    for name, rules in mapping["files"].items():
        for line, row in read_rows(folder / name, COLUMNS, optional="fold"):
            score = _Line(row, rules, mapping, f"{name}, line {line}", shipped).score()
            scores += [(Path(name).name, line, score)] if score is not None else []
    rows: Mapping[tuple[str, int], Entry] = {}
    if (folder / "atlas").is_dir():
        rows = (shipped_atlas() if folder == FOLDER else read_atlas(folder / "atlas", strict=False)).rows()
    return list(dict.fromkeys(_with_conditions(score, rows.get((name, line))) for name, line, score in scores))


def _with_conditions(score: PublishedScore, entry: "Entry | None") -> PublishedScore:
    """Return a score with its row of the atlas, and the conditions of its program where that was found."""
    if entry is None:
        return score
    if entry.program is None:
        return replace(score, row=entry.id)
    conditions = tuple(entry.conditions.items())
    return replace(score, row=entry.id, test=entry.program.test.key, conditions=conditions, marks=entry.marks)


@dataclass(frozen=True)
class _Line:
    """A line of a csv file, with the rules by which it is read.

    Attributes:
        cells: column -> text.
        rules: the rules of this file in the mapping.
        names: the whole mapping, whose names hold for all files.
        where: file and line, for messages.
        shipped: see `read_published`.
    """

    cells: Mapping[str, str]
    rules: Mapping[str, Any]
    names: Mapping[str, Any]
    where: str
    shipped: Shipped

    def score(self) -> PublishedScore | None:
        """Return the line's score; None if it is none of ours."""
        cells = self.cells
        fold = cells.get("fold", self.rules.get("fold", ""))
        if not self._is_ours() or fold in NO_SCORE:
            return None
        setting = self._setting()
        if setting.get("skip"):
            return None
        method = self.rules["methods"][cells["method"]]
        configuration = setting.get("configuration", method["configuration"])
        if isinstance(configuration, dict):
            configuration = configuration[int(cells["shot"])]
        backbones = self._backbones(method)
        return PublishedScore(
            method=cells["method"],
            backbone=cells["backbone"],
            stated=cells["setting"],
            dataset=self.names["datasets"][cells["dataset"]],
            fold="0" if fold == "test" else fold,
            way=int(self.rules.get("way", cells["way"])),
            shot=int(cells["shot"]),
            metric=self.names["metrics"][cells["metric"]],
            value=float(cells["value"]),
            digits=len(cells["value"].partition(".")[2]),
            source=cells["source"],
            protocol=self._protocol(method),
            kind=method["type"],
            setting=setting.get("setting", "original"),
            backbones=backbones,
            options=self._options(method.get("options", {}) | setting.get("options", {})),
            episodes=setting.get("episodes"),
            seed=setting.get("seed"),
            annotation=setting.get("annotation", "mask"),
            doubt="; ".join(self._doubts(method, setting)),
            configuration=configuration,
            made_with=self._made_with(configuration, backbones[0] if backbones else None, method, setting),
        )

    def _protocol(self, method: Mapping[str, Any]) -> str:
        """Return the protocol of the method, or of its file; where it differs by data set, that of the line's."""
        stated = method.get("protocol", self.rules["protocol"])
        if isinstance(stated, str):
            return stated
        dataset = self.names["datasets"][self.cells["dataset"]]
        return str(stated.get(dataset, stated[OTHERS]))

    def _made_with(
        self, configuration: str, backbone: str | None, method: Mapping[str, Any], setting: Mapping[str, Any]
    ) -> PaperSettings:
        """Return what the configuration states, and over it what `made_with` in the mapping does."""
        dataset = self.names["datasets"][self.cells["dataset"]]
        stated = self.shipped(configuration, dataset, None)
        if backbone not in (None, stated["model"]["init_args"]["backbone"]["name"]):  # its own needs no file
            stated = self.shipped(configuration, dataset, backbone)
        more = [part.get("made_with", {}) for part in (self.rules, method, setting)]
        return _paper_settings(stated, dict(self.names["made_with"]), {k: v for part in more for k, v in part.items()})

    def _is_ours(self) -> bool:
        """Return True if data set, metric and method are ours. Raises DataError for names that the mapping lacks."""
        known = {
            "dataset": (self.names["datasets"], self.names["other_datasets"]),
            "metric": (self.names["metrics"], self.names["other_metrics"]),
            "method": (self.rules["methods"], self.rules.get("other_methods", ())),
        }
        for column, (ours, others) in known.items():
            name = self.cells[column]
            if name not in ours and not any(fnmatchcase(name, pattern) for pattern in others):
                raise DataError(f"{self.where}: {column} is '{name}', which mapping.yaml does not know; add it there")
        return all(self.cells[column] in ours for column, (ours, _) in known.items())

    def _setting(self) -> dict[str, Any]:
        """Read the printed setting: as the mapping says, or option=value;option=value."""
        text, settings = self.cells["setting"], self.rules["settings"]
        if text in settings:
            return dict(settings[text])
        pairs = [part.partition("=") for part in text.split(";")]
        if not all(sign for _, sign, _ in pairs):
            raise DataError(f"{self.where}: setting is '{text}', which mapping.yaml does not know; add it there")
        return {"options": {key: _option(key, value) for key, _, value in pairs}}

    def _backbones(self, method: Mapping[str, Any]) -> tuple[str, ...]:
        backbones = method["backbones"].get(self.cells["backbone"], ())
        return (backbones,) if isinstance(backbones, str) else tuple(backbones)

    def _options(self, options: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
        shot = int(self.cells["shot"])
        return tuple((key, shot if value == "{shot}" else frozen(value)) for key, value in options.items())

    def _doubts(self, method: Mapping[str, Any], setting: Mapping[str, Any]) -> list[str]:
        of_source = [reason for text, reason in self.rules.get("doubts", {}).items() if text in self.cells["source"]]
        return of_source + [part["doubt"] for part in (method, setting) if "doubt" in part]


def _paper_settings(stated: Mapping[str, Any], defaults: Mapping[str, Any], more: Mapping[str, Any]) -> PaperSettings:
    """Collect the settings of a paper: `more` over those that our configuration states over `defaults`."""
    trainer, data = stated.get("trainer", {}), stated.get("data", {}).get("init_args", {})
    training = data.get("training", {})
    compared = {*UNSTATED_TRAINING, "micro_batch"}
    of_training = {
        key: value for key, value in {**trainer, **training, **stated.get("run", {})}.items() if key in compared
    }
    values: dict[str, Any] = {
        "image_size": data.get("image_size"),
        "precision": str(trainer["precision"]),
        "epochs": trainer.get("max_epochs"),
        "batch": training.get("batch_size"),
    }
    values |= {"validation": training["validation"]} if "validation" in training else {}
    values = {**defaults, **values, **more}
    method = {key: value for key, value in stated["model"]["init_args"].items() if key != "backbone"}
    return PaperSettings(
        **values,
        training=tuple((key, frozen(value)) for key, value in of_training.items()),
        method=tuple((key, frozen(value)) for key, value in flat({"nshot_strategy": None} | method).items()),
    )


def _option(key: str, value: str) -> Any:
    """Parse a value: "4+8" -> (4, 8) and "none" -> () of options that end in "scales"; true, false; numbers; words."""
    if key.endswith("scales"):
        return () if value == "none" else tuple(int(part) for part in value.split("+"))
    words = {"true": True, "false": False}
    return words.get(value, int(value) if value.isdecimal() else value)


def flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested settings as {dotted key: value}.

    >>> flat({"a": {"b": 1}, "c": 2})
    {'a.b': 1, 'c': 2}
    """
    found: dict[str, Any] = {}
    for key, value in settings.items():
        nested = flat(value) if isinstance(value, Mapping) else {"": value}
        found |= {f"{key}.{name}" if name else key: own for name, own in nested.items()}
    return found


def frozen(value: Any) -> Any:
    """Turn lists, also nested ones, into tuples, so that settings can be compared and hashed."""
    return tuple(value) if isinstance(value, list) else value
