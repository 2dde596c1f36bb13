"""The words below a sheet are those of the panels that it has."""

from unittest.mock import Mock

import numpy as np
import torch

from fsbench.core.prediction import Prediction
from fsbench.pages.explain.episode_panels import KEYS, explain_captions, predicted_foreground, soft_mask_panels
from fsbench.results.pictures.captions import MANY
from fsbench.results.pictures.masks import heat_map


class Uniform:
    """A method that gives way n of `ways` the probability n / 100 everywhere."""

    def __init__(self, ways):
        self.ways = ways

    def predict_shots(self, episode):
        assert self.keeps_soft_masks
        levels = torch.arange(self.ways + 1)[:, None, None].expand(-1, 4, 4) / 100
        return Prediction(torch.zeros(4, 4, dtype=torch.long), probability=levels[1:])


def test_of_many_ways_those_have_a_soft_mask_that_are_there_or_predicted():
    query = np.zeros((4, 4, 3), dtype=np.uint8)

    def panels(ways, chosen):
        return soft_mask_panels(predicted_foreground(Uniform(ways), Mock()), query, chosen)

    def captions(ways, chosen):
        return [caption for caption, _ in panels(ways, chosen)]

    assert captions(1, {0}) == ["soft mask"] and captions(MANY, {0}) == [f"soft mask {n}" for n in range(1, MANY + 1)]
    assert captions(80, {0, 3, 71, 255}) == ["soft mask 3", "soft mask 71", "78 others left out"]
    painted = panels(80, {71})[0][1]
    assert np.array_equal(painted, heat_map(np.full((4, 4), 0.71), query, (0, 1)))


def test_each_panel_is_named_by_its_own_words_alone():
    pixels = np.zeros((1, 1, 3), dtype=np.uint8)
    captions = {
        "similarity 2": "similarity", "similarity to the background": "similarity to the background", "IoU 1.00": None,
        "cosine of the background": "cosine", "soft mask 1": "soft mask",
    }  # fmt: skip
    for caption, name in captions.items():
        assert explain_captions([(caption, pixels)], KEYS) == ([] if name is None else [KEYS[name]])
    assert explain_captions([("similarity to the background", pixels), ("similarity", pixels)]) == [
        KEYS["similarity"],
        KEYS["similarity to the background"],
    ]
