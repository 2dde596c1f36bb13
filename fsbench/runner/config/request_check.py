"""Everything of a request that can be wrong and is seen without importing torch or a method: all of it at once.

What needs the data, the networks or the classes themselves is checked where these are built; its messages are the same.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from fsbench.base.errors import CheckpointError, FsbenchError, SettingsError
from fsbench.base.files import check_can_be_made, is_file, load_yaml
from fsbench.data.episodes.settings import SETTINGS, unknown_setting
from fsbench.networks.weights.table import how_to_get, usual_path, weight_files
from fsbench.protocols.reading import load_segmentation
from fsbench.runner.config.backbone_choice import needed_weights
from fsbench.runner.config.compose import asks, setting, value_at
from fsbench.runner.config.limits import check_name, check_plain_values, check_trainer
from fsbench.runner.config.needs import absent_data, backbone_weights
from fsbench.runner.config.registry import check_known, choose_method, names, names_by_task, task_of
from fsbench.runner.config.request import NOTHING_NAMED, Request

DATASET = ("data", "init_args", "dataset")


def request_errors(request: Request) -> list[FsbenchError]:
    """Return all that is wrong with a request, each thing once; empty where nothing is seen."""
    if asks(request.extra):
        return []
    if not (request.methods and request.folds):
        return [SettingsError(NOTHING_NAMED)]
    errors = [*_unknown_names(request)]
    known = replace(request, **_stand_ins(request)) if errors else request
    errors += _raised(check_can_be_made, Path(request.runs))
    for method, fold in itertools.product(known.methods, known.folds):
        try:
            configuration = known.configuration(method, fold)
        except FsbenchError as error:
            errors.append(error)
            continue
        has_method = method in request.methods and known.backbone == request.backbone
        one, has_dataset = replace(known, methods=(method,)), known.dataset == request.dataset
        run = _Run(one, configuration.values, fold, has_method, has_dataset)
        errors += [*configuration.problems, *run.errors()]
    return _distinct(errors)


def _unknown_names(request: Request) -> Iterator[FsbenchError]:
    """Yield an error for each method, backbone and data set that is not known."""
    for method in request.methods:
        yield from _raised(request.choice_of, method)
    yield from _raised(check_known, "data", "data set", request.dataset)


def _stand_ins(request: Request) -> dict[str, Any]:
    """Return known names in the places of unknown ones, so that the rest of the request can be looked at."""
    backbone = request.backbone if request.backbone in names("backbones") else None
    methods = [method for method in request.methods if not _raised(choose_method, method, backbone)]
    dataset = None if _raised(check_known, "data", "data set", request.dataset) else request.dataset
    task = task_of("data", dataset) if dataset else None
    if methods and task is None:
        task = task_of("methods", choose_method(methods[0], backbone).method)
    task = task or "segmentation"
    return {
        "methods": methods or [next(iter(names_by_task("methods")[0][task]))],
        "dataset": dataset or ("demo" if task == "segmentation" else "demo-cls"),
        "backbone": backbone,
    }


@dataclass(frozen=True)
class _Run:
    """One run of a request, as its files and arguments state it.

    Attributes:
        request: what was asked for.
        values: merged settings.
        fold: number of the fold.
        has_method, has_dataset: False where a stand-in holds the place of an unknown name.
    """

    request: Request
    values: Mapping[str, Any]
    fold: int
    has_method: bool
    has_dataset: bool

    def errors(self) -> Iterator[FsbenchError]:
        """Yield what is wrong; weights before data, as they are looked for."""
        yield from self._of_limits()
        yield from self._of_task()
        if self.has_dataset:
            yield from self._of_fold()
        if self.has_method:
            yield from self._of_weights()
        checkpoint = setting(self.values, "run.checkpoint")
        if checkpoint and not is_file(str(checkpoint)):
            yield CheckpointError(f"no checkpoint at {checkpoint}; expected a .ckpt file with a state_dict")
        if self.has_dataset:
            absent = absent_data(self.request.dataset, setting(self.values, "data.dataset.root"))
            if absent is not None:
                yield absent.error

    def _of_limits(self) -> Iterator[FsbenchError]:
        """Yield what is wrong with the run's name and with numbers that no run has."""
        yield from _raised(check_plain_values, dict(self.values))
        trainer, name = self.values.get("trainer"), setting(self.values, "run.name")
        if isinstance(trainer, Mapping):
            yield from _raised(check_trainer, trainer)
        if isinstance(name, str):
            yield from _raised(check_name, name, "run.name")

    def _of_task(self) -> Iterator[FsbenchError]:
        """Yield what is wrong with way, shot, setting, protocol and number of processes."""
        for name, key in (("way", "data.way"), ("shot", "data.shot"), ("micro_batch", "data.micro_batch")):
            number = setting(self.values, key)
            if type(number) is int and number < 1:
                yield SettingsError(f"{name} is {number}, expected 1 or more")
        devices = setting(self.values, "trainer.devices")
        if type(devices) is int and devices < 1:
            yield SettingsError(f"devices is {devices}, expected their number (1 or more) or a list of indices")
        if task_of("data", self.request.dataset) != "segmentation":
            return
        chosen, protocol = setting(self.values, "data.setting"), setting(self.values, "data.protocol")
        if isinstance(chosen, str) and chosen not in SETTINGS:
            yield SettingsError(unknown_setting(chosen))
        if isinstance(protocol, str):
            unknown = _raised(check_known, "protocols", "protocol", protocol)
            yield from unknown or self._of_protocol(protocol, chosen)

    def _of_protocol(self, protocol: str, chosen: Any) -> Iterator[FsbenchError]:
        """Yield what the protocol does not define."""
        way = setting(self.values, "data.way")
        known = chosen if chosen in SETTINGS else SETTINGS[0]  # another is said already
        for test in ((known, 1), (SETTINGS[0], way if type(way) is int else 1)):
            yield from _raised(load_segmentation(protocol).draw.check_choices, protocol, *test)

    def _of_fold(self) -> Iterator[FsbenchError]:
        """Yield what is wrong with the fold, or the way in it, where the data set's source or description tells."""
        if task_of("data", self.request.dataset) != "segmentation":
            if self.fold != 0:
                name = self._fact("name", str) or self.request.dataset
                yield SettingsError(f"unknown fold {self.fold} for {name}; classification has no folds, only 0")
            return
        name, classes = self._folds()
        way = setting(self.values, "data.way")
        if classes and self.fold not in range(len(classes)):
            yield SettingsError(f"unknown fold {self.fold} for {name}; it has folds 0 to {len(classes) - 1}")
        elif not self._fact("has_published_protocol", bool):
            return  # as many ways as there are classes, which the data module says
        elif classes and type(way) is int and way > (most := classes[self.fold] or way):
            yield SettingsError(f"way {way} is more than the {most} classes of fold {self.fold}")

    def _folds(self) -> tuple[str, list[int | None]]:
        """Return the data set's name, and the number of classes of every fold; no fold where that is not known."""
        if folds := self._fact("folds", int):
            return self._fact("name", str) or self.request.dataset, folds * [self._fact("classes_of_fold", int)]
        root = setting(self.values, "data.dataset.root")
        try:
            described = load_yaml(Path(str(root)).expanduser() / "folds.yaml")
            return str(described["name"]), [len(fold) for fold in described["folds"]]
        except (OSError, ValueError, TypeError, KeyError):
            return "", []

    def _fact(self, name: str, kind: type) -> Any:
        """Return an attribute of the data set's class, whose import needs no torch; None where it has none."""
        try:
            value = getattr(resolve_name(str(value_at(self.values, (*DATASET, "class_path")))), name, None)
        except (ImportError, AttributeError, ValueError):
            return None  # the parser says what is wrong with the class
        return value if isinstance(value, kind) else None

    def _of_weights(self) -> Iterator[FsbenchError]:
        """Yield what is wrong with the backbone's weights: no file, or no seed of random ones.

        Of a backbone that was asked for, only the method knows whether it takes it; that is said before its weights.
        """
        if not isinstance(setting(self.values, "model.backbone"), Mapping):
            return
        for name, weights in backbone_weights(self.values):
            yield from self._of_file(name, weights)

    def _of_file(self, name: str, weights: Any) -> Iterator[FsbenchError]:
        """Yield what is wrong with the weights of one network."""
        if isinstance(weights, str) and weights.split(":")[0] == "random":
            if not (weights.partition(":")[2] or "0").isdecimal():
                yield SettingsError(f"weights are '{weights}', expected a file, random or random:SEED")
            return
        path = Path(str(weights)) if weights else usual_path(name)
        if path is None or path.is_file():
            return
        file, own = weight_files().get(name), needed_weights(self.request.methods[0], self.request.dataset)
        if file is not None and (weights or name in (own, setting(self.values, "model.backbone.sam"))):
            yield CheckpointError(how_to_get(file, name, path))


def _raised(check: Callable[..., Any], *arguments: Any) -> list[FsbenchError]:
    """Return the error that a check raises, in a list; an empty one where it raises none."""
    try:
        check(*arguments)
    except FsbenchError as error:
        return [error]
    return []


def _distinct(errors: list[FsbenchError]) -> list[FsbenchError]:
    return list({str(error): error for error in errors}.values())
