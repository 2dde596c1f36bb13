"""Options of data modules, by concern: the test, the training and the loading.

A field is the whole declaration of an option. Its name is the key of the command line and of configurations
(`--data.test.way 2`), its default holds unless it is given, and a value other than the default is part of a run's
identity unless the class lists the field in `ELSEWHERE`. A new option is its field, the place that obeys it, and its
test. What the episodes of a test follow from is a field of `fsbench.data.episodes.task.Task`.
"""

from dataclasses import dataclass
from typing import Any, Literal

from fsbench.base.errors import SettingsError, check_at_least
from fsbench.base.options import Options
from fsbench.data.annotations import SupportAnnotation
from fsbench.data.episodes.task import Task

Validation = Literal["novel", "base", "held_out", "source", "images", "none"]
"""Choices of what chooses a checkpoint; "none" is no validation, which leaves the last weights."""
EpochSeeds = Literal["fresh", "program"]
"""Choices of the seeds of training epochs."""
EpisodeStreamChoice = Literal["independent", "official"]
"""Choices of the random streams that training episodes are drawn from."""


@dataclass(frozen=True)
class EpisodicTest(Task):
    """Options of a test of segmentation: its task, and how its episodes are drawn and labelled.

    Attributes:
        protocol: name in configs/protocols, or FILE.yaml, or the content of such a file.
        manifest: file with a list of test episodes, used instead of drawing episodes; it must fit the other options and
            the data.
        support_annotation: what the supports are labelled with (`fsbench.data.annotations`): "mask", "box", "point",
            "scribble", "instance-box" for a box around each object, "bbox" for one around each connected piece, or
            "all_ways" for masks that also show a support's pixels of the episode's other ways. Random points and
            strokes follow from the test's seed and the episode's number. Training and validation have masks.
        kept_support: share of the object that is labelled in each support, above 0, up to 1; the rest of the object is
            void (`fsbench.data.support_annotation`).
    """

    protocol: str | dict[str, Any] = "fscs"
    manifest: str | None = None
    support_annotation: SupportAnnotation = "mask"
    kept_support: float = 1.0

    ELSEWHERE = Task.ELSEWHERE | {"protocol", "manifest"}

    def __post_init__(self) -> None:
        self.check()
        if not 0 < self.kept_support <= 1:
            raise SettingsError(f"kept_support is {self.kept_support:g}, expected a share above 0, up to 1")


@dataclass(frozen=True)
class Training(Options):
    """Options of a training and of the validation that chooses its checkpoint.

    Attributes:
        training_shot: K of training and validation episodes, which are 1-way.
        training_items: "episodes"; "images": every training image with the labels of all base classes, for methods that
            learn the base classes; or "superpixels": episodes about superpixels of slices of scans, without reading any
            label (alpnet.md §6.2).
        augmentation: random changes of training images as PFENet's followers make them, with the range of sizes for
            PASCAL or COCO (hmnet.md §10.1) or for the base learner (§2.4.2); with "_resized" the image is squashed to a
            square instead of cropped, as HDMNet does (hdmnet.md §8).
        batch_size: episodes of an optimiser step, over all processes.
        micro_batch: episodes that a process takes at once; None takes all of its share. Gradients are summed until the
            step's episodes are done.
        fill_to: episodes of an epoch are repeated from its start until their number is a multiple of this, as PyTorch's
            distributed sampler does for the authors' number of processes.
        drop_last: whether the incomplete last step of an epoch is left out.
        validation: classes of the validation episodes, which choose the checkpoint: "novel" is the official choice (the
            test classes themselves), "base" takes base classes, so that the test classes stay unseen; "held_out" takes
            the classes that the data set (or the one that `--data.validation_source` names) reserves for validation, as
            FSS-1000 does; "source" takes all classes of the data set that is trained on, in its test images; "images"
            takes no episodes, but every test image of the data set that is trained on, with the labels of all base
            classes.
        validation_episodes: number of validation episodes; None for the protocol's number.
        filter_novel: leave out training images that show a pixel of a novel class, as BAM does, or keep them, as PFENet
            does, with novel classes as background; None does what the protocol does (bam.md §8). Slices whose
            superpixels are trained on are kept unless this is true (alpnet.md §1, setting 1 and 2).
        epoch_length: number of items of an epoch of `superpixels`, which goes through the slices again and again; None
            for one item of each slice.
        episode_streams: "independent" draws each training episode from the seed, the epoch and its number alone;
            "official" draws them as VRP-SAM's program does with its 4 processes of 8 workers, in its order, one per
            image (vrp-sam.md §9); on COCO this shows every episode four times.
        epoch_seeds: "fresh" draws other episodes in every epoch; "program" as PATNet's program, where all epochs but
            the first have one seed, and so the same episodes in the same order (patnet.md §5).
        training_protocol: name in configs/protocols of the protocol by whose lists of base classes training episodes
            are drawn, one for each image or (image, class) pair of its list; None takes the test's protocol.
    """

    training_shot: int = 1
    training_items: Literal["episodes", "images", "superpixels"] = "episodes"
    augmentation: Literal["none", "pascal", "coco", "base_learner", "pascal_resized", "coco_resized"] = "none"
    batch_size: int = 27
    micro_batch: int | None = None
    fill_to: int = 1
    drop_last: bool = False
    validation: Validation = "novel"
    validation_episodes: int | None = None
    filter_novel: bool | None = None
    epoch_length: int | None = None
    episode_streams: EpisodeStreamChoice = "independent"
    epoch_seeds: EpochSeeds = "fresh"
    training_protocol: str | None = None

    ELSEWHERE = frozenset({"batch_size", "micro_batch", "validation", "validation_episodes"})

    def __post_init__(self) -> None:
        counts = {"training_shot": self.training_shot, "batch_size": self.batch_size, "micro_batch": self.micro_batch}
        counts |= {"validation_episodes": self.validation_episodes, "epoch_length": self.epoch_length}
        check_at_least(1, {**counts, "fill_to": self.fill_to})
        superpixels = self.training_items == "superpixels"
        if superpixels and (self.training_shot != 1 or self.augmentation != "none"):
            raise SettingsError(
                f"training_items superpixels are 1-shot episodes with changes of their own; expected training_shot 1 "
                f"and augmentation none, found {self.training_shot} and {self.augmentation}"
            )
        if self.epoch_length is not None and not superpixels:
            raise SettingsError(
                f"epoch_length is {self.epoch_length}, which is for training_items superpixels; leave it out: an epoch "
                "has one item of each pair or image"
            )
        if self.epoch_seeds == "program" and self.episode_streams == "official":
            raise SettingsError(
                "epoch_seeds program and episode_streams official are the draws of two programs; expected one of them"
            )
        if self.training_protocol is not None and self.training_items != "episodes":
            raise SettingsError(
                f"training_protocol is {self.training_protocol}, and training_items {self.training_items} takes every "
                "training image whatever a protocol lists; leave training_protocol out"
            )


@dataclass(frozen=True)
class Loading(Options):
    """Options of loading, which change speed and memory but no score, so they are no part of a run's identity.

    Attributes:
        workers: number of loader processes.
        eval_batch_size: number of evaluation episodes in a batch.
        cache_mib: memory in MiB for decoded images and label maps, divided equally among a loader's workers.
    """

    workers: int = 2
    eval_batch_size: int = 1
    cache_mib: int = 1024

    def __post_init__(self) -> None:
        check_at_least(1, {"eval_batch_size": self.eval_batch_size})
        check_at_least(0, {"workers": self.workers, "cache_mib": self.cache_mib})

    @property
    def cache_bytes(self) -> int:
        """Bytes of memory that each worker has for decoded files."""
        return self.cache_mib * 2**20 // max(self.workers, 1)
