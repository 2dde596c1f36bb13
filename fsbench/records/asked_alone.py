"""Whether answers follow from their own episodes: some are asked for alone as well, before the test.

The query of one episode is a support of others, where its mask is shown. A method that remembers what it was shown has
the mask of that query without seeing anything in it. So a fresh method is asked some episodes, each as a test of its
own and in the opposite order, before it has been shown the rest. In the test it has to answer them alike.
"""

from collections.abc import Collection, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from fsbench.base.errors import ContractError
from fsbench.data.episodes.episode import ClassificationEpisode, Episode
from fsbench.protocols.loop import evaluate_batches
from fsbench.records.journal import Journal
from fsbench.records.predictions import Prediction, encode
from fsbench.records.remaining_episodes import Answering

NAMED = 10
"""Episodes that a message names."""


@dataclass
class Tally:
    """Results of a method on episodes of a test, held in memory: rows of counts, and predicted masks."""

    _rows: list[dict[str, Any]] = field(default_factory=list)
    _kept: list[tuple[int, int, bool, Prediction]] = field(default_factory=list)

    def add(self, results: Sequence[Any]) -> None:
        for result in results:
            rows = result.rows()
            self._rows += rows
            if hasattr(result, "label_map"):
                ways = zip(rows[1:], encode(result, "masks"), strict=True)
                self._kept += [(row["episode"], row["slot"], row["decided"], way) for row, way in ways]

    @classmethod
    def joined(cls, tallies: Sequence["Tally"]) -> "Tally":
        """Join the results of several processes."""
        return cls([row for each in tallies for row in each._rows], [kept for each in tallies for kept in each._kept])

    def rows(self) -> Iterator[dict[str, Any]]:
        return iter(self._rows)

    def predictions(self) -> Iterator[tuple[int, int, bool, Prediction]]:
        return iter(self._kept)


Counted = Journal | Tally
"""Results of a test."""


def episodes_to_ask(in_order: Sequence[Episode | ClassificationEpisode], number: int) -> list[int]:
    """Choose episodes to run again one by one, in reverse order, to find methods that remember earlier episodes.

    Preferred are episodes whose query appears earlier in the test as a support, spread over the test; if there are too
    few, other episodes fill up the number.

    >>> episodes = [Episode(n, query, 1, (1,), ((shown,),)) for n, (query, shown) in enumerate(["ab", "bc", "de"])]
    >>> episodes_to_ask(episodes, 1), episodes_to_ask(episodes, 2)
    ([1], [1, 0])
    """
    shown: set[Hashable] = set()
    known: list[int] = []
    others: list[int] = []
    for episode in in_order:
        supports, queries = _images(episode)
        (known if shown & queries else others).append(episode.number)
        shown |= supports
    chosen = {*_spread(known, number), *_spread(others, number - len(known))}
    return [episode.number for episode in reversed(in_order) if episode.number in chosen]


def _images(episode: Episode | ClassificationEpisode) -> tuple[set[Hashable], set[Hashable]]:
    if isinstance(episode, Episode):
        return {name for way in episode.supports for name in way}, {episode.query}

    def images(part: Sequence[Sequence[int]]) -> set[Hashable]:
        return {(number, place) for number, places in zip(episode.classes, part, strict=True) for place in places}

    return images(episode.support), images(episode.query)


def _spread(numbers: Sequence[int], count: int) -> list[int]:
    count = min(max(count, 0), len(numbers))
    return [numbers[place * len(numbers) // count] for place in range(count)]


def ask_alone(answering: Answering, numbers: Iterable[int], fresh: bool = True) -> Tally:
    """Let a method, or with `fresh` a copy of it for each, predict episodes as if each were the whole test."""
    tally = Tally()
    for number in numbers:
        with (answering.begin_fresh if fresh else answering.begin)() as answer:
            evaluate_batches(answering.batches([number]), answering.test, answer, tally.add, answering.name)
    return tally


def differing_episodes(one: Counted, other: Counted, numbers: Collection[int]) -> list[int]:
    """Return those of `numbers` whose episodes have different counts or masks in `one` and `other`, in this order.

    Masks are compared only if both have them: an interrupted run may have kept counts alone.
    """
    (rows, masks), (other_rows, other_masks) = (_answers(counted, set(numbers)) for counted in (one, other))
    differing = {key[0] for key in rows.keys() | other_rows.keys() if rows.get(key) != other_rows.get(key)}
    differing |= {key[0] for key in masks.keys() & other_masks.keys() if masks[key] != other_masks[key]}
    return [number for number in numbers if number in differing]


def _answers(counted: Counted, numbers: set[int]) -> tuple[dict[tuple[int, int], Any], dict[tuple[int, int], Any]]:
    """Return rows and masks by episode and slot; of an episode that was evaluated twice, the first ones."""
    rows: dict[tuple[int, int], Any] = {}
    masks: dict[tuple[int, int], Any] = {}
    for row in counted.rows():
        if row["episode"] in numbers:
            rows.setdefault((row["episode"], row["slot"]), row)
    for episode, slot, decided, kept in counted.predictions():
        if episode in numbers:  # what is kept beside a mask, such as a soft one, is no part of it
            masks.setdefault((episode, slot), (decided, kept["size"], kept["rle"]))
    return rows, masks


def check_asked_alone(alone: Counted, counted: Counted, numbers: Collection[int], name: str) -> None:
    """Raise ContractError if the method `name` answers `numbers` differently `alone` than in the test (`counted`)."""
    if differing := differing_episodes(alone, counted, numbers):
        listed = ", ".join(map(str, sorted(differing)[:NAMED])) + ", …" * (len(differing) > NAMED)
        raise ContractError(
            f"{name} answers {len(differing)} of {len(numbers)} episodes differently alone than in the test: {listed}; "
            "expected equal answers, as an answer may use nothing but its own episode; keep nothing from one episode "
            "to the next (docs/guides/add-a-method.md)"
        )
