"""The data module of segmentation: episodes of any data set, on any number of ranks."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from torch.utils.data import DataLoader, Dataset

from fsbench.base.errors import SettingsError
from fsbench.base.files import fingerprint
from fsbench.base.terminal import print_note
from fsbench.core.adaptation import Adaptation
from fsbench.data.annotations import WEAK, SupportAnnotation
from fsbench.data.batch import EpisodeBatch, collate
from fsbench.data.class_names import shared_classes
from fsbench.data.copies import trained_remarks
from fsbench.data.dataset import DERIVED, VOID, SegmentationData
from fsbench.data.episodes.episode import Episode
from fsbench.data.episodes.evaluation_order import evaluation_order, next_uses
from fsbench.data.episodes.manifest import Manifest
from fsbench.data.episodes.task import ManifestTask, Task
from fsbench.data.file_digests import content_digests, contents_sha256
from fsbench.data.list_substitutes import list_substitutes
from fsbench.data.transforms import MEASURED
from fsbench.data.volumes import VolumeData
from fsbench.datamodules.datamodule import DataModule
from fsbench.datamodules.loading.adaptation_images import AdaptationImages
from fsbench.datamodules.loading.augment import named_augmentation
from fsbench.datamodules.loading.calibration import calibration_episodes
from fsbench.datamodules.loading.distributed import ContiguousDistributedSampler, TrainingBatches, ranks
from fsbench.datamodules.loading.episodes import ManifestEpisodes, TrainingEpisodes
from fsbench.datamodules.loading.given_manifest import read_given_manifest
from fsbench.datamodules.loading.items import LoadingConfig
from fsbench.datamodules.loading.loader import Loader, end_quietly
from fsbench.datamodules.loading.superpixels import SuperpixelEpisodes
from fsbench.datamodules.loading.way_classes import WayClasses
from fsbench.datamodules.loading.whole_images import TrainingImages
from fsbench.datamodules.options import EpisodicTest, Loading, Training
from fsbench.protocols.draws.draw import Draw
from fsbench.protocols.draws.pair_draw import PairDraw
from fsbench.protocols.draws.superpixels import slices_with_test_classes, superpixel_pool
from fsbench.protocols.draws.whole_images import whole_image_pool, with_classes
from fsbench.protocols.episode_rules.pools import Pool
from fsbench.protocols.reading import load_segmentation
from fsbench.protocols.test import Test
from fsbench.protocols.view import InputResize, View, input_rule, own_rule
from fsbench.protocols.whole_images import WHOLE_IMAGES

_note = rank_zero_only(print_note)


class EpisodicDataModule(DataModule):
    """Data module of segmentation: episodes of one data set, fold and setting.

    Way, shot, fold and protocol live here and not in the method, so that a checkpoint's hyper-parameters cannot
    override them.

    Args:
        dataset: the data set.
        test: protocol, fold, ways, shots and labels of the test.
        training: items of training and of the validation that chooses a checkpoint.
        loading: how files become batches.
        source: makes the data set that methods are trained on, all of its base classes, where that is not `dataset`; it
            is made when training needs it.
        validation_source: makes the data set whose held-out classes choose the checkpoint (`validation: held_out`),
            where that is not `dataset`.
        image_size: side S that images are resized to.
        input_resize: how a method's own images and support masks become S x S instead of by the protocol's rule, but
            where the protocol keeps their aspect: "bicubic" stretches them by PIL's defaults, "letterbox" pads them as
            SegIC's authors do, "intensities" takes slices of scans as they were measured and normalised, float32, and
            other images normalised by themselves, "measured" takes slices so, resized with antialiasing, and leaves
            photos to the protocol. The truth stays the protocol's, in training of a letterbox where the
            image lies.
        seed: the seed of the training episodes.

    Raises:
        SettingsError: the options contradict one another, the protocol or the data set.
    """

    task = "segmentation"
    test: EpisodicTest

    def __init__(
        self,
        dataset: SegmentationData,
        test: EpisodicTest = EpisodicTest(),
        training: Training = Training(),
        loading: Loading = Loading(),
        source: Callable[[], SegmentationData] | None = None,
        image_size: int = 700,
        input_resize: InputResize = "protocol",
        seed: int = 0,
        validation_source: Callable[[], SegmentationData] | None = None,
    ):
        protocol = load_segmentation(test.protocol)
        data = protocol.draw.data(dataset, test.fold, test.shot)
        own = test if test.manifest else protocol.draw.with_own_ways(data, test)
        super().__init__(data, own, image_size, loading, seed)
        self.protocol = protocol
        if training.training_protocol == protocol.name:
            training = replace(training, training_protocol=None)
        other = training.training_protocol
        self._training_protocol = protocol if other is None else load_segmentation(other)
        usual = self._training_protocol.draw.filter_novel if training.training_items == "episodes" else False
        self.training = replace(training, filter_novel=None) if training.filter_novel == usual else training
        if training.episode_streams == "official" and (training.training_items != "episodes" or self._background):
            raise SettingsError(
                "episode_streams official draws 1-way episodes whose query shows their class; expected training_items: "
                "episodes, and empty: false or a protocol without empty queries"
            )
        if training.epoch_seeds == "program" and training.training_items != "episodes":
            raise SettingsError("epoch_seeds program draws episodes; expected training_items: episodes, or fresh seeds")
        if own.way != test.way:
            has = f"{dataset.name} fold {test.fold} has {own.way} classes"
            _note(f"{has}: the test is {own.way}-way instead of {test.way}-way")
        if own.shot != test.shot:
            _note(f"{dataset.name} names sets of {own.shot} supports: the test is {own.shot}-shot")
        self._check_labels()
        self._make_source = source
        self._make_validation_source = validation_source if training.validation == "held_out" else None
        self.trains_elsewhere = source is not None
        self.input_resize = own_rule(input_resize, dataset)
        self._batches: TrainingBatches | None = None

    def _check_labels(self) -> None:
        """Raise SettingsError for labels of supports that the protocol or the data set cannot give."""
        annotation, kept, protocol = self.test.support_annotation, self.test.kept_support, self.protocol
        if annotation in WEAK and not protocol.view.weak_supports:
            raise SettingsError(
                f"support_annotation is {annotation}, and the protocol {protocol.name} has supports with masks; leave "
                "it out, or choose another protocol"
            )
        if kept < 1 and not protocol.view.weak_supports:
            raise SettingsError(
                f"kept_support is {kept:g}, and the protocol {protocol.name} has supports with whole masks; leave it "
                "out, or choose another protocol"
            )
        if annotation == "instance-box" and not self.dataset.knows_objects:
            raise SettingsError(
                f"support_annotation is instance-box, and {self.dataset.name} does not tell the single objects of a "
                "class apart; expected a data set that does (coco), or another annotation: box, or bbox for a box "
                "around each connected piece"
            )

    @property
    def support_annotation(self) -> SupportAnnotation:
        return self.test.support_annotation

    @property
    def test_words(self) -> tuple[str, ...]:
        """Words of which folder names for this test consist: data set, protocol, fold, ways and shots."""
        task = f"{self.test.way}way{self.test.shot}shot-{self.test.setting.replace('_', '-')}"
        drawn = f"-{self.test.draws}draws" if self.test.draws > 1 else ""
        named = self.support_annotation in WEAK and self.support_annotation != "bbox"  # whose folders go without it
        weak = f"-{self.support_annotation}" if named else ""
        return self.dataset.name, self.protocol.folder_word, f"fold{self.test.fold}", task + drawn + weak

    @cached_property
    def manifest(self) -> Manifest:
        """The test episodes."""
        if self.test.manifest is None:
            return self.protocol.manifest(self.dataset, self.test)
        return read_given_manifest(self.test.manifest, self.dataset, self.protocol, self.test)

    @cached_property
    def source(self) -> SegmentationData:
        """The data set that methods are trained on: the tested one, unless another was given."""
        return self.dataset if self._make_source is None else self._make_source()

    @property
    def source_fold(self) -> int:
        """Fold of `source` whose base classes are trained on: the test's own, or 0 on another data set."""
        return self.test.fold if self._make_source is None else 0

    @cached_property
    def validation_dataset(self) -> SegmentationData:
        """The data set on which the checkpoint is chosen."""
        if self._make_validation_source is not None:
            return self._make_validation_source()
        return self.source if self.training.validation in ("source", "images") else self.dataset

    @cached_property
    def validation_manifest(self) -> Manifest:
        """The 1-way episodes or whole images on which the checkpoint is chosen."""
        chosen = self.training.validation
        if chosen == "none":
            raise SettingsError(
                "validation is none, so that no episode chooses a checkpoint; expected another choice where episodes "
                "are asked for: novel, base, held_out, source or images"
            )
        if chosen == "images":
            whole = Task(self.source_fold, episodes=self.training.validation_episodes)
            return WHOLE_IMAGES.manifest(self.source, whole)
        if chosen == "source" and self._make_source is None:
            raise SettingsError(
                "validation is source, but there is no other data set to train on; expected one with --data.source, or "
                "another choice: novel, base, held_out or images"
            )
        task = ManifestTask(
            self._validation_fold,
            shot=self.training.training_shot,
            empty=self.test.empty,
            classes="novel" if chosen == "source" else chosen,
            episodes=self.training.validation_episodes,
            drop_small=self.test.drop_small,
        )
        return self.protocol.in_validation.manifest(self.validation_dataset, task)

    @property
    def _validation_fold(self) -> int:
        """The fold of what chooses the checkpoint: the test's, or the first of another data set."""
        if self._make_validation_source is not None:
            return 0
        return self.source_fold if self.training.validation == "source" else self.test.fold

    @property
    def validates(self) -> bool:
        return self.training.validation != "none"

    @property
    def validated(self) -> Test:
        protocol = WHOLE_IMAGES if self.training.validation == "images" else self.protocol.in_validation
        return Test(self.validation_manifest, self.validation_dataset, protocol, self.image_size)

    @cached_property
    def training_pool(self) -> Pool:
        """Possible queries and supports for training episodes, or the images of other `training_items`."""
        if self.training.training_items == "images":
            return whole_image_pool(self.source, self.source_fold, self.training.filter_novel)
        if self.training.training_items == "superpixels":
            return superpixel_pool(self._volumes)
        shot = self.training.training_shot
        task = replace(self.test, fold=self.source_fold, shot=shot, empty=self._background)
        return self._training_protocol.training_pool(self.source, task, self.training.filter_novel)

    @cached_property
    def _volumes(self) -> VolumeData:
        """The data set whose superpixels are trained on, as the fold sees it; SettingsError where it has no volumes."""
        if not isinstance(self.source, VolumeData):
            raise SettingsError(
                f"training_items is superpixels, and {self.source.name} has no volumes with superpixels; choose a data "
                "set of scans (fsbench list datasets names them), or --data.training.training_items episodes"
            )
        fold, shot, draw = self.source_fold, self.test.shot, self.protocol.draw
        seen: VolumeData = draw.data(self.source, fold, shot) if draw.draws_slices else self.source.in_fold(fold, shot)
        return seen

    @property
    def _background(self) -> bool:
        return self.test.empty and self.protocol.draw.empty_queries

    @property
    def training_lists(self) -> str:
        """Where the image lists of base classes come from, such as "official" or "derived"."""
        if self.training.training_items != "episodes":
            return DERIVED
        draw = self._training_protocol.training_draw
        if self.training.filter_novel is None:
            return draw.pairs(self.source, "trn", self.source_fold).origin
        return draw.training_pairs(self.source, self.source_fold, self.training.filter_novel).origin

    @property
    def training_list_notes(self) -> list[str]:
        substitutes = list_substitutes(self.source, "trn", "held_out")
        if self.trains_elsewhere or self.dataset.source.kind != "own":
            return substitutes
        return substitutes + trained_remarks(self.dataset, self.manifest.image_names, self._base_images)

    @cached_property
    def base_files_sha256(self) -> str:
        contents = contents_sha256(self.source, self._base_images)
        return fingerprint([contents, *content_digests(self._superpixel_files)]) if self._superpixel_files else contents

    @cached_property
    def validation_files_sha256(self) -> str:
        return contents_sha256(self.validation_dataset, self.validation_manifest.image_names)

    @property
    def base_files(self) -> Sequence[Path]:
        return [*_files(self.source, self._base_images), *self._superpixel_files]

    @property
    def validation_files(self) -> Sequence[Path]:
        return _files(self.validation_dataset, self.validation_manifest.image_names) if self.validates else []

    @property
    def _superpixel_files(self) -> list[Path]:
        """Files of the superpixels that are trained on."""
        if self.training.training_items != "superpixels":
            return []
        return sorted({self._volumes.superpixel_file(name) for name in self._base_images})

    @property
    def _base_images(self) -> list[str]:
        """Names of all images that training episodes can show, sorted."""
        pool = self.training_pool
        return sorted({*pool.images, *(name for images in pool.images_of.values() for name in images)})

    @property
    def trained_on(self) -> dict[str, Any]:
        names = self.source.class_names
        return {
            "dataset": self.source.name,
            "fold": self.source_fold,
            "protocol": self._training_protocol.name,
            "classes": [names[number - 1] for number in self.training_pool.class_ids],
        }

    @property
    def _novel_names(self) -> list[str]:
        return self.tested.novel_names

    def seen_test_classes(self, trained_on: dict[str, Any]) -> list[str]:
        if trained_on["dataset"] in (self.dataset.name, *self.dataset.same_classes_as):
            return []  # `check_unseen` refuses them
        return shared_classes(self._novel_names, trained_on["classes"])

    @property
    def test_options(self) -> dict[str, Any]:
        """{name: value} of non-default test settings that only some methods use, for the run's identity."""
        options = self.test.differing
        if self.support_annotation == "all_ways" and not self._tells_all_ways:
            del options["support_annotation"]
        rule = self._loading(self.protocol.view).resize
        return options if rule == self.protocol.view.resize else options | {"input_resize": rule}

    @property
    def training_options(self) -> dict[str, Any]:
        options = super().training_options
        if self._make_source is not None:
            options = options | {"source": self.source.name}
        if self._make_validation_source is not None:
            options = options | {"validation_source": self.validation_dataset.name}
        return options

    @property
    def _tells_all_ways(self) -> bool:
        """Whether supports tell all ways, which is more than their own in a test of several or of added ways."""
        return self.support_annotation == "all_ways" and (self.test.way > 1 or self.test.setting == "fully_augmented")

    def training_batches(self) -> DataLoader[EpisodeBatch]:
        config, pool = self._loading(self._training_view), self.training_pool
        augmentation = named_augmentation(self.training.augmentation, self.image_size)
        items: TrainingImages | SuperpixelEpisodes | TrainingEpisodes
        if self.training.training_items == "images":
            items = TrainingImages(self.source, pool.images, pool.class_ids, config, augmentation, self.seed)
        elif self.training.training_items == "superpixels":
            at_once = not self.protocol.draw.filters_any
            shown = slices_with_test_classes(self._volumes, self.source_fold, pool.images, at_once)
            avoided = shown if self.training.filter_novel else frozenset[str]()
            length = self.training.epoch_length
            items = SuperpixelEpisodes(self._volumes, pool.images, avoided, length, self.image_size, self.seed)
        else:
            labelled = self.needs.base_maps and len(pool.class_ids) < VOID  # a label map has no more numbers
            base = sorted(pool.class_ids) if labelled else []
            official = self.training.episode_streams == "official"
            items = TrainingEpisodes(
                self.source,
                pool,
                config,
                self._background,
                self.seed,
                self.training.training_shot,
                augmentation,
                official,
                base,
                self.training.epoch_seeds == "program",
            )
        self._batches = TrainingBatches(
            len(items),
            self.seed,
            self.step_division(ranks()[1]),
            self.training.fill_to,
            self.training.drop_last,
            shuffled=self.training.episode_streams == "independent" and self.training.epoch_seeds == "fresh",
        )
        return self._loader(items, batch_sampler=self._batches)

    def loss_weight(self, batch_idx: int) -> float:
        """Return the factor of the loss of this process's micro-batch `batch_idx` of an epoch; 1 in complete steps."""
        return self._batches.loss_weight(batch_idx) if self._batches is not None else 1.0

    def validation_batches(self) -> DataLoader[EpisodeBatch]:
        test, ordered = self.validated, self._validation_order()
        return self._evaluation_loader(test.data, test.protocol.draw, ordered, self._loading(test.protocol.view))

    def _validation_order(self) -> Sequence[Episode]:
        """Return the episodes of the validation in an order that encodes few images twice; whole images as listed."""
        if self.training.validation == "images":
            return with_classes(self.validation_manifest)
        return evaluation_order(self.validation_manifest.episodes)

    def test_batches(self) -> DataLoader[EpisodeBatch]:
        """Return a loader of the test episodes without an answer yet, ordered so that few images are encoded twice."""
        episodes = evaluation_order(self.unfinished_episodes())
        return self._evaluation_loader(self.dataset, self.protocol.draw, episodes, self.test_loading, once=True)

    def calibration_episodes(self, count: int = 200) -> Iterator[EpisodeBatch]:
        """Return labelled episodes of base classes in training images, with the test's numbers of ways and shots."""
        task = replace(self.test, empty=self._background)
        return calibration_episodes(self.source, self.training_pool, task, self._loading(self.protocol.view), count)

    def adaptation_images(self, adaptation: Adaptation) -> AdaptationImages:
        draw = self.protocol.draw
        if not isinstance(draw, PairDraw):
            raise SettingsError(
                f"the method adapts itself to labelled images of the test's own pool, and the protocol "
                f"{self.protocol.name} has no such pool; choose the protocol cdfss_ifa or another with lists of "
                "images, or another method"
            )
        pool = draw.test_pool(self.dataset, replace(self.test, way=1))[1]
        if self.test.drop_small:
            pool = pool.without([number for number in pool.class_ids if number not in self.manifest.class_ids])
        config = self._loading(self._training_view)
        if config.resize in MEASURED and not self.dataset.images_are_files:
            raise SettingsError(
                f"the method adapts itself to images whose colours are changed, and slices of {self.dataset.name} with "
                f"input_resize {config.resize} have none; leave --data.input_resize out, or choose another method"
            )
        return AdaptationImages(self.dataset, pool, self.test.shot, self.seed, adaptation, config)

    def whole_validation(self) -> DataLoader[EpisodeBatch]:
        test, config = self.validated, self._loading(self.validated.protocol.view)
        data = ManifestEpisodes(test.protocol.draw, test.data, self._validation_order(), config)
        return self._loader(data, batch_size=self.loading.eval_batch_size)

    @property
    def _training_view(self) -> View:
        """The view of training episodes, whose loss is taken where the image lies."""
        view = self.protocol.view.training
        letterbox = input_rule(view.resize, self.input_resize) == "letterbox"
        return replace(view, label_resize="letterbox") if letterbox else view

    def _loading(self, view: View) -> LoadingConfig:
        return LoadingConfig(
            self.image_size, view, self.loading.cache_bytes, input_resize=self.input_resize, hints=self.needs.hints
        )

    @property
    def test_loading(self) -> LoadingConfig:
        """Settings by which test episodes are loaded; only test supports may have weaker labels than masks."""
        is_other = self.support_annotation in WEAK or self._tells_all_ways
        return replace(
            self._loading(self.protocol.view),
            annotation=self.support_annotation if is_other else "mask",
            annotation_seed=self.manifest.header.seed or 0,  # episodes that are seeded with their number have none
            kept_support=self.test.kept_support,
        )

    def _evaluation_loader(
        self,
        dataset: SegmentationData,
        draw: Draw,
        episodes: Sequence[Episode],
        config: LoadingConfig,
        once: bool = False,
    ) -> DataLoader[EpisodeBatch]:
        """Return this rank's share of the episodes; those of the test are read `once`, images are then forgotten."""
        sampler = ContiguousDistributedSampler(len(episodes))
        share = sampler.share
        next_shown = dict(zip(share, next_uses(episodes[share.start : share.stop]), strict=True)) if once else {}
        known = self.needs.classes
        classes = WayClasses(self.manifest, known) if once and known != "unknown" else None
        data = ManifestEpisodes(draw, dataset, episodes, config, next_shown, classes)
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


def _files(dataset: SegmentationData, names: Sequence[str]) -> list[Path]:
    """Return the image files of `names`, their label files, and those that all images follow from."""
    return [*map(dataset.image_path, names), *map(dataset.label_file, names), *dataset.further_files]
