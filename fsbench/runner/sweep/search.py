"""Propose the settings of a sweep's next trial: by the place in a grid, at random, or from the trials before it.

A proposal follows from the sweep's seed, the trial's number and the results before it alone, so that a sweep that was
interrupted goes on as it would have gone on.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fsbench.runner.sweep.spec import Parameter, Sweep, Value

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.study import Study

Settings = dict[str, Value | None]


@dataclass(frozen=True)
class Tried:
    """The settings of a trial, the shares that its ranges were drawn by, and its score; None where it came to none."""

    settings: Settings
    units: dict[str, float]
    value: float | None


@dataclass(frozen=True)
class Proposal:
    """Settings to try, and the shares from 0 to 1 that ranges were drawn by."""

    settings: Settings
    units: dict[str, float]


def propose(sweep: Sweep, number: int, before: Sequence[Tried], seed: int) -> Proposal | None:
    """Return the settings of a trial; None where a grid has no more.

    Args:
        sweep: what is searched.
        number: of the trial, from 0.
        before: the trials that ended, of which bayes learns.
        seed: of the sweep.
    """
    if sweep.method == "grid":
        settings = next(islice(sweep.combinations(), number, None), None)
        return None if settings is None else Proposal(settings, {})
    if sweep.method == "random":
        shares = np.random.default_rng([seed, number]).random(len(sweep.parameters))
        drawn = dict(zip((one.name for one in sweep.parameters), map(float, shares), strict=True))
        ranges = {one.name: drawn[one.name] for one in sweep.parameters if one.choices is None}
        return Proposal({one.name: one.at(drawn[one.name]) for one in sweep.parameters}, ranges)
    return _propose_from(sweep, number, before, seed)


def _propose_from(sweep: Sweep, number: int, before: Sequence[Tried], seed: int) -> Proposal:
    """Propose by Optuna's tree-structured Parzen estimator (Bergstra et al., NeurIPS 2011).

    A range is searched by the share of its distribution below a value: a logarithmic one by logarithms, an integer's by
    its places.
    """
    state = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
    asked = make_study(sweep, before, state).ask(_distributions(sweep.searched))
    settings: Settings = {}
    for one in sweep.parameters:
        if one.choices is None:
            settings[one.name] = one.at(float(asked.params[one.name]))
        else:
            settings[one.name] = one.choices[int(asked.params.get(one.name, 0))]
    return Proposal(
        settings, {one.name: float(asked.params[one.name]) for one in sweep.searched if one.choices is None}
    )


def make_study(sweep: Sweep, before: Sequence[Tried], seed: int) -> "Study":
    """Return a study of Optuna with the trials that came to a score."""
    import optuna  # spared until it is needed

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    is_more_better = sweep.metric is not None and sweep.metric.sign > 0
    direction: Literal["minimize", "maximize"] = "maximize" if is_more_better else "minimize"
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=min(10, 2 + 2 * len(sweep.searched)))
    study = optuna.create_study(sampler=sampler, direction=direction)
    distributions = _distributions(sweep.searched)
    for trial in before:
        if trial.value is not None and math.isfinite(trial.value):
            params: dict[str, float | int] = {**trial.units, **_places(sweep.searched, trial.settings)}
            params = {name: params[name] for name in distributions if name in params}
            study.add_trial(
                optuna.trial.create_trial(
                    params=params, distributions={name: distributions[name] for name in params}, value=trial.value
                )
            )
    return study


def _places(parameters: Sequence[Parameter], settings: Settings) -> dict[str, int]:
    """Return the places of settings among the choices of parameters; ranges have none."""
    return {
        one.name: one.choices.index(settings[one.name])
        for one in parameters
        if one.choices is not None and settings[one.name] in one.choices
    }


def importances(sweep: Sweep, trials: Sequence[Tried]) -> dict[str, float]:
    """Return by parameter which share of the score's variance over the trials follows from it alone, the largest first.

    Functional ANOVA by a forest (Hutter et al., ICML 2014). Empty of fewer than four trials with scores, and where all
    scores are equal.
    """
    known = [trial for trial in trials if trial.value is not None and math.isfinite(trial.value)]
    if len(known) < 4 or len({trial.value for trial in known}) < 2:
        return {}
    study = make_study(sweep, known, 0)
    varied = [
        one.name
        for one in sweep.searched
        if len({str(trial.settings[one.name]) for trial in known}) > 1
        and all(one.name in trial.params for trial in study.get_trials(deepcopy=False))
    ]
    if not varied:
        return {}
    # spared until it is needed
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    return dict(get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0), params=varied))


def _distributions(parameters: Sequence[Parameter]) -> "dict[str, BaseDistribution]":
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    found: dict[str, Any] = {}
    for one in parameters:
        if one.choices is None:
            found[one.name] = FloatDistribution(0.0, 1.0)
        else:  # by their places, since a value may be of any kind
            found[one.name] = CategoricalDistribution(tuple(range(len(one.choices))))
    return found
