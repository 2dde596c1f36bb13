"""Images of batches as they are drawn."""

import numpy as np
import torch

from fsbench.data.transforms import resize_image_cv2, resize_intensities
from fsbench.datamodules.datasets.chaost2 import ChaosT2
from fsbench.results.pictures.episodes import image_array
from tests.drawn_volumes import draw_prepared


def test_slices_as_they_were_measured_are_drawn_as_the_data_set_draws_them(tmp_path):
    data = ChaosT2(str(draw_prepared(tmp_path, ids=(1,), slices=3, side=48)))
    drawn, shown = image_array(resize_intensities(data.intensities("1/1"), 48)), data.pixels("1/1")
    assert drawn.dtype == np.uint8 and drawn.shape == (48, 48, 3)
    assert (drawn.min(), drawn.max()) == (0, 255)
    assert np.corrcoef(drawn.ravel(), shown.ravel())[0, 1] > 0.999
    assert np.array_equal(image_array(resize_image_cv2(shown, 48)), shown)
    assert np.array_equal(image_array(torch.from_numpy(shown.copy()).permute(2, 0, 1)), shown)
    assert not image_array(torch.zeros(3, 4, 4)).any()
