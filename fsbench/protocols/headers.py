"""Entries of a manifest's header, and what each is held against: episodes, protocol, and published data set.

A header may come from anybody, and titles, tables and pages go by it. What follows from something else is computed here
and compared. Where no protocol of that name is known, what the episodes alone say is.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from fsbench.base.plugins import named_objects
from fsbench.base.statements import Statement, contradicted
from fsbench.data.episodes.episode import ClassificationEpisode, Episode
from fsbench.data.episodes.manifest import Header, Manifest
from fsbench.data.episodes.settings import SETTINGS, SIZE_BINS
from fsbench.data.published import OWN, PUBLISHED, Published, checksums, own_name_fault, published_names
from fsbench.data.volumes import is_slice
from fsbench.protocols.conditions import ATLAS_NAMES
from fsbench.protocols.draws.draw import Draw
from fsbench.protocols.draws.fscs import AUGMENTED
from fsbench.protocols.protocol import Protocol
from fsbench.scores.run_lengths import RUN_LENGTHS

OFFICIAL = "official"
_NOT_OFFICIAL = ("draws", "official_sha256", "calibration_ids", "calibration_images")
"""Entries that a header has beyond those of its official episodes alone."""


@dataclass(frozen=True)
class Tested:
    """A manifest (list of episodes with a header) and its protocol, for comparing the header with the episodes.

    Attributes:
        manifest: the header with its episodes.
        protocol: the protocol that the header names; None if it is not known here.
    """

    manifest: Manifest
    protocol: Protocol | None

    @property
    def header(self) -> Header:
        return self.manifest.header

    @property
    def draw(self) -> Draw | None:
        return None if self.protocol is None else self.protocol.draw

    @cached_property
    def episodes(self) -> tuple[Episode, ...]:
        """Episodes of all draws of supports, without those that only calibrate a threshold."""
        return self.manifest.tested_episodes

    @cached_property
    def shown(self) -> set[int]:
        """Numbers of the classes that the episodes ask for."""
        first = 1 if self.header.kind else 0  # classification counts its classes from 0
        return {number + first for episode in self.episodes for number in episode.classes}

    @property
    def published(self) -> Published | None:
        """The published data set that the header names; None if it names another."""
        return None if self.header.kind else PUBLISHED.get(self.header.dataset)

    @cached_property
    def named_classes(self) -> set[int] | None:
        """Class numbers that the published data set has in the header's fold; None if only files can tell."""
        header, known = self.header, self.published
        if known is None or not known.novel or self.draw is None or header.fold >= len(known.novel):
            return None
        return self.draw.classes_on(known, header.fold, header.classes)


def header_faults(manifest: Manifest, protocol: Protocol | None) -> Iterator[str]:
    """Yield in words each statement of a manifest's header that its episodes contradict, with both values.

    Args:
        manifest: header and episodes.
        protocol: the protocol that the header names; None if it is not known here.
    """
    yield from contradicted(HEADER, Tested(manifest, protocol))


def _kind(by: Tested) -> Iterator[str]:
    if by.protocol is not None and by.header.kind != by.protocol.kind:
        yield f"kind is {by.header.kind}, and that of the protocol {by.protocol.name} is {by.protocol.kind}"


def _version(by: Tested) -> Iterator[str]:
    if by.protocol is not None and by.header.version != by.protocol.version:
        yield (
            f"version is {str(by.header.version)[:60]}, and the protocol {by.protocol.name} is of version "
            f"{by.protocol.version} here"
        )


def _protocol_parts(by: Tested) -> Iterator[str]:
    parts = by.header.protocol_parts
    if parts is not None and by.protocol is None:
        yield "protocol_parts make no protocol of one's own"
    elif by.protocol is not None and by.protocol.name != by.header.protocol:
        yield f"protocol is {by.header.protocol[:60]!r}, and protocol_parts have the name {by.protocol.name!r}"


def _dataset(by: Tested) -> Iterator[str]:
    name = by.header.dataset
    is_known = name in OWN or name in PUBLISHED or name in published_names()
    if not is_known and (fault := own_name_fault(name, tuple(ATLAS_NAMES.values()))):
        yield f"dataset is {name[:60]!r}, which {fault}"


def _fold(by: Tested) -> Iterator[str]:
    if by.header.fold >= by.header.folds:
        yield f"fold is {by.header.fold}, and the folds are 0 to {by.header.folds - 1}"


def _folds(by: Tested) -> Iterator[str]:
    folds = 1 if by.header.kind else by.published.folds if by.published else None
    if folds is not None and by.header.folds != folds:
        yield f"folds is {by.header.folds}, and {by.header.dataset} has {folds}"


def _way(by: Tested) -> Iterator[str]:
    header = by.header
    ways = {len(episode.classes) for episode in by.episodes if not episode.augmented}
    if ways and not header.all_classes and ways != {header.way}:
        yield f"way is {header.way}, and episodes have {_listed(ways)} ways"
    fully = header.setting == "fully_augmented"
    for one in (episode for episode in by.episodes if episode.augmented):
        if len(one.classes) < header.way or (len(one.classes) > header.way and not fully):
            yield f"way is {header.way}, and the augmented episode {one.number} has {len(one.classes)} ways"
            return
    if by.draw is not None and header.way != 1 and (by.draw.ways == "one" or header.all_classes):
        yield f"way is {header.way}, and that of the protocol {header.protocol} is 1"


def _shot(by: Tested) -> Iterator[str]:
    header, draw = by.header, by.draw
    if header.shot < 1:
        yield f"shot is {header.shot}, expected 1 or more"
    if draw is None:
        return
    may_repeat = draw.query_may_support(header)
    for line, episode in enumerate(by.manifest.episodes, 2):
        for own, queries in _ways(episode):
            if not own and header.all_classes:  # base classes have none
                continue
            enough = len(own) >= header.shot if episode.augmented else draw.has_shot(header, len(own))
            if not enough:
                yield f"shot is {header.shot}, and line {line} has a class with {len(own)} supports"
                return
            if not may_repeat and (both := [query for query in queries if query in own]):
                yield f"line {line} has its query {str(both[0])[:60]} among its supports, which show the answer"
                return


def _ways(episode: Episode | ClassificationEpisode) -> list[tuple[Sequence[str | int], Sequence[str | int]]]:
    """Return the supports of each way of an episode, and the queries that are asked with them."""
    if isinstance(episode, ClassificationEpisode):
        return list(zip(episode.support, episode.query, strict=True))
    return [(own, (episode.query,)) for own in episode.supports]


def _setting(by: Tested) -> Iterator[str]:
    header = by.header
    known = SETTINGS if by.draw is None else by.draw.settings
    if header.setting not in known:
        yield f"setting is {header.setting[:60]!r}, and the protocol {header.protocol} has {', '.join(known)}"
    augmented = sum(episode.augmented for episode in by.manifest.episodes)
    if augmented and header.setting not in AUGMENTED:
        yield f"setting is {header.setting}, and {augmented} episodes are augmented"


def _classes(by: Tested) -> Iterator[str]:
    header = by.header
    if (header.classes == "all") != bool(header.kind):
        yield f"classes is {header.classes}, and the episodes are of {header.kind or 'masks'}"
    elif by.draw is not None and not by.draw.trains and header.classes not in ("novel", "all"):
        yield f"classes is {header.classes}, and the protocol {header.protocol} tests novel ones"


def _empty(by: Tested) -> Iterator[str]:
    header = by.header
    if header.kind:
        if header.empty:
            yield "empty is True, and in classification every query shows a class"
        return
    if not header.empty:
        empty = [episode for episode in by.episodes if episode.query_class not in episode.classes]
        if empty:
            yield (
                f"empty is False, and {len(empty)} queries show none of their episode's classes, first that of the "
                f"episode {empty[0].number}"
            )
    if by.draw is not None and header.empty != by.draw.may_be_empty(by.draw.task_of(header)):
        yield f"empty is {header.empty}, and by the protocol {header.protocol} it is {not header.empty}"


def _seed(by: Tested) -> Iterator[str]:
    seed = by.header.seed
    if seed is not None and not 0 <= seed < 1 << 32:
        yield f"seed is {seed}, expected 0 to {(1 << 32) - 1}"
    elif by.draw is not None and (by.draw.official_seed(by.header.dataset) is None) != (seed is None):
        seeded = "no" if by.draw.official_seed(by.header.dataset) is None else "a"
        yield f"seed is {seed}, and the protocol {by.header.protocol} has {seeded} seed of the whole test"


def _lists(by: Tested) -> Iterator[str]:
    header = by.header
    if not header.lists.startswith(OFFICIAL):
        return
    known = by.published
    if (known is None and header.dataset not in named_objects("data")) or (known is not None and not known.has_lists):
        yield f"lists is {header.lists[:60]!r}, and no official lists of {header.dataset} are known"


def _lists_sha256(by: Tested) -> Iterator[str]:
    header = by.header
    if header.lists != OFFICIAL or header.classes != "novel" or header.all_classes or header.dropped_classes:
        return  # some tests list images alone, or leave out what is dropped
    known = {one.sha256_ordered for (_, fold), one in checksums(header.dataset).items() if fold == header.fold}
    if known and header.lists_sha256 not in known:
        yield f"lists_sha256 is {str(header.lists_sha256)[:12]}…, which is none of the official lists of the fold"


def _dropped_classes(by: Tested) -> Iterator[str]:
    dropped = set(by.header.dropped_classes)
    if left_out := by.shown & dropped:
        yield f"dropped_classes are {_listed(dropped)}, and episodes ask for {_listed(left_out)}"
    if both := dropped.intersection(by.header.class_ids):
        yield f"dropped_classes are {_listed(dropped)}, and class_ids have {_listed(both)} as well"
    if by.named_classes is not None and (foreign := dropped - by.named_classes):
        yield f"dropped_classes have {_listed(foreign)}, which {by.header.dataset} has in another fold"


def _all_classes(by: Tested) -> Iterator[str]:
    header = by.header
    if by.draw is not None and header.all_classes != by.draw.asks_base_classes:
        asked = "asks" if by.draw.asks_base_classes else "does not ask"
        yield f"all_classes is {header.all_classes}, and the protocol {header.protocol} {asked} for all classes at once"
    elif header.all_classes:
        yield from _base_and_novel(by)


def _base_and_novel(by: Tested) -> Iterator[str]:
    """Hold the entries that tests of base and novel classes have beside those of others against the episodes."""
    stated, entries = by.header.protocol_entries, by.manifest.official_episodes
    novel = {number for one in entries for number, own in zip(one.classes, one.supports, strict=True) if own}
    numbers = stated.get("novel_ids")
    if not isinstance(numbers, list) or not novel <= set(numbers) <= set(by.header.class_ids):
        yield f"novel_ids are {str(numbers)[:60]}, and episodes have supports of {_listed(novel)}"
    runs: list[int] = []
    supports, asked = None, set[str]()
    for one in entries:  # a run asks every query once, with the same supports
        if one.supports != supports or one.query in asked:
            runs.append(0)
            asked.clear()
        supports = one.supports
        asked.add(one.query)
        runs[-1] += 1
    lengths = stated.get(RUN_LENGTHS, runs)
    said = [length for length in lengths if length] if isinstance(lengths, list) else lengths  # a trial may have none
    if said != runs and by.header.selection is None:
        yield f"{RUN_LENGTHS} are {str(lengths)[:60]}, and runs of {str(runs)[:60]} episodes follow"


def _requested(by: Tested) -> Iterator[str]:
    header, number = by.header, len(by.manifest.official_episodes)
    may_be_shorter = by.draw is None or by.draw.may_be_shorter or header.setting in SIZE_BINS
    may_be_shorter = may_be_shorter and header.episodes is not None  # so that tables can say it
    if header.requested < number or (header.requested > number and not may_be_shorter):
        yield f"requested is {header.requested}, and {number} episodes are there"


def _official_episodes(by: Tested) -> Iterator[str]:
    header = by.header
    if by.draw is None:
        return
    lists = (one for one in checksums(header.dataset).values() if one.sha256_ordered == header.lists_sha256)
    known = next((by.draw.episode_count(header.dataset, one.pairs) for one in lists), None)
    fixed = by.draw.fixed_episode_count(header.dataset) or known
    if fixed is not None and header.official_episodes != fixed:
        yield f"official_episodes is {header.official_episodes}, and the protocol {header.protocol} has {fixed}"


def _episodes(by: Tested) -> Iterator[str]:
    number = len(by.manifest.official_episodes)
    if by.header.episodes not in (None, number):
        yield f"episodes is {by.header.episodes}, and {number} are there"


def _class_ids(by: Tested) -> Iterator[str]:
    header, numbers = by.header, set(by.header.class_ids)
    if len(numbers) < len(header.class_ids):
        yield f"class_ids are {_listed(header.class_ids)}, one of them twice"
    if foreign := by.shown - numbers:
        yield f"class_ids are {_listed(numbers)}, and episodes ask for {_listed(foreign)} as well"
    knows_queries = by.draw is not None and not header.kind and not by.draw.empty_queries_show_anything
    if knows_queries and (foreign := {episode.query_class for episode in by.episodes} - numbers):
        yield f"class_ids are {_listed(numbers)}, and queries are there for {_listed(foreign)} as well"
    if header.kind and header.class_ids != list(range(1, len(numbers) + 1)):
        yield f"class_ids are {_listed(numbers)}, and classes are numbered from 1 without a gap"
    if by.named_classes is not None and (foreign := numbers - by.named_classes):
        yield (
            f"class_ids have {_listed(foreign)}, and the {header.classes} classes of {header.dataset} in fold "
            f"{header.fold} are {_listed(by.named_classes)}"
        )


def _class_names(by: Tested) -> Iterator[str]:
    header = by.header
    known = {*header.class_ids, *header.calibration_ids, *header.dropped_classes}
    if foreign := set(map(int, header.class_names)) - known:
        yield f"class_names has a name of {_listed(foreign)}, and class_ids are {_listed(header.class_ids)}"


def _of_classification(name: str) -> Callable[[Tested], Iterator[str]]:
    """Return the check of an entry that counts something of a test of classification, and is none of masks."""

    def check(by: Tested) -> Iterator[str]:
        if (value := getattr(by.header, name)) is not None and not by.header.kind:
            yield f"{name} is {value}, and the episodes are of masks"

    return check


def _queries(by: Tested) -> Iterator[str]:
    yield from _of_classification("queries")(by)
    if by.header.kind:
        found = {len(own) for episode in by.episodes for own in episode.query}
        if found and found != {by.header.queries}:
            yield f"queries is {by.header.queries}, and classes of the episodes have {_listed(found)}"


def _filled_classes(by: Tested) -> Iterator[str]:
    yield from _of_classification("filled_classes")(by)
    filled, most = by.header.filled_classes or 0, len(by.header.class_ids) if by.header.min_class_size else 0
    if by.header.kind and filled > most:
        yield f"filled_classes is {filled}, and {most} classes may be repeated"


def _draws(by: Tested) -> Iterator[str]:
    header = by.header
    draws, all_draws = {episode.draw for episode in by.episodes}, set(range(min(header.draws, len(by.episodes) + 1)))
    if not draws <= all_draws or (draws != all_draws and header.selection is None):
        yield f"draws is {header.draws}, and the supports of the episodes are of the draws {_listed(draws)}"


def _official_sha256(by: Tested) -> Iterator[str]:
    header = by.header
    if header.selection is not None:
        return
    if header.official_sha256 is None:
        if header.draws > 1:
            yield f"official_sha256 is missing, and draws is {header.draws}"
        return
    entries = {name: value for name, value in by.manifest.entries.items() if name not in _NOT_OFFICIAL}
    if (found := Manifest(entries, by.manifest.official_episodes).sha256) != header.official_sha256:
        yield f"official_sha256 is {header.official_sha256[:12]}…, and that of draw 0 is {found[:12]}…"


def _nested_in(by: Tested) -> Iterator[str]:
    header = by.header
    if header.nested_in is not None and (header.nested_in < header.shot or header.setting in AUGMENTED):
        yield f"nested_in is {header.nested_in}, and shot {header.shot} in the setting {header.setting}"


def _calibration_ids(by: Tested) -> Iterator[str]:
    header, calibrating = by.header, set(by.header.calibration_ids)
    calibrated = {number for episode in by.manifest.episodes if episode.calibrates for number in episode.classes}
    if not calibrated <= calibrating or (calibrated != calibrating and header.selection is None):
        yield f"calibration_ids are {_listed(calibrating)}, and episodes calibrate by {_listed(calibrated)}"
    if calibrating and by.draw is not None and not by.draw.calibrates:
        yield f"calibration_ids are {_listed(calibrating)}, and the protocol {header.protocol} calibrates nothing"
    if tested := calibrating.intersection(header.class_ids):
        yield f"calibration_ids are {_listed(calibrating)}, of which class_ids have {_listed(tested)}"


def _calibration_images(by: Tested) -> Iterator[str]:
    images, numbers = by.header.calibration_images, by.header.calibration_ids
    if (images is None) != (not numbers):
        yield f"calibration_images is {images}, and calibration_ids are {_listed(numbers)}"


def _slices(by: Tested) -> Iterator[str]:
    header = by.header
    if by.draw is not None and header.slices != by.draw.draws_slices:
        expected = "slices" if by.draw.draws_slices else "no slices"
        yield f"slices is {header.slices}, and the images of the protocol {header.protocol} are {expected}"
    if header.slices and (strange := next((one for one in by.manifest.image_names if not is_slice(one)), None)):
        yield f"slices is True, and {strange[:60]!r} is no slice, which are named <scan>/<z>"


HEADER: Mapping[str, Statement[Tested]] = {
    "kind": Statement("the protocol's kind", _kind),
    "protocol": Statement("the protocols that are known here: an unknown one has no scores, and no title"),
    "version": Statement("the version of the protocol here", _version),
    "protocol_parts": Statement("protocol and version, which they state, too", _protocol_parts),
    "dataset": Statement(
        "the form of a name, and what is known of a published data set of that name (folds, classes, checksums of "
        "lists); a data set of one's own cannot have such a name",
        _dataset,
    ),
    "fold": Statement("the number of folds", _fold),
    "folds": Statement("the published data set of that name, where it has a fixed number", _folds),
    "way": Statement("the ways of every episode, and the protocol's", _way),
    "shot": Statement(
        "the supports of every class of every episode; a query is none of them, unless the protocol draws so", _shot
    ),
    "setting": Statement(
        "the protocol's settings, and marks of augmented episodes; object sizes against the counts, or the label maps "
        "where the data are at hand",
        _setting,
    ),
    "classes": Statement("the protocol's test; class_ids are those of the fold", _classes),
    "empty": Statement("the class that every query shows, and the protocol", _empty),
    "seed": Statement("whether the protocol has one; its value against the episodes where the data are at hand", _seed),
    "lists": Statement("whether official lists of the data set are known", _lists),
    "lists_sha256": Statement("the checksums of the official lists, where lists says official", _lists_sha256),
    "all_lists_sha256": Statement("believed: it parts runs on different lists; the data tell it where they are here"),
    "dropped_classes": Statement("the classes of episodes, class_ids, and the published fold", _dropped_classes),
    "drop_small": Statement("believed: dropped_classes says which classes were left out"),
    "all_classes": Statement(
        "the protocol; novel_ids and run_lengths, which such tests have beside, the supports of the episodes",
        _all_classes,
    ),
    "requested": Statement(
        "the number of episodes; where a list may be shorter, tables say how many are there", _requested
    ),
    "official_episodes": Statement(
        "the protocol's number, where it is the same for all lists, or these are official ones", _official_episodes
    ),
    "episodes": Statement("the number of episodes", _episodes),
    "class_ids": Statement("the classes of episodes and queries, and the published fold", _class_ids),
    "class_names": Statement("class_ids; the names themselves where the data are at hand", _class_names),
    "queries": Statement("the queries of every class of every episode", _queries),
    "min_class_size": Statement(
        "that the test is of classification; filled_classes says whether a class was repeated",
        _of_classification("min_class_size"),
    ),
    "filled_classes": Statement("class_ids and min_class_size", _filled_classes),
    "small_classes": Statement("that the test is of classification", _of_classification("small_classes")),
    "draws": Statement("the draws of the episodes", _draws),
    "official_sha256": Statement("the hash of the episodes of draw 0", _official_sha256),
    "nested_in": Statement("shot and setting", _nested_in),
    "calibration_ids": Statement("the classes of the episodes that calibrate, and the protocol", _calibration_ids),
    "calibration_images": Statement("calibration_ids", _calibration_images),
    "slices": Statement("the protocol, and the form of the images' names", _slices),
    "selection": Statement("believed: it says that the episodes are no test of the protocol"),
    "own_list": Statement("the local data, by which a list is drawn again; of a record, its run's identity"),
}
"""By entry of `Header` what it is held against. A list of one's own and chosen episodes keep the ways, shots, settings
and numbers of their protocol; of chosen episodes, draws and calibrating classes may be missing."""


def _listed(numbers: Iterable[int]) -> str:
    """Return numbers in words, those of a long list shortened."""
    listed = sorted(numbers)
    return ", ".join(map(str, listed[:10])) + ", …" * (len(listed) > 10) or "none"
