"""One method under the tests of the atlas: a line for each, and what one word of a test alone moves."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import isnan, nan

from fsbench.data.episodes.header import Header
from fsbench.protocols.composed import Composed
from fsbench.protocols.conditions import WITHOUT_VOID
from fsbench.protocols.geometry import WORDS
from fsbench.protocols.registry import ATLAS, protocol_of
from fsbench.protocols.rows import row_of
from fsbench.protocols.segmentation import ABSENT_WORDS, Void
from fsbench.records.grouping import fold_of
from fsbench.records.record import Record
from fsbench.results.atlas.atlas import Atlas
from fsbench.results.atlas.islands import SHARED, islands
from fsbench.results.tables.layout import interval_notes
from fsbench.scores.estimate import Estimate, Scope, differences, estimates
from fsbench.scores.statistics import ScoreStatistics

AXES = ("task", "lists", "draw", "episodes", "streams", "images", "compared at", "void", "score")
"""Axes of a test, each of which has a word; see `fsbench.protocols.parts`."""

VOID_CONDITIONS: Mapping[Void, str] = {"ignore": "ignored", "present": "ignored", "background": "background"}
"""Rules for void pixels in the words of the atlas."""
_POOLED = "class-pooled mIoU"


@dataclass(frozen=True)
class Printed:
    """A figure that a paper prints for the program of a test's row."""

    method: str
    backbone: str
    value: float
    source: str


@dataclass(frozen=True)
class TestLine:
    """A test, and the method's scores under it.

    Attributes:
        test: its row, without the prefix.
        rows: of the atlas that share it.
        words: by axis, as it was run.
        episodes: of a fold.
        metric: name of the score that ranks.
        scores: by name, mean over folds: the one that ranks, and FB-IoU where the program has one.
        spirit: why its figures are not those of the program; empty where they may stand beside them.
        printed: figures of other networks under this very test, the best first.
        runs: folders, one of each fold.
    """

    __test__ = False  # no test of pytest's

    test: str
    rows: tuple[str, ...]
    words: Mapping[str, str]
    episodes: int
    metric: str
    scores: Mapping[str, Estimate]
    spirit: tuple[str, ...]
    printed: tuple[Printed, ...]
    runs: tuple[str, ...]

    @property
    def score(self) -> Estimate:
        """The score that ranks; NaN where the program has none, as a class has no episode."""
        return self.scores.get(self.metric, Estimate(nan, scope=Scope.NONE))

    @property
    def is_scored(self) -> bool:
        """Whether there is a score that ranks."""
        return self.metric in self.scores


@dataclass(frozen=True)
class Move:
    """A change from one test to another that has another word on few axes.

    Attributes:
        axes: on which the two differ.
        test, other: the rows; the same where a test's own counts are scored by another word, which no row need have.
        words: of both on these axes.
        metric: name of the score.
        difference: the score under `other` minus that under `test`.
        is_paired: both ask the same episodes, so that the interval is that of a paired difference; else there is none.
    """

    axes: tuple[str, ...]
    test: str
    other: str
    words: tuple[str, str]
    metric: str
    difference: Estimate
    is_paired: bool


@dataclass(frozen=True)
class Spread:
    """Tests that count the same predictions: same episodes, shown alike. The scores differ by the ruler alone.

    Attributes:
        tests: rows, the one with the lowest score first.
        metric: name of the score.
        scores: the lowest and the highest.
        difference: of these two, paired.
    """

    tests: tuple[str, ...]
    metric: str
    scores: tuple[float, float]
    difference: Estimate


@dataclass(frozen=True)
class RulerTable:
    """A method under tests of the atlas.

    Attributes:
        title: the method, and what the tests have in common.
        lines: the tests, the highest score first.
        spreads: of tests with the same predictions.
        moves: pairs of tests that differ on one axis; on two where one of these never changes alone.
        notes: what a reader must know.
    """

    title: str
    lines: Sequence[TestLine]
    spreads: Sequence[Spread]
    moves: Sequence[Move]
    notes: Sequence[str]


@dataclass(frozen=True)
class _Tested:
    """A test's line with the records that it is made of."""

    line: TestLine
    records: Sequence[Record]
    statistics: Sequence[ScoreStatistics]

    @property
    def predictions(self) -> tuple[object, ...]:
        """Everything that the predictions follow from: the episodes, and how images are shown."""
        return self.line.words["images"], *(record.manifest.episodes for record in self.records)

    @property
    def episodes(self) -> tuple[object, ...]:
        """The episodes, fold by fold."""
        return tuple(record.manifest.episodes for record in self.records)


def ruler_tables(records: Iterable[Record], atlas: Atlas) -> list[RulerTable]:
    """Compare the tests of the atlas that a method was run under, a table for each method.

    Runs of other protocols are left out.

    Args:
        records: finished runs; of one method and test those of all folds count together.
        atlas: published figures.

    Raises:
        RecordError: the counts of a run are damaged.
    """
    by_method: dict[tuple[object, ...], dict[str, dict[int, Record]]] = {}
    for record in records:
        if record.header.protocol.startswith(ATLAS) and isinstance(record.protocol, Composed):
            tests = by_method.setdefault(_method(record), {})
            tests.setdefault(record.header.protocol, {})[fold_of(record)] = record
    return [_table(tests, atlas) for tests in by_method.values()]


def _method(record: Record) -> tuple[object, ...]:
    """Return everything that the tests of one table have in common."""
    identity, header = record.run.identity, record.header
    return (
        str(identity.method.as_json()), str(identity.backbone.as_json()), record.run.checkpoint_sha256,
        identity.image_size, identity.precision, identity.support_annotation, identity.kept_support,
        header.dataset, header.way, header.shot, header.setting,
    )  # fmt: skip


def _table(tests: Mapping[str, Mapping[int, Record]], atlas: Atlas) -> RulerTable:
    most = max(map(len, tests.values()))
    whole = {name: [folds[n] for n in sorted(folds)] for name, folds in tests.items() if len(folds) == most}
    header, identity = (first := next(iter(whole.values()))[0]).header, first.run.identity
    shared = {row: island.rows for island in islands(header.dataset) for row in island.rows}
    tested = [_tested(name, folds, shared.get(name, (name,)), atlas) for name, folds in whole.items()]
    tested.sort(key=lambda one: (not one.line.is_scored, -one.line.score.value, one.line.test))
    lines = [one.line for one in tested]
    folds = ", ".join(str(fold_of(record)) for record in tested[0].records)
    title = (
        f"{identity.method.name} under {len(lines)} tests of the atlas · {header.dataset} fold {folds} · "
        f"{header.way}-way {header.shot}-shot · images of {identity.image_size}"
    )
    scored = [one for one in tested if one.line.is_scored]
    moves = _moves(scored, [move for one in scored for move in _recounted(one)])
    every = [*(one.line.score for one in scored), *(move.difference for move in moves)]
    notes = [*_notes(tested, tests, most), *interval_notes(every, ("mIoU", "FB-IoU"))]
    return RulerTable(title, lines, _spreads(scored), moves, notes)


def _tested(name: str, records: Sequence[Record], rows: tuple[str, ...], atlas: Atlas) -> _Tested:
    first = records[0]
    protocol, header = first.protocol, first.header
    assert isinstance(protocol, Composed)
    folds = [fold_of(record) for record in records]
    statistics = [protocol.statistics(record.episodes, record.header) for record in records]
    found = estimates(statistics)
    there = {name for name in found if not any(isnan(one.scores()[name]) for one in statistics)}
    shown = [one for one in (protocol.default_metrics[0], protocol.fb_iou) if one in there]
    line = TestLine(
        test=name.removeprefix(ATLAS),
        rows=tuple(row.removeprefix(ATLAS) for row in rows),
        words=test_words(first),
        episodes=header.requested if len(records) > 1 else len(first.manifest.episodes),
        metric=protocol.default_metrics[0],
        scores={one: found[one] for one in shown},
        spirit=protocol.in_spirit,
        printed=()
        if protocol.in_spirit
        else printed_figures(header, folds, first.run.identity.image_size, rows, atlas),
        runs=tuple(record.path.name for record in records),
    )
    return _Tested(line, records, statistics)


def test_words(record: Record) -> dict[str, str]:
    """Return the word of a run's test on each axis: what was run, where the row leaves a rule open."""
    protocol, header = record.protocol, record.header
    assert isinstance(protocol, Composed)
    streams = {"seed": header.seed, **protocol.drawn_by}
    image_lists, min_object, draw = protocol.words_on(header.dataset)
    return {
        "task": "queries may lack the class" if protocol.empty_queries else "queries show the class",
        "lists": f"{image_lists}, {min_object}",
        "draw": draw,
        "episodes": str(header.requested),
        "streams": ", ".join(f"{name} {value}" for name, value in streams.items() if value is not None) or "by index",
        "images": WORDS[protocol.resize],
        "compared at": protocol.geometry.compared_at,
        "void": VOID_CONDITIONS[protocol.void],
        "score": protocol.score,
    }


test_words.__test__ = False  # type: ignore[attr-defined]  # no test of pytest's


def printed_figures(
    header: Header, folds: Sequence[int], image_size: int | None, rows: Sequence[str], atlas: Atlas
) -> tuple[Printed, ...]:
    """Return the figures that papers print under a test, the best first.

    None where a run has other lists or another number of episodes than the programs. Where pixels are counted at the
    size of the input, those of networks with the run's.

    Args:
        header: of the run's manifest.
        folds: that the run's score is the mean of.
        image_size: S.
        rows: of the atlas that share the test, as protocols.
        atlas: published figures.
    """
    if header.requested != header.official_episodes or not header.lists.startswith("official"):
        return ()
    programs = {row_of(row).id for row in rows}
    any_size = not protocol_of(header).counts_at_input_size()
    whole = len(folds) == header.folds
    found = [
        Printed(entry.method, entry.backbone, each.figure.value, each.figure.source)
        for entry in atlas.entries
        if entry.program is not None and entry.program.id in programs and not set(SHARED).intersection(entry.changes)
        and (any_size or entry.conditions["network_size"] == str(image_size))
        for each in entry.figures
        if (each.figure.way, each.figure.shot, each.figure.metric) == (str(header.way), str(header.shot), "mIoU")
        and (each.figure.is_whole if whole else [each.figure.fold] == [str(fold) for fold in folds])
    ]  # fmt: skip
    return tuple(dict.fromkeys(sorted(found, key=lambda one: (-one.value, one.method))))


def _spreads(tested: Sequence[_Tested]) -> list[Spread]:
    by_predictions: dict[tuple[object, ...], list[_Tested]] = {}
    for one in tested:
        by_predictions.setdefault((*one.predictions, one.line.metric), []).append(one)
    found = []
    for alike in by_predictions.values():
        if len(alike) > 1:
            low, high = alike[-1], alike[0]  # the highest score is first
            names = tuple(one.line.test for one in reversed(alike))
            scores = low.line.score.value, high.line.score.value
            found.append(Spread(names, low.line.metric, scores, _difference(low, high)))
    return sorted(found, key=lambda one: -one.difference.value)


def _recounted(one: _Tested) -> list[Move]:
    """Score a test's own counts by the other words of void and of score that follow from counts."""
    first = one.records[0]
    protocol = first.protocol
    assert isinstance(protocol, Composed)
    changes: list[tuple[str, str, str, Composed]] = []
    own = one.line.words
    if protocol.void == "present":
        changes.append(("score", own["score"], _POOLED, replace(protocol, void="ignore", absent="zero")))
    else:
        other: Void = "ignore" if protocol.void == "background" else "background"
        if first.header.dataset not in WITHOUT_VOID:
            changes.append(("void", own["void"], VOID_CONDITIONS[other], replace(protocol, void=other)))
        if protocol.absent == "zero" and own["score"] == _POOLED:
            seen = _POOLED + ABSENT_WORDS["left_out"]
            changes.append(("score", _POOLED, seen, replace(protocol, absent="left_out")))
    moves = []
    for axis, word, changed, rule in changes:
        found = [rule.statistics(record.episodes, record.header) for record in one.records]
        sides = [(word, one.statistics), (changed, found)]
        if word == VOID_CONDITIONS["background"]:
            sides.reverse()  # all from one word to the other
        (first_word, before), (second_word, after) = sides
        (move,) = differences({"before": before, "after": after}, [("after", "before")])[one.line.metric]
        words = first_word, second_word
        moves.append(Move((axis,), one.line.test, one.line.test, words, one.line.metric, move.difference, True))
    return moves


def _moves(tested: Sequence[_Tested], recounted: Sequence[Move]) -> list[Move]:
    """List the pairs of tests that differ on one axis, and on two where one of these never changes alone.

    Those of tests that are scored by another word come first.
    """
    pairs: dict[tuple[str, ...], list[tuple[_Tested, _Tested]]] = {}
    for one, other in combinations(sorted(tested, key=lambda each: each.line.test), 2):
        differing = tuple(axis for axis in AXES if one.line.words[axis] != other.line.words[axis])
        if 1 <= len(differing) <= 2 and one.line.metric == other.line.metric:
            pairs.setdefault(differing, []).append((one, other))
    alone = {axes[0] for axes in (*pairs, *(move.axes for move in recounted)) if len(axes) == 1}
    chosen = [axes for axes in pairs if len(axes) == 1 or not alone.issuperset(axes)]
    moves = [*recounted, *(_move(axes, one, other) for axes in chosen for one, other in pairs[axes])]
    return sorted(moves, key=lambda move: (len(move.axes), [AXES.index(axis) for axis in move.axes]))


def _move(axes: tuple[str, ...], one: _Tested, other: _Tested) -> Move:
    first, second = ("; ".join(each.line.words[axis] for axis in axes) for each in (one, other))
    paired = one.episodes == other.episodes
    difference = (
        _difference(one, other) if paired else Estimate(other.line.score.value - one.line.score.value, scope=Scope.NONE)
    )
    return Move(axes, one.line.test, other.line.test, (first, second), one.line.metric, difference, paired)


def _difference(one: _Tested, other: _Tested) -> Estimate:
    """Return the ranking score of `other` minus that of `one`, on the same episodes."""
    methods = {"one": one.statistics, "other": other.statistics}
    (found,) = differences(methods, [("other", "one")])[one.line.metric]
    return found.difference


def _notes(tested: Sequence[_Tested], tests: Mapping[str, Mapping[int, Record]], most: int) -> list[str]:
    lines = [one.line for one in tested]
    notes = []
    if any(line.spirit for line in lines):
        notes.append("~ in spirit only: a seed or a rule is ours, so that no published figure stands beside it")
    if any(len(line.rows) > 1 for line in lines):
        notes.append(
            "+n: so many more rows of the atlas have these words (seeds apart); fsbench list protocols atlas: lists all"
        )
    if not all(line.is_scored for line in lines):
        notes.append("–: a class has no episode, and the program then has no mean")
    notes.append(
        "void and score are changed on each test's own counts, other words from one row of the atlas to another"
    )
    first = tested[0].records[0].header
    if not first.lists.startswith("official"):
        notes.append(f"image lists are {first.lists}, not the authors': no published figures beside these scores")
    elif any(one.records[0].header.requested != one.records[0].header.official_episodes for one in tested):
        notes.append("other numbers of episodes than the programs have: no published figures beside these scores")
    notes += [
        f"{name.removeprefix(ATLAS)} is left out: it has {len(folds)} folds, others {most}"
        for name, folds in tests.items()
        if len(folds) < most
    ]
    return notes
