"""A run as a value: a method on one fold of a data set, with its options, each declared and documented once.

The command line's help, make's variables, the axes of grids, papers' rows and the manual's reference follow from
`RunConfig`, and its options of the test from the fields of `fsbench.data.episodes.task.Task`. Here are names and values
alone, so that they are checked before torch is imported; `RunConfig.parse` lets the classes judge them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cache, cached_property
from itertools import product
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from fsbench.base.errors import SettingsError
from fsbench.data.episodes.task import ClassificationTask, Task
from fsbench.networks.weights.table import fetch_command
from fsbench.protocols.reading import DEFAULT_PROTOCOLS, is_protocol_file, load_protocol, read_test
from fsbench.runner.config.backbone_choice import AUTO, backbone_at_hand, needed_weights
from fsbench.runner.config.datasets import root_of, usual_protocol
from fsbench.runner.config.merge import (
    full_key,
    merge_files,
    merge_settings,
    nested,
    parted_arguments,
    setting,
    stated_values,
)
from fsbench.runner.config.registry import MethodChoice, choose_method, config_files, label, task_of

if TYPE_CHECKING:
    from fsbench.runner.config.parse import ParsedRun
    from fsbench.runner.config.shared_parts import SharedParts

DEFAULT_PROTOCOL = DEFAULT_PROTOCOLS["segmentation"]
"""Protocol of segmenting methods whose configuration names no other (configs/base.yaml)."""
NO_DATASET = "folder"
"""Stands where the configuration of a method alone needs a data set: it sets nothing."""


def _option(default: Any, help: str = "", **declared: Any) -> Any:
    """Declare one option of a run: its default, its line of help, and what else an `Option` says of it."""
    return field(default=default, metadata={"help": help, **declared})


_TASK = {one.name: one for one in Task.arguments()}
_OF_BOTH = {one.name for one in ClassificationTask.arguments()}


def _of_task(name: str, default: Any = None) -> Any:
    """Declare the option of a field of the test's task, as the field says it; None leaves the configuration's value."""
    said = _TASK[name].metadata
    declared = {key: said[key] for key in ("axis", "least") if key in said}
    declared |= {"argument": name, "key": f"data.test.{name}", "segmentation_only": name not in _OF_BOTH}
    declared |= {"help": said.get("switch", said["help"]), "switches_off": "switch" in said}
    return field(default=default, metadata=declared)


@dataclass(frozen=True, kw_only=True)
class TaskOptions:
    """Options of a run that choose its test, such as fold, way and shot; None keeps the configuration's value."""

    fold: int = _of_task("fold", 0)  # whose number is part of names and of paths
    way: int | None = _of_task("way")
    shot: int | None = _of_task("shot")
    setting: str | None = _of_task("setting")
    empty: bool | None = _of_task("empty")
    episodes: int | None = _of_task("episodes")
    drop_small: bool | None = _of_task("drop_small")
    test_seed: int | None = _of_task("seed")
    draws: int | None = _of_task("draws")
    nested_in: int | None = _of_task("nested_in")


@dataclass(frozen=True)
class RunConfig(TaskOptions):
    """All options of a run; None, False and () keep the configuration's value.

    The placeholders `{fold}`, `{method}`, `{dataset}` and `{seed}` may stand in `checkpoint`, `weights` and `manifest`.
    `checkpoint` may also be a folder with `fold-<f>/best.ckpt` (the layout of authors' releases). `manifest`, a file of
    test episodes, sets way, shot, setting and protocol unless other options do. `extra` holds further arguments in
    LightningCLI's form, such as `--trainer.max_epochs=3`.

    Examples:
        >>> config = RunConfig("prototype", "demo", fold=1, way=2)
        >>> setting(config.values, "data.test.way"), setting(config.values, "run.name")
        (2, 'prototype')
    """

    method: str = _option(
        "emat", "name, or several with commas (see: fsbench list), FILE.py:Class or FILE.yaml", axis="methods"
    )
    dataset: str = _option("demo", "name (see: fsbench list), FILE.py:Class or FILE.yaml", axis="datasets")
    runs: str = _option("runs", "folder of all runs", key="run.runs", grid=False)
    backbone: str | None = _option(
        None,
        "backbone to use instead of the default (see: fsbench list); auto: efficientnet_lite0 of fsbench[photos] if "
        "the weights of the default are missing",
    )
    protocol: str | None = _option(
        None,
        "name or FILE.yaml, or several with commas, to use for all methods instead of their own (see: fsbench list "
        "protocols)",
        key="data.test.protocol",
        axis="protocol",
        segmentation_only=True,
    )
    manifest: str | None = _option(
        None,
        "file of test episodes; it sets way, shot, setting and protocol; {fold} stands for the fold",
        segmentation_only=True,
    )
    image_size: int | None = _option(
        None, "side in pixels that images are resized to", key="data.image_size", axis="image_sizes", least=1
    )
    support_annotation: str | None = _option(
        None,
        "how the test's supports are labelled: mask (default), box, point, scribble, instance-box or bbox",
        key="data.test.support_annotation",
        axis="support_annotation",
        segmentation_only=True,
    )
    filter_novel: str | None = _option(
        None,
        "1 leaves out training images that show a novel class, as BAM does; 0 keeps them, as PFENet does (default: as "
        "the method or the protocol does)",
        segmentation_only=True,
    )
    devices: int | None = _option(None, "processes on this machine, one per device", key="trainer.devices", least=1)
    micro_batch: int | None = _option(
        None,
        "training episodes that a process computes at once; give fewer than its share of a step to save memory",
        key="data.training.micro_batch",
        least=1,
        segmentation_only=True,
    )
    backbone_precision: str | None = _option(
        None,
        "fp32 (default), bf16 or fp16: precision in which the frozen network computes",
        key="model.backbone.precision",
    )
    keep_predictions: str | None = _option(
        None,
        "which predictions a run keeps: none, masks (default) or soft (also probabilities and attention)",
        key="run.keep_predictions",
        segmentation_only=True,
    )
    label: str | None = _option(
        None,
        "a name for the run, which tables and pages show beside the method's name, in place of the time where that "
        "would stand; the label given last is kept, and '' removes it",
        key="run.label",
        grid=False,
    )
    asked_alone: int | None = _option(
        None,
        "check that the method remembers nothing between episodes: a fresh copy answers this many of them alone, and "
        "must give the same answers",
        key="run.asked_alone",
        grid=False,
    )
    checkpoint: str | None = _option(
        None, "evaluate this checkpoint (ours or the authors'); {fold} stands for the fold", flag="ckpt"
    )
    seed: int | None = _option(
        None, "seed of first weights and of training episodes", key="seed_everything", axis="seeds", least=0
    )
    data_root: str | None = _option(None, "folder of the data set", key="data.dataset.root", grid=False)
    weights: str | None = _option(None, "file of the backbone's weights, or random")
    lists: tuple[str, ...] = _option((), "folders with official list files, with commas", key="data.dataset.lists")
    fast: bool = _option(False, "make a trial of a few minutes, with 20 test episodes")
    force: bool = _option(False, "run again even if the run is done", key="run.force", grid=False)
    debug: bool = _option(False, "show the traceback of an error", grid=False)
    extra: tuple[str, ...] = _option((), flag="")

    def __post_init__(self) -> None:
        for name in ("lists", "extra"):  # a run is hashable, whatever it was given
            object.__setattr__(self, name, tuple(getattr(self, name)))

    @cached_property
    def choice(self) -> MethodChoice:
        """The method with its backbone. Raises SettingsError if a name is unknown or method and backbone do not fit."""
        return choose_method(self.method, self._backbone)

    @cached_property
    def files(self) -> list[Path | dict[str, Any]]:
        """The run's configuration files, later ones overriding earlier ones."""
        return config_files(self.method, self.dataset, self.fast, self._backbone)

    @cached_property
    def file_values(self) -> dict[str, Any]:
        """Settings of the configuration files, overridden by the run's options, as nested plain values.

        Raises:
            SettingsError: a name is unknown, the data set does not have what an option asks for, or a file cannot be
                read.
        """
        more, _ = parted_arguments(self.extra, option_names())
        values = merge_files([*self.files, *more])
        for key, value in self.settings.items():
            values = merge_settings(values, nested(full_key(key), value))
        return values

    @cached_property
    def values(self) -> dict[str, Any]:
        """All settings as nested plain values: of files, options and the further arguments `extra`.

        Raises SettingsError if a name is unknown or a file cannot be read.
        """
        return merge_settings(self.file_values, stated_values(self.arguments))

    def parse(self, build: bool = True, shared: "SharedParts | None" = None) -> "ParsedRun":
        """Check the run's settings by the classes that they name, and build these. Imports torch.

        Args:
            build: whether to build method and data; else settings are only checked.
            shared: cache of objects that several runs share.
        """
        from fsbench.runner.config.parse import parse_values

        return parse_values(self.file_values, self.arguments, build, shared)

    @property
    def name(self) -> str:
        """Name of the method in tables, with its backbone if that is not the method's own."""
        return self.method if self.choice.backbone is None else self.choice.name

    @property
    def own_protocol(self) -> str | None:
        """Name of the method's default protocol if the run uses it; None if the run names another one.

        A protocol may be named by an option, a manifest or a further argument. None for classification, too.
        """
        asked = self.protocol or self.manifest or self._names_protocol
        return None if asked else setting(self.file_values, "data.test.protocol")

    @property
    def _names_protocol(self) -> bool:
        """Whether a further argument, or a file of `--config` among them, names the protocol."""
        return setting(self._further, "data.test.protocol") is not None

    @cached_property
    def _further(self) -> dict[str, Any]:
        """Settings of the further arguments and of the files that they name."""
        files, arguments = parted_arguments(self.extra, option_names())
        return merge_settings(merge_files(files), stated_values(arguments))

    @property
    def backbone_note(self) -> str:
        """Sentence for users if `backbone` is "auto" and replaces the method's own backbone; "" if it does not."""
        own = needed_weights(self.method, self.dataset) if self.backbone == AUTO and self._backbone else None
        if own is None:
            return ""
        taken = f"the weights of {own} are not here, so {self._backbone} is used"
        return f"{self.method}: {taken}; to get the better network: {fetch_command(own)}"

    @cached_property
    def _backbone(self) -> str | None:
        """The backbone that the method takes instead of its own; None for its own, and with weights of one's own."""
        if self.backbone == AUTO and self.weights:
            return None
        return backbone_at_hand(self.backbone, self.method, self.dataset)

    @property
    def arguments(self) -> list[str]:
        """Further settings as LightningCLI arguments `--key=value`."""
        return parted_arguments(self.extra, option_names())[1]

    @cached_property
    def settings(self) -> dict[str, Any]:
        """{dotted key: value} of the settings that the run's options change. Raises SettingsError for unknown names."""
        _ = self.files  # names that are unknown come first
        is_segmentation = task_of("data", self.dataset) == "segmentation"
        given: dict[Option, Any] = {}
        for option in run_options():
            value = getattr(self, option.field)
            if value not in (None, ()) and (value or option.default is not False):
                given[option] = value
        for option in given:
            if option.segmentation_only and not is_segmentation:
                raise SettingsError(
                    f"classification has no {option.make_variable} (--{option.name}), and {self.dataset} is a data set "
                    "for it; leave it out"
                )
        stated: dict[str, Any] = {}
        if path := self._fill_in(self.manifest):
            header = read_test(Path(path).expanduser()).header
            stated = {f"data.test.{name}": getattr(header, name) for name in ("protocol", "way", "shot", "setting")}
            stated["data.test.protocol"] = header.protocol_parts or header.protocol
            stated["data.test.manifest"] = path
        checkpoint = self._fill_in(self.checkpoint)
        if checkpoint and Path(checkpoint).is_dir():
            checkpoint = str(Path(checkpoint) / f"fold-{self.fold}" / "best.ckpt")
        several = self.devices is not None and self.devices > 1
        root = self.data_root and root_of(self.dataset, self.data_root)
        if not (self.protocol or self.manifest or self._names_protocol):
            stated["data.test.protocol"] = usual_protocol(
                self.dataset, root or setting(self._further, "data.dataset.root")
            )
        stated |= {
            **{option.key: value for option, value in given.items() if option.key},
            **self._protocol_parts(),
            "data.dataset.root": root,
            "run.name": self.choice.name,
            "run.checkpoint": checkpoint,
            "trainer.strategy": "ddp" if several else None,
            "model.backbone.weights": self._fill_in(self.weights),
            "data.test.fold": self.fold,
            "data.training.filter_novel": self._filter(),
        }
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in stated.items()
            if value is not None
        }

    def _protocol_parts(self) -> dict[str, Any]:
        """Return the content of a protocol's file in place of its path, so that the run outlives the file."""
        if self.protocol is None or not is_protocol_file(self.protocol):
            return {}
        protocol = load_protocol(self.protocol)
        return {"data.test.protocol": protocol.name if protocol.parts is None else dict(protocol.parts)}

    def _filter(self) -> bool | None:
        """Return the choice of `filter_novel`; SettingsError for another word."""
        choices = {"1": True, "0": False, "true": True, "false": False, "yes": True, "no": False}
        if self.filter_novel is not None and str(self.filter_novel).lower() not in choices:
            raise SettingsError(f"FILTER_NOVEL (--filter-novel) is '{self.filter_novel}', expected 1 or 0")
        return None if self.filter_novel is None else choices[str(self.filter_novel).lower()]

    def _fill_in(self, path: str | None) -> str | None:
        """Replace the placeholders of a path."""
        names = {"method": label("methods", self.method), "dataset": label("data", self.dataset)}
        for name, value in {**names, "fold": self.fold, "seed": self.seed}.items():
            path = path and path.replace(f"{{{name}}}", str(value))
        return path


def run_configs(axes: Mapping[str, Sequence[Any]], **common: Any) -> list[RunConfig]:
    """Return a run configuration for each combination of values, each once.

    Args:
        axes: {field of `RunConfig`: values}, such as `{"method": ["cst", "emat"], "fold": [0, 1]}`.
        **common: fields of `RunConfig` with a value that all runs share.

    Raises:
        SettingsError: the same checkpoint would be used for several folds.

    Examples:
        >>> [(run.method, run.fold) for run in run_configs({"method": ["cst", "emat"], "fold": [0, 1]})]
        [('cst', 0), ('cst', 1), ('emat', 0), ('emat', 1)]
    """
    runs = [RunConfig(**common, **dict(zip(axes, values, strict=True))) for values in product(*axes.values())]
    folds = {run.fold for run in runs}
    for run in runs:
        if run.checkpoint and len(folds) > 1 and "{fold}" not in run.checkpoint and not Path(run.checkpoint).is_dir():
            raise SettingsError(
                f"one checkpoint for {len(folds)} folds: each fold needs its own, or base classes would be tested; "
                "give a folder with fold-<f>/best.ckpt or a path with {fold}"
            )
    return list(dict.fromkeys(runs))


@dataclass(frozen=True)
class Option:
    """Description of an option of `fsbench bench`, made from a field of `RunConfig`.

    Attributes:
        field: name of the field of `RunConfig` that the option sets.
        default: the field's default; None, False and () change no setting.
        kind: type of a value: str, int or bool; a bool option is a switch without value.
        several: whether the option takes several values, separated by commas. They make several runs if `axis` is set,
            else they belong to one run.
        help: the option's line in `--help`.
        argument: name of the field of the test's task that the option sets, such as "way"; None if it sets none.
        switches_off: whether the option is a switch that sets its field to False; other switches set True.
        flag: name on the command line, without dashes, if it differs from the field's name; "" if the option is not on
            the command line.
        key: dotted configuration key to which the value is written unchanged; None if the option sets several keys, or
            a changed value.
        axis: key of the option in a grid's file, where a list of values makes several runs; None if all runs share one
            value.
        grid: whether a grid's file may set the option.
        least: smallest number that the option accepts; None for no limit.
        segmentation_only: whether the option exists for segmentation only.
    """

    field: str
    default: Any
    kind: type
    several: bool
    help: str
    argument: str | None = None
    switches_off: bool = False
    flag: str | None = None
    key: str | None = None
    axis: str | None = None
    grid: bool = True
    least: int | None = None
    segmentation_only: bool = False

    @property
    def name(self) -> str:
        """The option's name on the command line, without the dashes."""
        return self.flag or "no-" * self.switches_off + self.field.replace("_", "-")

    @property
    def make_variable(self) -> str:
        """Name of the Makefile variable of `make bench` that sets the option."""
        return self.name.upper().replace("-", "_")


@cache
def run_options() -> tuple[Option, ...]:
    """Return the options of a run, in the order of the help of `fsbench bench`."""
    hints = get_type_hints(RunConfig)
    options = []
    for f in sorted(fields(RunConfig), key=lambda one: one.name not in ("method", "dataset")):  # which come first
        kind = next(kind for kind in get_args(hints[f.name]) or (hints[f.name],) if kind is not NoneType)
        options.append(Option(f.name, f.default, kind, f.default == () or "axis" in f.metadata, **f.metadata))
    return tuple(option for option in options if option.flag != "")


def task_options() -> dict[str, Option]:
    """Return {field of the test's task, such as way or shot: option that sets it}."""
    return {option.argument: option for option in run_options() if option.argument is not None}


def asked_options(task: Mapping[str, Any]) -> dict[str, Any]:
    """Translate {field of a test's task: value} to {field of `RunConfig`: value}."""
    return {one.field: task[name] for name, one in task_options().items() if name in task}


def option_names() -> Iterable[str]:
    """Return the names of all options on the command line, without the dashes."""
    return [option.name for option in run_options()]
