"""The data module of segmentation: episodes of any data set, on any number of ranks."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
import torch.distributed
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from torch.utils.data import DataLoader, Dataset

from fsbench.core.datamodule import DataModule, EpisodeStreamChoice, Loading, Training, Validation, check_at_least
from fsbench.core.loading import LoadingConfig
from fsbench.data.annotations import WEAK, SupportAnnotation
from fsbench.data.batch import EpisodeBatch, collate
from fsbench.data.dataset import DERIVED, VOID, SegmentationIndex
from fsbench.data.file_digests import contents_sha256, file_state
from fsbench.data.loader import Loader, end_quietly
from fsbench.datamodules.loading.augment import named_augmentation
from fsbench.datamodules.loading.calibration import calibration_episodes
from fsbench.datamodules.loading.distributed import ContiguousDistributedSampler, TrainingBatches, ranks
from fsbench.datamodules.loading.episodes import ManifestEpisodes, TrainingEpisodes
from fsbench.datamodules.loading.given_manifest import read_given_manifest
from fsbench.datamodules.loading.whole_images import TrainingImages
from fsbench.engine.checkpoint import TRAINED_ON
from fsbench.episodes.episode import Episode
from fsbench.episodes.evaluation_order import evaluation_order, next_uses
from fsbench.episodes.manifest import Manifest
from fsbench.episodes.task import EpisodeTask, usable_way
from fsbench.errors import SettingsError
from fsbench.files import fingerprint
from fsbench.protocols.geometry import InputResize
from fsbench.protocols.pools import Pool
from fsbench.protocols.segmentation import Segmentation, load_segmentation
from fsbench.protocols.whole_images import WholeImages
from fsbench.terminal import print_note

_note = rank_zero_only(print_note)


class EpisodicDataModule(DataModule):
    """Episodes of one dataset, fold and setting.

    Way, shot, fold and protocol live here and not in the method, so that a checkpoint's hyper-parameters cannot
    override them.

    Args:
        dataset: the data set.
        protocol: name in configs/protocols.
        fold: fold whose classes are novel.
        way, shot: N and K of the test; on a data set without a published protocol N is at most the number of the fold's
            classes. Training and validation are 1-way, with `training_shot` supports.
        training_shot: K of training and validation.
        training_items: "episodes", or "images": every training image with the labels of all base classes, for methods
            that learn these.
        augmentation: random changes of training images as PFENet's followers make them, with their factors of size
            for PASCAL or COCO (hmnet.md §10.1) or those of the base learner (§2.4.2).
        support_annotation: what the test's supports are labelled with, in place of their masks where that is weaker
            (`fsbench.data.annotations`): "mask", "box", "point", "scribble", "instance-box" for a box around each
            object, "bbox" for one around each connected piece, or "all_ways" for masks that also show a support's
            pixels of the episode's other ways. What is drawn follows from the test's seed and the episode's number.
            Training and validation have masks.
        kept_support: share of the object that is labelled in each support of the test, above 0, up to 1; the rest is
            void there (`fsbench.data.kept_support`).
        setting: one of `fsbench.episodes.settings.SETTINGS`.
        empty_masks: queries may show none of the support classes, where the protocol allows that (false for methods
            that only segment).
        image_size: side S that images are resized to.
        batch_size: training episodes per optimiser step, over all processes.
        micro_batch: training episodes that a process takes at once, all of its share unless given; gradients are summed
            until the step's episodes are done.
        fill_to: repeat episodes from the start of an epoch until their number is a multiple of this, as PyTorch's
            distributed sampler does for the authors' number of processes.
        drop_last: leave the incomplete last step of an epoch out.
        input_resize: "bicubic" for methods whose images and support masks are stretched to S x S by PIL's defaults
            instead of the protocol's rule, but where the protocol keeps their aspect; the truth stays the protocol's.
        filter_novel: leave out training images that show a pixel of a novel class, as BAM does, or keep them, as PFENet
            does, with novel classes as background; unless given, as the protocol does (bam.md §8).
        episode_streams: "independent" draws each training episode from the seed, the epoch and its number alone;
            "official" draws them as VRP-SAM's program does with its 4 processes of 8 workers, in its order of one per
            image (vrp-sam.md §9), which on COCO shows every episode four times.
        eval_batch_size: evaluation episodes loaded at once; figures do not depend on it.
        workers: loader processes.
        episodes: test episodes instead of the protocol's number.
        validation_episodes: validation episodes instead of the protocol's number.
        validation: classes of the validation episodes, which choose the checkpoint: "novel" is the official choice
            (the test classes themselves), "base" keeps them unseen, "held_out" are those that the data set keeps for
            that (FSS-1000), "source" are all of `source` in its test images; "images" is no episodes, but every test
            image of the data set that is trained on, with the labels of all base classes, for methods that learn these.
        seed: of the training episodes.
        test_seed: of the test episodes instead of the protocol's, to repeat a test with other episodes.
        draws: draws of the supports for every query of the test; draw 0 is the official one, which scores count.
        nested_in: number of shots that are drawn for the test, of which an episode has the first `shot`, so that tests
            with other numbers of shots have the same queries; None draws `shot`.
        manifest: file of test episodes, instead of drawing them; it must fit the other settings and the data.
        drop_small_classes: leave out classes with too few images instead of stopping.
        source: makes the data set that methods are trained on, all of its base classes, where that is not `dataset`; it
            is made when training needs it.
        cache_mib: memory for decoded images and label maps, shared equally by the `workers` of a loader; figures do not
            depend on it.
    """

    task = "segmentation"
    test: EpisodeTask
    protocol: Segmentation

    def __init__(
        self,
        dataset: SegmentationIndex,
        protocol: str = "fscs",
        fold: int = 0,
        way: int = 1,
        shot: int = 1,
        setting: str = "original",
        empty_masks: bool = True,
        image_size: int = 700,
        batch_size: int = 27,
        eval_batch_size: int = 1,
        workers: int = 2,
        episodes: int | None = None,
        validation_episodes: int | None = None,
        validation: Validation = "novel",
        seed: int = 0,
        test_seed: int | None = None,
        manifest: str | None = None,
        drop_small_classes: bool = False,
        cache_mib: int = 1024,
        training_shot: int = 1,
        training_items: Literal["episodes", "images"] = "episodes",
        augmentation: Literal["none", "pascal", "coco", "base_learner"] = "none",
        support_annotation: SupportAnnotation = "mask",
        micro_batch: int | None = None,
        fill_to: int = 1,
        drop_last: bool = False,
        input_resize: InputResize = "protocol",
        filter_novel: bool | None = None,
        episode_streams: EpisodeStreamChoice = "independent",
        source: Callable[[], SegmentationIndex] | None = None,
        draws: int = 1,
        nested_in: int | None = None,
        kept_support: float = 1.0,
    ):
        if not 0 < kept_support <= 1:
            raise SettingsError(f"kept_support is {kept_support:g}, expected a share above 0, up to 1")
        check_at_least(1, {"episodes": episodes, "draws": draws, "nested_in": nested_in})
        evaluation = load_segmentation(protocol)
        ways = way if manifest else usable_way(dataset, fold, way)
        test = EpisodeTask(
            fold, ways, shot, setting, empty_masks, "novel", episodes, drop_small_classes, test_seed, draws, nested_in
        )
        super().__init__(evaluation.view(dataset), test, image_size, Loading(workers, eval_batch_size, cache_mib), seed)
        self.protocol = evaluation
        self.training = Training(
            training_shot, training_items, augmentation, batch_size, micro_batch, fill_to, drop_last, validation,
            validation_episodes, None if filter_novel == self._filters(evaluation, training_items) else filter_novel,
            episode_streams,
        )  # fmt: skip
        if episode_streams == "official" and (training_items == "images" or self._background):
            raise SettingsError(
                "episode_streams official draws 1-way episodes whose query shows their class; expected training_items: "
                "episodes, and empty_masks: false or a protocol without empty queries"
            )
        if ways != way:
            _note(f"{dataset.name} fold {fold} has {ways} classes: the test is {ways}-way instead of {way}-way")
        self.manifest_file = manifest
        self.kept_support = kept_support
        self.support_annotation: SupportAnnotation = support_annotation
        if support_annotation in WEAK and not evaluation.has_weak_supports:
            raise SettingsError(
                f"support_annotation is {support_annotation}, and the protocol {evaluation.name} has supports with "
                "masks; leave it out, or choose another protocol"
            )
        if kept_support < 1 and not evaluation.has_weak_supports:
            raise SettingsError(
                f"kept_support is {kept_support:g}, and the protocol {evaluation.name} has supports with whole masks; "
                "leave it out, or choose another protocol"
            )
        if support_annotation == "instance-box" and not self.dataset.knows_objects:
            raise SettingsError(
                f"support_annotation is instance-box, and {dataset.name} does not tell the single objects of a class "
                "apart; expected a data set that does (coco), or another annotation: box, or bbox for a box around "
                "each connected piece"
            )
        self._make_source = source
        self.trains_elsewhere = source is not None
        self.input_resize = input_resize
        self._batches: TrainingBatches | None = None

    @property
    def test_words(self) -> tuple[str, ...]:
        """Words for people that name the test in folders and loggers."""
        task = f"{self.test.way}way{self.test.shot}shot-{self.test.setting.replace('_', '-')}"
        drawn = f"-{self.test.draws}draws" if self.test.draws > 1 else ""
        named = self.support_annotation in WEAK and self.support_annotation != "bbox"  # whose folders go without it
        weak = f"-{self.support_annotation}" if named else ""
        return self.dataset.name, self.protocol.name, f"fold{self.test.fold}", task + drawn + weak

    @cached_property
    def manifest(self) -> Manifest:
        """The test episodes."""
        if self.manifest_file is None:
            return self.protocol.manifest(self.dataset, self.test)
        return read_given_manifest(self.manifest_file, self.dataset, self.protocol, self.test)

    @cached_property
    def source(self) -> SegmentationIndex:
        """The data set that methods are trained on."""
        return self.dataset if self._make_source is None else self._make_source()

    @property
    def source_fold(self) -> int:
        """The fold of `source` whose base classes are trained on: the test's, or the first of another data set."""
        return self.test.fold if self._make_source is None else 0

    @property
    def validation_dataset(self) -> SegmentationIndex:
        """The data set of what chooses the checkpoint."""
        return self.source if self.training.validation in ("source", "images") else self.dataset

    @cached_property
    def validation_manifest(self) -> Manifest:
        """The 1-way episodes or whole images that choose the checkpoint."""
        chosen = self.training.validation
        if chosen == "images":
            return WholeImages(self.source, self.source_fold).manifest(self.training.validation_episodes)
        if chosen == "source" and self._make_source is None:
            raise SettingsError(
                "validation is source, but there is no other data set to train on; expected one with --data.source, or "
                "another choice: novel, base, held_out or images"
            )
        task = replace(
            self.test,
            fold=self.source_fold if chosen == "source" else self.test.fold,
            way=1,
            shot=self.training.shot,
            setting="original",
            classes="novel" if chosen == "source" else chosen,
            episodes=self.training.validation_episodes,
            seed=None,
            draws=1,
            nested_in=None,
        )
        return self.protocol.in_validation.manifest(self.validation_dataset, task)

    @cached_property
    def validation_protocol(self) -> Segmentation | WholeImages:
        """Loads and counts what chooses the checkpoint."""
        if self.training.validation == "images":
            return WholeImages(self.source, self.source_fold)
        return self.protocol.in_validation

    @cached_property
    def training_pool(self) -> Pool:
        """Images and base classes that training episodes are drawn from, or the images of `training_items`."""
        if self.training.items == "images":
            return WholeImages(self.source, self.source_fold).training_pool(self.training.filter_novel)
        skip, shot = self.test.skip_small_classes, self.training.shot
        other = {} if self.training.filter_novel is None else {"filter_novel": self.training.filter_novel}
        return self.protocol.training_pool(self.source, self.source_fold, skip, self._background, shot, **other)

    @staticmethod
    def _filters(protocol: Segmentation, items: str) -> bool | None:
        """Return whether a training leaves out images with novel classes by itself; None for some of them."""
        return protocol.drops_novel_images if items == "episodes" else False

    @property
    def _background(self) -> bool:
        return self.test.allow_background_queries and self.protocol.empty_queries

    @property
    def training_lists(self) -> str:
        """Origin of the lists of base classes."""
        if self.training.items == "images":
            return DERIVED
        if self.training.filter_novel is None:
            return self.protocol.pairs(self.source, "trn", self.source_fold).origin
        return self.protocol.training_pairs(self.source, self.source_fold, self.training.filter_novel).origin

    @cached_property
    def files_sha256(self) -> str:
        return contents_sha256(self.dataset, self.manifest.image_names)

    @property
    def former_files_sha256(self) -> str:
        """Hash of names and sizes of the test episodes' images and label files."""
        names = self.manifest.image_names
        sizes = [file_state(path)[0] for path in self.test_files]
        return fingerprint(list(zip(names, sizes[: len(names)], sizes[len(names) :], strict=True)))

    @cached_property
    def base_files_sha256(self) -> str:
        return contents_sha256(self.source, self._base_images)

    @cached_property
    def validation_files_sha256(self) -> str:
        return contents_sha256(self.validation_dataset, self.validation_manifest.image_names)

    @property
    def test_files(self) -> Sequence[Path]:
        return _files(self.dataset, self.manifest.image_names)

    @property
    def base_files(self) -> Sequence[Path]:
        return _files(self.source, self._base_images)

    @property
    def validation_files(self) -> Sequence[Path]:
        return _files(self.validation_dataset, self.validation_manifest.image_names)

    @property
    def _base_images(self) -> list[str]:
        """Names of all images that training episodes can show, sorted."""
        pool = self.training_pool
        return sorted({*pool.images, *(name for images in pool.images_of.values() for name in images)})

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        names = self.source.class_names
        checkpoint[TRAINED_ON] = {
            "dataset": self.source.name,
            "fold": self.source_fold,
            "protocol": self.protocol.name,
            "classes": [names[number - 1] for number in self.training_pool.class_ids],
        }

    def check_unseen(self, trained_on: dict[str, Any], what: str) -> None:
        """Raise SettingsError when a checkpoint was trained on classes of this data set that are novel in the test."""
        names, header = self.dataset.class_names, self.manifest.header
        novel = [names[number - 1] for number in self.protocol.novel_classes(header)]
        seen = [name for name in novel if name in trained_on["classes"]]
        if trained_on["dataset"] in (self.dataset.name, *self.dataset.same_classes_as) and seen:
            raise SettingsError(
                f"{what} was trained on fold {trained_on['fold']} of {trained_on['dataset']}, whose base classes "
                f"include {', '.join(seen[:3])}: novel classes of fold {self.test.fold}; give the checkpoint of this "
                "fold"
            )

    @property
    def test_options(self) -> dict[str, Any]:
        """Non-default settings of the test that only some methods use, for the run's identity."""
        is_other = self.support_annotation in WEAK or self._tells_all_ways
        options: dict[str, Any] = {"support_annotation": self.support_annotation} if is_other else {}
        options |= {"kept_support": self.kept_support} if self.kept_support < 1 else {}
        options |= {"draws": self.test.draws} if self.test.draws > 1 else {}
        options |= {"nested_in": self.test.nested_in} if self.test.nested_in is not None else {}
        rule = self._loading(training=False).resize
        return options if rule == self.protocol.geometry.resize else options | {"input_resize": rule}

    @property
    def training_options(self) -> dict[str, Any]:
        options = super().training_options
        return options if self._make_source is None else options | {"source": self.source.name}

    @property
    def _tells_all_ways(self) -> bool:
        """Whether supports tell all ways, which is more than their own in a test of several or of added ways."""
        return self.support_annotation == "all_ways" and (self.test.way > 1 or self.test.setting == "fully_augmented")

    def train_dataloader(self) -> DataLoader[EpisodeBatch]:
        config, pool = self._loading(training=True), self.training_pool
        augmentation = named_augmentation(self.training.augmentation, self.image_size)
        items: TrainingImages | TrainingEpisodes
        if self.training.items == "images":
            items = TrainingImages(self.source, pool.images, pool.class_ids, config, augmentation, self.seed)
        else:
            labelled = self.asks_for_base_maps and len(pool.class_ids) < VOID  # a label map has no more numbers
            base = sorted(pool.class_ids) if labelled else []
            official = self.training.episode_streams == "official"
            items = TrainingEpisodes(
                self.source, pool, config, self._background, self.seed, self.training.shot, augmentation, official, base
            )
        self._batches = TrainingBatches(
            len(items),
            self.seed,
            self.step_division(ranks()[1]),
            self.training.fill_to,
            self.training.drop_last,
            shuffled=self.training.episode_streams == "independent",
        )
        return self._loader(items, batch_sampler=self._batches)

    def loss_weight(self, batch_idx: int) -> float:
        """Return the factor of the loss of this process's micro-batch `batch_idx` of an epoch."""
        return self._batches.loss_weight(batch_idx) if self._batches is not None else 1.0

    def val_dataloader(self) -> DataLoader[EpisodeBatch]:
        protocol, episodes = self.validation_protocol, self.validation_manifest.episodes
        dataset = self.validation_dataset
        if isinstance(protocol, WholeImages):
            return self._evaluation_loader(dataset, protocol, episodes, self._loading(training=False))
        return self._evaluation_loader(dataset, protocol, evaluation_order(episodes), self._loading(training=False))

    def test_dataloader(self) -> DataLoader[EpisodeBatch]:
        """Return the unfinished episodes of the manifest, in an order that encodes few images twice."""
        episodes = evaluation_order(self.unfinished_episodes())
        return self._evaluation_loader(self.dataset, self.protocol, episodes, self.test_loading, once=True)

    def calibration_episodes(self, count: int = 200) -> Iterator[EpisodeBatch]:
        """Return labelled episodes of base classes in training images, with the test's N and K."""
        task = replace(self.test, allow_background_queries=self._background)
        return calibration_episodes(self.source, self.training_pool, task, self._loading(training=False), count)

    def _loading(self, training: bool) -> LoadingConfig:
        geometry = self.protocol.geometry.training if training else self.protocol.geometry
        return LoadingConfig(
            self.image_size,
            geometry,
            self.loading.cache_bytes,
            input_resize=self.input_resize,
            hints=self.hints,
        )

    @property
    def test_loading(self) -> LoadingConfig:
        """Settings of loading of the test, whose supports alone may be labelled with something else than masks."""
        is_other = self.support_annotation in WEAK or self._tells_all_ways
        return replace(
            self._loading(training=False),
            annotation=self.support_annotation if is_other else "mask",
            annotation_seed=self.manifest.header.seed or 0,  # episodes that are seeded with their index have none
            kept_support=self.kept_support,
        )

    def _evaluation_loader(
        self,
        dataset: SegmentationIndex,
        protocol: Segmentation | WholeImages,
        episodes: Sequence[Episode],
        config: LoadingConfig,
        once: bool = False,
    ) -> DataLoader[EpisodeBatch]:
        """Return this rank's share of the episodes; what is read `once` is forgotten where its last episode is over."""
        sampler = ContiguousDistributedSampler(len(episodes))
        share = sampler.share
        next_shown = dict(zip(share, next_uses(episodes[share.start : share.stop]), strict=True)) if once else {}
        data = ManifestEpisodes(protocol, dataset, episodes, config, next_shown)
        return self._loader(data, batch_size=self.loading.eval_batch_size, sampler=sampler)

    def _loader(self, data: Dataset[EpisodeBatch], **batches: Any) -> DataLoader[EpisodeBatch]:
        return Loader(
            data,
            num_workers=self.loading.workers,
            worker_init_fn=end_quietly,
            collate_fn=collate,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=self.loading.workers > 0,
            **batches,
        )


def _files(dataset: SegmentationIndex, names: Sequence[str]) -> list[Path]:
    """Return the image files of `names`, then their label files."""
    return [*map(dataset.image_path, names), *map(dataset.label_file, names)]
