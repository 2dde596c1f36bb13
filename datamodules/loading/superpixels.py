"""Training episodes of ALPNet: a superpixel of a slice, and the same slice changed at random in another way.

Nothing of them is labelled by people (alpnet.md §6.2, §6.3).
"""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from scipy import ndimage
from torch.utils.data import Dataset

from fsbench.base.errors import DataError
from fsbench.data.batch import EpisodeBatch, Truth
from fsbench.data.image_io import image_intensities
from fsbench.data.label_maps import resize_labels
from fsbench.data.transforms import resize_intensities
from fsbench.data.volumes import VolumeData
from fsbench.data.warping import warp
from fsbench.protocols.draws.whole_images import BACKGROUND

DEGREES = SHIFT = SHEAR = 5.0  # of a rotation in degrees, in pixels, and of a shear in degrees, §6.3
ZOOM, GAMMA = (0.9, 1.2), (0.5, 1.5)  # §6.3
ELASTIC, KERNEL, SIGMA = 10.0, 21, 5.0  # factor of the smoothed field, and what smooths it, §6.3
SMALL = 1e-5
TRIES = 100  # slices that are looked at for an item, as a multiple of their number


class SuperpixelEpisodes(Dataset[EpisodeBatch]):
    """1-way 1-shot training episodes of unlabelled slices of scans, each with a superpixel in the role of the class.

    Args:
        data: the data set.
        names: names of the slices of the training scans, scan by scan.
        avoided: slices that are not trained on, such as those that show a test class; another slice replaces each.
        length: number of items of an epoch, which goes through the slices again and again; None for one item of each
            slice.
        size: side S of the images.
        seed: the seed of all random draws; item (epoch, i) depends on (seed, epoch, i) alone.

    Raises:
        DataError: there is no slice, or only avoided ones.
    """

    def __init__(
        self, data: VolumeData, names: Sequence[str], avoided: frozenset[str], length: int | None, size: int, seed: int
    ):
        if len(avoided) >= len(names):
            raise DataError(
                f"{data.name} has {len(names)} slices of scans to train on, {len(avoided)} of which show a class of "
                "the test; expected some without; add scans, or give --data.training.filter_novel false"
            )
        data.prepare_intensities()
        data.prepare_superpixels(names)
        self.data, self.names, self.avoided, self.size, self.seed = data, names, avoided, size, seed
        self.length = len(names) if length is None else length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, item: tuple[int, int]) -> EpisodeBatch:
        epoch, i = item
        rng = np.random.default_rng([self.seed, 2, epoch, i])
        name, regions = self._slice(i, rng)
        number = rng.integers(1, regions.max())  # the largest number is never drawn; it may be that of no pixel
        image = resize_intensities(image_intensities(self.data, name), self.size)[0].numpy()
        mask = resize_labels((regions == number).astype(np.uint8), self.size, self.size)
        support, query = (change(image, mask, rng) for _ in range(2))
        labels = torch.from_numpy(query[1])
        return EpisodeBatch(
            images=torch.from_numpy(np.stack([query[0], support[0]]))[:, None].repeat(1, 3, 1, 1),
            image_names=[name, name],
            query=torch.zeros(1, dtype=torch.int64),
            support=torch.ones(1, 1, 1, dtype=torch.int64),
            support_labels=torch.from_numpy(support[1])[None, None, None],
            valid=torch.ones(1, 1, 1, dtype=torch.bool),
            query_sizes=torch.tensor([labels.shape]),
            episodes=torch.tensor([i]),
            truth=Truth([labels], (labels == 1).any()[None, None], torch.tensor([[BACKGROUND]])),
            recurs=False,
        )

    def _slice(self, i: int, rng: np.random.Generator) -> tuple[str, np.ndarray]:
        """Return the slice of item `i` and its superpixels: the next one with several, another where it is avoided.

        The authors' draw of another leaves out the last number of an epoch (§6.2).
        """
        for _ in range(TRIES * len(self.names)):
            name = self.names[i % len(self.names)]
            regions = self.data.superpixels(name)
            if regions.max() < 2:
                i += 1
            elif name in self.avoided:
                i = int(rng.integers(max(self.length - 1, 1)))
            else:
                return name, regions
        raise DataError(
            f"none of the {len(self.names)} slices of {self.data.name} to train on was found to have two superpixels"
            f"{' and no class of the test' if self.avoided else ''}; expected superpix-MIDDLE_<id>.nii.gz with numbers "
            "from 1; prepare the data again"
        )


def change(image: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Augment an image with its mask: rotation, shift, shear, zoom, elastic deformation, and the image's contrast.

    Args:
        image: (S, S) float32, normalised.
        mask: (S, S) uint8, 1 the object.
        rng: the random generator.

    Returns:
        Image (S, S) float32 and mask (S, S) uint8.
    """
    side = image.shape[0]
    planes = np.dstack([image, mask == 0, mask == 1]).astype(np.float32)
    turned = warp(planes, affine_matrix(side, rng)[:2], (side, side), cv2.INTER_LINEAR)
    rows, columns = np.mgrid[:side, :side] + displacements(side, rng)
    bent = [
        ndimage.map_coordinates(plane, [rows, columns], order=1, mode="reflect") for plane in turned.transpose(2, 0, 1)
    ]
    return change_contrast(bent[0], rng.uniform(*GAMMA)), np.rint(bent[1:]).argmax(0).astype(np.uint8)


def affine_matrix(side: int, rng: np.random.Generator) -> np.ndarray:
    """Draw an affine matrix (3, 3): rotation about the middle, then shift, shear and zoom about a corner."""
    angle, shear = rng.uniform(-DEGREES, DEGREES), np.deg2rad(rng.uniform(-SHEAR, SHEAR))
    rotation = np.vstack([cv2.getRotationMatrix2D((side / 2, side // 2), angle, 1), [0, 0, 1]])
    shift, sheared = np.eye(3), np.eye(3)
    shift[:2, 2] = rng.uniform(-SHIFT, SHIFT, 2)
    sheared[0, 1] = np.tan(shear)
    zoom = rng.uniform(*ZOOM)
    return np.diag([zoom, zoom, 1]) @ sheared @ shift @ rotation


def displacements(side: int, rng: np.random.Generator) -> np.ndarray:
    """Draw how far in pixels each pixel of a square moves, down and across: (2, S, S), for an elastic deformation."""
    fields = rng.uniform(-1, 1, (2, side, side))
    return np.stack([ELASTIC * cv2.GaussianBlur(field, (KERNEL, KERNEL), SIGMA) for field in fields])


def change_contrast(image: np.ndarray, gamma: float) -> np.ndarray:
    """Apply a power `gamma` to an image's values, scaled to 0..1 over their range; the range stays the same."""
    low = image.min()
    width = image.max() - low + SMALL
    return np.asarray(width * ((image - low + SMALL) / width) ** gamma + low, dtype=np.float32)
