"""The options of `fsbench bench`, written once: the command line, make's variables and grids follow from `Request`."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_type_hints

from fsbench.base.errors import FsbenchError, SettingsError, raise_all
from fsbench.protocols.reading import read_checked_manifest
from fsbench.runner.config.backbone_choice import AUTO, backbone_at_hand, note_of_choice
from fsbench.runner.config.compose import Configuration, compose_values
from fsbench.runner.config.limits import whole
from fsbench.runner.config.registry import (
    MethodChoice,
    choose_method,
    config_files,
    configured_protocol,
    label,
    task_of,
)

DEFAULT_PROTOCOL = "fscs"
"""Protocol of methods whose configuration names no other (configs/base.yaml)."""
NOTHING_NAMED = "no method or no fold was named; see: fsbench list"
PROTOCOL_ARGUMENTS = tuple(f"--data.{place}protocol" for place in ("", "init_args.", "test.", "init_args.test."))
"""Arguments in LightningCLI's form that ask for a protocol."""


def _option(
    default: Any,
    help: str = "",
    *,
    flag: str | None = None,
    key: str | None = None,
    axis: str | None = None,
    grid: bool = True,
    segmentation_only: bool = False,
) -> Any:
    """Declare one option of a run.

    Args:
        default: what holds when it is not given.
        help: its line in `fsbench bench --help`.
        flag: its name on the command line without the dashes; None for the field's name, "" for none at all.
        key: the configuration's key that it sets, as it is.
        axis: its key in a grid's file where that lists several of it.
        grid: whether a grid's file may set it.
        segmentation_only: whether classification has no such option.
    """
    names = {"help": help, "flag": flag, "key": key, "axis": axis, "grid": grid, "segmentation_only": segmentation_only}
    return field(default=default, metadata=names)


@dataclass(frozen=True)
class Request:
    """A request for runs; None, False and () leave the configuration's value.

    `{fold}`, `{method}`, `{dataset}` and `{seed}` may stand in `checkpoint`, `weights` and `manifest`. `checkpoint` may
    also be a folder with `fold-<f>/best.ckpt` (the authors' layout). The manifest says what is tested where the other
    settings do not. `extra` are further arguments in LightningCLI's form.
    """

    methods: Sequence[str] = _option(
        ("emat",),
        "name, or several with commas (see: fsbench list), FILE.py:Class or FILE.yaml",
        flag="method",
        axis="methods",
    )
    dataset: str = _option("demo", "name (see: fsbench list), FILE.py:Class or FILE.yaml", axis="datasets")
    folds: Sequence[int] = _option((0,), "number, or several with commas", flag="fold", axis="folds")
    runs: str = _option("runs", "folder of all runs", key="run.runs", grid=False)
    backbone: str | None = _option(
        None,
        "backbone instead of the method's and the data set's own (see: fsbench list); auto: efficientnet_lite0 of "
        "fsbench[photos] where their weights are missing",
    )
    way: int | None = _option(None, "classes of an episode", key="data.way", axis="ways")
    shot: int | None = _option(None, "labelled images of a class", key="data.shot", axis="shots")
    protocol: str | None = _option(
        None,
        "name for all methods, instead of their own, or several with commas; see: fsbench list protocols",
        key="data.protocol",
        segmentation_only=True,
    )
    manifest: str | None = _option(
        None,
        "file of test episodes, which fixes way, shot, setting and protocol; {fold} stands for the fold",
        segmentation_only=True,
    )
    setting: str | None = _option(
        None,
        "original, partially_augmented, fully_augmented, 0-5, 5-10, 10-15, 0-15",
        key="data.setting",
        axis="settings",
        segmentation_only=True,
    )
    draws: int | None = _option(
        None, "draws of the supports for every query; scores count draw 0, the official one", key="data.draws"
    )
    support_annotation: str | None = _option(
        None,
        "mask (default), box, point, scribble, instance-box or bbox: what the test's supports are labelled with",
        key="data.support_annotation",
        axis="support_annotation",
        segmentation_only=True,
    )
    filter: str | None = _option(
        None,
        "1 leaves out training images that show a novel class, as BAM does; 0 keeps them, as PFENet does; otherwise as "
        "the method or the protocol does",
        segmentation_only=True,
    )
    devices: int | None = _option(None, "processes on this machine, one per device", key="trainer.devices")
    micro_batch: int | None = _option(
        None,
        "training episodes that a process takes at once, fewer than its share of a step where memory is short",
        key="data.micro_batch",
        segmentation_only=True,
    )
    backbone_precision: str | None = _option(
        None,
        "fp32 (default), bf16 or fp16: precision in which the frozen network computes",
        key="model.backbone.precision",
    )
    keep_predictions: str | None = _option(
        None,
        "none, masks (default) or soft (probabilities and attention, too): what a run keeps of its predictions",
        key="run.keep_predictions",
        segmentation_only=True,
    )
    check_memory: int | None = _option(
        None,
        "ask this many episodes alone as well, of a fresh copy of the method; answers that differ are an error",
        key="run.check_memory",
        grid=False,
    )
    checkpoint: str | None = _option(
        None, "evaluate this checkpoint (ours or the authors'); {fold} stands for the fold", flag="ckpt"
    )
    seed: int | None = _option(
        None, "seed of first weights and of training episodes", key="seed_everything", axis="seeds"
    )
    test_seed: int | None = _option(
        None, "seed of the test's episodes instead of the protocol's", key="data.test_seed", axis="test_seeds"
    )
    data_root: str | None = _option(None, "folder of the data set", key="data.dataset.root", grid=False)
    weights: str | None = _option(None, "file of the backbone's weights, or random")
    lists: Sequence[str] = _option((), "folders with official list files, with commas", key="data.dataset.lists")
    fast: bool = _option(False, "a trial of a few minutes, with 20 test episodes")
    force: bool = _option(False, "repeat what is done", key="run.force", grid=False)
    drop_small: bool = _option(
        False, "leave out classes with too few images", key="data.drop_small_classes", segmentation_only=True
    )
    debug: bool = _option(False, "show the traceback of an error", grid=False)
    extra: Sequence[str] = _option((), flag="")

    def configuration(self, method: str, fold: int) -> Configuration:
        """Compose the configuration of the run of `method` on `fold`, once.

        Raises SettingsError for what the data set does not have, and for unknown names.
        """
        if (method, fold) not in self._composed:
            configuration = compose_values(self._files(method), self._settings(method, fold))
            configuration.add_arguments(self.extra, [option.name for option in bench_options()])
            self._composed[method, fold] = configuration
        return self._composed[method, fold]

    def arguments(self, method: str, fold: int) -> list[str]:
        """Return the arguments of `fsbench bench` for a process that is started from nothing, such as a job.

        Its configuration is that of `configuration`, which raises the same.
        """
        settings = self._settings(method, fold)
        return [
            *(f"--config={file}" for file in self._files(method)),
            *(f"--{key}={_text(value)}" for key, value in settings.items()),
            *self.extra,
        ]

    def _files(self, method: str) -> list[Path]:
        """Return the configuration files of a run of `method`."""
        return config_files(method, self.dataset, self.fast, self.backbone_of(method))

    def backbone_of(self, method: str) -> str | None:
        """Return the backbone that `method` takes instead of its own; None for its own, and with weights of one's own.

        Raises SettingsError where it depends on names that are unknown.
        """
        if self.backbone == AUTO and self.weights:
            return None
        return backbone_at_hand(self.backbone, method, self.dataset)

    def choice_of(self, method: str) -> MethodChoice:
        """Return the method with its backbone. Raises SettingsError for names that are unknown or do not fit."""
        return choose_method(method, self.backbone_of(method))

    def notes(self) -> list[str]:
        """Return a sentence for each method whose backbone is another because the weights of its own are absent."""
        if self.backbone != AUTO:
            return []
        found = [note_of_choice(self.backbone_of(method), method, self.dataset) for method in self.methods]
        return [f"{method}: {note}" for method, note in zip(self.methods, found, strict=True) if note]

    def _settings(self, method: str, fold: int) -> dict[str, Any]:
        """Return the values that the options set, by the configuration's dotted keys; raises as `configuration`."""
        self._files(method)  # names that are unknown come first
        if task_of("data", self.dataset) == "classification":
            self._check_classification()
        keys = {f.metadata["key"]: getattr(self, f.name) for f in fields(self) if f.metadata["key"]}
        values = {
            **{key: value for key, value in keys.items() if _is_given(value)},
            "run.name": self.choice_of(method).name,
            "run.checkpoint": self._checkpoint(method, fold),
            "trainer.strategy": "ddp" if self.devices is not None and self.devices > 1 else None,
            "data.batch_size": self._fast_batch(),
            "model.backbone.weights": self._fill_in(self.weights, method, fold),
            "data.fold": fold,
            "data.filter_novel": self._filter(),
        }
        stated = self._of_manifest(method, fold) | values
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in stated.items()
            if value is not None
        }

    @cached_property
    def _composed(self) -> dict[tuple[str, int], Configuration]:
        return {}

    def _filter(self) -> bool | None:
        """Return the choice of `filter`; SettingsError for another word."""
        choices = {"1": True, "0": False, "true": True, "false": False, "yes": True, "no": False}
        if self.filter is not None and str(self.filter).lower() not in choices:
            raise SettingsError(f"FILTER (--filter) is '{self.filter}', expected 1 or 0")
        return None if self.filter is None else choices[str(self.filter).lower()]

    def _fast_batch(self) -> int | None:
        """Return the batch of a trial on several devices, an episode for each; its figures are no results anyway."""
        trial = self.fast and task_of("data", self.dataset) == "segmentation"
        return self.devices if trial and self.devices is not None and self.devices > 1 else None

    def own_protocol(self, method: str) -> str | None:
        """Return the protocol that `method` takes by itself.

        None where one was asked for, by option, manifest or argument, and for classification.
        """
        if self.protocol or self.manifest or any(text.startswith(PROTOCOL_ARGUMENTS) for text in self.extra):
            return None
        return configured_protocol(tuple(self._files(method)))

    def _check_classification(self) -> None:
        """Raise SettingsError for an option that only segmentation has."""
        for f in fields(self):
            if f.metadata["segmentation_only"] and _is_given(getattr(self, f.name)):
                raise SettingsError(
                    f"classification has no {f.name.upper()} (--{f.name.replace('_', '-')}), and {self.dataset} is a "
                    "data set for it; leave it out"
                )

    def _of_manifest(self, method: str, fold: int) -> dict[str, Any]:
        """Return the manifest and the task that its header states."""
        path = self._fill_in(self.manifest, method, fold)
        if path is None:
            return {}
        header = read_checked_manifest(Path(path).expanduser()).header
        return {f"data.{name}": getattr(header, name) for name in ("protocol", "way", "shot", "setting")} | {
            "data.manifest": path
        }

    def _checkpoint(self, method: str, fold: int) -> str | None:
        """Return the checkpoint of one run. Raises SettingsError where several folds would share one."""
        path = self._fill_in(self.checkpoint, method, fold)
        if self.checkpoint is None or path is None:
            return None
        if len(self.folds) > 1 and "{fold}" not in self.checkpoint and not Path(path).is_dir():
            raise SettingsError(
                f"one checkpoint for {len(self.folds)} folds: each fold needs its own, or base classes would be tested;"
                " give a folder with fold-<f>/best.ckpt or a path with {fold}"
            )
        return str(Path(path) / f"fold-{fold}" / "best.ckpt") if Path(path).is_dir() else path

    def _fill_in(self, path: str | None, method: str, fold: int) -> str | None:
        """Replace the placeholders of a path."""
        names = {"method": label("methods", method), "dataset": label("data", self.dataset)}
        for name, value in {**names, "fold": fold, "seed": self.seed}.items():
            path = path and path.replace(f"{{{name}}}", str(value))
        return path


def file_settings(request: Request) -> dict[str, Any]:
    """Merge the configuration files of a request's first method, and what its `extra` arguments set.

    Returns:
        Nested values, as the YAML files have them, without defaults of classes; not to be changed.
    """
    configuration = Configuration()
    for file in request._files(request.methods[0]):
        configuration.add_file(file)
    configuration.add_arguments(request.extra)
    raise_all(configuration.problems)
    return configuration.values


def _is_given(value: Any) -> bool:
    """Return whether an option differs from the one that leaves the configuration's value."""
    return value is not None and value is not False and value not in ((), [])


def _text(value: Any) -> str:
    """Write a value as a command line has it."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, str | int) else "[" + ",".join(value) + "]"


@dataclass(frozen=True)
class Option:
    """An option of `fsbench bench`.

    Attributes:
        field: the field of `Request` that it sets.
        name: its name on the command line, without the dashes.
        kind: str, int or bool; a bool is a switch.
        several: whether it takes several values, with commas.
        help: its line in `--help`.
    """

    field: str
    name: str
    kind: type
    several: bool
    help: str

    @property
    def make_variable(self) -> str:
        """Name of the variable of `make bench`."""
        return self.name.upper().replace("-", "_")


def bench_options() -> list[Option]:
    """Return the options of `fsbench bench`, in the order of its help."""
    hints = get_type_hints(Request)
    options = []
    for f in fields(Request):
        flag = f.metadata["flag"]
        if flag == "":
            continue
        kinds = [kind for kind in get_args(hints[f.name]) or (hints[f.name],) if kind is not NoneType]
        several = isinstance(f.default, tuple)
        name = flag or f.name.replace("_", "-")
        options.append(Option(f.name, name, kinds[0], several, f.metadata["help"]))
    return options


def add_bench_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a request; those that are not given are left out of the namespace."""
    for option in bench_options():
        how: dict[str, Any] = {"dest": option.field, "default": argparse.SUPPRESS, "help": option.help}
        if option.kind is bool:
            how["action"] = "store_true"
        else:
            how["metavar"] = option.make_variable
        parser.add_argument(f"--{option.name}", **how)


def read_request(options: argparse.Namespace, extra: Sequence[str]) -> tuple[Request, list[FsbenchError]]:
    """Read the request of a command line.

    Args:
        options: parsed by the options of `add_bench_options`.
        extra: its arguments in LightningCLI's form.

    Returns:
        The request, with defaults in place of what is no number, and an error about each of those.
    """
    given: dict[str, Any] = {}
    errors: list[FsbenchError] = []
    for option in bench_options():
        if option.field in options:
            try:
                given[option.field] = _value(getattr(options, option.field), option)
            except SettingsError as error:
                errors.append(error)
    return Request(**given, extra=tuple(extra)), errors


def _value(text: Any, option: Option) -> Any:
    """Return the value of an option; SettingsError where it should be a number and is none."""
    try:
        if option.several:
            words = [word.strip() for word in text.split(",") if word.strip()]
            return tuple(whole()(word) if option.kind is int else word for word in words)
        return whole()(text) if option.kind is int else text
    except argparse.ArgumentTypeError as error:
        problem = f"{option.name} is '{text}', expected a number" if option.several else f"--{option.name} {error}"
        raise SettingsError(problem) from None
