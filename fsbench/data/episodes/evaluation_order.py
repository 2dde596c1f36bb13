"""The order in which episodes are evaluated: one that lets the backbone encode few images twice.

Results do not depend on it. An image is encoded again where its features had to make room before it came again, or
where it was encoded as a support while it is a query of other episodes: a support's features are smaller and say less.
"""

from collections.abc import Iterable, Sequence

from fsbench.data.episodes.episode import Episode

OFTEN = 2
"""Episodes that an image is in, in the mean, where images come often: 1.1 on COCO-20i and 5.8 on PASCAL-5i, 1-shot."""

BLOCK = 32
"""Queries of a block in which episodes of the same supports stand together."""
SERVED = 4
"""Episodes of the same supports in a block, in the mean, from which on these stand together."""


def evaluation_order(episodes: Iterable[Episode]) -> list[Episode]:
    """Return the episodes in an order that lets a feature cache reuse images: equal images come close together.

    With one shot, and images that occur often, all episodes are ordered by `queries_first`. With more shots, or images
    that occur rarely, the episodes of each set of classes are ordered so in turn. If many queries share supports,
    `supports_together` then brings these together.
    """
    listed = list(episodes)
    has_shots = any(len(way) > 1 for episode in listed for way in episode.supports)
    shown = [name for episode in listed for name in {episode.query, *supports_of([episode])}]
    by_class = has_shots or len(shown) < OFTEN * len(set(shown))
    groups: dict[tuple[int, ...], list[Episode]] = {}
    for episode in listed:
        groups.setdefault(tuple(sorted(episode.classes)) if by_class else (), []).append(episode)
    ordered = [episode for classes in sorted(groups) for episode in queries_first(groups[classes])]
    return supports_together(ordered)


def queries_first(episodes: Iterable[Episode]) -> list[Episode]:
    """Return the episodes grouped by query, each image as a query before it is needed as a support, if possible.

    A query's features can serve as a support's, but not the reverse. So the next query is always the one whose supports
    include the fewest images that are queries still to come: each such support is encoded twice.
    """
    groups: dict[str, list[Episode]] = {}
    for episode in sorted(episodes, key=lambda e: (e.query, e.number)):
        groups.setdefault(episode.query, []).append(episode)
    early = {query: supports_of(group) & groups.keys() - {query} for query, group in groups.items()}
    needed_by: dict[str, list[str]] = {}
    for query, images in early.items():
        for image in images:
            needed_by.setdefault(image, []).append(query)

    ordered: list[Episode] = []
    while groups:
        query = min(groups, key=lambda q: (len(early[q]), -len(needed_by.get(q, ())), q))
        encoded = [query, *early[query]]  # from now on these cost nothing as supports
        ordered += groups.pop(query)
        for image in encoded:
            for waiting in needed_by.pop(image, ()):
                early[waiting].discard(image)
    return ordered


def supports_together(ordered: Sequence[Episode]) -> list[Episode]:
    """Reorder episodes so that those with equal supports are adjacent, within blocks of `BLOCK` queries.

    A method can then compute the features of shared supports once. If fewer than `SERVED` episodes share supports on
    average, the order is returned unchanged.
    """
    queries: dict[str, int] = {}
    supports: dict[tuple[tuple[str, ...], ...], int] = {}
    for episode in ordered:
        queries.setdefault(episode.query, len(queries))
        supports.setdefault(episode.supports, len(supports))
    places = [(queries[episode.query] // BLOCK, supports[episode.supports]) for episode in ordered]
    if len(ordered) < SERVED * len(set(places)):
        return list(ordered)
    return [ordered[n] for n in sorted(range(len(ordered)), key=places.__getitem__)]


def next_uses(episodes: Sequence[Episode]) -> list[dict[str, int | None]]:
    """Return for each episode {image name: position of the next episode that shows the image, or None}.

    A full cache uses these positions to drop the images that are needed again last.
    """
    later: dict[str, int] = {}
    uses: list[dict[str, int | None]] = []
    for place in reversed(range(len(episodes))):
        shown = sorted({episodes[place].query, *supports_of([episodes[place]])})
        uses.append({name: later.get(name) for name in shown})
        later |= dict.fromkeys(shown, place)
    return uses[::-1]


def supports_of(episodes: Sequence[Episode]) -> set[str]:
    """Return the names of all support images of the episodes."""
    return {name for episode in episodes for way in episode.supports for name in way}
