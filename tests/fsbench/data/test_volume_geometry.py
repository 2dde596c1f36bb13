"""Grids of labels and images: which are one, and how labels come from theirs to the image's, as SimpleITK resamples."""

from itertools import permutations, product

import numpy as np
import pytest
import SimpleITK as sitk

from fsbench.base.errors import DataError
from fsbench.data.volume_geometry import Geometry, checked_grid_rule, grid_rule, on_grid

OBLIQUE = (0.96, -0.28, 0, 0.28, 0.96, 0, 0, 0, 1)
SIDES = [(order, flipped) for order in permutations(range(3)) for flipped in product((False, True), repeat=3)]


def scan(size=(5, 6, 7), spacing=(1.25, 1.5, 7.7), origin=(-30.0, 12.5, 100.0), direction=OBLIQUE, seed=0):
    image = sitk.GetImageFromArray(np.random.RandomState(seed).randint(0, 5, size[::-1]).astype(np.uint8))
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    image.SetDirection(direction)
    return image


def moved(labels, image):
    """Return labels on an image's grid, and the rule that brings them there."""
    own, grid = Geometry.of(labels), Geometry.of(image)
    return on_grid(sitk.GetArrayFromImage(labels), own, grid), grid_rule(own, grid)


def resampled(labels, image):
    """Return labels on an image's grid by SimpleITK."""
    return sitk.GetArrayFromImage(sitk.Resample(labels, image, sitk.Transform(), sitk.sitkNearestNeighbor))


@pytest.mark.parametrize(("order", "flipped"), SIDES)
def test_labels_stored_from_any_side_and_in_any_order_of_axes_are_those_of_the_scan(order, flipped):
    image = scan()
    stored = sitk.Flip(sitk.PermuteAxes(image, order), flipped)
    found, rule = moved(stored, image)
    assert np.array_equal(found, sitk.GetArrayFromImage(image))
    assert rule == (None if order == (0, 1, 2) and not any(flipped) else "volume_from_another_side")


@pytest.mark.parametrize("seed", range(4))
def test_labels_on_another_grid_are_those_that_simpleitk_takes_as_nearest(seed):
    image, rng = scan(), np.random.RandomState(seed)
    centre = image.TransformContinuousIndexToPhysicalPoint([(number - 1) / 2 for number in image.GetSize()])
    labels = scan((40, 41, 42), tuple(rng.uniform(1.3, 2.5, 3).tolist()), direction=(1, 0, 0, 0, 0, 1, 0, -1, 0))
    middle = labels.TransformContinuousIndexToPhysicalPoint([(number - 1) / 2 for number in labels.GetSize()])
    labels.SetOrigin([a + b - c for a, b, c in zip(labels.GetOrigin(), centre, middle, strict=True)])
    found, rule = moved(labels, image)
    assert rule == "volume_on_another_grid" and len(np.unique(found)) > 3
    assert np.array_equal(found, resampled(labels, image))


def test_labels_of_half_the_spacing_and_of_a_part_that_was_cut_out_are_on_another_grid():
    image = scan()
    fine = sitk.Expand(image, (2, 2, 1), sitk.sitkNearestNeighbor)
    found, rule = moved(fine, image)
    assert np.array_equal(found, sitk.GetArrayFromImage(image)) and rule == "volume_on_another_grid"
    part = image[1:4, 2:, 1:]
    found, rule = moved(image, part)
    assert np.array_equal(found, sitk.GetArrayFromImage(part)) and rule == "volume_on_another_grid"


def test_labels_that_end_less_than_a_voxel_before_the_image_are_0_there():
    """A size that was rounded down, as resampling to another spacing leaves it."""
    image, labels = scan((10, 4, 4), (1, 1, 1)), scan((3, 4, 4), (3, 1, 1))
    found, rule = moved(labels, image)
    assert rule == "volume_on_another_grid" and not found[:, :, 8:].any()
    assert np.array_equal(found[:, :, :8], sitk.GetArrayFromImage(labels)[:, :, [0, 0, 1, 1, 1, 2, 2, 2]])
    assert moved(scan((2, 4, 4), (3, 1, 1)), image)[1] == "volume_beside_its_image"


@pytest.mark.parametrize(
    "change",
    [
        lambda image: image.SetOrigin([float(np.float32(one)) + 1e-4 for one in image.GetOrigin()]),
        lambda image: image.SetSpacing([one * 1.001 for one in image.GetSpacing()]),
        lambda image: image.SetDirection(np.float32(OBLIQUE).astype(float).tolist()),
    ],
)
def test_what_headers_round_is_no_difference(change):
    image, labels = scan(), scan()
    change(labels)
    assert moved(labels, image)[1] is None


def test_labels_beside_their_image_are_refused_with_both_geometries():
    image = scan(direction=(1, 0, 0, 0, 1, 0, 0, 0, 1))
    for origin in ((0.0, 0.0, 0.0), (-30.0, 12.5, 100.0 + 2 * 7.7)):
        labels = scan(origin=origin, direction=(1, 0, 0, 0, 1, 0, 0, 0, 1))
        assert moved(labels, image)[1] == "volume_beside_its_image"
    with pytest.raises(DataError) as refused:
        checked_grid_rule(Geometry.of(labels), Geometry.of(image), "the volume label.nii.gz")
    assert str(refused.value) == (
        "the volume label.nii.gz does not cover its image: it has 5 x 6 x 7 voxels of 1.25 x 1.5 x 7.7 mm, origin -30 "
        "12.5 115.4, direction 1 0 0 0 1 0 0 0 1, the image 5 x 6 x 7 voxels of 1.25 x 1.5 x 7.7 mm, origin -30 12.5 "
        "100, direction 1 0 0 0 1 0 0 0 1; expected labels of the whole image; resample the labels to the image, or "
        "correct the header if it is wrong"
    )


@pytest.mark.parametrize("axes", [(1, 0, 0, 0, 1, 0, 0, 0, 1), (-1, 0, 0, 0, -1, 0, 0, 0, 1)])
def test_voxels_are_taken_one_by_one_where_a_header_says_nothing_and_sizes_are_one(axes):
    image, silent = scan(), scan(spacing=(1, 1, 1), origin=(0, 0, 0), direction=axes, seed=1)
    for labels, other in ((silent, image), (image, silent)):
        found, rule = moved(labels, other)
        assert rule == "volume_without_geometry" and np.array_equal(found, sitk.GetArrayFromImage(labels))
        assert moved(labels, other[:, :, :-1])[1] == "volume_without_geometry_of_another_size"
    flipped = sitk.Flip(silent, (True, False, False))  # this header does say where its voxels lie: on the image's
    found, rule = moved(flipped, silent)
    assert rule == "volume_from_another_side" and np.array_equal(found, sitk.GetArrayFromImage(silent))
