"""Counts of an episode and presence from its mask, against plain numpy (fscs-protocol §7)."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fsbench.scores.answers import count, presence_from_mask


def maps(ways):
    """A prediction and a truth with void pixels, of one size."""
    shape = st.tuples(st.integers(1, 7), st.integers(1, 9))
    values = st.sampled_from([*range(ways + 1), 255])
    return shape.flatmap(
        lambda s: st.tuples(
            hnp.arrays(np.uint8, s, elements=st.integers(0, ways)), hnp.arrays(np.uint8, s, elements=values)
        )
    )


@given(maps(3))
@settings(max_examples=40, deadline=None)
def test_counts_of_every_slot(pair):
    prediction, truth = pair
    counts = count(prediction, truth, 3)
    void = truth == 255
    for slot in range(4):
        p = (prediction > 0) if slot == 0 else (prediction == slot)
        t = ((truth > 0) & ~void) if slot == 0 else (truth == slot)
        assert counts[slot].tolist() == [
            (p & t).sum(), (p & ~void).sum(), t.sum(), (p & void).sum(), void.sum(), (~void).sum()
        ]  # fmt: skip


def test_presence_derived_from_the_mask():
    one_pixel = np.zeros((3, 4), dtype=np.uint8)
    one_pixel[2, 1] = 1
    assert presence_from_mask(one_pixel, 2)[0].tolist() == [True, False]
    decided, score = presence_from_mask(np.array([[0, 2], [2, 0]]), 3)
    assert decided.tolist() == [False, True, False]
    assert score.tolist() == [0.0, 0.5, 0.0]
