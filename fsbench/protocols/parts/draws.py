"""Draws: how the episodes of a test are drawn from its lists, a function for each word (atlas-runs.md §3)."""

import random
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count, cycle
from typing import Literal

import numpy as np

from fsbench.data.episodes.episode import Episode
from fsbench.protocols.draws import different_supports, draw_episode, hsnet_episode, pfenet_supports
from fsbench.protocols.generators import Generators, torch_permutation
from fsbench.protocols.parts.streams import Streams, episode_generators
from fsbench.protocols.pools import Pool, TooFewImages
from fsbench.protocols.vrp_draws import vrp_episode


@dataclass(frozen=True)
class Source:
    """Everything that a draw takes.

    Attributes:
        pool: images, pairs and classes.
        streams: generators.
        asked: episodes of a run.
        way, shot: N and K.
        background: queries may show none of the classes.
        gpus: processes that share the episodes.
        batch: episodes that a process takes at a time.
        may_support: whether an image may be a support of a class; a support that may not is drawn again.
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
        """Seed of the main process; 0 where episodes have seeds of their own, which only some draws know."""
        return self.streams.seed or 0

    def images(self, number: int, least: int, query: str | None = None) -> Sequence[str]:
        """Return the images of a class; TooFewImages unless `least` of them are not the query."""
        images = self.pool.images_of.get(number, ())
        usable = len(set(images) - {query})
        if usable < least:
            raise TooFewImages(number, usable, least)
        return images


Episodes = Callable[[Source], Iterator[Episode]]


@dataclass(frozen=True)
class Draw:
    """A rule by which episodes are drawn.

    Attributes:
        words: the rule in a sentence.
        episodes: yields the episodes of a source, without end unless the program has one.
        rule: what `Pool.query_sampling` is for it; "of the data set" takes that of the data set.
        supports_repeat: an image may be a support twice.
        last_first: supports stand in an episode with the last drawn first.
    """

    words: str
    episodes: Episodes
    rule: str = "image_first"
    supports_repeat: bool = False
    last_first: bool = False

    @property
    def needs(self) -> Literal["images", "pairs", "classes"]:
        """The entries of the list that it goes through, or classes."""
        return {"image_first": "images", "sequential": "pairs"}.get(self.rule, "classes")  # type: ignore[return-value]


def _one(index: int, query: str, number: int, supports: Sequence[str]) -> Episode:
    return Episode(index, query, number, (number,), (tuple(supports),))


# PFENet and its followers: queries are the images of a list in its order.


def _pfenet(source: Source, numpy_class: bool = False, query_allowed: bool = False) -> Iterator[Episode]:
    """Draw the class of each image of the list, and K different supports.

    Args:
        source: drawn from.
        numpy_class: the class is drawn by NumPy's generator, the supports by Python's.
        query_allowed: the query may be its own support.
    """
    images = source.pool.images
    for index, (place, generators) in enumerate(source.streams.items(len(images))):
        query = images[place]
        shown = source.pool.shown(query)
        if numpy_class:
            number = int(generators.numpy.choice(shown))
        else:
            number = shown[generators.python.randint(1, len(shown)) - 1]
        own = source.pool.images_of.get(number, ())
        supports = pfenet_supports(generators.python, "" if query_allowed else query, number, own, source.shot)
        yield _one(index, query, number, supports)


def _mlc(source: Source) -> Iterator[Episode]:
    """Draw image, class and supports for each episode; a support that is too small is drawn again, and stays."""
    images = source.pool.images
    listed = {number: sorted(set(names)) for number, names in source.pool.images_of.items()}
    for index, (_, generators) in enumerate(source.streams.items(source.asked)):
        rng = generators.python
        query = rng.choice(images)
        number = rng.choice(source.pool.shown(query))
        usable = _without(listed.get(number, []), query)
        large = sum(source.may_support(name, number) for name in usable)
        if large < source.shot:
            raise TooFewImages(number, large, source.shot)
        supports: list[str] = []
        while len(supports) < source.shot:
            drawn = rng.choice(usable)
            if source.may_support(drawn, number):
                supports.append(drawn)
                usable = _without(usable, drawn)
        yield _one(index, query, number, supports)


def _without(names: list[str], name: str) -> list[str]:
    """Return sorted `names` without one of them."""
    place = bisect_left(names, name)
    return names[:place] + names[place + 1 :] if names[place : place + 1] == [name] else names


def _fptrans(source: Source) -> Iterator[Episode]:
    """Go through a permutation of the list in each pass; class and supports come from the same generator."""
    rng, images = np.random.RandomState(source.seed), source.pool.images
    numbers = count()
    while True:
        for place in rng.permutation(np.arange(len(images))):
            query = images[place]
            number = int(rng.choice(source.pool.shown(query)))
            own = source.images(number, source.shot, query)
            supports = different_supports(query, source.shot, (own[rng.choice(len(own), size=1)[0]] for _ in count()))
            yield _one(next(numbers), query, number, supports)


# HSNet and its followers: supports may repeat.


def _hsnet(source: Source) -> Iterator[Episode]:
    """Draw query and supports by NumPy's generator; the query as the list has it, or class first.

    Where every episode is seeded with its index, supports differ from each other (fscs-protocol §3).
    """
    if source.streams.seed is None:
        yield from _by_index(source)
    for index, (_, generators) in enumerate(source.streams.items(source.asked)):
        yield hsnet_episode(index, generators.numpy, source.pool, source.shot)


def _by_index(source: Source) -> Iterator[Episode]:
    for index in count():
        rng = np.random.RandomState(index)  # the official seed of item i
        yield draw_episode(index, rng, source.pool, way=source.way, shot=source.shot, background=source.background)


def _vrp(source: Source) -> Iterator[Episode]:
    """Draw the class by Python's generator and supports by NumPy's (vrp-sam.md §9).

    Processes of several GPUs share the images; all begin with the same seed.
    """
    processes = [source.streams.items(source.asked) for _ in range(source.gpus)]
    for index, process in enumerate(cycle(processes)):
        _, generators = next(process)
        yield vrp_episode(index, source.pool, source.pool.shown, generators, source.shot)


def _class_of_gpus(source: Source) -> Iterator[Episode]:
    """Draw as `_hsnet` in each process; all have the same seed and draw the same episodes."""
    processes = [_hsnet(source) for _ in range(source.gpus)]
    for index, process in enumerate(cycle(processes)):
        yield replace(next(process), index=index)


def _fs_sam2_images(source: Source) -> Iterator[Episode]:
    """Draw class and supports of each image by a generator of the episode's own."""
    images = source.pool.images
    for index, rng in enumerate(episode_generators(source.seed)):
        query = images[index % len(images)]
        number = int(rng.choice(source.pool.shown(query)))
        yield _one(index, query, number, _others(rng, source, number, query))


def _fs_sam2_classes(source: Source) -> Iterator[Episode]:
    """Draw class, query and supports by a generator of the episode's own."""
    for index, rng in enumerate(episode_generators(source.seed)):
        number = int(rng.choice(source.pool.class_ids))
        query = str(rng.choice(source.images(number, source.shot + 1)))
        yield _one(index, query, number, _others(rng, source, number, query))


def _others(rng: np.random.Generator, source: Source, number: int, query: str) -> list[str]:
    """Draw K different supports among the images of a class without the query."""
    others = [name for name in source.images(number, source.shot, query) if name != query]
    return [others[place] for place in rng.choice(len(others), source.shot, replace=False)]


# OSLSM's and PANet's lists.


def _pmms(source: Source) -> Iterator[Episode]:
    """Go through the pairs, which are shuffled in place before each further pass (isaid-protocol §4.2).

    Of several supports the program draws all at once, among the images in the order of the list.
    """
    rng, items = random.Random(source.seed), list(source.pool.pairs)
    for index in count():
        place = index % len(items)
        if index and not place:
            rng.shuffle(items)
        query, number = items[place]
        own = source.images(number, source.shot, query)
        if source.shot > 1:
            supports = tuple(rng.sample([name for name in own if name != query], source.shot))
        else:
            supports = different_supports(query, 1, (own[rng.randint(0, len(own) - 1)] for _ in count()))
        yield _one(index, query, number, supports)


def _canet(source: Source) -> Iterator[Episode]:
    """Go through the pairs and two shuffled copies of them; the supports are drawn when the queries are known."""
    rng = random.Random(source.seed)
    pairs = list(source.pool.pairs)
    for _ in range(2):
        again = list(source.pool.pairs)
        rng.shuffle(again)
        pairs += again
    for index, (query, number) in enumerate(pairs):
        own = source.images(number, source.shot, query)
        supports = different_supports(query, source.shot, (own[rng.randint(0, len(own) - 1)] for _ in count()))
        yield _one(index, query, number, supports)


def _panet(source: Source) -> Iterator[Episode]:
    """Draw a class and K + 1 of its images, the last of which is the query; after one draw among data sets."""
    rng, classes = random.Random(source.seed), list(source.pool.class_ids)
    rng.choices(range(1), k=1)
    for index in count():
        number = classes[rng.sample(range(len(classes)), 1)[0]]
        own = source.images(number, source.shot + 1)
        *supports, query = (own[place] for place in rng.sample(range(len(own)), source.shot + 1))
        yield _one(index, query, number, supports)


def _pmms_classes(source: Source) -> Iterator[Episode]:
    """Draw a class and K + 1 of its images, the first of which is the query."""
    for index, (_, generators) in enumerate(source.streams.items(source.asked)):
        number = int(generators.numpy.choice(source.pool.class_ids))
        own = source.images(number, source.shot + 1)
        places = generators.numpy.choice(len(own), source.shot + 1, replace=False)
        query, *supports = (own[place] for place in places)
        yield _one(index, query, number, supports)


def _dmtnet(source: Source) -> Iterator[Episode]:
    """Take classes in the order of a shuffling sampler, which deals them to the GPUs; what fills no batch is left out.

    All processes begin with the same seed.
    """
    order = torch_permutation(source.asked, 0)  # the sampler's own seed, whatever that of the test is
    order += order[: -len(order) % source.gpus]
    whole = len(order) // source.gpus // source.batch * source.batch
    numbers = count()
    processes = [
        (order[rank :: source.gpus][:whole], Generators.seeded(source.seed).numpy) for rank in range(source.gpus)
    ]
    for place in range(whole):
        for own, rng in processes:
            yield replace(hsnet_episode(own[place], rng, source.pool, source.shot), index=next(numbers))


PARTS: Mapping[str, Draw] = {
    "image then class": Draw(
        "query images go through the list, the class is drawn among all that the image shows; K different supports",
        _pfenet, last_first=True,
    ),
    "image then class, query allowed as support": Draw(
        "as image then class, and the query may be among its own supports",
        lambda source: _pfenet(source, query_allowed=True), last_first=True,
    ),
    "image then class, class by NumPy": Draw(
        "as image then class, the class by NumPy's generator",
        lambda source: _pfenet(source, numpy_class=True), last_first=True,
    ),
    "image then class, supports may repeat": Draw(
        "query images go through the list, the class is drawn among all that the image shows; supports may repeat",
        _vrp, supports_repeat=True,
    ),
    "image then class, generator of the episode": Draw(
        "query images go through the list; class and K different supports come from a generator of the episode's own",
        _fs_sam2_images,
    ),
    "random image then class": Draw(
        "query, class and K different supports are drawn for each episode", _mlc,
    ),
    "shuffled images then class": Draw(
        "query images go through the list in another order in each pass, from the generator of class and supports",
        _fptrans,
    ),
    "list of pairs": Draw(
        "queries go through the list of pairs; supports may repeat", _hsnet, "sequential", supports_repeat=True,
    ),
    "list of images": Draw(
        "queries go through the list, each image of one class; supports may repeat",
        _hsnet, "sequential", supports_repeat=True,
    ),
    "list of pairs, shuffled when through": Draw(
        "queries go through the list of pairs, which is shuffled before each further pass; K different supports",
        _pmms, "sequential",
    ),
    "list of pairs, two shuffled copies appended": Draw(
        "queries go through the list of pairs and two shuffled copies of it; K different supports", _canet,
        "sequential",
    ),
    "class then image": Draw(
        "a class is drawn, then an image of it; supports may repeat", _class_of_gpus, "class_first",
        supports_repeat=True,
    ),
    "class then image, generator of the episode": Draw(
        "class, query and K different supports come from a generator of the episode's own", _fs_sam2_classes,
        "class_first",
    ),
    "class then image, query last": Draw(
        "a class is drawn, then K + 1 of its images, the last of which is the query", _panet, "class_first",
    ),
    "class then image, query first": Draw(
        "a class is drawn, then K + 1 of its images, the first of which is the query", _pmms_classes, "class_first",
    ),
    "list of images in shuffled order": Draw(
        "the images of the list come in the order of a shuffling sampler, each of one class; supports may repeat",
        _dmtnet, "sequential", supports_repeat=True,
    ),
    "class cycle": Draw(
        "the classes take turns, an image of the class is drawn; supports may repeat", _hsnet, "by_turns",
        supports_repeat=True,
    ),
    "class cycle in shuffled order": Draw(
        "the classes come in the order of a shuffling sampler, an image of the class is drawn; supports may repeat",
        _dmtnet, "by_turns", supports_repeat=True,
    ),
}  # fmt: skip
"""The draws by their words."""

OF_DATASET = "of the data set"
OWN: Mapping[str, Draw] = {
    OF_DATASET: Draw(
        "as list of pairs, class then image, or class cycle, whichever the data set has; supports may repeat",
        _hsnet, OF_DATASET, supports_repeat=True,
    ),
}  # fmt: skip
"""Draws of the suite's tests that are no words of the atlas."""
KNOWN: Mapping[str, Draw] = {**PARTS, **OWN}


def one_stream(word: str, pool: Pool, *, shot: int, seed: int = 0, workers: int = 0) -> Iterator[Episode]:
    """Draw the 1-way episodes of a pool by a word, as a program with this seed and so many loader processes does."""
    return KNOWN[word].episodes(Source(pool, Streams(seed, workers), max(len(pool.pairs), 1), shot=shot))


def fixed_supports(
    shown: Mapping[str, Mapping[int, int]], novel: Sequence[int], shot: int, seed: int, least: int
) -> dict[int, tuple[str, ...]]:
    """Draw the supports of all queries as CAPL's program does.

    No row is composed with it: it and `queries_by_novel_class` hold what the atlas says of CAPL's draw to goldens.

    Args:
        shown: training image, in list order -> pixels of each class.
        novel: the novel classes, ascending.
        shot: K.
        seed: of Python's generator.
        least: pixels of its class that a support shows.

    Returns:
        The K supports of each novel class; images repeat where a class has too few.

    Raises:
        TooFewImages: a class has none.
    """
    rng = random.Random(seed)
    lists: dict[int, list[str]] = {number: [] for number in novel}
    for name, pixels in shown.items():
        first = next((number for number in novel if pixels.get(number)), None)
        if first is not None:
            lists[first].append(name)
    found: dict[int, tuple[str, ...]] = {}
    for number, images in lists.items():
        chosen: list[str] = []
        trials = 0
        while len(chosen) < shot and trials < len(images):
            name = images[rng.randint(0, len(images) - 1)]
            trials += 1
            alone = not any(shown[name].get(other) for other in novel if other != number)
            if name not in chosen and alone and shown[name][number] >= least:
                chosen.append(name)
        if not chosen:
            raise TooFewImages(number, 0, shot)
        chosen += [rng.choice(chosen) for _ in range(shot - len(chosen))]
        found[number] = tuple(chosen)
    return found


def queries_by_novel_class(shown: Mapping[str, Mapping[int, int]], novel: Sequence[int]) -> list[str]:
    """Return the images that show a class in the order that CAPL's program asks for them.

    Args:
        shown: validation image, in list order -> pixels of each class, without background and void.
        novel: the novel classes, ascending.

    Returns:
        Those of each novel class, by the lowest that an image shows, then the others.
    """
    first = {name: next((n for n in novel if pixels.get(n)), None) for name, pixels in shown.items() if pixels}
    return [name for number in (*novel, None) for name, found in first.items() if found == number]
