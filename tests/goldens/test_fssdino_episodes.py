"""Episodes of FSSDINO's COCO-20i: what the goldens do not hold (fssdino.md §5)."""

import numpy as np
import pytest

from tests.goldens.fssdino_episodes import class_channels, draw_coco_episodes, images_by_category, kept_annotations


def annotation(category: int, image: int, segmentation: object, area: float = 3000, iscrowd: int = 0) -> dict:
    return {
        "category_id": category, "image_id": image, "segmentation": segmentation, "area": area, "iscrowd": iscrowd
    }  # fmt: skip


def test_small_objects_crowds_and_other_categories_do_not_exist():
    given = [
        annotation(1, 7, []), annotation(1, 8, [], area=2047.9), annotation(1, 9, [], area=2048),
        annotation(1, 10, [], iscrowd=1), annotation(2, 11, []),
    ]  # fmt: skip
    kept = kept_annotations({"annotations": given}, [1])
    assert [a["image_id"] for a in kept] == [7, 9]
    assert images_by_category(kept, [1]) == {1: list({7, 9})}


def test_run_lengths_are_read_and_an_empty_mask_is_one_pixel():
    size = (4, 6)
    runs = {"size": [4, 6], "counts": [5, 2, 17]}  # column by column
    nothing = {"size": [4, 6], "counts": [24]}
    thin = [[5.9, 3.9, 5.9, 3.9, 5.9, 3.9]]
    channels = class_channels(
        [annotation(3, 1, runs), annotation(5, 1, nothing), annotation(8, 1, thin)], size, [3, 5, 8], [3, 5, 8]
    )
    assert np.argwhere(channels[1]).tolist() == [[1, 1], [2, 1]]
    assert np.argwhere(channels[2]).tolist() == [[0, 0]] and np.argwhere(channels[3]).tolist() == [[3, 5]]
    assert np.array_equal(channels[0], ~channels[1:].any(0))
    assert not class_channels([annotation(3, 1, runs)], size, [3, 5], [5])[1:].any()


@pytest.mark.parametrize("way", [1, 2])
def test_episodes_follow_the_seed(way):
    images = {category: list(range(10 * category, 10 * category + 9)) for category in (1, 2, 3)}
    first, again, other = (list(draw_coco_episodes(images, way, 2, 20, seed)) for seed in (0, 0, 1))
    assert first == again != other
    for episode in first:
        groups = [episode.supports[i : i + 2] for i in range(0, 2 * way, 2)]
        for category, group in zip(episode.categories, groups, strict=True):
            assert set(group) <= set(images[category]) and len(set(group)) == 2
        assert episode.query in images[episode.categories[0]]
        assert way > 1 or episode.query not in episode.supports
