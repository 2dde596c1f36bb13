"""The figure of IFA's program, against its loop written out."""

import numpy as np
import polars as pl
import pytest

from fsbench.scores.ifa_figure import ifa_figure, ifa_sums


def plain(predictions: np.ndarray, truths: np.ndarray, class_ids: list[int], batch: int, n: int) -> float:
    """The program's own loop (cd-fss-protocol §8): class ids from 0, labels from 1."""
    matrix = np.zeros(n * n)
    hits = union = 0
    for start in range(0, len(class_ids), batch):
        label = class_ids[start] + 1
        for prediction, truth in zip(predictions[start : start + batch], truths[start : start + batch], strict=True):
            for t, p in zip((truth * label).ravel(), (prediction * label).ravel(), strict=True):
                if t < n:
                    matrix[min(n * t + p, n * n - 1)] += 1
                hits += t > 0 and p > 0
                union += t > 0 or p > 0
    if n == 1:
        return 100 * hits / union
    matrix = matrix.reshape(n, n)
    own = np.diag(matrix)
    both = matrix.sum(0) + matrix.sum(1) - own
    return 100 * float(np.mean(own[both > 0] / both[both > 0]))


def table(predictions: np.ndarray, truths: np.ndarray, class_ids: list[int]) -> pl.DataFrame:
    pixels = np.prod(truths.shape[1:])
    rows = [
        {"episode": e, "slot": slot, "class_id": number + 1, "query": f"q{e % 3}", "tp": int((p & t).sum()),
         "pred": int(p.sum()), "gt": int(t.sum()), "pred_void": 0, "void": 0, "valid": int(pixels)}
        for e, (p, t, number) in enumerate(zip(predictions, truths, class_ids, strict=True))
        for slot in (0, 1)
    ]  # fmt: skip
    return pl.DataFrame(rows)


@pytest.mark.parametrize(("batch", "n"), [(1, 3), (2, 3), (4, 3), (96, 3), (2, 1), (3, 6), (1, 2)])
def test_the_figure_is_that_of_the_loop(batch, n):
    rng = np.random.RandomState(batch + n)
    class_ids = [e % n for e in range(11)]
    predictions, truths = (rng.rand(2, 11, 5, 4) < 0.4).astype(int)
    sums = ifa_sums(table(predictions, truths, class_ids), batch, n)
    assert len(sums.values) == 11  # episodes
    expected = plain(predictions, truths, class_ids, batch, n)
    assert ifa_figure(sums.total())[0] == pytest.approx(expected, abs=1e-9)
