"""The identity of an experiment: everything that can change its result, whose hash names its folder.

Nothing here builds a network: weights are named by their files' hashes, and the data by those of the manifest, of the
list of base classes and of the contents of images and label files.
"""

import json
from typing import TYPE_CHECKING, Any

from fsbench.base.class_file import SHA256
from fsbench.base.files import fingerprint, sha256_file
from fsbench.core.adaptation import Adaptation
from fsbench.core.method import Method
from fsbench.core.shot_ensemble import ENSEMBLES
from fsbench.data.episodes.manifest import CLASSIFICATION
from fsbench.datamodules.datamodule import DataModule
from fsbench.records.run import Identity
from fsbench.runner.engine.checkpoint import TRAINED_WITH
from fsbench.runner.engine.validation_plan import validation_options

if TYPE_CHECKING:
    from fsbench.runner.engine.experiment import Experiment

INDIFFERENT_TRAINER = {
    "accelerator", "strategy", "devices", "num_nodes", "logger", "default_root_dir", "profiler",
    "enable_progress_bar", "enable_model_summary", "enable_checkpointing", "log_every_n_steps", "model_registry",
    "num_sanity_val_steps", "use_distributed_sampler", "enable_autolog_hparams",
}  # fmt: skip
"""Settings of the trainer that change no result."""

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
        },
        "dataset": {"name": data.dataset.name, **_dataset_settings(experiment)},
        "image_size": data.image_size,
        **data.tested.identity,
        "seed": experiment.settings["seed_everything"],
        "precision": experiment.trainer_settings["precision"],
        "tf32": options.tf32,
        "training": _training(experiment),
        **({} if (adapts := method.needs.adaptation) is None else {"adaptation": adaptation_identity(data, adapts)}),
        **data.test_options,
    }
    return Identity.model_validate(json.loads(json.dumps(identity)))


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
    return settings


def _dataset_settings(experiment: "Experiment") -> dict[str, Any]:
    """Return the data set's arguments that can change a result."""
    arguments = experiment.settings["data"]["init_args"]["dataset"]["init_args"]
    settings = {key: value for key, value in arguments.items() if key not in INDIFFERENT_DATASET}
    if reference := experiment.options.dataset_file:
        settings["file_sha256"] = reference.rpartition(SHA256)[2]
    return settings


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
    indifferent = INDIFFERENT_TRAINER | {"precision"}
    trainer = {k: v for k, v in experiment.trainer_settings.items() if k not in indifferent and v is not None}
    settings = experiment.settings
    optimisation = {key: settings[key] for key in ("optimizer", "lr_scheduler") if settings.get(key)}
    assert experiment.division is not None
    division = experiment.division.as_dict()
    batch_size = division.pop("batch_size")
    return {
        **trainer,
        **optimisation,  # given instead of the method's own
        "batch_size": batch_size,
        **({} if method.step_is_a_mean else {"division": division}),  # where it changes more than rounding
        **validation_options(experiment.options),
        **feature_rounding(method),
        "validation": data.training.validation,
        **(_validation_hashes(data) if data.validates else {}),
        **data.training_options,
        **_base_classes(data),
    }


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
