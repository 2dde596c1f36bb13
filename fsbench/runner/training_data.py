"""`fsbench.load_training`: fsbench's training episodes as plain tensors, for a user's training loop."""

from collections.abc import Sequence
from dataclasses import replace
from inspect import signature
from numbers import Integral
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from fsbench.base.errors import SettingsError, known_names
from fsbench.data.batch import EpisodeBatch
from fsbench.data.batch import normalise as normalise_by_imagenet
from fsbench.data.episodes.task import Task, takes_task
from fsbench.datamodules.loading.augment import SCALE_FACTORS, named_augmentation
from fsbench.datamodules.loading.episodes import TrainingEpisodes
from fsbench.datamodules.loading.items import LoadingConfig
from fsbench.protocols.reading import load_segmentation
from fsbench.runner.config.datasets import open_dataset
from fsbench.runner.config.registry import check_known, task_of

Normalisation = Literal["imagenet", "none"] | tuple[Sequence[float], Sequence[float]]
"""How colours become numbers: ImageNet's statistics, as they are, or (mean, std) of red, green and blue in 0..1."""


class TrainingData(Dataset[dict[str, Tensor]]):
    """Training episodes as dictionaries of tensors, for a `torch.utils.data.DataLoader` (see `load_training`).

    Args:
        episodes: the episodes that are drawn.
        normalisation: the normalisation of the images.
    """

    def __init__(self, episodes: TrainingEpisodes, normalisation: Normalisation):
        self.episodes, self.normalisation = episodes, normalisation
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # workers that stay alive see it, too

    def set_epoch(self, epoch: int) -> None:
        """Set the number of the epoch, from 0, whose episodes are returned; call it before each epoch.

        Raises SettingsError for a negative number.
        """
        if epoch < 0:
            raise SettingsError(f"epoch is {epoch}, expected 0 or more")
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.episodes)

    def __getitem__(self, place: int) -> dict[str, Tensor]:
        """Return an episode of the epoch. Raises IndexError beyond the last, and DataError for unusable files."""
        if not -len(self) <= place < len(self):
            raise IndexError(f"episode {place} of {len(self)}")
        episode = self.episodes[int(self._epoch), place % len(self)]
        images, truth = self._images(episode), episode.known_truth()
        return {
            "query_img": images[episode.query[0]],
            "query_mask": truth.label_maps[0],
            "support_imgs": images[episode.support[0, 0]],
            "support_masks": episode.support_labels[0, 0],
            "class_id": truth.classes[0, 0].long(),
        }

    def _images(self, episode: EpisodeBatch) -> Tensor:
        if isinstance(self.normalisation, str) and self.normalisation == "none":
            return episode.images
        if self.normalisation == "imagenet":
            return normalise_by_imagenet(episode.images)
        mean, std = (torch.tensor(values, dtype=torch.float32)[:, None, None] for values in self.normalisation)
        return (episode.images.float() / 255 - mean) / std


@takes_task(trains=True)
def load_training(
    dataset: str,
    *,
    root: str | Path | None = None,
    lists: Sequence[str | Path] = (),
    protocol: str = "fscs",
    size: int = 473,
    augmentation: Literal["none", "pascal", "coco", "base_learner", "pascal_resized", "coco_resized"] = "none",
    normalise: Normalisation = "imagenet",
    filter_novel: bool | None = None,
    cache_mib: int = 0,
    **task: Any,
) -> TrainingData:
    """Open 1-way training episodes of base classes for your own training loop.

    Item i of an epoch depends only on the seed, the epoch and i. Let the loader shuffle, `DataLoader(data, 8,
    shuffle=True)`, and call `data.set_epoch(e)` before epoch e.

    Args:
        dataset: name of a segmentation data set (see `fsbench list`).
        root: folder of the data, instead of `data/<name>`.
        lists: folders with official list files.
        protocol: name of the published test that determines base classes, images and how images are resized.
        size: side S of the images in pixels.
        augmentation: random changes of images. "pascal" and "coco" are those of PFENet's code with its scale factors
            for these data sets; "pascal_resized" and "coco_resized" resize to the final size instead of cropping;
            "base_learner" are those of BAM's base learner. With "none" images are resized by the protocol's rule.
        normalise: "imagenet"; "none" for values 0 to 255, as uint8 or, for augmented images, float32; or (mean, std),
            each a triple for red, green and blue in the range 0 to 1.
        filter_novel: whether to leave out images that show a novel class (True), or to keep them with that class as
            background (False); None does what the protocol does.
        cache_mib: memory in MiB, in each loading process, for decoded images; used for images that are not augmented.
        **task: fields of a `Task`: `fold` (its classes are not trained on), `shot`, `empty`, `drop_small`, and `seed`
            of the episodes and their random changes (default 0).

    Returns:
        The data; each item is a dictionary with `query_img` (3, S, S) float32, `query_mask` (S, S) uint8 with 1 on the
        class and 255 on void, `support_imgs` (K, 3, S, S), `support_masks` (K, S, S) and `class_id` () int64, the
        number of the class from 1.

    Raises:
        SettingsError: a name is unknown, or a value is not allowed.
        DataError: files of the data set are missing or invalid.

    Examples:
        >>> import fsbench
        >>> train = fsbench.load_training("demo", size=64, shot=2)
        >>> item = train[0]
        >>> list(item)
        ['query_img', 'query_mask', 'support_imgs', 'support_masks', 'class_id']
        >>> tuple(item["query_img"].shape), tuple(item["support_masks"].shape)
        ((3, 64, 64), (2, 64, 64))
    """
    asked = Task.chosen(task, "a training", trains=True, usual={"seed": 0}, beside=signature(load_training).parameters)
    _check(size, cache_mib, augmentation, normalise)
    check_known("data", "data set", dataset)
    if task_of("data", dataset) != "segmentation":
        raise SettingsError(f"{dataset} is a data set of classification; expected one of segmentation")
    rules = load_segmentation(protocol)
    data = rules.draw.data(open_dataset(dataset, root, [str(folder) for folder in lists]), asked.fold, asked.shot)
    asked = replace(asked, empty=asked.empty and rules.draw.empty_queries)
    pool = rules.training_pool(data, asked, filter_novel)
    config = LoadingConfig(size, rules.view.training, cache_mib * 2**20)
    changes = named_augmentation(augmentation, size)
    episodes = TrainingEpisodes(data, pool, config, asked.empty, asked.seed or 0, asked.shot, changes)
    return TrainingData(episodes, normalise)


def _check(size: int, cache_mib: int, augmentation: str, normalisation: Normalisation) -> None:
    """Raise SettingsError for a value that no data set could have."""
    for name, (value, lowest) in {"size": (size, 1), "cache_mib": (cache_mib, 0)}.items():
        if isinstance(value, bool) or not isinstance(value, Integral) or value < lowest:
            raise SettingsError(f"{name} is {value!r}, expected a whole number from {lowest}")
    known = ("none", *SCALE_FACTORS)
    if augmentation not in known:
        raise SettingsError(f"unknown augmentation '{augmentation}'{known_names(str(augmentation), known)}")
    if isinstance(normalisation, str) and normalisation in ("imagenet", "none"):
        return
    try:
        colours = np.array(normalisation, float)
    except (TypeError, ValueError):
        colours = np.array(())
    if colours.shape != (2, 3) or not (np.isfinite(colours).all() and colours[1].all()):
        found = " ".join(str(normalisation).split())[:60]
        raise SettingsError(
            f"normalise is {found}, expected imagenet, none or (mean, std) of three colours each, no std being 0"
        )
