"""Build a run's method and data from its settings: jsonargparse is the only judge of their keys and values.

This is the only module that knows jsonargparse and LightningCLI.
"""

import inspect
import logging
import re
import textwrap
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, is_dataclass
from itertools import chain
from pkgutil import resolve_name
from types import NoneType
from typing import Any, TypeVar, get_args

import yaml
from jsonargparse import ArgumentError
from lightning import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI

from fsbench.base.errors import FsbenchError, SettingsError, describe, did_you_mean, known_names, raise_all
from fsbench.core.shot_ensemble import NShotStrategy
from fsbench.data.dataset import SegmentationIndex
from fsbench.records.predictions import Keep
from fsbench.records.run import TF32
from fsbench.runner.config.class_file import load_class_file
from fsbench.runner.config.class_settings import CLASSES, FILES
from fsbench.runner.config.compose import Configuration, compose, compose_values, merge_settings, value_at
from fsbench.runner.config.data_options import (
    DATA_MODULE,
    class_parameters,
    flat_key,
    flat_values,
    grouped_parts,
    option_groups,
    option_parameters,
)
from fsbench.runner.config.limits import check_nulls, check_plain_values, check_trainer
from fsbench.runner.config.registry import (
    TaskName,
    choose_method,
    config_files,
    task_of,
)

T = TypeVar("T")

# Python keeps the first of equal types, so that the order of `int | float` depends on who was imported before, and with
# it whether `--trainer.limit_train_batches=1` is one batch or, as 1.0, all of them.
_TYPES = inspect.unwrap(Trainer.__init__).__annotations__
_TYPES |= {name: int | float | None for name, kind in _TYPES.items() if set(get_args(kind)) == {int, float, NoneType}}

NO_DATASET = "folder"
"""Stands where the configuration of a method alone needs a data set: it sets nothing, and is not built."""


@dataclass
class RunOptions:
    """Settings of a run besides model, data and trainer.

    Args:
        name: of the method in tables, the stem of its file in configs/methods.
        runs: folder of all runs.
        checkpoint: evaluate this checkpoint (ours or the authors') instead of training.
        force: run again although the record exists.
        tf32: what may be computed in TF32 on CUDA: all, `convolutions` or `matmul` alone, or nothing, since it changes
            results in the third digit. torch allows it for convolutions unless it is told otherwise.
        first_validation: epoch, counted from 0, whose end has the first validation.
        middle_validation: first epoch that is validated in its middle, too (after step round(L / 2) + 1 of L); none
            unless given.
        validation_every: from the first on, every epoch (1), every second one (2) and so on ends with a validation.
        patience: end the training where this many epochs have begun since the validation mIoU was last exceeded; never
            unless given.
        method_file: file of the method's class and its sha256, as METHOD=FILE.py:Class sets it; its code is run.
        dataset_file: the same of the data set's class.
        nshot_strategy: how K shots become one prediction: as the method does it, or an ensemble of one-shot ones.
        training_threads: threads of torch on the CPU in training; one for each core unless given. Layers of few
            channels take longer in several, which wait for one another; sums differ in their last digits.
        keep_predictions: what is kept of the predictions of segmentation: nothing, masks, or soft masks and attention,
            too, where the method has any. Files alone follow from it, no figures.
        check_memory: ask this many episodes alone as well, of a fresh copy of the method, before the test: a method
            that answers them otherwise in the test remembers other episodes, and its run fails.
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
    check_memory: int = 0


class _FlatParser(LightningArgumentParser):
    """A parser that shows and keeps the options of data modules as users write them, with flat keys."""

    def dump(self, *args: Any, **kwargs: Any) -> str:
        text: str = super().dump(*args, **kwargs)
        values = yaml.safe_load(text) if re.search("^data:", text, re.MULTILINE) else None
        return yaml.safe_dump(flat_values(values), sort_keys=False, allow_unicode=True) if values else text


class SuiteCLI(LightningCLI):
    """LightningCLI for one run, with `task` and the group `run` beside model, data and trainer.

    Args:
        values: nested settings, which the parser judges as they are.
        asks: arguments that ask for help or the configuration; they end the command.
        build: whether to seed the random numbers and build model and data module.
    """

    def __init__(self, values: dict[str, Any], asks: Sequence[str] = (), build: bool = True):
        self.asks = asks
        self.build = build
        self._refusals: list[FsbenchError] = []
        super().__init__(
            LightningModule,
            LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            run=False,
            args=values,
            save_config_callback=None,
            parser_class=_FlatParser,
            seed_everything_default=0,
            parser_kwargs={"exit_on_error": False, "allow_abbrev": False},
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        assert isinstance(args, dict)
        if helps := [word for word in self.asks if "print_config" not in word]:
            parser.parse_args(helps)
        self.config = parser.parse_object(args)
        if self.asks:
            parser.parse_args(self.asks, namespace=self.config)

    @property
    def config_text(self) -> str:
        """All settings as YAML, the `config.yaml` of a run."""
        return str(self.parser.dump(self.config, skip_none=False))

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_instantiator(self._construct, object)
        parser.add_argument("--task", type=TaskName | None, default=None, help="task of the method and the data set")
        parser.add_class_arguments(RunOptions, "run")
        parser.link_arguments("seed_everything", "data.init_args.seed")

    def instantiate_classes(self) -> None:
        values = self.config.as_dict()
        check_plain_values(flat_values(values))
        for part in ("model", "data"):
            kind, arguments = resolve_name(values[part]["class_path"]), values[part].get("init_args") or {}
            groups = option_groups(kind)
            own = {name: value for name, value in arguments.items() if name not in groups or value is None}
            check_nulls(kind, own, part)
            for group in groups.keys() - own.keys():
                check_nulls(groups[group], arguments[group], part)
        check_nulls(RunOptions, values["run"], "run")
        if self.build:
            check_trainer(values["trainer"])
            with self._refusal_kept():
                super().instantiate_classes()

    def _construct(self, class_type: type[T], *args: Any, **kwargs: Any) -> T:
        """Call a constructor for jsonargparse, and keep the FsbenchError that it raises."""
        try:
            return class_type(*args, **kwargs)
        except FsbenchError as error:
            self._refusals.append(error)
            raise

    @contextmanager
    def _refusal_kept(self) -> Iterator[None]:
        """Raise what a constructor refused: of a setting with several types the parser tells the first type's error."""
        try:
            yield
        except (ArgumentError, ValueError, TypeError) as error:
            if self._refusals:
                raise self._refusals[-1] from error
            raise

    def instantiate_trainer(self, **kwargs: Any) -> Any:
        """Build no trainer: the runner does when it is known that something is to be done."""
        return None

    def build_method(self) -> Any:
        """Build the method alone. Raises CheckpointError for missing weights."""
        config = self.config.clone()
        config.pop("data")
        with _plain_errors(), self._refusal_kept():
            return self.parser.instantiate_classes(config)["model"]

    def build_data(self) -> Any:
        """Build the data module alone."""
        config = self.config.clone()
        config.pop("model")
        with _plain_errors(), self._refusal_kept():
            return self.parser.instantiate_classes(config)["data"]

    @property
    def data_arguments(self) -> dict[str, Any]:
        """Arguments of the data module by their flat keys."""
        return dict(flat_values(self.config.as_dict())["data"]["init_args"])

    def _set_seed(self) -> None:
        if self.build:
            super()._set_seed()


def parse(arguments: Sequence[str], build: bool = True) -> SuiteCLI:
    """Compose a configuration from arguments in LightningCLI's form, and build what it names.

    Args:
        arguments: the command line: `--config` files and single settings, later ones over earlier ones.
        build: whether to build model and data module, too.

    Raises:
        FsbenchError: a constructor raised it.
        SettingsError: a file cannot be read, or the parser does not accept a setting.
    """
    return parse_configuration(compose(arguments), build)


def parse_configuration(configuration: Configuration, build: bool = True) -> SuiteCLI:
    """Let the parser judge composed settings, and build what they name; raises what `parse` does."""
    quiet()
    raise_all(configuration.problems)
    for option in ("source", "validation_source"):
        _check_source(configuration.values, option)
    for option in FILES.values():
        if reference := value_at(configuration.values, ("run", option)):
            load_class_file(str(reference))
    replaced = Configuration(configuration.values, configuration.parts[:-1])
    if unknown := next(_unknown_options(replaced), None):  # which the class that comes after would hide
        raise SettingsError(unknown)
    values: dict[str, Any] = {}
    for part in grouped_parts(configuration.parts):
        values = merge_settings(values, part, _arguments_of)
    reasons = chain(_unknown_options(configuration), _absent_classes(configuration.values))
    with _plain_errors(reasons, configuration.values):
        return SuiteCLI(values, configuration.asks, build)


SHORTENED = ("", "torch.optim.", "torch.optim.lr_scheduler.")
"""Packages whose classes may be named without them."""


def _arguments_of(path: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of `arguments` that a class takes; all where only the parser finds the class."""
    kind = next(filter(None, (_import_class(place + path) for place in SHORTENED)), None)
    taken = arguments if kind is None else class_parameters(kind)
    return {name: value for name, value in arguments.items() if name in taken}


def describe_keys(arguments: Sequence[str]) -> str:
    """Return the keys of a run's groups in words; of model and data those of the classes that `arguments` name."""
    values = compose(arguments).values
    text = [
        "  --config FILE        settings in YAML, as in configs/; may be repeated, later ones win",
        "  --print_config       show all settings, and run nothing",
        "  --seed_everything N  seed of first weights and of training episodes",
    ]
    data = value_at(values, ("data", "class_path")) or DATA_MODULE
    classes = {"run": RunOptions, "data": data, "model": value_at(values, ("model", "class_path")), "trainer": Trainer}
    for group, kind in classes.items():
        found = _import_class(kind) if isinstance(kind, str) else kind
        known = ", ".join(option_parameters(found)) if found else "those of the method; name its file with --config"
        text += textwrap.wrap(f"--{group}.KEY: {known}", 100, initial_indent="  ", subsequent_indent="      ")
    return "\n".join(text)


def _import_class(path: str) -> type | None:
    """Return a class by its full name; None where it cannot be imported."""
    try:
        found = resolve_name(path)
    except Exception:  # whatever its module raises
        return None
    return found if inspect.isclass(found) else None


def _absent_classes(values: Mapping[str, Any]) -> Iterator[str]:
    """Yield a message about each class of a method or a data set that cannot be imported by its name."""
    for place in CLASSES.values():
        path = value_at(values, place)
        if not isinstance(path, str) or _import_class(path) is not None:
            continue
        try:
            resolve_name(path)
            reason = "it is no class"
        except Exception as error:  # whatever its module raises
            reason = describe(error)
        yield (
            f"{'.'.join(place)} is '{path}', which cannot be imported ({reason}); expected the full name of a class, "
            "or in the YAML file of --method or --dataset a class of a Python file beside it: "
            f"./mine.py:{re.split('[.:]', path)[-1]}"
        )


def _check_source(values: Mapping[str, Any], option: str) -> None:
    """Raise SettingsError unless `data.source`, or another `option`, is a data set: the parser calls what is named."""
    source = value_at(values, ("data", "init_args", option))
    class_path = source.get("class_path") if isinstance(source, Mapping) else source
    if class_path is None:
        return
    found = _import_class(str(class_path))
    if found is None or not issubclass(found, SegmentationIndex):
        raise SettingsError(
            f"data.{option} is {class_path!r}, expected the class of a data set of segmentation, such as "
            f"fsbench.datamodules.datasets.pascal.PascalAll, and its folder with --data.{option}.root"
        )


def compose_method(
    method: str, dataset: str | None = None, backbone: str | None = None, weights: str | None = None
) -> SuiteCLI:
    """Compose a method of segmentation without building it or any data; `build_method` of the result builds it.

    Args:
        method: a method or an alias.
        dataset: a data set whose settings of the method hold; None for the method's own settings.
        backbone: a backbone instead of the method's and the data set's.
        weights: the backbone's weights, as in `BackboneConfig`.

    Raises:
        SettingsError: a name is unknown, or the method classifies images.
    """
    choice = choose_method(method, backbone)
    if task_of("methods", choice.method) != "segmentation":
        raise SettingsError(f"{method} classifies images; expected a method that segments (see: fsbench list)")
    files = config_files(method, dataset or NO_DATASET, backbone=backbone)
    given = {} if weights is None else {"model.backbone.weights": weights}
    return parse_configuration(compose_values(files, {"run.name": choice.name} | given), build=False)


@contextmanager
def _plain_errors(unknown: Iterable[str] = (), values: Mapping[str, Any] | None = None) -> Iterator[None]:
    """Turn the parser's errors into SettingsErrors of one line, or the FsbenchError that a constructor raised.

    Args:
        unknown: messages about settings that no class takes, found only after an error; the first one tells it.
        values: the settings, which name the data module.
    """
    try:
        yield
    except (ArgumentError, ValueError, TypeError, FsbenchError) as error:
        own = _find_own(error)
        if own is not None:
            raise own from error
        raise SettingsError(next(iter(unknown), "") or _explain(str(error), values or {})) from error


def quiet() -> None:
    """Keep Lightning's notices (seeds, devices, tips) off the screen; a run's go to its log."""
    warnings.filterwarnings("ignore", message=r"`isinstance\(treespec, LeafSpec\)`")  # Lightning's own call of torch
    warnings.filterwarnings("ignore", message=r".*configure_optimizers` will be overridden")  # as was asked for
    warnings.filterwarnings("ignore", message="The `srun` command is available")  # not every run on a cluster is a job
    warnings.filterwarnings("ignore", message="You have overridden `transfer_batch_to_device`")  # the method's
    loaders = ("This DataLoader will create", r"The '\w+' does not have many workers", "'pin_memory' argument is set")
    for message in loaders:  # the number of workers is a setting, and changes no result
        warnings.filterwarnings("ignore", message=message)
    for name in ("lightning", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _find_own(error: BaseException | None) -> FsbenchError | None:
    """Return the FsbenchError behind `error`, if any: the parser wraps what constructors raise."""
    while error is not None:
        if isinstance(error, FsbenchError):
            return error
        error = error.__cause__ or error.__context__
    return None


def _explain(text: str, values: Mapping[str, Any]) -> str:
    """Return the parser's message in one line: which option of `values`, and what was expected."""
    keys = re.findall(r'Parser key "([\w.]+)":', text)
    built = re.search(r"^Given value: Namespace\(class_path='([\w.]+)'", text, re.MULTILINE)  # whose constructor raised
    where = flat_key(".".join(dict.fromkeys(keys)), values) or (built[1] if built else "configuration")
    inner = text.rpartition(f'"{keys[-1]}":')[2] if keys else text
    # of several things that a value may be, why it is none; a reason that ends with a colon has a second line
    reasons = re.findall(r"^ *- (.+:\n.+|.+)$", inner, re.MULTILINE)
    if built:  # that it is not null, either, explains nothing
        reasons = [reason for reason in reasons if "NoneType" not in reason]
    value = inner.strip().splitlines()[0] if keys else ""
    value = "" if value.startswith("Does not validate") else value
    found = re.search(r"(?:Given|Got) value: (.*)", inner)
    own = [value] if value else reasons
    if found and all(reason.startswith("Expected a") for reason in own):
        near = did_you_mean(found[1], re.findall(r"'([^']*)'", " ".join(re.findall(r"typing\.Literal\[.*\]", inner))))
        return f"{where}: expected {' or '.join(dict.fromkeys(map(_name_kind, own)))}; found {found[1]}{near}"
    if reasons or value:
        return f"{where}: {' '.join((value or reasons[0]).split())}"
    return " ".join(text.split())


def _name_kind(reason: str) -> str:
    """Return in words what a reason of the parser, "Expected a …", asks for."""
    kind = reason.removeprefix("Expected a").removeprefix("n").partition(". Got value")[0].strip()
    words = {"bool": "true or false", "float": "a number", "int": "a whole number", "str": "text", "NoneType": "null"}
    if builtin := re.fullmatch(r"<class '(\w+)'>", kind):
        return words.get(builtin[1], f"a {builtin[1]}")
    literal = re.fullmatch(r"typing\.Literal\[(.*)\]", kind)
    return literal[1].replace(", ", " or ") if literal else kind


def _unknown_options(configuration: Configuration) -> Iterator[str]:
    """Yield a message about each setting of a run that its trainer, options or classes have no argument for."""
    values: Mapping[str, Any] = {}
    for part in configuration.parts:  # each has classes of its own
        values = merge_settings(values, part)
        for group, kind in (("trainer", Trainer), ("run", RunOptions)):
            yield from _unknown_arguments(kind, values.get(group) or {}, group)
        yield from _unknown_in_classes({group: values.get(group) for group in ("data", "model")}, {})


def _unknown_arguments(kind: Any, values: Any, owner: str) -> Iterator[str]:
    """Yield a message about each of `values` that a class or a dataclass has no argument for; `owner` is its name."""
    if not isinstance(values, Mapping):
        yield f"the arguments of {owner} are {values!r}, expected a mapping of names and values"
        return
    parameters = option_parameters(kind)
    takes_more = any(one.kind is one.VAR_KEYWORD for one in parameters.values())
    for name in values:
        if name not in (*parameters, *option_groups(kind)) and not takes_more:
            hint = did_you_mean(str(name), parameters) or f"; there are: {', '.join(parameters) or 'none'}"
            yield f"{owner} has no option '{name}'{hint}"
    yield from _unknown_in_classes(values, inspect.signature(kind).parameters)


_CLASS_KEYS = ("class_path", "init_args", "dict_kwargs")
"""Keys of a class in a configuration, as jsonargparse reads it."""


def _unknown_in_classes(values: Mapping[str, Any], parameters: Mapping[str, inspect.Parameter]) -> Iterator[str]:
    """Yield a message about each unknown argument of the classes and dataclasses that are among `values`."""
    for name, value in values.items():
        if not isinstance(value, Mapping):
            continue
        if isinstance(path := value.get("class_path"), str):
            for key in value:
                if key not in _CLASS_KEYS:
                    yield f"{name} has the key '{key}' beside class_path{known_names(str(key), _CLASS_KEYS)}"
            kind = _import_class(path)
            if kind is not None:
                yield from _unknown_arguments(kind, value.get("init_args") or {}, path)
        elif name in parameters:
            annotation = parameters[name].annotation
            for part in (annotation, *get_args(annotation)):
                if is_dataclass(part):
                    yield from _unknown_arguments(part, value, name)
