"""Make a run's method and data from its settings: jsonargparse is the only judge of their keys and values.

This is the only module that knows jsonargparse and LightningCLI.
"""

import inspect
import logging
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from pkgutil import resolve_name
from types import NoneType
from typing import Any, ClassVar, TypeVar, get_args, get_type_hints

from jsonargparse import ArgumentError, Namespace
from lightning import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from torch.optim.lr_scheduler import CosineAnnealingLR

from fsbench.base.class_file import load_class_file
from fsbench.base.errors import FsbenchError, SettingsError, did_you_mean
from fsbench.core.shot_ensemble import NShotStrategy
from fsbench.data.dataset import ClassificationData, SegmentationData
from fsbench.data.episodes.task import Task
from fsbench.networks.weights.files import read_checkpoint
from fsbench.records.run import TF32, Keep
from fsbench.runner.config.class_settings import FILES
from fsbench.runner.config.limits import check_nulls, check_plain_values, check_trainer
from fsbench.runner.config.merge import (
    check_groups,
    full_key,
    merge_settings,
    nested,
    setting,
    stated_values,
    value_at,
    with_nulls,
)
from fsbench.runner.config.registry import TaskName
from fsbench.runner.config.shared_parts import SharedParts, dataset_key
from fsbench.runner.config.trainer_settings import check_optimiser

T = TypeVar("T")

# As text, jsonargparse reads torch's whole file of schedulers to know them, three times a run.
CosineAnnealingLR.__init__.__annotations__.update(get_type_hints(CosineAnnealingLR.__init__))
# Python keeps the first of equal types, so that the order of `int | float` depends on who was imported before, and with
# it whether `--trainer.limit_train_batches=1` is one batch or, as 1.0, all of them.
_TYPES = inspect.unwrap(Trainer.__init__).__annotations__
_TYPES |= {name: int | float | None for name, kind in _TYPES.items() if set(get_args(kind)) == {int, float, NoneType}}

DATA_MODULE = "fsbench.datamodules.episodic.EpisodicDataModule"
"""The data module of configurations that name none."""

VARIED = ("seed_everything", *(f"data.test.{one.name}" for one in Task.arguments()))
"""Keys that runs of one plan differ in, whose values their classes check."""
DATA_SEED = "data.init_args.seed"
"""Key of the data module's seed, which is `seed_everything`."""


@dataclass
class RunOptions:
    """Settings of a run, beside those of the method, the data and Lightning's trainer.

    Args:
        name: name of the method in tables; by default the name of its file in configs/methods.
        runs: folder of all runs, in which the run gets a folder of its own.
        checkpoint: file of trained weights, fsbench's or the authors', to evaluate instead of training.
        force: whether to run again although the folder of runs has a record of this run.
        tf32: what CUDA may compute in TF32: true (everything), `convolutions`, `matmul`, or false (nothing, the
            default, since TF32 changes results in the third digit).
        first_validation: number of the first epoch that ends with a validation, counted from 0.
        middle_validation: number of the first epoch with a further validation in its middle (after step round(L / 2) +
            1 of L steps); none unless given.
        validation_every: from epoch `first_validation` on, every so many epochs end with a validation: 1 for every
            epoch.
        patience: number of epochs without a higher validation mIoU after which the training ends; it never ends early
            unless given.
        method_file: file of the method's class, and the sha256 of the file, as METHOD=FILE.py:Class sets it; its code
            is run.
        dataset_file: file of the data set's class, and the sha256 of the file, as DATASET=FILE.py:Class sets it; its
            code is run.
        nshot_strategy: how K supports give one prediction: "own" by the method's own rule, or another value of
            `NShotStrategy`, such as "vote" for a vote of one-shot predictions.
        training_threads: number of threads of torch on the CPU in training; one for each core unless given. Layers with
            few channels may be slower with several threads; sums differ in the last digits.
        keep_predictions: what is stored of a segmentation's predictions: "none", "masks", or "soft" for soft masks and
            attention maps, too, if the method has them. Scores do not depend on it.
        label: words that are shown beside the run's name in tables and pages; without a label the run keeps an earlier
            one.
        asked_alone: number of episodes that a fresh copy of the method also predicts one by one before the test. If the
            method predicts one of them differently in the test, it depends on other episodes, and the run fails.
    """

    name: str = "unnamed"
    runs: str = "runs"
    checkpoint: str | None = None
    force: bool = False
    tf32: TF32 = False
    first_validation: int = 0
    middle_validation: int | None = None
    validation_every: int = 1
    patience: int | None = None
    method_file: str | None = None
    dataset_file: str | None = None
    nshot_strategy: NShotStrategy = "own"
    training_threads: int | None = None
    keep_predictions: Keep = "masks"
    label: str | None = None
    asked_alone: int = 0


class ParsedRun(LightningCLI):
    """Checked settings of one run, parsed by LightningCLI: groups `model`, `data`, `trainer` and `run`, and `task`.

    Settings are checked on construction; `build` constructs the method and the data module.

    Args:
        values: nested settings, to be checked by the parser, or settings that it has checked.
        arguments: command-line settings `--key=value` that override `values`; requests for help or the configuration
            end the command.
        datasets: cache of data sets (`SharedParts.datasets`).
    """

    _shared_parser: ClassVar[LightningArgumentParser | None] = None

    def __init__(
        self,
        values: Mapping[str, Any] | Namespace,
        arguments: Sequence[str] = (),
        datasets: dict[str, Any] | None = None,
    ):
        self.arguments = list(arguments)
        self.datasets = {} if datasets is None else datasets
        self._refusals: list[FsbenchError] = []
        with self._plain_errors():
            super().__init__(
                LightningModule,
                LightningDataModule,
                subclass_mode_model=True,
                subclass_mode_data=True,
                run=False,
                args=values if isinstance(values, Namespace) else dict(values),
                save_config_callback=None,
                seed_everything_default=0,
                parser_kwargs={"exit_on_error": False, "allow_abbrev": False},
            )

    def setup_parser(self, *arguments: Any) -> None:
        """Copy the parser of the process's first run, since all have the same groups; `_construct` is the run's own."""
        if ParsedRun._shared_parser is None:
            super().setup_parser(*arguments)
            ParsedRun._shared_parser = self.parser
        self.parser = copy(ParsedRun._shared_parser)
        self.parser.add_instantiator(self._construct, object)

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        if isinstance(args, Namespace):
            self.config = args
            return
        assert isinstance(args, dict)
        # Defaults follow once the arguments have named the classes, lest another optimiser keep those of the first.
        self.config = parser.parse_object(self._completed(args), defaults=not self.arguments)
        if self.arguments:
            self.config = parser.parse_args(self.arguments, namespace=self.config)

    def _completed(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return values with the method and the data set of the arguments if there are none yet: both are needed."""
        stated = stated_values(self.arguments, as_texts=True)
        for place in (("model",), ("data", "init_args", "dataset")):
            if value_at(values, place) is None and (given := value_at(stated, place)) is not None:
                values = merge_settings(values, nested(place, given))
        return values

    @property
    def config_text(self) -> str:
        """All settings as YAML, for the run's `config.yaml`."""
        return str(self.parser.dump(self.config, skip_none=False, skip_validation=True))

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--task", type=TaskName | None, default=None, help="task of the method and the data set")
        parser.add_class_arguments(RunOptions, "run")
        parser.link_arguments("seed_everything", DATA_SEED)

    def _leave_out_missing_weights(self) -> None:
        """Ask for no file of the backbone's weights where it is not here and the checkpoint holds them."""
        values = self.config.as_dict()
        checkpoint, model = values["run"]["checkpoint"], values["model"]
        backbone = (model.get("init_args") or {}).get("backbone")
        if not checkpoint or not isinstance(backbone, dict) or backbone.get("weights", "") is not None:
            return
        if not Path(checkpoint).is_file():  # which is told with whatever else is wrong
            return
        method = resolve_name(model["class_path"])
        network = getattr(method.backbone_type, "known", {}).get(backbone["name"])
        if network is None or network.weights.path.is_file():
            return
        if method.released_format.split(read_checkpoint(Path(checkpoint))["state_dict"]):
            self.config["model.init_args.backbone.weights"] = "random"  # which are replaced before they are drawn

    def instantiate_classes(self) -> None:
        """Check settings that the parser does not check; method and data are built later, by `build`."""
        self._leave_out_missing_weights()
        values = self.config.as_dict()
        check_plain_values(values)
        for part in ("model", "data"):
            check_nulls(resolve_name(values[part]["class_path"]), values[part].get("init_args") or {}, part)
        check_nulls(RunOptions, values["run"], "run")

    def varied(self, values: Mapping[str, Any]) -> "ParsedRun":
        """Return a copy of the run with other values of the settings that may vary without a new check (`VARIED`)."""
        check_plain_values(values)
        run = copy(self)
        run.config = self.config.clone()
        for key, value in values.items():
            run.config[".".join(full_key(key))] = value
            if key == "seed_everything":
                run.config[DATA_SEED] = value
        return run

    def build(self) -> "ParsedRun":
        """Seed random numbers, build method and data module, and return the run.

        Raises:
            FsbenchError: raised by the constructor of the method, backbone or data.
            SettingsError: a constructor does not accept a value.
        """
        settings = self.config.as_dict()
        learns = bool(getattr(_import_class(settings["model"]["class_path"]), "learns", True))
        with self._plain_errors():
            check_trainer(settings["trainer"])
            check_optimiser(settings, self.arguments, learns)
            super()._set_seed()
            super().instantiate_classes()
        return self

    def _construct(self, class_type: type[T], *args: Any, **kwargs: Any) -> T:
        """Call a constructor for jsonargparse, unless it is that of a data set that is built; keep its FsbenchError."""
        key = dataset_key(class_type, *args, **kwargs)
        try:
            if not issubclass(class_type, SegmentationData | ClassificationData):
                return class_type(*args, **kwargs)
            if key not in self.datasets:
                self.datasets[key] = class_type(*args, **kwargs)
            return self.datasets[key]
        except FsbenchError as error:
            self._refusals.append(error)
            raise

    @contextmanager
    def _plain_errors(self) -> Iterator[None]:
        """Turn the parser's errors into SettingsErrors of one line, or the FsbenchError that a constructor raised.

        The parser wraps what constructors raise, and of a setting with several types it tells the first type's error.
        """
        self._refusals.clear()
        try:
            yield
        except FsbenchError:
            raise
        except (ArgumentError, ValueError, TypeError) as error:
            raise self._refusals[-1] if self._refusals else SettingsError(_explain(str(error))) from error

    def instantiate_trainer(self, **kwargs: Any) -> Any:
        """Override LightningCLI so that no trainer is built here; the runner builds it once it is needed."""
        return None

    def build_method(self) -> Any:
        """Build and return the method of the run, without the data. Raises CheckpointError if weights are missing."""
        return self._without("data")["model"]

    def build_data(self) -> Any:
        """Build and return the data module of the run, without the method."""
        return self._without("model")["data"]

    def _without(self, group: str) -> Any:
        config = self.config.clone()
        config.pop(group)
        with self._plain_errors():
            return self.parser.instantiate_classes(config)

    @property
    def data_arguments(self) -> dict[str, Any]:
        """{name: plain value} of the data module's constructor arguments."""
        return dict(self.config.as_dict()["data"]["init_args"])

    def _set_seed(self) -> None:
        """Seed nothing yet; `build` does."""


def parse_values(
    values: Mapping[str, Any], arguments: Sequence[str] = (), build: bool = True, shared: SharedParts | None = None
) -> ParsedRun:
    """Check merged settings, overridden by arguments, and build the method and data that they name.

    Args:
        values: nested settings, as in YAML files.
        arguments: single settings `--key=value` that override `values`.
        build: whether to build method and data module; else settings are only checked.
        shared: cache of objects that several runs share; objects built for this run are added to it. A run that differs
            from an earlier one only in settings of `VARIED` (seed and fields of the test's task) is not checked again.

    Raises:
        FsbenchError: raised by the constructor of the method, backbone or data.
        SettingsError: the parser does not accept a setting.
    """
    quiet()
    shared = shared or SharedParts()
    values, arguments = with_nulls(values, arguments)
    check_groups(values, "the configuration")
    stated = merge_settings(values, stated_values(arguments))
    own = {key: value for key in VARIED if (value := setting(stated, key)) is not None}
    for key, value in own.items():
        stated = merge_settings(stated, nested(full_key(key), type(value)))
    alike = repr((stated, arguments))
    if alike in shared.judged:
        run = shared.judged[alike].varied(own)
    else:
        values = _load_class_files(values)
        for option in ("source", "validation_source"):
            _check_source(stated, option)
        run = ParsedRun(values, arguments, shared.datasets)
        judged = {key: run.config.get(".".join(full_key(key))) for key in own}
        if repr(judged) == repr(own):  # the parser leaves values of these types as they are
            shared.judged[alike] = run.varied({})
    return run.build() if build else run


def parse_judged(config: Namespace, build: bool = True) -> ParsedRun:
    """Return the run for settings that the parser has already checked, without checking them again."""
    quiet()
    _load_class_files(config.as_dict())
    run = ParsedRun(config)
    return run.build() if build else run


def _load_class_files(values: Mapping[str, Any]) -> dict[str, Any]:
    """Import the files of classes that settings name; return the settings with the places where these are now."""
    for option in FILES.values():
        if reference := setting(values, f"run.{option}"):
            file = load_class_file(str(reference))
            values = merge_settings(values, {"run": {option: file.reference}})
    return dict(values)


def describe_keys(values: Mapping[str, Any]) -> str:
    """List the setting keys of a run in words, with those of the classes that the run's settings name."""
    model, data = setting(values, "model.class_path"), setting(values, "data.class_path") or DATA_MODULE
    groups: dict[str, Any] = {"run": RunOptions, "data": data, "model": model, "trainer": Trainer}
    lines = [
        "  --config FILE        settings in YAML, as in configs/; may be repeated, later ones win",
        "  --print_config       show all settings, and run nothing",
        "  --seed_everything N  seed of first weights and of training episodes",
    ]
    for group, kind in groups.items():
        kind = _import_class(kind) if isinstance(kind, str) else kind
        known = ", ".join(option_names(kind)) if kind else "those of the class; name its file with --config"
        lines.append(f"  --{group}.KEY: {known}")
    return "\n".join(lines)


def option_names(kind: Any) -> list[str]:
    """Return the keys by which a class's arguments are set, such as `image_size`, or `test.way` in dataclasses."""
    names: list[str] = []
    for name, parameter in inspect.signature(kind).parameters.items():
        groups = [part for part in (parameter.annotation, *get_args(parameter.annotation)) if is_dataclass(part)]
        names += [f"{name}.{one.name}" for group in groups for one in fields(group) if one.init] or [name]
    return names


def quiet() -> None:
    """Hide Lightning's notices (seeds, devices, tips) on the screen."""
    warnings.filterwarnings("ignore", message=r"`isinstance\(treespec, LeafSpec\)`")  # Lightning's own call of torch
    warnings.filterwarnings("ignore", message=r".*configure_optimizers` will be overridden")  # as was asked for
    warnings.filterwarnings("ignore", message="The `srun` command is available")  # not every run on a cluster is a job
    warnings.filterwarnings("ignore", message="You have overridden `transfer_batch_to_device`")  # the method's
    warnings.filterwarnings("ignore", message="LightningCLI's args parameter")  # settings are merged before
    loaders = ("This DataLoader will create", r"The '\w+' does not have many workers", "'pin_memory' argument is set")
    for message in loaders:  # the number of workers is a setting, and changes no result
        warnings.filterwarnings("ignore", message=message)
    for name in ("lightning", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _import_class(path: str) -> type | None:
    """Return a class by its full name; None if it cannot be imported."""
    try:
        found = resolve_name(path)
    except Exception:  # whatever its module raises
        return None
    return found if inspect.isclass(found) else None


def _check_source(values: Mapping[str, Any], option: str) -> None:
    """Raise SettingsError unless `data.source`, or another `option`, is a data set: the parser calls what is named."""
    source = value_at(values, ("data", "init_args", option))
    class_path = source.get("class_path") if isinstance(source, Mapping) else source
    if class_path is None:
        return
    found = _import_class(str(class_path))
    if found is None or not issubclass(found, SegmentationData):
        raise SettingsError(
            f"data.{option} is {class_path!r}, expected the class of a data set of segmentation, such as "
            f"fsbench.datamodules.datasets.pascal.PascalAll, and its folder with --data.{option}.root"
        )


_UNKNOWN = r"(?:unrecognized arguments: -*([\w.]+)|Option '([\w.]+)' is not accepted|Key '([\w.]+)' is not expected)"
_UNKNOWN_IN_GROUP = r"Group '([\w.]+)' does not accept option '([\w.]+)'"
_OTHER_CLASS = r"Import path (?:([\w.]+) )?does not correspond to a subclass of (\w+)"
_NO_CLASS_PATH = r"Not a valid subclass of \w+|is not iterable"
_NO_CLASS = r"Expected a dot import path string: (.+)|Unexpected import path format: (.+)|has no attribute '(\w+)'"


def _explain(text: str) -> str:
    """Return the parser's message in one line: which key it is about, what was found, and what was expected."""
    keys = re.findall(r'Parser key "([\w.]+)":', text)
    where = ".".join(dict.fromkeys(keys)).replace(".init_args", "") or "the configuration"
    classes = re.findall(r"class_path '([\w.]+)'", text)
    innermost = text.rpartition(f"class_path '{classes[-1]}'")[2] if classes else text
    if unknown := re.search(_UNKNOWN_IN_GROUP, innermost):
        return _unknown_option(f"{unknown[1]}.{unknown[2]}", where, classes)
    if unknown := re.search(_UNKNOWN, innermost):
        return _unknown_option(next(filter(None, unknown.groups())), where, classes)
    if re.search(r"Expected an? <class '(?:int|float)'>", innermost):  # which is no class, whatever other types say
        innermost = re.sub(r"^ *- .*(?:import path|Import path|a path but|subclass).*$", "", innermost, flags=re.M)
    if absent := re.search(f"{_NO_CLASS}|No module named '?([\\w.]+)", innermost):
        return _absent_class(where, classes[-1] if absent[3] or absent[4] else absent[1] or absent[2])
    if other := re.search(_OTHER_CLASS, innermost):
        name = other[1] or text.rpartition("Given value: ")[2].strip()
        return f"{where} is '{name}', which is no subclass of {other[2]}; expected the full name of one"
    if re.search(_NO_CLASS_PATH, innermost):
        return f"{where} names no class; expected the full name of one, as text or as its class_path"
    if unread := re.search(r'Unable to load config "(.*)"', innermost):
        return f"{where} is '{unread[1]}', expected settings by their keys, such as --{where}.KEY=VALUE"
    if not keys and (built := re.search(r"Given value: Namespace\(class_path='([\w.]+)'", text)):
        reasons = [line for line in re.findall(r"^ *- (.+)$", text, re.MULTILINE) if "NoneType" not in line]
        return f"{built[1]}: {' '.join(reasons)}"  # what its constructor said
    kinds = re.findall(r"Expected an? (.+?)(?:\. Got value.*)?$", innermost, re.MULTILINE)
    found = re.search(r"(?:Given|Got) value: (.*)", innermost)
    if kinds and found:
        known = re.findall(r"'([^']*)'", " ".join(kind for kind in kinds if kind.startswith("typing.Literal")))
        expected = " or ".join(dict.fromkeys(map(_name_kind, kinds)))
        return f"{where}: expected {expected}; found {found[1]}{did_you_mean(found[1], known)}"
    reasons = [line.strip(" -") for line in innermost.splitlines() if line.strip() and "value" not in line]
    return f"{where}: {' '.join(reasons[-1].split())}" if keys and reasons else " ".join(text.split())


def _absent_class(where: str, name: str) -> str:
    """Return the message about a class that cannot be imported, with the forms that can be."""
    option = {"model": "--method", "data.dataset": "--dataset"}.get(where)
    expected = "the full name of a class"
    if option:
        own = f"./mine.py:{re.split('[.:/]', name)[-1]}"
        expected += f", or, for a class in a Python file, {option} {own} (class_path: {own} in a YAML file beside it)"
    return f"{where} is '{name}', which is no class that can be imported; expected {expected}"


def _unknown_option(name: str, where: str, classes: Sequence[str]) -> str:
    """Return the message about an option that a class, a group or the run does not have."""
    group, _, option = f"{where}.{name}".removeprefix("the configuration.").partition(".")
    kind = _import_class(classes[-1]) if classes else {"trainer": Trainer, "run": RunOptions}.get(group)
    owner = classes[-1].rpartition(".")[2] if classes else f"the group {group}" if kind else "a run"
    known = option_names(kind) if kind else []
    word = name.rpartition(".")[2] if classes else option
    alike = {one.rpartition(".")[2]: one for one in reversed(known)}
    near = [alike[word]] if word in alike else re.findall(r"'([\w.]+)'", did_you_mean(word, [*alike, *known]))
    prefix = f"--{where}." if classes else f"--{group}."
    hint = f"; did you mean {prefix}{alike.get(near[0], near[0])}?" if near else ""
    hint = hint or (f"; there are: {', '.join(known)}" if known else "; see: fsbench bench --help")
    return f"{owner} has no option '{name if classes else option or name}'{hint}"


def _name_kind(kind: str) -> str:
    """Return in words what the parser expected."""
    words = {"bool": "true or false", "float": "a number", "int": "a whole number", "str": "text", "NoneType": "null"}
    if builtin := re.fullmatch(r"<class '([\w.]+)'>", kind):
        return words.get(builtin[1], f"a {builtin[1].rpartition('.')[2]}")
    literal = re.fullmatch(r"typing\.Literal\[(.*)\]", kind)
    return literal[1].replace(", ", " or ") if literal else kind
