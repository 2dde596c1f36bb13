"""The content of a finished run's `run.json` as types: its identity, facts, and the seal over all of its files.

What follows from these, the counts or the manifest, such as scores, is not stored: see `fsbench.records.record`.
Fields stand in the order in which a run writes them; one with a default is not written by runs without such a thing.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from fsbench.base.errors import RecordError
from fsbench.base.files import fingerprint, read_json, sha256_file, write_text
from fsbench.base.files.validation import first_problem
from fsbench.base.precision import CacheDtype, NetworkPrecision, Precision
from fsbench.data.annotations import KnownOrNot, Supervision, SupportAnnotation

TRAINED_HERE: Final = "trained here"
AUTHORS: Final = "the authors' checkpoint"
OTHER_RUN: Final = "another run"
UNTRAINED: Final = "nothing trained"
Origin = Literal["trained here", "the authors' checkpoint", "another run", "nothing trained"]
"""Origins of a run's weights."""
REMEDY = "get the whole run again, or run it again with --force (or without its folder)"
"""What to do about a file of a run that is damaged."""
LAST, CHOSEN_BY = "last", "val/mIoU"
"""Score by which a checkpoint was chosen: that of a validation, or none where a training kept its last one."""

Keep = Literal["none", "masks", "soft"]
"""How much of its predictions a run keeps: nothing, masks, or beside them the soft masks and attention maps that the
method has."""

STATED_VARIANT: Final = "stated beside the checkpoint"
ON_TRUST: Final = "taken on trust"
Variant = Literal["stated beside the checkpoint", "taken on trust"]
"""Whether an authors' checkpoint states settings that its weights do not show (support side, image size)."""

Text = Annotated[str, Field(max_length=1000)]
Name = Annotated[str, Field(min_length=1, max_length=1000)]
Remark = Annotated[str, Field(max_length=10_000)]
Count = Annotated[int, Field(ge=0, lt=2**63)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
LONGEST_LABEL = 60


def is_label(text: str) -> bool:
    """Return whether a text can label a run: short and visible, without brackets, parentheses and long dashes."""
    return len(text) <= LONGEST_LABEL and text.isprintable() and text == text.strip() and not set(text) & set("()[]—")


def _check_label(text: str) -> str:
    if not is_label(text):
        raise ValueError(f"expected a label of at most {LONGEST_LABEL} visible characters without parentheses")
    return text


Label = Annotated[str, AfterValidator(_check_label)]
Seconds = Annotated[float, Field(ge=0, le=1e9)]
Mebibytes = Annotated[float, Field(ge=0, le=2**30)]
Rate = Annotated[float, Field(ge=0, le=1e7)]


class Entries(BaseModel):
    """Group of entries in a run.json; entries that this version of fsbench does not know are kept."""

    model_config = ConfigDict(strict=True, extra="allow", frozen=True)

    def as_json(self) -> dict[str, Any]:
        """Return the entries as the plain values that were read."""
        return self.model_dump(exclude_unset=True)


class OptimizerStep(Entries):
    """How many episodes (or images) make up one optimiser step, over processes and micro-batches.

    `batch_size` is that of a process and micro-batch if `processes` is set, else of a step; `division` is None if it
    changes results only by rounding.
    """

    batch_size: Count | None = None
    processes: Count | None = None
    accumulate_grad_batches: Count | None = None
    max_epochs: int | None = None
    division: dict[str, Any] | None = None


def _checked_step(settings: dict[str, Any]) -> dict[str, Any]:
    OptimizerStep.model_validate(settings)  # pydantic puts the place of `settings` before that of a problem
    return settings


TF32 = bool | Literal["convolutions", "matmul"]
"""Operations computed in TF32 on a GPU that has it: all, none, or convolutions or matrix products alone."""

TrainingSettings = Annotated[dict[str, Any], AfterValidator(_checked_step)]
"""Settings of the trainer and of the training data by their own names, among them those of `OptimizerStep`; of weights
from a checkpoint, its hash."""


class MethodSettings(Entries):
    """Method of a run: its configuration's name, its class in lower case (`type`), and its settings."""

    name: Name
    type: Text = ""


class BackboneSettings(Entries):
    """Backbone of a run: its name, weights, and the dtypes of its features and of computation."""

    name: Name
    weights: Name
    cache_dtype: CacheDtype = "float32"
    backbone_precision: NetworkPrecision = "fp32"


class Identity(Entries):
    """Everything that can change a run's result; a hash of these entries ends the name of the run's folder.

    Attributes:
        files_sha256: hash of the test's images and label files; `all_files_sha256` is that of all folds' tests.
        answers_sha256: hash of the predictions that were counted if another program made them; else None.
        painting: rule by which label maps were painted from outlines; unset if they are files.
        own_list: set if the episodes are a user's own list, not those that the protocol draws.
        adaptation: hashes of the data on which the method is fine-tuned before the test, and what chooses the epoch.
        kept_support: share of each support's object that is labelled, see `fsbench.data.support_annotation`.
    """

    method: MethodSettings
    backbone: BackboneSettings
    dataset: dict[str, Any] = {}
    fold: Count | None = None
    image_size: Count | None = None
    manifest_sha256: Name
    files_sha256: Text | None = None
    all_files_sha256: Name
    painting: Text | None = None
    own_list: bool = False
    seed: int | None = None
    precision: Precision | None = None
    tf32: TF32 | None = None
    training: TrainingSettings | None
    answers_sha256: Text | None = None
    adaptation: dict[str, Any] | None = None
    support_annotation: SupportAnnotation = "mask"
    kept_support: Annotated[float, Field(gt=0, le=1)] = 1.0

    @property
    def digits(self) -> str:
        """First digits of a hash over all entries, with which the name of the run's folder ends."""
        return fingerprint(self.as_json())[:10]


class Training(Entries):
    """How a run's weights were trained; entries that are not known are None.

    Attributes:
        settings: settings of the trainer and of the training data; `method` has those of the method.
        chosen_by: `CHOSEN_BY`, or `LAST` if nothing was validated.
        episodes, official_episodes: numbers of validation episodes, and of those that the protocol prescribes.
    """

    image_size: Count | None = None
    precision: Name | int | None = None
    tf32: TF32 | None = None
    settings: TrainingSettings = {}
    method: dict[str, Any] = {}
    chosen_by: Name | None = None
    episodes: Count | None = None
    official_episodes: Count | None = None

    @property
    def effective_batch(self) -> int | None:
        """Number of episodes (or images) of an optimiser step, over processes and micro-batches; None if unknown."""
        step = OptimizerStep.model_validate(self.settings)
        if step.batch_size is None or step.processes is None:
            return step.batch_size
        return step.batch_size * step.processes * (step.accumulate_grad_batches or 1)


class TrainedOn(Entries):
    """Data on which weights of another run were trained, and the number of base classes."""

    dataset: Name
    fold: Count
    protocol: Name | None = None
    classes: Count | None = None


class Weights(Entries):
    """Weights that a run evaluated: where they come from, and how they were trained.

    `origin` is None if another program made the predictions, `training` if nothing was trained, `trained_on` if that
    is the run's own data; the latter two also if the checkpoint does not say.
    """

    origin: Origin | None
    training: Training | None
    trained_on: TrainedOn | None = None


class Told(Entries):
    """What a method gets to know of the test's classes besides its own training.

    Attributes:
        supervision: kinds of labels in training and with the supports, such as "masks".
        saw_test_classes: whether pretrained networks in the method were trained with labels of the test's classes.
        labelled_images: most labelled images of a test class that the method learned from before the test; 0 if it only
            gets each episode's supports.
    """

    supervision: list[Supervision]
    saw_test_classes: KnownOrNot
    labelled_images: Count = 0


class WentOn(Entries):
    """How an interrupted evaluation was resumed: `episodes` were predicted before the last start.

    `asked_again` of these were predicted again, with equal results; `code` compares that of the predicting function.
    """

    episodes: Count
    asked_again: Count
    code: Literal["same", "changed", "unknown"]


class Cost(Entries):
    """Parameters, time and memory of an evaluation; entries are None if all episodes were evaluated before.

    `peak_mib` is None, too, if other methods were evaluated in the same process. `kept_features` is the share of image
    uses whose features were cached from an earlier episode, None if none are cached.
    """

    trainable_parameters: Count | None
    total_parameters: Count | None = None
    evaluation_seconds: Seconds | None = None
    episodes_per_second: Rate | None
    peak_mib: Mebibytes | None
    kept_features: Annotated[float, Field(ge=0, le=1)] | None = None


class TrainingOutcome(Entries):
    """Results of a run's own training, calibration or fine-tuning; all entries are empty if there was none."""

    calibration: dict[str, Any] | None = None
    adaptation: dict[str, Any] | None = None
    checkpoint: Name | None = None
    checkpoint_sha256: Text | None = None
    validation_mIoU: float | None = None
    validation_episodes: Count | None = None
    official_validation_episodes: Count | None = None
    epochs: Count | None = None
    ended_early: Any = None
    step: dict[str, Any] | None = None
    training_seconds: Seconds | None = None
    training_peak_mib: Mebibytes | None = None
    unordered_kernels: list[Name] = []


class Provenance(Entries):
    """Time, code version, machine, numeric kernels, and environment variables that choose these, of an evaluation."""

    finished: Text = ""
    commit: Text | None = None
    versions: dict[str, Any] = {}
    python: Text = ""
    device: Text = ""
    processes: Count | None = None
    threads: Count | None = None
    unordered_kernels: list[Name] = []
    plug_ins: list[Any] = []
    variables: dict[Name, Text] = {}


class RunFacts(Entries):
    """What a run knows of itself besides its files.

    Attributes:
        loaded: origin and training of the weights of a checkpoint that was loaded.
        checkpoint_variant: how settings are known that an authors' checkpoint does not show; None for others.
        told: None if another program made the predictions.
        asked_alone: number of episodes that were also predicted one by one before the test, with equal results; None if
            another program made the predictions.
        went_on: None if not interrupted, or if the identity includes the code.
        presence: rule by which the method counts a class as present in the query, in words.
        beyond_authors_rule: why the authors' rule for joining shots does not cover the test's number of them, or "".
        sees_supports: False for a baseline that uses the query alone.
        dropped_classes: names of classes that were left out for lack of images, in the order of the header's numbers.
        attention: what stored attention maps show, in the method's words; "" without such maps.
        remarks: sentences that readers of the scores must know.
    """

    id: Name
    label: Label = ""
    identity: Identity
    loaded: Weights | None = None
    checkpoint_variant: Variant | None = None
    told: Told | None = None
    asked_alone: Count | None = 0
    went_on: WentOn | None = None
    presence: Name
    beyond_authors_rule: Remark = ""
    sees_supports: bool = True
    dropped_classes: list[Name] = []
    attention: Text = ""
    remarks: list[Remark] = []
    cost: Cost
    made: TrainingOutcome = TrainingOutcome()
    provenance: Provenance = Provenance()

    @property
    def handed_in(self) -> bool:
        """Whether another program made the predictions."""
        return self.identity.answers_sha256 is not None

    @property
    def checkpoint_sha256(self) -> str | None:
        """Hash of the checkpoint that was evaluated: the one that the run made, or that it loaded; None without one."""
        adapted, loaded = self.made.adaptation or {}, self.identity.training or {}
        return adapted.get("checkpoint_sha256") or self.made.checkpoint_sha256 or loaded.get("checkpoint_sha256")

    @property
    def weights(self) -> Weights:
        """Origin and training of the evaluated weights."""
        identity, made = self.identity, self.made
        if self.loaded is not None:
            return self.loaded
        if self.handed_in or not (identity.training or {}).keys() & {"max_epochs", "batch_size"}:
            return Weights(origin=None if self.handed_in else UNTRAINED, training=None)
        training = Training(
            image_size=identity.image_size,
            precision=str(identity.precision),
            tf32=identity.tf32,
            settings=identity.training or {},
            method=identity.method.as_json(),
            chosen_by=LAST if made.validation_episodes is None else CHOSEN_BY,
            episodes=made.validation_episodes,
            official_episodes=made.official_validation_episodes,
        )
        return Weights(origin=TRAINED_HERE, training=training)


class FileState(Entries):
    """Size and hash of a file as a run wrote it."""

    bytes: Count
    sha256: Sha256

    @classmethod
    def of(cls, path: Path) -> "FileState":
        return cls(bytes=path.stat().st_size, sha256=sha256_file(path))


class Run(RunFacts):
    """Content of `run.json`; its seal is a hash over all other entries, and so over all files of the record."""

    files: dict[Name, FileState]
    seal: Name


def sealed(entries: Mapping[str, Any]) -> Run:
    """Return a run of these entries of a run.json, with its seal."""
    values = json.loads(json.dumps(dict(entries)))
    return Run.model_validate(values | {"seal": seal(values)})


def seal(entries: Mapping[str, Any]) -> str:
    """Return the hash over all entries of a run.json (JSON values) but its seal."""
    return fingerprint({name: value for name, value in entries.items() if name != "seal"})


def run_name(words: str) -> str:
    """Turn words into a name of a run; characters that bundles do not allow become dashes.

    >>> run_name("my own-demo-1a2b")
    'my-own-demo-1a2b'
    """
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", words).lstrip("._+-")


def read_run(file: Path) -> Run | None:
    """Read a run.json; None if the file does not exist. Raises RecordError if it was cut or edited."""
    try:
        values = read_json(file, "record")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise RecordError(f"{file} is no JSON, as if it was cut ({error}); {REMEDY}") from error
    try:
        run = Run.model_validate(values)
    except ValidationError as error:
        raise RecordError(f"{file} is no record of fsbench: {first_problem(error, values)}; {REMEDY}") from error
    if seal(values) != run.seal:
        raise RecordError(f"{file} does not have its seal: it was edited by hand, or joined from two files; {REMEDY}")
    return run


def write_run(file: Path, run: Run) -> None:
    write_text(file, json.dumps(run.as_json(), indent=2) + "\n")
