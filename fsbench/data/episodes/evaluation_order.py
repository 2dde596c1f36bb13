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
    """Return the episodes in an order in which equal images come close together.

    With one shot, images that come often come in episodes of several classes: `queries_first` over all of them. With
    more shots, the supports of a class come again and again, and where images come seldom, it is in episodes of the
    same classes: then these stand together, too, so that few features wait for long. Where many queries have the same
    supports, as where all classes are asked for at once, see `supports_together`.
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
    """Group the episodes by query, each query before it is needed as a support if possible.

    Next comes the query whose supports include the fewest images that are queries still to come and have not been
    encoded yet: each of them will be encoded twice.
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
    """Put episodes with equal supports side by side, within blocks of `BLOCK` queries.

    A method can then compute them together, while few queries wait for their next supports. Where the supports of a
    block serve fewer than `SERVED` episodes in the mean, the order stays: nothing would be shared, and all waited for.
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
    """Return, for each episode, its images with the position of the next episode that shows them; None for no other.

    The list is for a cache that drops images which come again last.
    """
    later: dict[str, int] = {}
    uses: list[dict[str, int | None]] = []
    for place in reversed(range(len(episodes))):
        shown = sorted({episodes[place].query, *supports_of([episodes[place]])})
        uses.append({name: later.get(name) for name in shown})
        later |= dict.fromkeys(shown, place)
    return uses[::-1]


def supports_of(episodes: Sequence[Episode]) -> set[str]:
    """Names of all support images."""
    return {name for episode in episodes for way in episode.supports for name in way}
