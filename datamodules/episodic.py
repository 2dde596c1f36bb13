"""The one data module: episodes of any dataset, for training, validation and test, on any number of ranks."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import lightning as L
import numpy as np
import torch
import torch.distributed
from torch.utils.data import DataLoader, Dataset, Sampler

from datamodules.decoding import DecodedFiles
from fsbench.annotations import AnnotationIndex
from fsbench.checkpoints import TRAINED_ON
from fsbench.episodes import EpisodeBatch, Truth, collate
from fsbench.errors import DataError, SettingsError
from fsbench.manifest import Manifest, Task, build_manifest, training_pool
from fsbench.order import evaluation_order
from fsbench.preprocess import resize_labels, way_labels
from fsbench.protocol import load_protocol
from fsbench.records import fingerprint
from fsbench.samplers import Episode, Pool, draw_episode


def load_episode(
    index: AnnotationIndex, episode: Episode, image_size: int, *, training: bool, files: DecodedFiles | None = None
) -> EpisodeBatch:
    """One episode (a batch of one). The query's label map is resized in training only.

    `files` remembers decoded files of `index` for later episodes. Raises DataError naming the file that cannot be
    decoded or whose mask has another size.
    """
    files = files or DecodedFiles(index)
    names = list(dict.fromkeys([episode.query, *(name for way in episode.supports for name in way)]))
    rows = {name: row for row, name in enumerate(names)}
    images, labels = [], {}
    for name in names:
        image, labels[name] = files.decoded(name, image_size)
        images.append(image)
    query = way_labels(labels[episode.query], episode.classes)
    present = [n in query for n in range(1, len(episode.classes) + 1)]  # anywhere at original size, also in training
    support_labels = [
        [resize_labels(way_labels(labels[name], [number]), image_size, image_size) for name in way]
        for number, way in zip(episode.classes, episode.supports, strict=True)
    ]
    target = resize_labels(query, image_size, image_size) if training else query
    support = torch.tensor([[[rows[name] for name in way] for way in episode.supports]])
    return EpisodeBatch(
        images=torch.stack(images),
        image_names=names,
        query=torch.zeros(1, dtype=torch.int64),
        support=support,
        support_labels=torch.from_numpy(np.array([support_labels])),
        valid=torch.ones(support.shape, dtype=torch.bool),
        query_sizes=torch.tensor([query.shape]),
        episodes=torch.tensor([episode.index]),
        truth=Truth([torch.from_numpy(target)], torch.tensor([present]), torch.tensor([episode.classes])),
    )


class ManifestEpisodes(Dataset[EpisodeBatch]):
    """The episodes of a manifest."""

    def __init__(self, files: DecodedFiles, episodes: Sequence[Episode], image_size: int):
        self.files = files
        self.episodes = episodes
        self.image_size = image_size

    def __len__(self) -> int:
        return len(self.episodes)

    def __getitem__(self, i: int) -> EpisodeBatch:
        return load_episode(self.files.index, self.episodes[i], self.image_size, training=False, files=self.files)


class TrainingEpisodes(Dataset[EpisodeBatch]):
    """1-way 1-shot episodes drawn on the fly; item (epoch, i) is a function of (seed, epoch, i) alone.

    An epoch has one item per training pair where queries are listed (PASCAL), else one per distinct training image
    (COCO, fscs-protocol §3).
    """

    def __init__(self, files: DecodedFiles, pool: Pool, image_size: int, empty: bool, seed: int):
        self.files = files
        self.pool = pool
        self.image_size = image_size
        self.empty = empty
        self.seed = seed

    def __len__(self) -> int:
        listed = self.pool.query_rule == "listed"
        return len(self.pool.pairs) if listed else len({name for name, _ in self.pool.pairs})

    def __getitem__(self, item: tuple[int, int]) -> EpisodeBatch:
        epoch, i = item
        rng = np.random.RandomState([self.seed, 1, epoch, i])
        episode = draw_episode(i, rng, self.pool, way=1, shot=1, empty=self.empty)
        return load_episode(self.files.index, episode, self.image_size, training=True, files=self.files)


class EpochShuffle(Sampler[tuple[int, int]]):
    """(epoch, item) in an order that depends on (seed, epoch) alone; ranks take turns, the last round is filled up from
    the start so that all ranks make equally many steps. Lightning calls `set_epoch`."""

    def __init__(self, length: int, seed: int):
        self.length = length
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.length // ranks()[1])

    def __iter__(self) -> Iterator[tuple[int, int]]:
        rank, world = ranks()
        order = np.random.RandomState([self.seed, 0, self.epoch]).permutation(self.length)
        filled = np.resize(order, len(self) * world)
        return ((self.epoch, int(i)) for i in filled[rank::world])


class RankShare(Sampler[int]):
    """Each item exactly once over all ranks: rank r takes a contiguous share, without padding."""

    def __init__(self, length: int):
        self.length = length

    def _share(self) -> range:
        rank, world = ranks()
        return range(self.length * rank // world, self.length * (rank + 1) // world)

    def __len__(self) -> int:
        return len(self._share())

    def __iter__(self) -> Iterator[int]:
        return iter(self._share())


def _at_least(lowest: int, settings: dict[str, int | None]) -> None:
    for name, value in settings.items():
        if value is not None and value < lowest:
            raise SettingsError(f"{name} is {value}, expected {lowest} or more")


def _size(path: Path) -> int:
    """Bytes; -1 where there is no file, which decoding will say."""
    try:
        return path.stat().st_size
    except OSError:
        return -1


def ranks() -> tuple[int, int]:
    """(rank, number of ranks) of this process."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1


class EpisodicDataModule(L.LightningDataModule):
    """Episodes of one dataset, fold and setting.

    Way, shot, fold and protocol live here and not in the method, so that a checkpoint's hyper-parameters cannot
    override them.

    Args:
        dataset: the annotation index.
        protocol: name in configs/protocols.
        fold: fold whose classes are novel.
        way, shot: N and K of the test; training and validation are 1-way 1-shot.
        setting: one of `fsbench.manifest.SETTINGS`.
        empty_masks: queries may show none of the support classes (false for methods that only segment).
        image_size: side S that images are resized to.
        batch_size: training episodes per step and process.
        eval_batch_size: evaluation episodes loaded at once; figures do not depend on it.
        workers: loader processes.
        episodes: test episodes instead of the protocol's number.
        validation_episodes: validation episodes instead of the protocol's number.
        validation: classes of the validation episodes, which choose the checkpoint: "novel" is the official choice
            (the test classes themselves), "base" keeps them unseen.
        seed: of the training episodes; test episodes have the protocol's seeds.
        drop_small_classes: leave out classes with too few images instead of stopping.
        cache_mib: memory for decoded images and label maps, shared equally by the `workers` of a loader; figures do not
            depend on it.
    """

    def __init__(
        self,
        dataset: AnnotationIndex,
        protocol: str = "fscs",
        fold: int = 0,
        way: int = 1,
        shot: int = 1,
        setting: str = "original",
        empty_masks: bool = True,
        image_size: int = 700,
        batch_size: int = 9,
        eval_batch_size: int = 1,
        workers: int = 2,
        episodes: int | None = None,
        validation_episodes: int | None = None,
        validation: Literal["novel", "base"] = "novel",
        seed: int = 0,
        drop_small_classes: bool = False,
        cache_mib: int = 1024,
    ):
        super().__init__()
        counts = {"batch_size": batch_size, "eval_batch_size": eval_batch_size, "episodes": episodes}
        _at_least(1, counts | {"validation_episodes": validation_episodes})
        _at_least(0, {"workers": workers, "seed": seed, "cache_mib": cache_mib})
        self.allow_zero_length_dataloader_with_multiple_devices = True  # fewer episodes left than processes
        self.dataset = dataset
        self.protocol = load_protocol(protocol)
        self.fold = fold
        self.way, self.shot = way, shot
        self.setting = setting
        self.empty_masks = empty_masks
        self.image_size = image_size
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.workers = workers
        self.episodes = episodes
        self.validation_episodes = validation_episodes
        self.validation = validation
        self.seed = seed
        self.drop_small_classes = drop_small_classes
        self.cache_mib = cache_mib
        self.done: frozenset[int] = frozenset()
        """Test episodes that are finished already (an interrupted evaluation)."""

    @cached_property
    def manifest(self) -> Manifest:
        """The test episodes."""
        task = Task(
            self.fold,
            self.way,
            self.shot,
            self.setting,
            self.empty_masks,
            "novel",
            self.episodes,
            self.drop_small_classes,
        )
        return build_manifest(self.dataset, self.protocol, task)

    @cached_property
    def validation_manifest(self) -> Manifest:
        """1-way 1-shot episodes that choose the checkpoint."""
        count = self.validation_episodes or self.protocol.validation_episodes
        task = Task(self.fold, 1, 1, "original", self.empty_masks, self.validation, count, self.drop_small_classes)
        return build_manifest(self.dataset, self.protocol, task)

    @cached_property
    def training_pool(self) -> Pool:
        return training_pool(self.dataset, self.fold, self.drop_small_classes, self.empty_masks)

    @property
    def training_lists(self) -> str:
        """Where the lists of base classes come from."""
        return self.dataset.pair_list("trn", self.fold).origin

    @cached_property
    def files_sha256(self) -> str:
        """Of names and sizes of the test episodes' images and label files: exchanged files make another run."""
        episodes = self.manifest.episodes
        names = {name for e in episodes for name in (e.query, *(name for way in e.supports for name in way))}
        sizes = [(name, _size(self.dataset.image_path(name)), _size(self.dataset.label_file(name))) for name in names]
        return fingerprint(sorted(sizes))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        names = self.dataset.class_names
        checkpoint[TRAINED_ON] = {
            "dataset": self.dataset.name,
            "fold": self.fold,
            "classes": [names[number - 1] for number in self.training_pool.class_ids],
        }

    def check_unseen(self, trained_on: dict[str, Any], what: str) -> None:
        """Raise SettingsError when a checkpoint was trained on classes of this data set that the test is about."""
        novel = list(self.manifest.header["class_names"].values())
        seen = [name for name in novel if name in trained_on["classes"]]
        if trained_on["dataset"] == self.dataset.name and seen:
            raise SettingsError(
                f"{what} was trained on fold {trained_on['fold']} of {self.dataset.name}, whose base classes include "
                f"{', '.join(seen[:3])}: novel classes of fold {self.fold}; give the checkpoint of this fold"
            )

    def train_dataloader(self) -> DataLoader[EpisodeBatch]:
        episodes = TrainingEpisodes(self._files(), self.training_pool, self.image_size, self.empty_masks, self.seed)
        return self._loader(episodes, EpochShuffle(len(episodes), self.seed), self.batch_size)

    def val_dataloader(self) -> DataLoader[EpisodeBatch]:
        return self._evaluation_loader(evaluation_order(self.validation_manifest.episodes))

    def test_dataloader(self) -> DataLoader[EpisodeBatch]:
        """What is left of the manifest, in an order that encodes few images twice."""
        left = [episode for episode in self.manifest.episodes if episode.index not in self.done]
        return self._evaluation_loader(evaluation_order(left))

    def _calibration_pool(self) -> Pool:
        pool = self.training_pool
        enough = [number for number in pool.class_ids if len(pool.images_of.get(number, ())) > self.shot]
        if len(enough) < len(pool.class_ids) or len(enough) < self.way:
            raise DataError(
                f"{self.dataset.name} fold {self.fold} has {len(enough)} of {len(pool.class_ids)} base classes with "
                f"more than {self.shot} training images; expected all, and {self.way} or more, to calibrate on; lower "
                "WAY or SHOT"
            )
        return pool

    def calibration_episodes(self, count: int = 200) -> Iterator[EpisodeBatch]:
        """Labelled episodes of base classes in training images, with the test's N and K (classical-baselines §2.1)."""
        pool, files = self._calibration_pool(), self._files()
        for i in range(count):
            rng = np.random.RandomState(i)
            episode = draw_episode(i, rng, pool, way=self.way, shot=self.shot, empty=self.empty_masks)
            yield load_episode(self.dataset, episode, self.image_size, training=False, files=files)

    def _files(self) -> DecodedFiles:
        """An empty memory of decoded files for one loader, as big as each of its processes may have it."""
        return DecodedFiles(self.dataset, self.cache_mib * 2**20 // max(self.workers, 1))

    def _evaluation_loader(self, episodes: Sequence[Episode]) -> DataLoader[EpisodeBatch]:
        data = ManifestEpisodes(self._files(), episodes, self.image_size)
        return self._loader(data, RankShare(len(data)), self.eval_batch_size)

    def _loader(
        self, data: Dataset[EpisodeBatch], sampler: Sampler[int] | Sampler[tuple[int, int]], batch_size: int
    ) -> DataLoader[EpisodeBatch]:
        return DataLoader(
            data,
            batch_size,
            sampler=sampler,
            num_workers=self.workers,
            collate_fn=collate,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=self.workers > 0,
        )
