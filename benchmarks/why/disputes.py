"""Disputes: a run, a claimed figure, and the hidden change that parts them, all drawn from a seed and a number."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from benchmarks.why import plain
from benchmarks.why.plain import Fold, Rule
from benchmarks.why.samples import SAMPLES, Disputed

Kind = Literal["one word", "two words", "another seed", "predictions"]
PATTERN: Sequence[tuple[Kind, int]] = (("one word", 20), ("two words", 9), ("another seed", 7), ("predictions", 14))
"""Kinds of hidden changes, and how many of 50 disputes have them."""
KINDS = [kind for kind, number in PATTERN for _ in range(number)]
TRIALS = 40
"""Changes that are drawn until one makes other digits than the run's own."""
QUANTILE = 1.96

SCORES: Mapping[str, str] = {
    "pooled": "pooled foreground IoU",
    "with background": "confusion with background",
    "episodes": "mean of the episodes' IoU",
    "classes of episodes": "mean of the episodes' IoU by class",
    "FB": "FB-IoU",
    "FB of classes": "FB-IoU, mean of mIoU and background IoU",
}
"""Scores of `plain` -> the words of the suite."""
VOID_WORDS = {"ignored": "ignored", "background": "background", "present": "class-pooled mIoU, present only"}
LEAST_OBJECT = 2048
FIRST = (50, 100, 200, 300, 400, 500, 600, 800)
"""Episodes to which somebody may have stopped short."""


@dataclass(frozen=True)
class Change:
    """A word of the test that is another.

    Attributes:
        axis, word: as the suite names them.
        fields: of `Rule` that it changes.
    """

    axis: str
    word: str
    fields: tuple[tuple[str, object], ...]

    def changed(self, rule: Rule) -> Rule:
        """Return `rule` with the other word."""
        return replace(rule, **dict(self.fields))  # type: ignore[arg-type]  # of fields by their names


@dataclass(frozen=True)
class Plan:
    """A dispute before its run is made.

    Attributes:
        number: of the dispute.
        kind: of the hidden change.
        sample, method: of the run.
        by_fold: the figure of every fold is claimed, too.
    """

    number: int
    kind: Kind
    sample: str
    method: str
    by_fold: bool


@dataclass(frozen=True)
class Dispute:
    """A claimed figure with its hidden cause.

    Attributes:
        plan: kind and run.
        hidden: (axis, word) of what was changed; empty of another seed and of predictions.
        words: the change in words.
        mean: claimed figure of the test, as printed.
        folds: claimed figures of its folds, as printed; empty where the mean alone is claimed.
        figures: the figures of the folds behind the claim, not rounded.
        gap: claimed figure minus the run's own, in points, before rounding.
        reach: half the 95 % interval of the effect, rounding included; of predictions, that of other episodes.
        is_identifiable: the effect is larger than `reach`; of two words, each word's effect beside the other is, too.
    """

    plan: Plan
    hidden: tuple[tuple[str, str], ...]
    words: str
    mean: str
    folds: Mapping[int, str]
    figures: tuple[float, ...]
    gap: float
    reach: float
    is_identifiable: bool


def plan(seed: int, number: int, samples: Sequence[str]) -> Plan:
    """Draw kind and run of a dispute.

    Args:
        seed: of all disputes.
        number: of this one.
        samples: keys of `SAMPLES` that are at hand.
    """
    rng = _generator(seed, number, 0)
    kind = KINDS[number % len(KINDS)]
    usable = [name for name in samples if kind != "another seed" or SAMPLES[name].has_others]
    sample = usable[int(rng.integers(len(usable)))]
    methods = [one for one in SAMPLES[sample].methods if kind != "another seed" or one != "prototype"]
    method = methods[int(rng.integers(len(methods)))]
    is_asked = len(SAMPLES[sample].folds) > 1 or (bool(SAMPLES[sample].further) and kind in ("one word", "two words"))
    by_fold = is_asked and bool(rng.random() < 0.5)
    return Plan(number, kind, sample, method, by_fold)


def _generator(seed: int, number: int, part: int) -> np.random.Generator:
    return np.random.default_rng([seed, number, part])


def changes(run: Disputed, by_fold: bool) -> dict[str, list[Change]]:
    """List the changes of one word that may be hidden in a dispute about a run, by axis."""
    folds, first = run.folds, run.folds[0]
    episodes = min(len(fold.cls) for fold in folds)
    found = {
        "void": [
            Change("void", word, (("void", rule),)) for rule, word in VOID_WORDS.items() if rule != run.void
        ],
        "compared_at": [Change("compared_at", word, (("size", word),)) for word in first.counts if word],
        "metric": [Change("metric", word, (("score", score),)) for score, word in SCORES.items()],
        "classes": [
            Change("classes", f"without {name}", (("without", number),))
            for fold in folds if len(fold.classes) > 1 for number, name in fold.classes.items()
        ],
        "episodes_per_fold": [
            Change("episodes_per_fold", str(n), (("first", n),)) for n in FIRST if episodes / 10 <= n < episodes
        ],
    }  # fmt: skip
    for words in first.others:
        axis = run.axes[words]
        found.setdefault(axis, []).append(Change(axis, words, (("answers", words),)))
    if len(folds) > 1 and not by_fold:
        found["folds"] = [Change("folds", f"fold {one.number}", (("folds", (one.number,)),)) for one in folds]
    if run.further and by_fold:
        number = len(folds) + len(run.further)
        found["folds"] = [Change("folds", f"the mean of {number} folds", (("folds", None),))]
    if run.counts.rule.compared_at.startswith("original"):
        found["min_object"] = [Change("min_object", f"{LEAST_OBJECT} (of the query)", (("least", LEAST_OBJECT),))]
    return {axis: words for axis, words in found.items() if words}


def draw(plan: Plan, run: Disputed, seed: int) -> Dispute | None:
    """Draw the hidden change of a dispute about a run.

    Returns:
        The dispute; None where no change that was drawn makes other digits than the run's own.
    """
    rng = _generator(seed, plan.number, 1)
    for _ in range(TRIALS):
        found = {"one word": _words, "two words": _words, "another seed": _seed, "predictions": _predictions}[
            plan.kind
        ](plan, run, rng)
        if found is not None:
            return found
    return None


def _words(plan: Plan, run: Disputed, rng: np.random.Generator) -> Dispute | None:
    by_axis = changes(run, plan.by_fold)
    number = 1 if plan.kind == "one word" else 2
    axes = [str(axis) for axis in rng.permutation(list(by_axis))]
    if run.further and plan.by_fold:  # these are claimed for the mean of the test alone
        axes.sort(key=lambda axis: axis != "folds")
    chosen = [by_axis[axis] for axis in axes[:number]]
    made = [words[int(rng.integers(len(words)))] for words in chosen]
    if {"size", "answers"} <= {name for one in made for name, _ in one.fields}:
        return None  # other answers are counted at their own size alone
    own = run.own
    rule = _changed(own, made)
    weights = plain.resample(run.every_fold, rng)
    apart = [_effect(run.every_fold, own, rule, weights)]
    if number == 2:
        apart += [_effect(run.every_fold, one.changed(own), rule, weights) for one in made]
    figures = plain.figures(run.every_fold, rule)[:, 0]
    return _dispute(
        plan,
        run,
        figures,
        tuple((one.axis, one.word) for one in made),
        " and ".join(f"{one.axis}: {one.word}" for one in made),
        apart[0][1],
        all(abs(effect) > reach for effect, reach in apart),
    )


def _changed(rule: Rule, made: Sequence[Change]) -> Rule:
    for one in made:
        rule = one.changed(rule)
    return rule


def _effect(folds: Sequence[Fold], own: Rule, other: Rule, weights: plain.Weights) -> tuple[float, float]:
    """Return the effect of a rule in points, and half its 95 % interval with the claimed figure's rounding."""
    effect, drawn = (
        plain.figures(folds, other, each).mean(0) - plain.figures(folds, own, each).mean(0) for each in (None, weights)
    )
    return float(effect[0]), float(QUANTILE * drawn.std() + 0.05)


def _seed(plan: Plan, run: Disputed, rng: np.random.Generator) -> Dispute | None:
    chosen = [seeds[int(rng.integers(len(seeds)))] for seeds in run.others]
    figures = plain.figures(chosen, run.own)[:, 0]
    gap = figures.mean() - plain.figures(run.folds, run.own).mean()
    reach = _other_episodes(run)
    return _dispute(plan, run, figures, (), "another seed", reach, bool(abs(gap) > reach))


def _predictions(plan: Plan, run: Disputed, rng: np.random.Generator) -> Dispute | None:
    words = list(run.folds[0].altered)
    word = words[int(rng.integers(len(words)))]
    share = rng.uniform(0.01, 0.2) if word.startswith("answers") else rng.uniform(0.2, 1)
    own = run.own
    figures = []
    for fold in run.folds:
        touched = rng.random(len(fold.cls)) < share
        counts = np.where(touched[:, None], fold.altered[word], fold.counts[""])
        figures.append(plain.score(fold, own, np.ones((1, len(fold.cls))), counts)[0])
    gap = np.mean(figures) - plain.figures(run.folds, own).mean()
    reach = _other_episodes(run)
    said = f"{word} in {share:.0%} of the episodes"
    return _dispute(plan, run, np.array(figures), (), said, reach, bool(abs(gap) > reach))


def _other_episodes(run: Disputed) -> float:
    """Return half the 95 % interval of what other episodes of as many images move, rounding included.

    The error of a figure is the suite's own, which `benchmarks.statistics` examines; two figures have √2 of it.
    """
    estimate = run.counts.estimate(run.counts.rule)
    return float(2**0.5 * (estimate.high - estimate.low) / 2 + 0.05)


def _dispute(
    plan: Plan,
    run: Disputed,
    figures: np.ndarray,
    hidden: tuple[tuple[str, str], ...],
    words: str,
    reach: float,
    is_identifiable: bool,
) -> Dispute | None:
    """Return a dispute; None where its claimed figure is the run's own, or none."""
    own = plain.figures(run.folds, run.own)[:, 0]
    mean = float(figures.mean())
    if not np.isfinite(mean) or _printed(mean) == _printed(own.mean()):
        return None
    chosen = run.folds if len(figures) == len(run.folds) else run.every_fold
    folds = {fold.number: _printed(value) for fold, value in zip(chosen, figures, strict=True)} if plan.by_fold else {}
    gap = mean - float(own.mean())
    return Dispute(plan, hidden, words, _printed(mean), folds, tuple(figures.tolist()), gap, reach, is_identifiable)


def _printed(value: float) -> str:
    """Round as papers do."""
    return f"{value:.1f}"
