"""Scores of single images against plain loops, also without some images."""

import numpy as np
import polars as pl
import pytest

from fsbench.scores.confusion import VOID_RULES
from fsbench.scores.count_table import CountTable
from fsbench.scores.images import DiceByImage, ImageMean, IoUByImage
from fsbench.scores.rows import Groups


def drawn_frame(images: dict[int, int]) -> pl.DataFrame:
    """Return counts of {class: number of images}."""
    rng, rows = np.random.RandomState(1), []
    for episode, cls in enumerate(cls for cls, number in images.items() for _ in range(number)):
        hits, missed, wrong = rng.randint(1, 50, 3)
        counts = {"tp": hits, "pred": hits + wrong, "gt": hits + missed, "pred_void": 0, "void": 0, "valid": 900}
        for slot in (0, 1):
            own = {"episode": episode, "slot": slot, "class_id": cls * slot, "query": f"{cls}/{episode}"}
            rows.append(own | counts | {"present": True, "decided": True})
    return pl.DataFrame(rows)


def plain(frame: pl.DataFrame, metric: str) -> float:
    means = []
    for cls in (1, 2, 3):
        own = frame.filter((pl.col("slot") == 1) & (pl.col("class_id") == cls)).rows(named=True)
        if own:
            dice = [2 * row["tp"] / (row["pred"] + row["gt"]) for row in own]
            iou = [row["tp"] / (row["pred"] + row["gt"] - row["tp"]) for row in own]
            means.append(np.mean(dice if metric == "Dice-by-image" else iou))
    return 100 * float(np.mean(means))


@pytest.mark.parametrize("metric", [DiceByImage(), IoUByImage()], ids=lambda metric: metric.name)
@pytest.mark.parametrize("images", [{1: 9, 2: 2, 3: 4}, {1: 3, 2: 0, 3: 1}], ids=["three classes", "two of three"])
def test_shares_of_images_are_averaged_by_class(metric: ImageMean, images: dict[int, int]) -> None:
    frame = drawn_frame(images)
    table = CountTable(frame, [1, 2, 3], (frame["slot"] > 0).to_numpy(), VOID_RULES["ignore"], True)
    sums = table.sum(metric.one)
    assert metric.compute({metric.one.name: sums.total()}, None)[0] == pytest.approx(plain(frame, metric.name))
    rows = np.arange(0, sum(images.values()), 3)  # without some images
    names = frame.filter(pl.col("slot") == 1)["query"].gather(rows).to_list()
    left = sums.without(Groups(np.zeros_like(rows), rows, 1), table.pair_rows.stratum)
    expected = plain(frame.filter(~pl.col("query").is_in(names)), metric.name)
    assert metric.compute({metric.one.name: left}, None)[0] == pytest.approx(expected)


def test_an_image_without_a_pixel_has_no_score() -> None:
    frame = drawn_frame({1: 2}).with_columns(pl.lit(0).alias(name) for name in ("tp", "pred", "gt"))
    table = CountTable(frame, [1], (frame["slot"] > 0).to_numpy(), VOID_RULES["ignore"], True)
    assert np.isnan(DiceByImage().compute({"image-dice": table.sum(DiceByImage.one).total()}, None)[0])
