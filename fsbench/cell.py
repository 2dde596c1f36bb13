"""A cell of a benchmark, one method on one fold: what it is, and the folder that its record has for that reason."""

import json
from functools import cached_property
from pathlib import Path
from typing import Any

from fsbench.checkpoints import TRAINED_ON, TRAINED_WITH, load_checkpoint
from fsbench.composition import SuiteCLI
from fsbench.contracts import Episodes, Method
from fsbench.ensembles import ENSEMBLES
from fsbench.errors import SettingsError
from fsbench.files import sha256_file
from fsbench.manifest import CLASSIFICATION
from fsbench.records import Record, fingerprint, read_record
from fsbench.repetition import cut_off

INDIFFERENT_TRAINER = {
    "accelerator", "strategy", "devices", "num_nodes", "logger", "default_root_dir", "profiler",
    "enable_progress_bar", "enable_model_summary", "enable_checkpointing", "log_every_n_steps", "model_registry",
    "num_sanity_val_steps", "use_distributed_sampler", "enable_autolog_hparams",
}  # fmt: skip
"""Settings of the trainer that change no result."""

INDIFFERENT_DATASET = {"root", "lists", "allow_unverified_lists"}
"""Settings of a data set that say where files are; what is in the lists, the manifest's hash holds."""


class Cell:
    """A method on a fold.

    Args:
        cli: parsed configuration with model and data module. Raises SettingsError when the two do not fit together; a
            checkpoint it names is loaded, or CheckpointError raised.

    `trainer_arguments` are those of Lightning's Trainer, with instances of loggers and callbacks.
    """

    def __init__(self, cli: SuiteCLI):
        self.config = cli.config
        self.config_text: str = cli.parser.dump(cli.config, skip_none=False)
        self.trainer_arguments: dict[str, Any] = dict(cli.config_init["trainer"])
        self.options = cli.config["run"]
        self.method: Method = cli.model
        self.data: Episodes = cli.datamodule
        if self.method.answers != self.data.answers:
            raise SettingsError(
                f"{self.options.name} is a method of {self.method.answers}, and the data module one of "
                f"{self.data.answers}; expected both of one kind (see: fsbench list)"
            )
        precision = str(self.trainer_settings["precision"])
        if self.data.answers == CLASSIFICATION and precision.endswith("true") and precision != "32-true":
            raise SettingsError(
                f"precision is {precision}, which classification does not have; expected 32-true, 16-mixed "
                "or bf16-mixed"
            )
        self.checkpoint = Path(self.options.checkpoint) if self.options.checkpoint else None
        self.method.check_image_size(self.data.image_size)
        self.method.nshot_strategy = self.options.nshot_strategy
        if self.options.nshot_strategy == "one_pass" and not self.method.sees_all_shots:
            raise SettingsError(
                f"nshot_strategy is one_pass, but {self.options.name} takes one shot at a time; expected own or an "
                f"ensemble: {', '.join(ENSEMBLES)}"
            )
        at_a_time = 1 if self.options.nshot_strategy in ENSEMBLES else self.data.shot
        self.method.check_shots(at_a_time, self.data.training_shot if self.trains else None)
        if self.method.backbone.trained_on:
            self.data.check_unseen(self.method.backbone.trained_on, f"the backbone {self.method.backbone.weights_id}")
        self.processes = self._processes()
        self.trained_with: dict[str, Any] = {}
        if self.checkpoint is not None:
            content = load_checkpoint(self.method, self.checkpoint)
            trained_on, self.trained_with = content.get(TRAINED_ON), content[TRAINED_WITH]
            if trained_on:
                self.data.check_unseen(trained_on, f"the checkpoint {self.checkpoint}")

    @property
    def trains(self) -> bool:
        return self.method.learns and self.checkpoint is None

    @property
    def trainer_settings(self) -> dict[str, Any]:
        """Arguments of Lightning's Trainer as plain values."""
        return dict(self.config["trainer"].as_dict())

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Everything that can change the result, as plain values."""
        model = self.config["model"].as_dict()
        dataset = self.config["data"].init_args.dataset.init_args.as_dict()
        own = {key: value for key, value in model["init_args"].items() if key != "backbone"}
        if self.options.nshot_strategy in ENSEMBLES:
            own["nshot_strategy"] = self.options.nshot_strategy
        identity = {
            "method": {"name": self.options.name, "class": model["class_path"], **own},
            "backbone": {"name": self.method.backbone.name, "weights": self.method.backbone.weights_id},
            "dataset": {"name": self.data.dataset.name}
            | {key: value for key, value in dataset.items() if key not in INDIFFERENT_DATASET},
            "fold": self.data.fold,
            "image_size": self.data.image_size,
            "manifest_sha256": self.data.manifest.sha256,
            "files_sha256": self.data.files_sha256,
            "seed": self.config["seed_everything"],
            "precision": self.trainer_settings["precision"],
            "tf32": self.options.tf32,
            "training": self._training(),
            **self.data.test_options,
        }
        return dict(json.loads(json.dumps(identity)))

    def _training(self) -> dict[str, Any] | None:
        if self.checkpoint is not None:
            found: dict[str, Any] = {"checkpoint_sha256": sha256_file(self.checkpoint)}
            return found | ({TRAINED_WITH: self.trained_with} if self.trained_with else {})
        if not (self.method.learns or self.method.calibrates):
            return None
        base_classes = {
            "base_lists": self.data.training_lists,
            "base_classes_sha256": fingerprint(list(self.data.training_pool.pairs)),
        }
        if not self.method.learns:
            return base_classes
        indifferent = INDIFFERENT_TRAINER | {"precision"}
        trainer = {k: v for k, v in self.trainer_settings.items() if k not in indifferent and v is not None}
        optimisation = {key: self.config[key] for key in ("optimizer", "lr_scheduler") if self.config.get(key)}
        return {
            **trainer,
            **{key: value.as_dict() for key, value in optimisation.items()},  # given instead of the method's own
            "batch_size": self.data.batch_size,
            "processes": self.processes,
            "validation": self.data.validation,
            "validation_sha256": self.data.validation_manifest.sha256,
            **self.data.training_options,
            **base_classes,
        }

    def _processes(self) -> int:
        """Processes that share a training step; each takes `batch_size` episodes."""
        devices = self.trainer_settings["devices"]
        count = len(devices) if isinstance(devices, list) else int(devices) if str(devices).isdecimal() else 0
        if count < 1:
            raise SettingsError(f"devices is {devices}, expected their number (1 or more) or a list of indices")
        return count * int(self.trainer_settings["num_nodes"])

    @cached_property
    def folder(self) -> Path:
        """Where the record is or will be: names for people, then the first digits of the identity's hash."""
        d = self.data
        task = [f"fold{d.fold}", f"{d.way}way{d.shot}shot", d.setting.replace("_", "-")]
        words = [self.options.name, d.dataset.name, d.protocol.name, *task, fingerprint(self.identity)[:10]]
        return Path(self.options.runs) / "-".join(words)

    def record(self) -> Record | None:
        """The finished run, if there is one."""
        return read_record(self.folder)

    @property
    def is_done(self) -> bool:
        """Nothing is left to do: there is a record, which is not to be repeated nor was while it was."""
        return not self.options.force and not cut_off(self.folder) and self.record() is not None
