"""The order in which episodes are evaluated: one that lets the backbone encode few images twice.

Results do not depend on it. A query's features are big and are kept for its own episodes only, which therefore stand
together; a support's are small and stay. An image that is encoded as a query yields its support features as well, so
queries should come before they are needed as supports.
"""

from collections.abc import Iterable, Sequence

from fsbench.episodes.samplers import Episode


def evaluation_order(episodes: Iterable[Episode]) -> list[Episode]:
    """Episodes grouped by query; next comes the query whose supports include the fewest images that are queries still
    to come and have not been encoded yet (each of them will be encoded twice)."""
    groups: dict[str, list[Episode]] = {}
    for episode in sorted(episodes, key=lambda e: (e.query, e.index)):
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


def supports_of(episodes: Sequence[Episode]) -> set[str]:
    """Names of all support images."""
    return {name for episode in episodes for way in episode.supports for name in way}
