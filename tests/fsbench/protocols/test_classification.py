"""Episodes of few-shot classification."""

from itertools import islice

import numpy as np
import pytest
import torch

from fsbench.base.errors import DataError, SettingsError
from fsbench.data.batch import ImageEpisode
from fsbench.protocols.draws.classes import classification_episodes
from fsbench.protocols.reading import load_protocol


def first(count, *args, **kwargs):
    return list(islice(classification_episodes(*args, **kwargs), count))


def test_an_episode_follows_from_the_seed_and_its_number_alone():
    sizes = [20, 30, 25, 40]
    assert first(8, sizes, 3, 2, 5) == first(20, sizes, 3, 2, 5)[:8]
    assert first(8, sizes, 3, 2, 5, seed=1) != first(8, sizes, 3, 2, 5)


def test_no_support_image_is_a_query_unless_classes_are_filled():
    sizes = [8] * 6

    def shared(episodes):
        return sum(len(set(s) & set(q)) for e in episodes for s, q in zip(e.support, e.query, strict=True))

    clean, filled = first(50, sizes, 3, 2, 6), first(50, sizes, 3, 2, 6, min_class_size=50)
    assert shared(clean) == 0 and shared(filled) > 0
    for episode in clean:
        assert len(set(episode.classes)) == 3
        assert all(sorted(s + q) == list(range(8)) for s, q in zip(episode.support, episode.query, strict=True))
    assert all(0 <= image < 8 for e in filled for row in e.support + e.query for image in row)


def test_too_few_images_or_classes_are_one_clear_line():
    with pytest.raises(DataError, match=r"1 of 3 classes have fewer than 16 images \(class 1 has 15\), expected 1 for"):
        classification_episodes([30, 15, 40], 2, 1, 15)
    with pytest.raises(DataError, match=r"\(class 2 has 0\)"):  # nothing to repeat
        classification_episodes([30, 20, 0], 2, 1, 15, min_class_size=50)
    with pytest.raises(SettingsError, match="way 5 is more than the 3 classes"):
        classification_episodes([30, 30, 30], 5, 1, 15)
    with pytest.raises(SettingsError, match="expected 1 or more"):
        classification_episodes([30, 30, 30], 2, 0, 15)


def test_the_order_of_the_queries_says_nothing_of_their_classes():
    """A method that names the classes by their order is right by chance alone; one that knows the images is right."""
    protocol, query = load_protocol("fort"), torch.arange(75).view(5, 15)
    images = query.flatten()[:, None, None, None].expand(-1, 3, 1, 1)
    images = torch.cat([torch.zeros(5, 3, 1, 1, dtype=images.dtype), images])
    episodes = [
        ImageEpisode(number, 7, (1, 2, 3, 4, 5), torch.arange(5)[:, None], query, images) for number in range(40)
    ]
    visible, truths = protocol.part(episodes)
    assert [seen.query.flatten().tolist() for seen in visible] == [
        seen.images[5:, 0, 0, 0].tolist() for seen in visible
    ]
    assert all(sorted(seen.query.flatten().tolist()) == query.flatten().tolist() for seen in visible)
    assert len({tuple(seen.query.flatten().tolist()) for seen in visible}) == 40
    right = [[row["tp"] for row in protocol.count(seen.query.flatten().numpy() // 15, truth).rows()]
             for seen, truth in zip(visible, truths, strict=True)]  # fmt: skip
    assert all(sum(each) == 75 for each in right)
    blind = [sum(row["tp"] for row in protocol.count(np.arange(75) // 15, truth).rows()) for truth in truths]
    assert 12 < sum(blind) / 40 < 18
