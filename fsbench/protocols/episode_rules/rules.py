"""Rules by which the episodes of a test follow from its lists: a function of a source, with its sentence."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from fsbench.data.episodes.episode import Episode
from fsbench.protocols.episode_rules.pools import Pool, TooFewImages
from fsbench.protocols.episode_rules.streams import Streams


@dataclass(frozen=True)
class EpisodeSource:
    """What episodes are drawn from: possible images, seeded random generators, and numbers of ways and shots.

    Attributes:
        pool: possible queries and supports.
        streams: the processes that draw, with their random generators.
        asked: number of episodes that the program is asked for in a run.
        way, shot: numbers of classes N and supports K.
        background: queries may show none of the classes.
        gpus: number of processes that share the episodes.
        batch: number of episodes that a process takes at a time.
        may_support: function (image, class number) -> whether the image may be a support of the class; if not, another
            is drawn.
    """

    pool: Pool
    streams: Streams
    asked: int
    way: int = 1
    shot: int = 1
    background: bool = False
    gpus: int = 1
    batch: int = 1
    may_support: Callable[[str, int], bool] = lambda name, number: True

    @property
    def seed(self) -> int:
        """Seed of the main process; 0 if every episode has its own seed."""
        return self.streams.seed or 0

    def images(self, number: int, least: int, query: str | None = None) -> Sequence[str]:
        """Return the support images of class `number`.

        Raises:
            TooFewImages: the class has fewer than `least` images besides the query.
        """
        images = self.pool.images_of.get(number, ())
        usable = len(set(images) - {query})
        if usable < least:
            raise TooFewImages(number, usable, least)
        return images


Episodes = Callable[[EpisodeSource], Iterator[Episode]]


@dataclass(frozen=True)
class DrawRule:
    """Rule by which episodes are drawn.

    Attributes:
        episodes: function that yields the episodes of an `EpisodeSource`, without end unless the published program
            ends.
        rule: value of `Pool.query_sampling` that the rule needs, such as "image_first"; None takes the value that the
            data set states.
        supports_repeat: whether an image may be a support twice in an episode.
        query_may_support: whether a query may be among its own supports.
        words: the rule in a sentence, for a rule of an installed package; those of fsbench have theirs in
            `fsbench.protocols.conditions.EPISODE_DRAW`.
    """

    episodes: Episodes
    rule: str | None = "image_first"
    supports_repeat: bool = False
    query_may_support: bool = False
    words: str = ""

    @property
    def needs(self) -> Literal["images", "pairs", "classes"]:
        """What the rule iterates over: the "images" or "pairs" of a list, or "classes"."""
        return "images" if self.rule == "image_first" else "pairs" if self.rule == "sequential" else "classes"


def one_way(episode: int, query: str, number: int, supports: Sequence[str]) -> Episode:
    """Return the 1-way episode of a query, its class `number` and its supports."""
    return Episode(episode, query, number, (number,), (tuple(supports),))
