"""Images, draws of supports and trainings that tell two methods apart, from their finished runs (`fsbench plan`)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from statistics import mean, stdev

import numpy as np

from fsbench.base.errors import SettingsError, known_names
from fsbench.protocols.registry import metric_named
from fsbench.records.description import notes, title
from fsbench.records.grouping import comparable, fold_of, variants
from fsbench.records.record import Record
from fsbench.results.tables.comparable import check_same
from fsbench.scores.decisions import smallest_difference, times_larger
from fsbench.scores.estimate import FEW_QUERIES, Difference, Estimate, MetricParts, Scope, differences
from fsbench.scores.planning import Share, more_draws, shared_part, trainings_needed, whole
from fsbench.scores.statistics import ScoreStatistics

EFFECT, POWER = 1.0, 0.80
QUERIES, SUPPORTS, EPISODES = "query images", "support images", "episodes a fold"
DRAWS, TRAININGS = "draws of supports, same query images", "trainings of each, endless test"

Runs = Mapping[int, Record]
"""A training's record of each fold."""


@dataclass(frozen=True)
class Need:
    """A number that decides whether a difference is found.

    Attributes:
        what: what is counted.
        here: how many the finished runs have.
        needed: how many find the difference; None where no number does, or where it is unknown.
        low, high: ends of its 95 % interval, None likewise.
        unknown: why nothing is known of it; empty where something is.
    """

    what: str
    here: int
    needed: int | None = None
    low: int | None = None
    high: int | None = None
    unknown: str = ""


@dataclass(frozen=True)
class Plan:
    """The size of a test that tells two methods apart.

    Attributes:
        title: what the runs have in common.
        methods: labels of the two.
        metric: name of the score.
        fold: a number, or "mean".
        effect: the true difference that is to be found, in points.
        power: the chance to find it, at the level of 5 %.
        times: how many times as many images that takes: the number and the ends of its 95 % interval.
        smallest: the smallest true difference that tests like the finished one find with that power, in points.
        found: the difference of the finished runs, from whose error all follows.
        parts: what varies -> its share of the variance of the difference; empty where the shares are unknown.
        needs: the numbers, each sufficient by itself for what it makes smaller.
        deviations: trained method -> standard deviation of its score over trainings, where there are several.
        notes: what a reader must know.
        runs: folders.
    """

    title: str
    methods: tuple[str, str]
    metric: str
    fold: str
    effect: float
    power: float
    times: tuple[float, float, float]
    smallest: float
    found: Estimate
    parts: dict[str, float]
    needs: list[Need]
    deviations: dict[str, float]
    notes: list[str]
    runs: list[str]


def plans(
    records: Sequence[Record],
    methods: Sequence[str] = (),
    effect: float = EFFECT,
    metric: str | None = None,
    power: float = POWER,
) -> list[Plan]:
    """Plan tests that tell two methods apart.

    Args:
        records: finished runs.
        methods: names of the two: of methods, or labels of tables; all that have runs unless given.
        effect: the true difference that is to be found, in points.
        metric: name of the score; the protocol's first unless given.
        power: the chance to find it.

    Returns:
        A plan for each test on which both have runs: of the mean over its folds where all are there, else of each fold.

    Raises:
        SettingsError: there are not two methods with runs on one test, a name is unknown, or nothing follows from the
            runs.
        RecordError: the runs are not on the same episodes.
    """
    if not (isfinite(effect) and effect > 0):
        raise SettingsError(f"--difference is {effect:g}, expected points above 0, such as 1.0")
    if not 0.05 < power < 1:
        raise SettingsError(f"--power is {power:g}, expected a number between 0.05 and 1, such as 0.8")
    if methods and len(set(methods)) != 2:
        raise SettingsError(f"--method is {','.join(methods)}, expected two methods, such as --method a,b")
    groups = [_methods(group) for group in comparable(records)]
    pairs = [pair for group in groups if (pair := _pair(group, methods)) is not None]
    if not pairs:
        known = list(dict.fromkeys(label for group in groups for label in group))
        named = {name for group in groups for method in group.values() for name in (method.label, method.name)}
        for name in methods:
            if name not in named:
                raise SettingsError(f"there is no run of {name}{known_names(name, known)}")
        both = " and ".join(methods or known)
        raise SettingsError(
            f"no two methods have runs on the same episodes ({both}); expected runs of both on one test"
        )
    return [plan for first, second in pairs for plan in _plans(first, second, effect, metric, power)]


@dataclass(frozen=True)
class _Method:
    """A method of a plan.

    Attributes:
        label: its name, with the settings that tell it from others.
        trainings: seed -> the record of each fold; the folds are the same for all seeds.
    """

    label: str
    trainings: Mapping[int, Runs]

    @property
    def first(self) -> Runs:
        return self.trainings[min(self.trainings)]

    @property
    def name(self) -> str:
        return next(iter(self.first.values())).run.identity.method.name

    @property
    def is_trained(self) -> bool:
        return any(record.run.identity.training for record in self.first.values())


def _methods(records: list[Record]) -> dict[str, _Method]:
    """Return the methods of comparable runs by label; trainings of a method differ in the seed alone."""
    by_settings: dict[str, dict[int, list[Record]]] = {}
    for record in records:
        by_settings.setdefault(_settings(record), {}).setdefault(record.run.identity.seed or 0, []).append(record)
    firsts = [record for seeds in by_settings.values() for record in seeds[min(seeds)]]
    found = {}
    for label, members in variants(firsts).items():
        seeds = by_settings[_settings(members[0])]
        runs = {fold_of(record): record for record in members}
        trainings = {min(seeds): runs}
        if len(members) == len(seeds[min(seeds)]):  # else several runs differ in nothing that words can tell
            for seed, others in seeds.items():
                of_seed = {fold_of(record): record for record in others}
                if of_seed.keys() == runs.keys() and len(others) == len(of_seed):
                    trainings[seed] = of_seed
        found[label] = _Method(label, trainings)
    return found


def _settings(record: Record) -> str:
    """Return what tells the runs of methods apart, but for the seed, the fold and what follows from these."""
    untold = ("fold", "files_cover", "seed")
    return str(sorted((k, v) for k, v in record.flat_identity.items() if k not in untold and not k.endswith("sha256")))


def _pair(known: Mapping[str, _Method], names: Sequence[str]) -> tuple[_Method, _Method] | None:
    """Return the two methods that are named, or the only two; None where one of them has no run.

    Raises SettingsError where it is not said which two.
    """
    if not names and len(known) > 2:
        raise SettingsError(f"found runs of {', '.join(known)}; expected --method with two of them")
    chosen = []
    for name in names or known:
        labels = [name] if name in known else [label for label, method in known.items() if method.name == name]
        if len(labels) > 1:
            raise SettingsError(f"{name} has runs of several settings; expected one of: {'; '.join(labels)}")
        chosen += [known[label] for label in labels]
    return (chosen[0], chosen[1]) if len(chosen) == 2 else None


def _plans(first: _Method, second: _Method, effect: float, metric: str | None, power: float) -> list[Plan]:
    """Plan the mean over folds where all are there, else each fold."""
    check_same({first.label: dict(first.first), second.label: dict(second.first)})
    record = next(iter(first.first.values()))
    name = record.protocol.default_metrics[0] if metric is None else metric_named(metric).name
    if name not in record.protocol.metric_names:
        known = ", ".join(record.protocol.metric_names)
        raise SettingsError(f"--metric is {name}, which {record.protocol.task} lacks; expected one of {known}")
    if not metric_named(name).in_points:
        raise SettingsError(
            f"--metric is {name}, whose differences are no points; expected one in percent, such as mIoU"
        )
    folds = sorted(first.first)
    scopes = [("mean", folds)] if len(folds) == record.header.folds > 1 else [(str(fold), [fold]) for fold in folds]
    return [_Pilot((first, second), name, fold, numbers).plan(effect, power) for fold, numbers in scopes]


@dataclass(frozen=True)
class _Pilot:
    """The finished runs of two methods on the same episodes.

    Attributes:
        methods: the two.
        metric: name of the score.
        fold: a number, or "mean".
        folds: numbers of the folds whose mean is taken.
    """

    methods: tuple[_Method, _Method]
    metric: str
    fold: str
    folds: Sequence[int]

    def plan(self, effect: float, power: float) -> Plan:
        """Compute what finds the difference `effect` with this power."""
        first, second = (method.label for method in self.methods)
        found = self._difference.difference
        factor = times_larger(found, effect, power)
        records = [run for method in self.methods for runs in method.trainings.values() for run in runs.values()]
        records = [record for record in records if fold_of(record) in self.folds]
        return Plan(
            title=f"{title(records)}, {'mean over folds' if self.fold == 'mean' else f'fold {self.fold}'}",
            methods=(first, second),
            metric=self.metric,
            fold=self.fold,
            effect=effect,
            power=power,
            times=(factor.value, factor.low, factor.high),
            smallest=smallest_difference(found, power),
            found=found,
            parts=self._parts,
            needs=[*self._sizes(effect, power), self._draws(effect, power), self._trainings(effect, power)],
            deviations={label: stdev(scores) for label, scores in self._scores.items() if len(scores) > 1},
            notes=notes(records),
            runs=[str(record.path) for record in records],
        )

    @cached_property
    def _statistics(self) -> dict[str, dict[int, list[ScoreStatistics]]]:
        """Label -> seed -> statistics of each fold, of the one score."""

        def of_run(record: Record) -> ScoreStatistics:
            return record.protocol.statistics(record.episodes, record.header).only([self.metric])

        return {
            method.label: {seed: [of_run(runs[fold]) for fold in self.folds] for seed, runs in method.trainings.items()}
            for method in self.methods
        }

    @property
    def _difference(self) -> Difference:
        return self._trainings_and_difference[1]

    @cached_property
    def _trainings_and_difference(self) -> tuple[list[list[ScoreStatistics]], Difference]:
        """The difference of one training each, of middle error where both have several; and their statistics."""
        first, second = (method.label for method in self.methods)
        ours, theirs = self._statistics[first], self._statistics[second]
        found = []
        for one, other in [(n, n) for n in sorted(ours.keys() & theirs.keys())] or [(min(ours), min(theirs))]:
            trainings = [ours[one], theirs[other]]
            computed = differences(dict(zip((first, second), trainings, strict=True)), [(first, second)])
            if self.metric not in computed:
                raise SettingsError(
                    f"the runs of {first} and {second} have no {self.metric}; expected a score that the counts give"
                )
            found.append((trainings, computed[self.metric][0]))
        known = [pair for pair in found if isfinite(pair[1].difference.error)]
        if known:
            return sorted(known, key=lambda pair: pair[1].difference.error)[len(known) // 2]
        estimate = found[0][1].difference
        if estimate.scope is Scope.IDENTICAL:
            raise SettingsError(
                f"{first} and {second} answer alike on these episodes, so their difference has no error that a plan "
                "could follow from; expected methods that differ"
            )
        raise SettingsError(
            f"{first} and {second} have {estimate.queries} query images in fold {self.fold}: too few for an error that "
            "a plan could follow from; run more episodes"
        )

    @cached_property
    def _scores(self) -> dict[str, list[float]]:
        """Label of each method that is trained -> the score of its trainings."""
        trained = [method.label for method in self.methods if method.is_trained]
        return {
            label: [mean(one.scores()[self.metric] for one in folds) for folds in self._statistics[label].values()]
            for label in trained
        }

    @cached_property
    def _shares(self) -> tuple[Share | None, Share | None]:
        """The parts of the variance that queries have in common, and supports; None where few are asked again.

        A query is an image asked for a class. Parts of supports are known where an episode has one.
        """
        trainings, found = self._trainings_and_difference
        if found.difference.scope is not Scope.IMAGES or not self._has_masks:
            return None, None
        (metric,) = (one for one in trainings[0][0].known_metrics if one.name == self.metric)
        first, second = (MetricParts.from_statistics(metric, one) for one in trainings)
        design = first.design
        influences = (first.influences(design) - second.influences(design)).by_kind["cell"]
        cells = design.clusters["cell"]
        row_of_cell = np.empty(cells.number, dtype=int)
        row_of_cell[cells.group] = cells.row
        rows = [part.rows for part in first.parts]
        queries = np.concatenate([np.stack([own.query, own.cls], 1) for own in rows])
        supports = [own.support for own in rows if own.support is not None]
        variance = found.difference.error**2

        def share(images: np.ndarray) -> Share | None:
            group = np.unique(images[row_of_cell], axis=0, return_inverse=True)[1].ravel()
            return shared_part(influences, group, variance)

        single = all(own.shape[1] == 1 for own in supports)
        return share(queries), share(np.concatenate(supports)) if single else None

    @property
    def _has_masks(self) -> bool:
        return next(iter(self.methods[0].first.values())).protocol.has_masks

    @property
    def _parts(self) -> dict[str, float]:
        queries, supports = self._shares
        if queries is None:
            return {}
        rest = 1 - queries.value
        if supports is None:
            return {QUERIES: queries.value, "supports and single episodes": rest}
        of_supports = min(supports.value, rest)
        return {QUERIES: queries.value, SUPPORTS: of_supports, "single episodes": rest - of_supports}

    def _sizes(self, effect: float, power: float) -> list[Need]:
        """Return the numbers of images and episodes, which grow together."""
        found = self._difference.difference
        factor = times_larger(found, effect, power)
        runs = self.methods[0].first
        episodes = round(mean(runs[fold].episodes["episode"].n_unique() for fold in self.folds))
        here = {QUERIES: found.queries, SUPPORTS: found.supports, EPISODES: episodes}
        needs = {
            what: Need(what, n, whole(factor.value, n), whole(factor.low, n), whole(factor.high, n))
            for what, n in here.items()
        }
        if found.scope is Scope.THESE_SUPPORTS:
            needs[SUPPORTS] = Need(SUPPORTS, found.supports, unknown=_FEW_SUPPORTS)
        return list(needs.values())

    def _draws(self, effect: float, power: float) -> Need:
        found = self._difference.difference
        if not self._has_masks:
            return Need(DRAWS, 1, unknown="the parts of the error are told of masks alone")
        if found.scope is Scope.THESE_SUPPORTS:
            return Need(DRAWS, 1, unknown=_FEW_SUPPORTS)
        queries, _ = self._shares
        if queries is None:
            return Need(DRAWS, 1, unknown=_ASKED_ONCE)
        factor = more_draws(found, queries, effect, power)
        return Need(DRAWS, 1, whole(factor.value, 1), whole(factor.low, 1), whole(factor.high, 1))

    def _trainings(self, effect: float, power: float) -> Need:
        number = min((len(scores) for scores in self._scores.values()), default=0)
        if not self._scores:
            return Need(TRAININGS, 0, unknown="neither method is trained")
        if number < 2:
            single = ", ".join(label for label, scores in self._scores.items() if len(scores) < 2)
            return Need(TRAININGS, number, unknown=f"one training of {single}; runs with other seeds (--seed) show it")
        factor = trainings_needed(list(self._scores.values()), effect, power)
        if factor is None:
            return Need(TRAININGS, number, unknown="the trainings have equal scores")
        return Need(TRAININGS, number, whole(factor.value, 1), whole(factor.low, 1), whole(factor.high, 1))


_ASKED_ONCE = (
    f"fewer than {FEW_QUERIES} queries are asked with several sets of supports, so that what queries and supports "
    "contribute cannot be told apart"
)
_FEW_SUPPORTS = "there are too few supports to tell what others do; runs with --draws 5 ask others"
