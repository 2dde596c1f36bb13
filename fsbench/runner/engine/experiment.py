"""An experiment: one method on one fold of a data set, and the folder where its record is or will be."""

from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from fsbench.base.errors import RecordError, SettingsError, check_at_least
from fsbench.core.method import Method
from fsbench.core.released_format import TRAINED_ON
from fsbench.data.annotations import KnownOrNot
from fsbench.datamodules.datamodule import DataModule
from fsbench.datamodules.loading.step_division import StepDivision
from fsbench.records.record import Record, read_record
from fsbench.records.run import OTHER_RUN, Identity, Variant, run_name
from fsbench.records.run_directory import is_finished
from fsbench.runner.config.limits import check_label, check_name, device_count
from fsbench.runner.config.parse import ParsedRun, RunOptions
from fsbench.runner.engine.checkpoint import TRAINED_WITH, VARIANT, checkpoint_weights_origin, load_checkpoint
from fsbench.runner.engine.identity import run_identity
from fsbench.runner.engine.micro_batches import check_accumulation
from fsbench.runner.engine.validation_plan import check_validation


class Experiment:
    """A run: a method, its data, and settings, ready to be trained and evaluated.

    The constructor runs every check that needs no training: that the parts fit together, that the checkpoint belongs to
    the method, that nothing was trained on the test's classes. The frozen network is only built when the first image is
    encoded.

    Args:
        parsed: the checked settings of the run, with method and data built.

    Attributes:
        method: the method, with the weights of `options.checkpoint` if that is given.
        data: the data module.
        options: settings of the run besides method, data and trainer.
        settings: nested plain values of the whole configuration, from which the run's identity follows.
        trainer_arguments: arguments of Lightning's Trainer, with instances of loggers and callbacks.
        checkpoint: file of weights that is evaluated instead of training; None to train.
        training_settings: settings of the checkpoint's training that the method now lacks.
        checkpoint_variant: whether the settings that the weights do not show are stated beside an authors' checkpoint,
            or taken on trust; None without such a checkpoint.
        checkpoint_weights: {entry of the run's record: value} on where the checkpoint comes from and how it was
            trained; empty without a checkpoint.
        processes: number of processes that share a training step.
        division: how a training step is divided over processes and micro-batches; None if nothing is trained.

    Raises:
        SettingsError: the parts do not fit together.
        CheckpointError: the checkpoint is damaged or belongs to another method or backbone.
    """

    def __init__(self, parsed: ParsedRun):
        self.method: Method = parsed.model
        self.data: DataModule = parsed.datamodule
        self.options: RunOptions = parsed.config_init["run"]
        self.settings: dict[str, Any] = parsed.config.as_dict()
        self.trainer_arguments = dict(parsed.config_init["trainer"])
        self.parsed = parsed
        self.checkpoint = Path(self.options.checkpoint) if self.options.checkpoint else None
        check_name(self.options.name, "run.name")
        check_label(self.options.label)
        check_at_least(0, {"run.asked_alone": self.options.asked_alone})
        devices = device_count(self.trainer_settings["devices"])
        if devices < 1:
            raise SettingsError(
                f"devices is {self.trainer_settings['devices']}, expected their number (1 or more) or a list of indices"
            )
        self.processes = devices * int(self.trainer_settings["num_nodes"])
        self.method.nshot_strategy = self.options.nshot_strategy
        self.method.keeps_soft_masks = self.options.keep_predictions == "soft"
        self.method.check_run(self.data, self.trains, str(self.trainer_settings["precision"] or "32-true"))
        self.data.needs = self.method.needs
        self.division: StepDivision | None = None
        if self.trains:
            self.division = self.data.step_division(self.processes)
            callbacks = self.trainer_arguments["callbacks"]
            check_accumulation(self.trainer_settings, self.division.accumulation, callbacks)
            check_validation(self.options, self.trainer_settings, self.data.validates)
        self.training_settings: dict[str, Any] = {}
        self.checkpoint_variant: Variant | None = None
        self.checkpoint_weights: dict[str, Any] = {}
        self._checkpoint_data: dict[str, Any] | None = None
        if self.checkpoint is not None:
            self._load_checkpoint(self.checkpoint)

    @property
    def beyond_authors_rule(self) -> str:
        """Why the authors' rule for several shots does not cover the test's number of shots; "" if it does."""
        return self.method.beyond_authors_rule(self.method.shots_at_a_time(self.data.test.shot))

    def _load_checkpoint(self, path: Path) -> None:
        content = load_checkpoint(self.method, path, self.data)
        self.training_settings = content[TRAINED_WITH]
        self.checkpoint_variant = content[VARIANT]
        self.checkpoint_weights = checkpoint_weights_origin(self.method, content)
        self._checkpoint_data = content.get(TRAINED_ON)

    @property
    def config_text(self) -> str:
        """The configuration as YAML, without the run's label, which may change later."""
        return self.parsed.varied({"run.label": None}).config_text

    @property
    def label(self) -> str:
        """The run's label: the one given, else the label of the record that the run repeats."""
        if self.options.label is not None:
            return self.options.label
        with suppress(RecordError):  # a damaged record is repeated as well
            record = read_record(self.folder)
            return "" if record is None else record.run.label
        return ""

    @cached_property
    def seen_elsewhere(self) -> dict[str, list[str]]:
        """{data set on which the method or backbone was trained: names of the test's classes that it contains}."""
        own = self.data.trained_on if self.trains else self._checkpoint_data
        trainings = [one for one in (own, self.method.backbone.trained_on) if one]
        return {one["dataset"]: seen for one in trainings if (seen := self.data.seen_test_classes(one))}

    @property
    def saw_test_classes(self) -> KnownOrNot:
        """Whether labels of the test's classes were used to train the method's networks or weights; may be unknown.

        Unknown for a checkpoint that does not say what it was trained on, unless it is the authors' checkpoint.
        """
        if self.seen_elsewhere:
            return "yes"
        saw = self.method.saw_classes_of(self.data.dataset.name)
        tells = self._checkpoint_data or self.checkpoint_weights.get("origin") != OTHER_RUN
        return saw if tells or saw == "yes" else "unknown"

    @property
    def files(self) -> list[Path]:
        """Images and label files that the run reads."""
        data, trains = self.data, self.trains
        adaptation = self.method.needs.adaptation
        base = data.base_files if trains or self.method.needs.calibration else []
        validates = trains or (adaptation is not None and adaptation.choice == "validation")
        adapted = [] if adaptation is None else data.adaptation_images(adaptation).files
        return [*data.test_files, *base, *(data.validation_files if validates else []), *adapted]

    @property
    def trains(self) -> bool:
        """Whether the run trains the method: the method is trainable, and no checkpoint is given."""
        return self.method.learns and self.checkpoint is None

    @property
    def trainer_settings(self) -> dict[str, Any]:
        """{name: plain value} of the arguments of Lightning's Trainer."""
        return dict(self.settings["trainer"])

    @cached_property
    def identity(self) -> Identity:
        """Everything that can change the run's result."""
        return run_identity(self)

    @cached_property
    def folder(self) -> Path:
        """Folder of the run's record: its name has words, then the first digits of a hash of the run's identity."""
        words = self.data.test_words
        for word in words:
            check_name(word, "the name of the data set, the protocol or the setting")
        return Path(self.options.runs) / run_name("-".join([self.options.name, *words, self.identity.digits]))

    def record(self) -> Record | None:
        """Return the record; None if the run is unfinished."""
        return read_record(self.folder)

    @property
    def is_done(self) -> bool:
        """Whether a complete record exists, and no repetition is requested or unfinished."""
        return not self.options.force and is_finished(self.folder) and self.record() is not None
