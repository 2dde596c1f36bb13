"""Further draws of the supports: the same queries and classes with other support images.

Draw 0 is the official one. Draw d > 0 of episode i follows from (seed, i, d) alone, and takes its supports from the
images that the official list has for the class. Its number is i + d · E, where E episodes are official.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import chain, islice
from typing import Any, TypeVar

import numpy as np

from fsbench.base.errors import DataError, SettingsError
from fsbench.data.copies import Likeness, likeness
from fsbench.data.dataset import SegmentationData
from fsbench.data.episodes.episode import Episode
from fsbench.data.episodes.manifest import Manifest
from fsbench.protocols.episode_rules.pools import Pool, TooFewImages

Item = TypeVar("Item")

SupportRedraw = Callable[[Any, np.random.Generator], Any]
"""Gives an episode other supports of its classes, drawn by a generator of its own."""


def further_draws(official: Manifest, draws: int, redraw: SupportRedraw) -> tuple[Any, ...]:
    """Return the official episodes with other supports, once for each of the draws 1 to `draws` - 1.

    Args:
        official: manifest of the official episodes.
        draws: number of draws, including the official one.
        redraw: function from an episode and a numpy generator to the episode with other supports.

    Raises:
        SettingsError: there would be 2^31 episodes or more.
    """
    count = len(official.episodes)
    if count * draws >= 1 << 31:
        raise SettingsError(f"draws is {draws}, expected fewer than {(1 << 31) // count} for {count} episodes")
    seed = official.header.seed or 0  # episodes that are seeded with their number have none
    return tuple(
        replace(
            redraw(episode, np.random.default_rng([seed, episode.number, draw])),
            number=episode.number + draw * count,
            draw=draw,
        )
        for draw in range(1, draws)
        for episode in official.episodes
    )


def with_draws(official: Manifest, draws: int, further: tuple[Any, ...]) -> Manifest:
    """Return the manifest of the official episodes followed by those of the `further` draws of supports."""
    entries = official.entries | {"draws": draws, "official_sha256": official.sha256}
    return Manifest(entries, official.episodes + further)


def redraw_of_names(alike: Likeness, candidates: Mapping[int, Sequence[str]], supports_repeat: bool) -> SupportRedraw:
    """Return a function that redraws the supports of an episode, as many as it has, none of the query's subject.

    Where a class has too few images of other subjects, none is the query's photo.

    Args:
        alike: tells which images show the same.
        candidates: {class number: images to draw from}.
        supports_repeat: whether an image may be drawn twice for one episode.

    Raises (when an episode is drawn):
        TooFewImages: a class has fewer images than supports.
    """

    distinct = {number: list(dict.fromkeys(names)) for number, names in candidates.items()}

    def redraw(episode: Episode, rng: np.random.Generator) -> Episode:
        supports = []
        for number, official in zip(episode.classes, episode.supports, strict=True):
            images, shot = distinct[number], len(official)
            least, order = 1 if supports_repeat else shot, rng.permutation(len(images))
            for same in (alike.subject_of, alike.photo_of):
                query = same(episode.query)
                usable = (images[place] for place in order)
                drawn = list(islice((name for name in usable if same(name) != query), shot))
                if len(drawn) >= least:
                    break
            else:
                raise TooFewImages(number, len(drawn), shot)
            if supports_repeat and shot > 1:
                usable = (images[place] for place in _endless_places(rng, len(images)))
                drawn = list(islice((name for name in usable if same(name) != query), shot))
            supports.append(tuple(drawn))
        return replace(episode, supports=tuple(supports))

    return redraw


def redraw_copies(
    data: SegmentationData, names: Iterable[str], redraw: Callable[[Likeness], SupportRedraw]
) -> Callable[..., Episode]:
    """Return a function that redraws an episode's supports if one is a copy of its query, or of the query's group.

    The function's arguments are an episode and numbers that seed a generator. Only users' own data have copies and
    groups; episodes of published data sets are returned unchanged.

    Args:
        data: the data set.
        names: images of the episodes.
        redraw: called once, when the first episode needs other supports, with what tells which images show the same;
            returns a function (episode, numpy generator) -> the episode with other supports.

    Raises (when an episode is drawn):
        DataError: a class has too few images that are no copies of the query.
    """
    if data.source.kind != "own":
        return lambda episode, *seed: episode
    alike, made = likeness(data, names), cache(redraw)

    def apart(episode: Episode, *seed: int) -> Episode:
        others = {name for way in episode.supports for name in way if name != episode.query}
        if alike.subject_of(episode.query) not in map(alike.subject_of, others):
            return episode
        try:
            changed: Episode = made(alike)(episode, np.random.default_rng(seed))
        except TooFewImages as error:
            raise DataError(
                f"{data.name}: without the copies of the query {episode.query}, {data.name_of(error.number)} has too "
                f"few images ({error}); leave copies out of the lists, or add images"
            ) from error
        return changed

    return apart


def redraw_copies_in(data: SegmentationData, pool: Pool, supports_repeat: bool = False) -> Callable[..., Episode]:
    """Return a function that redraws an episode's supports from `pool` if one of them shows its query's subject.

    Args:
        data: the data set.
        pool: possible queries and supports.
        supports_repeat: whether an image may be drawn twice for one episode.
    """
    names = {*pool.images, *chain.from_iterable(pool.images_of.values())}
    return redraw_copies(data, names, lambda alike: redraw_of_names(alike, pool.images_of, supports_repeat))


def queries_apart(data: SegmentationData, queries: Sequence[str], supports: Iterable[str]) -> list[str]:
    """Return the queries that are neither supports of the run, nor copies of them, nor of a support's group.

    On published data sets all queries are returned.
    """
    if data.source.kind != "own":
        return list(queries)
    supports = set(supports)
    subject_of = likeness(data, {*queries, *supports}).subject_of
    shown = set(map(subject_of, supports))
    return [name for name in queries if subject_of(name) not in shown]


def _endless_places(rng: np.random.Generator, number: int) -> Iterator[int]:
    """Yield places from 0 to `number` - 1 without end."""
    while True:
        yield int(rng.integers(number))


def draw_distinct(rng: np.random.Generator, items: Sequence[Item], number: int) -> tuple[Item, ...]:
    """Draw `number` of `items`, without replacement unless there are fewer items."""
    places = rng.choice(len(items), number, replace=len(items) < number)
    return tuple(items[place] for place in places)


def official_supports(manifest: Manifest) -> dict[int, list[str]]:
    """Return {class number: distinct supports} of a manifest's episodes.

    Further draws of supports choose from these images if a test has no image list besides its episodes.
    """
    supports: dict[int, dict[str, None]] = {}
    for episode in manifest.episodes:
        for number, names in zip(episode.classes, episode.supports, strict=True):
            supports.setdefault(number, {}).update(dict.fromkeys(names))
    return {number: list(names) for number, names in supports.items()}
