"""The identity of an experiment: everything that can change its result, whose hash names its folder.

Nothing here builds a network: weights are named by their files' hashes, and the data by those of the manifest, of the
list of base classes and of the contents of images and label files.
"""

import inspect
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

import lightning as L
from torch.nn.modules.batchnorm import _BatchNorm

from fsbench.base.class_file import PACKAGE, SHA256
from fsbench.base.files import fingerprint, sha256_file
from fsbench.base.json_values import json_value
from fsbench.base.own_modules import OwnModule, files_named_by, own_modules
from fsbench.base.plugins import PROTOCOLS_GROUP, plug_ins
from fsbench.base.precision import FULL_NAMES
from fsbench.core.adaptation import Adaptation
from fsbench.core.method import Method
from fsbench.core.shot_ensemble import ENSEMBLES
from fsbench.data.episodes.manifest import CLASSIFICATION
from fsbench.datamodules.datamodule import DataModule
from fsbench.protocols.reading import load_protocol
from fsbench.records.run import Identity
from fsbench.runner.config.registry import plug_in_of
from fsbench.runner.config.trainer_settings import OBEYED, is_one_of
from fsbench.runner.engine.checkpoint import TRAINED_WITH
from fsbench.runner.engine.micro_batches import STEPS, whole
from fsbench.runner.engine.validation_plan import UNSET, may_end_early, validation_options

if TYPE_CHECKING:
    from fsbench.runner.engine.experiment import Experiment

CONSTANT = {
    "accumulate_grad_batches", "barebones", "detect_anomaly", "fast_dev_run", "inference_mode", "overfit_batches",
}  # fmt: skip
"""Settings of the trainer that change no result, and of which identities state Lightning's defaults."""

DIGITS = 12
"""Of the hash of each of the user's own modules."""

INDIFFERENT_DATASET = {"root", "lists", "allow_unverified_lists"}
"""Settings of a data set that say where files are; the manifest's hash covers what is in the lists."""


def run_identity(experiment: "Experiment") -> Identity:
    """Return everything that can change the result of `experiment`, from which the name of its folder follows."""
    method, data, options = experiment.method, experiment.data, experiment.options
    identity = {
        "method": {"name": options.name, "type": method.registry_name, **_method_settings(experiment)},
        "backbone": {
            "name": method.backbone.name,
            "weights": method.backbone.weights_id,
            **method.backbone.identity_settings,
            **feature_rounding(method),
            **_stated(_backbone_modules(experiment)),
        },
        "dataset": {"name": data.dataset.name, **_dataset_settings(experiment)},
        "image_size": data.image_size,
        **data.tested.identity,
        "seed": experiment.settings["seed_everything"],
        "precision": FULL_NAMES.get(str(precision := experiment.trainer_settings["precision"]), precision),
        "tf32": options.tf32,
        "training": _training(experiment),
        **({} if (adapts := method.needs.adaptation) is None else {"adaptation": adaptation_identity(data, adapts)}),
        **data.test_options,
    }
    identity |= _stated(_protocol_modules(experiment))
    return Identity.model_validate(json.loads(json.dumps(json_value(identity))))


def own_modules_of(experiment: "Experiment") -> dict[str, OwnModule]:
    """Return the user's own modules that make a run what it is, by their names, without the files of its classes."""
    places = [*_method_modules(experiment), *_backbone_modules(experiment), *_protocol_modules(experiment)]
    places += _training_modules(experiment) if experiment.trains else []
    return _own(_data_modules(experiment), with_files=False) | _own(places)


def changed_modules(experiment: "Experiment") -> list[str]:
    """Return the names of the user's own modules whose files are other ones than a run's identity states."""
    stated = {*_texts(experiment.identity.as_json())}
    return [name for name, own in own_modules_of(experiment).items() if own.sha256[:DIGITS] not in stated]


def shared_walk(experiment: "Experiment") -> str | None:
    """Return a hash of a run's test, frozen network and machine; runs with equal hashes can be evaluated together.

    None for a run that cannot share a process: it trains or adapts, uses several devices, is a classification run, or
    has a logger.
    """
    method, data = experiment.method, experiment.data
    learns = experiment.trains or method.needs.adaptation is not None
    logger = experiment.trainer_settings["logger"]
    if learns or experiment.processes > 1 or data.task == CLASSIFICATION or logger:
        return None
    test = {key: value for key, value in experiment.identity.as_json().items() if key not in ("method", "training")}
    test["network"] = type(method.backbone).__name__
    machine = [experiment.trainer_settings, vars(data.loading), experiment.options.training_threads]
    return fingerprint([test, str(method.needs), machine])


def feature_rounding(method: Method) -> dict[str, str]:
    """Return {setting: dtype} of computing and caching the backbone's features, where that is not float32."""
    backbone = method.backbone
    types = {"cache_dtype": backbone.cache_dtype, "backbone_precision": backbone.precision}
    return {name: kind for name, kind in types.items() if kind not in ("float32", "fp32")}


def _method_settings(experiment: "Experiment") -> dict[str, Any]:
    """Return the method's arguments, and what else of its own can change a result."""
    options = experiment.options
    settings = {key: value for key, value in experiment.settings["model"]["init_args"].items() if key != "backbone"}
    if options.method_file:  # the file is the method: after a change it is another one
        settings["file_sha256"] = options.method_file.rpartition(SHA256)[2]
    if options.nshot_strategy in ENSEMBLES:
        settings["nshot_strategy"] = options.nshot_strategy
    return _plainly(settings) | _stated(_method_modules(experiment))


def _plainly(value: Any) -> Any:
    """Return a setting with files by name and content in place of their paths, and with one name for each class."""
    if isinstance(value, Mapping):
        named = {key: _plainly(entry) for key, entry in value.items()}
        return named | ({"class_path": _class_name(path)} if isinstance(path := value.get("class_path"), str) else {})
    if isinstance(value, list | tuple):
        return [_plainly(entry) for entry in value]
    if isinstance(value, str | os.PathLike) and Path(value).suffix and os.path.isfile(value):  # noqa: PTH113 - any text
        return f"{Path(value).name}{SHA256}{sha256_file(Path(value))[:DIGITS]}"
    return value


def _class_name(class_path: str) -> str:
    """Return the shortest full name of a class: `torch.optim.adam.Adam` has another, without `adam`."""
    found = resolve_name(class_path)
    *places, name = f"{getattr(found, '__module__', '')}.{getattr(found, '__qualname__', '')}".split(".")
    for end in range(1, len(places) + 1):
        shorter = ".".join([*places[:end], name])
        with suppress(ImportError, AttributeError, ValueError):
            if resolve_name(shorter) is found:
                return shorter
    return class_path


def _dataset_settings(experiment: "Experiment") -> dict[str, Any]:
    """Return the data set's arguments that can change a result."""
    arguments = experiment.settings["data"]["init_args"]["dataset"]["init_args"]
    settings = {key: value for key, value in arguments.items() if key not in INDIFFERENT_DATASET}
    if reference := experiment.options.dataset_file:
        settings["file_sha256"] = reference.rpartition(SHA256)[2]
    return settings | _stated(_data_modules(experiment), with_files=False)  # hashes name what data are read


def _method_modules(experiment: "Experiment") -> list[str]:
    return _modules_of_classes(experiment.settings["model"])


def _data_modules(experiment: "Experiment") -> list[str]:
    return _modules_of_classes(experiment.settings["data"])


def _training_modules(experiment: "Experiment") -> list[str]:
    """Return the modules of the classes that a training uses besides method and data, such as an optimiser's."""
    trainer = {name: value for name, value in experiment.trainer_settings.items() if name in OBEYED}
    chosen = [trainer, *(experiment.settings.get(name) for name in ("optimizer", "lr_scheduler"))]
    return [module for settings in chosen for module in _modules_of_classes(settings)]


def _backbone_modules(experiment: "Experiment") -> list[str]:
    plug_in = plug_in_of("backbones", experiment.method.backbone.name)
    return [] if plug_in is None else [plug_in.value.partition(":")[0]]


def _protocol_modules(experiment: "Experiment") -> list[str]:
    """Return the modules of the protocol's parts: of their classes, and of what packages' words in them stand for."""
    protocols = [experiment.data.protocol]
    training = experiment.settings["data"]["init_args"].get("training") or {}
    if experiment.trains and (other := training.get("training_protocol")) is not None:
        protocols.append(load_protocol(other))
    parts = [part for one in protocols for part in (one.draw, one.view, one.counting, *one.own_metrics)]
    words = set(_texts([json_value(part) for part in parts])) if plug_ins(PROTOCOLS_GROUP) else set()
    named = [one.value.partition(":")[0] for one in plug_ins(PROTOCOLS_GROUP) if one.name in words]
    return [*named, *(type(part).__module__ for part in parts)]


def _texts(value: Any) -> Iterator[str]:
    """Yield all texts in a value of JSON."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for entry in value.values() if isinstance(value, dict) else value:
            yield from _texts(entry)


def _modules_of_classes(settings: Any) -> list[str]:
    """Return the names of the modules of all classes, functions and other objects that settings name or hold."""
    if isinstance(settings, Mapping):
        class_path = settings.get("class_path")
        own = [class_path, resolve_name(class_path).__module__] if isinstance(class_path, str) else []
        return own + [module for value in settings.values() for module in _modules_of_classes(value)]
    if isinstance(settings, list | tuple):
        return [module for value in settings for module in _modules_of_classes(value)]
    if isinstance(settings, partial):
        return _modules_of_classes([settings.func, settings.args, settings.keywords])
    module = getattr(settings, "__module__", None)
    return [module] if isinstance(module, str) else []


def _own(modules: Iterable[str], with_files: bool = True) -> dict[str, OwnModule]:
    """Return the user's own modules among `modules` and their imports, without files of classes (`file_sha256`).

    The files that their code names are among them unless `with_files` is false.
    """
    found = own_modules(*modules)
    named = files_named_by(found.values()) if with_files else {}
    return named | {name: own for name, own in found.items() if not name.startswith(f"{PACKAGE}.")}


def _stated(modules: Iterable[str], with_files: bool = True) -> dict[str, Any]:
    """Return the entry of an identity with the first digits of the hashes of the user's own modules, if there are."""
    digits = {name: own.sha256[:DIGITS] for name, own in _own(modules, with_files).items()}
    return {"own_modules": digits} if digits else {}


def _training(experiment: "Experiment") -> dict[str, Any] | None:
    """Return what the learned weights or calibrated settings follow from; None for methods without any."""
    method, data = experiment.method, experiment.data
    if experiment.checkpoint is not None:
        checkpoint: dict[str, Any] = {"checkpoint_sha256": sha256_file(experiment.checkpoint)}
        checkpoint |= {TRAINED_WITH: experiment.training_settings} if experiment.training_settings else {}
        return checkpoint | (_base_classes(data) if method.needs.calibration else {})
    if not (method.learns or method.needs.calibration):
        return None
    if not method.learns:
        return _base_classes(data)
    settings = experiment.settings
    optimisation = {key: _plainly(settings[key]) for key in ("optimizer", "lr_scheduler") if settings.get(key)}
    assert experiment.division is not None
    division = experiment.division.as_dict()
    batch_size = division.pop("batch_size")
    return {
        **_trainer(experiment),
        **optimisation,  # given instead of the method's own
        "batch_size": batch_size,
        **({} if method.step_is_a_mean else {"division": division}),  # where it changes more than rounding
        **validation_options(experiment.options),
        **feature_rounding(method),
        "validation": data.training.validation,
        **(_validation_hashes(data) if data.validates else {}),
        **data.training_options,
        **_base_classes(data),
        **_stated(_training_modules(experiment)),
    }


def _trainer(experiment: "Experiment") -> dict[str, Any]:
    """Return the settings of the trainer that can change what is learned; one without effect has its default."""
    given, method = experiment.trainer_settings, experiment.method
    defaults = {name: one.default for name, one in inspect.signature(L.Trainer).parameters.items()}
    without_effect = set(CONSTANT)
    if experiment.processes == 1 or not any(isinstance(module, _BatchNorm) for module in method.modules()):
        without_effect.add("sync_batchnorm")
    if not may_end_early(experiment.options, given, method):
        without_effect |= {"min_epochs", "min_steps"}
    without_effect |= {name for name, unset in UNSET.items() if is_one_of(given[name], unset)}
    if experiment.data.validates and not given["limit_val_batches"]:
        without_effect.discard("limit_val_batches")
    if given["limit_train_batches"] == 1.0 and whole(given["limit_train_batches"]) is None:
        without_effect.add("limit_train_batches")
    if not given["gradient_clip_val"] and method.automatic_optimization:
        without_effect |= {"gradient_clip_val", "gradient_clip_algorithm"}
    names = (OBEYED | CONSTANT) - {"precision"}
    stated = {name: value for name, value in given.items() if name in names}
    stated |= {name: steps for name in (*STEPS, "limit_val_batches") if (steps := whole(given[name])) is not None}
    stated |= {name: defaults[name] for name in without_effect & stated.keys()}
    if stated["gradient_clip_val"]:
        stated["gradient_clip_val"] = float(stated["gradient_clip_val"])
    if stated["gradient_clip_algorithm"] == "norm":  # Lightning's default
        stated["gradient_clip_algorithm"] = None
    for name in ("callbacks", "plugins"):
        value = stated[name] or None
        stated[name] = _plainly([value] if isinstance(value, str | Mapping) else value)
    return {name: value for name, value in stated.items() if value is not None}


def adaptation_identity(data: DataModule, adaptation: Adaptation) -> dict[str, str]:
    """Return {entry: hash or name} of the test images that an adaptation draws, and of what chooses its epoch."""
    hashes = data.adaptation_images(adaptation).hashes
    if adaptation.choice == "last":
        return hashes
    source = {key: name for key, name in data.training_options.items() if key == "validation_source"}
    return hashes | {"validation": data.training.validation, **source, **_validation_hashes(data)}


def _validation_hashes(data: DataModule) -> dict[str, str]:
    """Return the hashes of the validation's episodes and of their files."""
    return {
        "validation_sha256": data.validation_manifest.sha256,
        "validation_files_sha256": data.validation_files_sha256,
    }


def _base_classes(data: DataModule) -> dict[str, Any]:
    """Return what training and calibration draw from: lists of the base classes, their pairs and their files."""
    return {
        "base_lists": data.training_lists,
        "base_classes_sha256": fingerprint(list(data.training_pool.pairs)),
        "base_files_sha256": data.base_files_sha256,
    }
