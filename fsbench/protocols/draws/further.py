"""Further draws of the supports: the same queries and classes with other support images.

Draw 0 is the official one. Draw d > 0 of episode i follows from (seed, i, d) alone, and takes its supports from the
images that the official list has for the class. Its number is i + d · E, where E episodes are official.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, TypeVar

import numpy as np

from fsbench.base.errors import SettingsError
from fsbench.data.dataset import SegmentationIndex
from fsbench.data.episodes.episode import Episode
from fsbench.data.episodes.manifest import Manifest
from fsbench.protocols.draws.pools import TooFewImages

Item = TypeVar("Item")

SupportRedraw = Callable[[Any, np.random.Generator], Any]
"""Gives an episode other supports of its classes, drawn by a generator of its own."""


def further_draws(official: Manifest, draws: int, redraw: SupportRedraw) -> tuple[Any, ...]:
    """Return the episodes of the draws 1 to `draws` - 1, draw by draw.

    Args:
        official: manifest of the official episodes.
        draws: number of draws, the official one included.
        redraw: gives an episode other supports.

    Raises:
        SettingsError: there would be more episodes than a record can number.
    """
    count = len(official.episodes)
    if count * draws >= 1 << 31:
        raise SettingsError(f"draws is {draws}, expected fewer than {(1 << 31) // count} for {count} episodes")
    seed = official.header.seed or 0  # episodes that are seeded with their index have none
    return tuple(
        replace(
            redraw(episode, np.random.default_rng([seed, episode.index, draw])),
            index=episode.index + draw * count,
            draw=draw,
        )
        for draw in range(1, draws)
        for episode in official.episodes
    )


def with_draws(official: Manifest, draws: int, further: tuple[Any, ...]) -> Manifest:
    """Return the manifest of the official episodes and those of `further_draws`, `draws` in all."""
    entries = official.entries | {"draws": draws, "official_sha256": official.sha256}
    return Manifest(entries, official.episodes + further)


def redraw_of_names(
    index: SegmentationIndex, candidates: Mapping[int, Sequence[str]], supports_repeat: bool
) -> SupportRedraw:
    """Return a function that draws other supports for an episode: as many as it has, none from the query's photo.

    Args:
        index: the data set.
        candidates: class number -> images to draw from.
        supports_repeat: whether an image may be drawn twice for one episode, as the protocol has it.

    Raises (when an episode is drawn):
        TooFewImages: a class has fewer images than supports.
    """

    distinct = {number: list(dict.fromkeys(names)) for number, names in candidates.items()}

    def redraw(episode: Episode, rng: np.random.Generator) -> Episode:
        photo = index.image_path(episode.query)
        supports = []
        for number, official in zip(episode.classes, episode.supports, strict=True):
            images, shot = distinct[number], len(official)
            usable = (images[place] for place in rng.permutation(len(images)))
            drawn = list(islice((name for name in usable if index.image_path(name) != photo), shot))
            if len(drawn) < (1 if supports_repeat else shot):
                raise TooFewImages(number, len(drawn), shot)
            if supports_repeat and shot > 1:
                usable = (images[place] for place in _endless_places(rng, len(images)))
                drawn = list(islice((name for name in usable if index.image_path(name) != photo), shot))
            supports.append(tuple(drawn))
        return replace(episode, supports=tuple(supports))

    return redraw


def _endless_places(rng: np.random.Generator, number: int) -> Iterator[int]:
    """Yield places from 0 to `number` - 1 without end."""
    while True:
        yield int(rng.integers(number))


def draw_distinct(rng: np.random.Generator, items: Sequence[Item], number: int) -> tuple[Item, ...]:
    """Draw `number` of `items`, which are drawn again only where there are too few of them."""
    places = rng.choice(len(items), number, replace=len(items) < number)
    return tuple(items[place] for place in places)


def official_supports(manifest: Manifest) -> dict[int, list[str]]:
    """Return the distinct supports of a manifest's episodes by class, in order of appearance.

    They are what further draws take where a test has no list besides its episodes.
    """
    supports: dict[int, dict[str, None]] = {}
    for episode in manifest.episodes:
        for number, names in zip(episode.classes, episode.supports, strict=True):
            supports.setdefault(number, {}).update(dict.fromkeys(names))
    return {number: list(names) for number, names in supports.items()}
