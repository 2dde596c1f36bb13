"""The words below a sheet are those of the panels that it has."""

import numpy as np

from fsbench.explain.episode_panels import KEYS, explain_captions


def test_each_panel_is_named_by_its_own_words_alone():
    pixels = np.zeros((1, 1, 3), dtype=np.uint8)
    captions = {
        "similarity 2": "similarity", "similarity to the background": "similarity to the background", "IoU 1.00": None,
        "cosine of the background": "cosine", "1/8 sum": " sum", "soft mask 1": "soft mask",
    }  # fmt: skip
    for caption, name in captions.items():
        assert explain_captions([(caption, pixels)], KEYS) == ([] if name is None else [KEYS[name]])
    assert explain_captions([("similarity to the background", pixels), ("similarity", pixels)]) == [
        KEYS["similarity"],
        KEYS["similarity to the background"],
    ]
