"""A run in words: its label, its task, its other options, and what it has in common with those of other folds."""

from collections.abc import Collection, Iterable
from dataclasses import fields
from typing import Any

from fsbench.runner.config.run_config import DEFAULT_PROTOCOL, RunConfig


def run_label(run: RunConfig) -> str:
    """Return words for a run: method, data set, fold, task, labels of supports, and seeds."""
    seed = "" if run.seed is None else f"seed {run.seed}"
    words = (run.name, run.dataset, f"fold {run.fold}", task_words(run), *_of_test(run), seed)
    return " ".join(word for word in words if word)


def task_words(run: RunConfig) -> str:
    """Return words for way, shot, setting and protocol of a run, as far as they are chosen or special to the method."""
    words = [] if run.way is None and run.shot is None else [f"{run.way or 1}-way {run.shot or 1}-shot"]
    protocol = run.protocol or (run.own_protocol if run.own_protocol != DEFAULT_PROTOCOL else None)
    return " ".join([*words, *(word for word in (run.setting, protocol) if word)])


def option_words(run: RunConfig, common: Collection[str] = ()) -> str:
    """Return words for a run's options besides method, data, fold and task, without `common`; "–" if there are none."""
    return ", ".join(word for word in _options(run) if word not in common) or "–"


def common_options(runs: Iterable[RunConfig]) -> set[str]:
    """Return the options, in words, that all runs have."""
    every = [set(_options(run)) for run in runs]
    return set.intersection(*every) if every else set()


def _options(run: RunConfig) -> list[str]:
    words = [f"checkpoint {run.checkpoint}"] if run.checkpoint else []
    words += _of_test(run)
    words += [f"{run.image_size} px"] if run.image_size else []
    words += ["trial"] * run.fast + [f"{run.devices} devices"] * (run.devices is not None)
    return [*words, *run.extra]


def _of_test(run: RunConfig) -> list[str]:
    """Return words for the annotation of the supports and the test's seed, where they were asked for."""
    words = [] if run.support_annotation is None else [f"annotation {run.support_annotation}"]
    return words + ([] if run.test_seed is None else [f"test seed {run.test_seed}"])


def run_variant(run: RunConfig) -> tuple[str, ...]:
    """Return what identifies a run's variant: the settings that do not change with fold and seed.

    A run without an explicit seed forms a variant without the runs that have one: its seed, the configuration's, may
    equal one of theirs, and it would be counted twice.
    """
    values = {f.name: getattr(run, f.name) for f in fields(run)} | {"fold": None, "seed": run.seed is None}
    return tuple(map(str, values.values()))


def run_values(run: RunConfig) -> dict[str, Any]:
    """Return a run's options as {name: plain value}, without the folder of runs."""
    values = {f.name: getattr(run, f.name) for f in fields(run) if f.name not in ("runs", "force", "debug")}
    return values | {"method": run.name}
