"""Draw an endless stream of labelled scenes of the pre-training classes, none of which the demo shows.

Shapes: B scenes, T = 256 patches of the 16 x 16 grid, C = 100 classes.
"""

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fsbench.data.label_maps import resize_labels
from fsbench.data.transforms import resize_image
from fsbench.datamodules.datasets.demo.classes import PRETRAIN_START, object_class
from fsbench.datamodules.datasets.demo.dataset import OBJECTS
from fsbench.datamodules.datasets.demo.patterns import PATTERNS
from fsbench.datamodules.datasets.demo.scenes import VOID, draw_scene
from fsbench.datamodules.datasets.demo.shapes import SHAPES
from fsbench.networks.backbones.timm_networks import DEMO_IMAGE_SIZE, DEMO_TABLE_SIDE, DEMO_VIT

CLASSES = 100
"""Number of pre-training classes."""
MEAN = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
STD = torch.tensor([0.229, 0.224, 0.225])[:, None, None]


@dataclass(frozen=True)
class Batch:
    """Scenes and the contents of their patches.

    Attributes:
        pixels: (B, 3, 128, 128) normalised.
        shares: (B, T, 1 + C) share of the patch that shows the background and each class, void left out; rows sum to 1.
        weights: (B, T) share of the patch that is not void.
        present: (B, C) 1 where the scene shows the class.
    """

    pixels: Tensor
    shares: Tensor
    weights: Tensor
    present: Tensor


class SceneStream:
    """Batches from a pool of scenes whose oldest are replaced with every batch.

    Drawing a scene takes a third of the time of learning from it, so each is used several times, mirrored at random.

    Args:
        seed: seed of the scenes and their order.
        pool: number of scenes kept.
        reuse: how often a scene is used on average.
    """

    def __init__(self, seed: int, pool: int = 2000, reuse: int = 4):
        self.seed = seed
        self.reuse = reuse
        self.drawn = 0
        self.rng = np.random.RandomState([seed, 0])
        self.images = torch.empty(pool, 3, DEMO_IMAGE_SIZE, DEMO_IMAGE_SIZE, dtype=torch.uint8)
        self.labels = torch.empty(pool, DEMO_IMAGE_SIZE, DEMO_IMAGE_SIZE, dtype=torch.uint8)
        for _ in range(pool):
            self._draw()

    def batch(self, size: int) -> Batch:
        """Return `size` scenes drawn from the pool."""
        for _ in range(-(-size // self.reuse)):
            self._draw()
        rows = torch.from_numpy(self.rng.permutation(len(self.images))[:size])
        images, labels = self.images[rows], self.labels[rows]
        mirrored = torch.from_numpy(self.rng.uniform(size=size) < 0.5)
        images[mirrored], labels[mirrored] = images[mirrored].flip(-1), labels[mirrored].flip(-1)
        return targets(images, labels)

    def _draw(self) -> None:
        """Replace the oldest scene of the pool."""
        count = int(self.rng.choice(len(OBJECTS), p=OBJECTS)) + 1
        classes = self.rng.permutation(CLASSES)[:count] + PRETRAIN_START
        image, labels = draw_scene([self.seed, 1, self.drawn], classes.tolist())
        row = self.drawn % len(self.images)
        self.images[row] = resize_image(Image.fromarray(image), DEMO_IMAGE_SIZE)
        self.labels[row] = torch.from_numpy(resize_labels(_slots()[labels], DEMO_IMAGE_SIZE, DEMO_IMAGE_SIZE))
        self.drawn += 1


def _slots() -> np.ndarray:
    """Return the table (256,) uint8 from class numbers to 1..C; background and void stay."""
    slots = np.zeros(256, np.uint8)
    slots[PRETRAIN_START : PRETRAIN_START + CLASSES] = np.arange(1, CLASSES + 1)
    slots[VOID] = VOID
    return slots


def targets(images: Tensor, labels: Tensor) -> Batch:
    """Make a batch of scenes (B, 3, 128, 128) and label maps (B, 128, 128) of slots 0..C, both uint8."""
    patch = DEMO_VIT["patch_size"]
    cells = labels.long().unfold(1, patch, patch).unfold(2, patch, patch).reshape(len(labels), DEMO_TABLE_SIDE**2, -1)
    counts = torch.zeros(*cells.shape[:2], 256).scatter_add_(2, cells, torch.ones(cells.shape))[..., : CLASSES + 1]
    seen = counts.sum(-1)
    return Batch(
        pixels=(images.float() / 255 - MEAN) / STD,
        shares=counts / seen.clamp(min=1)[..., None],
        weights=seen / patch**2,
        present=(counts.sum(1)[:, 1:] > 0).float(),
    )


def attributes() -> tuple[Tensor, Tensor]:
    """Return one-hot shapes (1 + C, 1 + shapes) and patterns (1 + C, 1 + patterns) of the classes, background first."""
    kinds = [object_class(number) for number in range(PRETRAIN_START, PRETRAIN_START + CLASSES)]
    shapes = torch.tensor([0, *(1 + list(SHAPES).index(kind.shape) for kind in kinds)])
    patterns = torch.tensor([0, *(1 + list(PATTERNS).index(kind.pattern) for kind in kinds)])
    return torch.eye(1 + len(SHAPES))[shapes], torch.eye(1 + len(PATTERNS))[patterns]
