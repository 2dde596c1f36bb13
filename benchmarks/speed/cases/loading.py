"""One loader process of the suite beside the plain loader of the authors' programs, in seconds of ten episodes.

The plain loader does for every image of every episode what those programs do: PIL decodes, torchvision resizes,
converts and normalises; the mask is decoded from its PNG and resized by torch. Both give the same pixels and labels,
which is checked first. The suite keeps what it decoded, from nothing at the start of each case; the samples fit into
that, and the median leaves out the turn in which it fills its memory. Its images leave the loader as 8-bit pixels and
are normalised on the device.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import default_collate
from torchvision import transforms

from benchmarks.speed.harness import Case, sample_folder
from fsbench.data.batch import IMAGENET_MEAN, IMAGENET_STD, EpisodeBatch, collate
from fsbench.data.episodes.episode import Episode
from fsbench.data.episodes.evaluation_order import evaluation_order
from fsbench.datamodules.datasets.pascal import Pascal
from fsbench.datamodules.episodic import EpisodicDataModule
from fsbench.datamodules.loading.items import LoadingConfig, load_episode
from fsbench.datamodules.options import EpisodicTest
from fsbench.protocols.episode_rules.hsnet import draw_episode
from fsbench.protocols.view import View

BLOCK = 10
"""Episodes that each loader takes before it is the next one's turn."""


class PlainLoader:
    """Loader of one sample at a time that keeps nothing."""

    def __init__(self, data: Pascal, size: int):
        self.data = data
        self.size = size
        normalise = transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD)
        self.transform = transforms.Compose([transforms.Resize((size, size)), transforms.ToTensor(), normalise])

    def load(self, episode: Episode, training: bool) -> dict[str, Tensor]:
        """Return images (3, S, S) float32 normalised and masks uint8; void is background (fscs-protocol §6)."""
        labels = self.label_map(episode.query)
        presence = torch.tensor([bool((labels == number).any()) for number in episode.classes])
        if training:
            labels = self.resized(labels)
        query_mask = torch.zeros(labels.shape, dtype=torch.uint8)
        for n, number in enumerate(episode.classes, 1):
            query_mask[labels == number] = n
        images, masks = [], []
        for number, way in zip(episode.classes, episode.supports, strict=True):
            images.append(torch.stack([self.image(name) for name in way]))
            masks.append(torch.stack([self.resized(self.label_map(name)) == number for name in way]))
        sample = {"query": self.image(episode.query), "query_mask": query_mask, "presence": presence}
        return default_collate([sample | {"supports": torch.stack(images), "support_masks": torch.stack(masks)}])

    def image(self, name: str) -> Tensor:
        """Return an image (3, S, S) float32, normalised."""
        image = Image.open(self.data.image_path(name)).convert("RGB")
        image = image.resize((self.size, image.height), Image.Resampling.BILINEAR)  # as the suite does: the order shows
        return self.transform(image)

    def resized(self, labels: Tensor) -> Tensor:
        """Resize a label map (h, w) to (S, S)."""
        shape = (self.size, self.size)
        return torch.nn.functional.interpolate(labels[None, None].float(), shape, mode="nearest")[0, 0]

    def label_map(self, name: str) -> Tensor:
        """Decode the label map (h, w) of an image."""
        return torch.from_numpy(np.array(Image.open(self.data.label_file(name))))


def check_equal(plain: dict[str, Tensor], ours: EpisodeBatch) -> None:
    """Raise AssertionError unless both loaded the same episode."""
    truth = ours.known_truth()
    label_map = truth.label_maps[0]
    pixels = {row: ours.pixels(row) for row in range(len(ours.images))}
    assert torch.equal(plain["query"][0], pixels[int(ours.query[0])])
    assert torch.equal(plain["query_mask"][0], torch.where(label_map == 255, 0, label_map))
    assert torch.equal(plain["presence"], truth.presence)
    assert torch.equal(plain["support_masks"], ours.support_masks)
    for image, row in zip(plain["supports"].flatten(0, 2), ours.support.flatten().tolist(), strict=True):
        assert torch.equal(image, pixels[row])


def our_loader(data: EpisodicDataModule, training: bool) -> Callable[[Episode], EpisodeBatch]:
    """Return the suite's loader, which keeps up to 1 GiB of decoded images and has kept nothing yet."""
    config = LoadingConfig(data.image_size, View(query_size="input" if training else "original"), 2**30)
    files = config.files(data.dataset)

    def load(episode: Episode) -> EpisodeBatch:
        return collate([load_episode(data.dataset, episode, config, files)])

    return load


def training_episodes(data: EpisodicDataModule) -> list[Episode]:
    """Draw 1-way 1-shot episodes of base classes for three turns, queries in random order."""
    pool = data.training_pool
    order = np.random.RandomState(0).randint(len(pool.pairs), size=3 * BLOCK)
    return [draw_episode(int(i), np.random.RandomState(i), pool, way=1, shot=1, background=True) for i in order]


def cases(device: torch.device, root: str | None = None, size: int = 384, fold: int = 1) -> Iterator[Case]:
    """Compare loaders on the PASCAL in `--root`, or on a small sample of it."""
    dataset = Pascal(sample_folder(root, "--root", "voc-mini"))
    torch.set_num_threads(1)
    for kind, way, shot in (("training", 1, 1), ("evaluation", 1, 1), ("evaluation", 2, 5)):
        test = EpisodicTest(fold=fold, way=way, shot=shot, episodes=1000, drop_small=True)
        data = EpisodicDataModule(dataset, test, image_size=size)
        training = kind == "training"
        episodes = training_episodes(data) if training else evaluation_order(data.manifest.episodes)[: 3 * BLOCK]
        plain = partial(PlainLoader(dataset, size).load, training=training)
        loaders: dict[str, Callable[[Episode], object]] = {
            "PIL, torchvision and torch": plain,
            "suite": our_loader(data, training),
        }
        paths = {name: partial(_load_block, load, episodes) for name, load in loaders.items()}
        equal = partial(check_loaders, plain, our_loader(data, training), episodes[: 2 * BLOCK])
        what = f"{dataset.name}, {kind}, {way}-way {shot}-shot, {size} pixels, {BLOCK} episodes"
        yield Case(what, paths, equal, takes_turn=True)


def _load_block(load: Callable[[Episode], object], episodes: Sequence[Episode], turn: int) -> None:
    """Load the episodes of a turn; the first ones again where there are no more."""
    for number in range(turn * BLOCK, (turn + 1) * BLOCK):
        load(episodes[number % len(episodes)])


def check_loaders(
    plain: Callable[[Episode], dict[str, Tensor]], load: Callable[[Episode], EpisodeBatch], episodes: Sequence[Episode]
) -> float:
    """Return 0 where the suite and the plain loader give the same, from files and from memory; else AssertionError."""
    for episode in [*episodes, *episodes]:
        check_equal(plain(episode), load(episode))
    return 0.0
