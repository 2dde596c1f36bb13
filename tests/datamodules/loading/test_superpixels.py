"""Training episodes of superpixels: what they are drawn from, and how image and mask are changed."""

import numpy as np
import pytest
import torch

from fsbench.base.errors import DataError, SettingsError
from fsbench.datamodules.datasets.chaost2 import ChaosT2
from fsbench.datamodules.datasets.folder import Folder
from fsbench.datamodules.loading.superpixels import (
    SuperpixelEpisodes,
    affine_matrix,
    change,
    change_contrast,
    displacements,
)
from fsbench.protocols.draws.superpixels import slices_with_test_classes, superpixel_pool
from tests.data_modules import episodic
from tests.drawn_volumes import draw_prepared

IDS = (1, 2, 3, 5, 8, 10, 13, 15)
SIDE = 64


@pytest.fixture(scope="module")
def volumes(tmp_path_factory):
    return ChaosT2(str(draw_prepared(tmp_path_factory.mktemp("chaos"), ids=IDS, slices=5, side=SIDE)))


def episodes(volumes, avoided=frozenset(), length=None, seed=0, names=None):
    names = superpixel_pool(volumes.in_fold(0, 1)).images if names is None else names
    return SuperpixelEpisodes(volumes, names, avoided, length, SIDE, seed)


def test_slices_are_those_of_scans_outside_the_fold(volumes):
    pool = superpixel_pool(volumes.in_fold(0, 1))
    assert pool.images == [f"{scan}/{z}" for scan in (10, 13, 15) for z in range(5)]
    assert list(pool.class_ids) == []
    shown = slices_with_test_classes(volumes, 0, pool.images)
    assert shown == {name for name in pool.images if np.isin(volumes.label_map(name), (2, 3)).any()}


def test_an_item_follows_from_seed_epoch_and_number_alone(volumes):
    one, other = episodes(volumes), episodes(volumes)
    other[1, 4]
    first, second = one[2, 7], other[2, 7]
    assert torch.equal(first.images, second.images) and torch.equal(first.support_labels, second.support_labels)
    others = [episodes(volumes, seed=1)[2, 7], one[1, 7], one[2, 6]]
    assert not any(torch.equal(first.images, changed.images) for changed in others)


def test_query_and_support_are_one_slice_changed_twice(volumes):
    item = episodes(volumes)[0, 3]
    assert item.images.shape == (2, 3, SIDE, SIDE) and item.images.dtype == torch.float32
    assert torch.equal(item.images[:, 0], item.images[:, 2])
    query, support = item.images[:, 0]
    assert not torch.equal(query, support)
    assert item.known_truth().label_maps[0].unique().tolist() in ([0], [0, 1])
    assert not item.recurs and len(set(item.image_keys)) == 2


def test_the_largest_number_is_never_drawn_and_an_epoch_may_be_longer_than_the_slices(volumes):
    items = episodes(volumes, length=40)
    assert len(items) == 40 and len(episodes(volumes)) == 15
    assert {items[0, i].image_names[0] for i in (1, 16, 31)} == {"10/1"}

    class Two(type(volumes)):
        def superpixels(self, name):
            return np.where(np.arange(SIDE)[:, None] < 20, 1, 2) * np.ones((SIDE, SIDE), dtype=np.int32)

    upper = [episodes(Two(str(volumes.root)))[0, i].support_labels[0, 0, 0] for i in range(6)]
    assert all(mask[8:14].float().mean() > 0.7 and not mask[40:].any() for mask in upper)


def test_slices_without_superpixels_are_passed_over_and_avoided_ones_drawn_anew(volumes):
    class Empty(type(volumes)):
        def superpixels(self, name):
            return super().superpixels(name) * (name not in ("10/1", "10/2"))

    items = episodes(Empty(str(volumes.root)))
    assert items[0, 1].image_names[0] == "10/3"
    names = superpixel_pool(volumes.in_fold(0, 1)).images
    found = {episodes(volumes, frozenset(names[1:]) - {"13/2"}, seed=seed)[0, 1].image_names[0] for seed in range(12)}
    assert found == {"10/0", "13/2"}


def test_nothing_to_train_on_is_refused(volumes):
    names = superpixel_pool(volumes.in_fold(0, 1)).images
    with pytest.raises(DataError, match="15 slices of scans to train on, 15 of which show a class of the test"):
        episodes(volumes, frozenset(names))

    class Blank(type(volumes)):
        def superpixels(self, name):
            return np.zeros((SIDE, SIDE), dtype=np.int32)

    with pytest.raises(DataError, match="none of the 15 slices of chaost2 to train on was found to have two"):
        episodes(Blank(str(volumes.root)))[0, 0]


def test_only_volumes_have_superpixels(blocks_folder):
    data = episodic(Folder(str(blocks_folder)), image_size=SIDE, training_items="superpixels", batch_size=1)
    with pytest.raises(SettingsError, match="has no volumes with superpixels; choose a data set of scans"):
        data.train_dataloader()


def test_changes_have_the_ranges_of_the_specification():
    """Rotation about the middle, shift, shear and zoom, by the moves of points; §6.3."""
    rng = np.random.default_rng(0)
    matrices = np.stack([affine_matrix(256, rng) for _ in range(2000)])
    determinants = np.sqrt(np.linalg.det(matrices[:, :2, :2]))  # shear and rotation keep areas
    assert 0.9 < determinants.min() < 0.91 and 1.19 < determinants.max() < 1.2
    middle = (matrices @ [128, 128, 1])[:, :2] / determinants[:, None]
    moved = middle[:, 1] - 128  # neither the shear of rows nor the rotation moves the middle's row
    assert -5 < moved.min() < -4.9 and 4.9 < moved.max() < 5
    rows = matrices[:, 1, :2] / determinants[:, None]
    angles = np.degrees(np.arctan2(rows[:, 0], rows[:, 1]))
    assert 4.9 < np.abs(angles).max() < 5
    bends = np.stack([displacements(256, rng) for _ in range(4)])
    assert bends.shape == (4, 2, 256, 256)
    # a mean of independent values: their deviation times the root of the sum of the squared weights of the filter
    weights = np.exp(-(np.arange(-10, 11) ** 2) / 50)
    weights /= weights.sum()
    assert bends[..., 20:-20, 20:-20].std() == pytest.approx(10 / np.sqrt(3) * (weights**2).sum(), rel=0.05)


def test_contrast_keeps_the_range_and_takes_the_power():
    image = np.array([[-1.0, 0.0], [1.0, 3.0]], dtype=np.float32)
    assert np.allclose(change_contrast(image, 1.0), image, atol=1e-4)
    assert np.allclose(change_contrast(image, 0.5), [[-1, 1], [2 * np.sqrt(2) - 1, 3]], atol=2e-2)


def test_a_mask_is_changed_as_its_image_is():
    image = np.zeros((SIDE, SIDE), dtype=np.float32)
    image[20:40, 24:44] = 1
    for seed in range(5):
        changed, mask = change(image, (image == 1).astype(np.uint8), np.random.default_rng(seed))
        assert mask.dtype == np.uint8 and 300 < mask.sum() < 700
        assert ((changed > 0.5) == (mask == 1)).mean() > 0.97
