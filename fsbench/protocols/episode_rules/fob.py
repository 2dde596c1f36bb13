"""The draw of FoB's test of skin lesions: nothing is left to chance (skin-ds.md §1)."""

from collections.abc import Iterator
from itertools import count

from fsbench.data.episodes.episode import Episode
from fsbench.protocols.episode_rules.pools import TooFewImages
from fsbench.protocols.episode_rules.rules import DrawRule, EpisodeSource, one_way


def _next_of_list(source: EpisodeSource) -> Iterator[Episode]:
    """Ask for each image of a class's list with the K images before it as supports; the list is a ring.

    An image that is alone in its class is its own support, as in the authors' program.

    Raises (when an episode is drawn):
        TooFewImages: a class has K images or fewer.
    """
    numbers = count()
    for number in source.pool.class_ids:
        images = source.pool.images_of.get(number, ())
        if len(images) <= source.shot and (len(images), source.shot) != (1, 1):
            raise TooFewImages(number, max(len(images) - 1, 0), source.shot)
        for place in range(len(images)):
            query = images[(place + 1) % len(images)]
            yield one_way(next(numbers), query, number, [images[place - shot] for shot in range(source.shot)])


NEXT_OF_LIST = DrawRule(_next_of_list, "sequential", query_may_support=True)
