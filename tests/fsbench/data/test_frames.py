"""Padded frames (fssdino.md §3 step 5, §5), which equal those of albumentations 2.0.8 in runs by hand."""

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fsbench.data.batch import normalise
from fsbench.data.frames import frame_labels, frame_shape, over_image, stretch, stretch_truth
from fsbench.data.label_maps import resize_labels_cv2
from fsbench.data.transforms import frame_image

SIZES = [(480, 640), (640, 427), (333, 500), (17, 300), (1, 900), (512, 512), (60, 60)]


@pytest.mark.parametrize(
    ("size", "expected"),
    [((480, 640), (384, 512)), ((640, 427), (512, 342)), ((333, 500), (341, 512)), ((1, 900), (1, 512)),
     ((1, 2000), (1, 512)), ((1024, 5), (512, 2)), ((1024, 3), (512, 2)), ((60, 60), (512, 512))],
)  # fmt: skip
def test_the_longer_side_fills_the_frame_and_the_other_is_rounded(size, expected):
    """2.5 and 1.5 both become 2, the even number."""
    assert frame_shape(*size, 512) == expected


@pytest.mark.parametrize("size", SIZES)
def test_images_are_resized_in_8_bits_and_padding_is_0_after_normalisation(size):
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    height, width = frame_shape(*size, 128)
    framed = frame_image(pixels, 128)
    resized = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR)
    assert framed.dtype == torch.float32 and framed.shape == (3, 128, 128)
    assert np.array_equal(framed[:, :height, :width].permute(1, 2, 0).numpy(), resized)
    values = normalise(framed)
    assert not values[:, height:].any() and not values[:, :, width:].any()
    plain = (torch.from_numpy(resized).permute(2, 0, 1) / 255 - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / (
        torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    )
    assert torch.allclose(values[:, :height, :width], plain, atol=1e-6)


@pytest.mark.parametrize("size", SIZES)
def test_labels_follow_their_image_and_the_truth_is_stretched_from_the_whole_frame(size):
    labels = np.random.default_rng(1).integers(0, 3, size, dtype=np.uint8)
    height, width = frame_shape(*size, 128)
    framed = frame_labels(labels, 128, 128)
    assert np.array_equal(framed[:height, :width], resize_labels_cv2(labels, height, width))
    assert (framed[height:] == 255).all() and (framed[:, width:] == 255).all()
    whole = torch.from_numpy(np.where(framed == 255, 0, framed))
    expected = F.interpolate(whole[None, None].float(), size, mode="nearest-exact")[0, 0]
    assert np.array_equal(stretch_truth(labels, 128), expected.numpy())
    assert np.array_equal(stretch(whole.numpy(), size), expected) and stretch(whole.numpy(), size).dtype == np.uint8


@pytest.mark.parametrize("size", [(480, 640), (640, 427), (512, 512)])
def test_for_pictures_what_was_stretched_lies_over_the_image_again(size):
    labels = np.zeros(size, dtype=np.uint8)
    labels[size[0] // 3 : size[0] // 2, size[1] // 4 : size[1] * 3 // 4] = 1
    squashed = stretch_truth(labels, 512)
    again = over_image(squashed, 512)
    assert again.shape == size and (again != labels).mean() < 0.01
    assert over_image(squashed, None) is squashed
    if size[0] != size[1]:
        assert (squashed != labels).mean() > 0.03
