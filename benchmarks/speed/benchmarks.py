"""The benchmarks of speed."""

from collections.abc import Callable, Iterator, Mapping

from benchmarks.speed.cases import classifiers, folds, loading, methods, networks, parts, plain_forms
from benchmarks.speed.harness import Case

BENCHMARKS: Mapping[str, tuple[Callable[..., Iterator[Case]], int]] = {
    "episodes": (methods.episode_cases, 0),
    "training-steps": (methods.step_cases, 0),
    "plain-forms": (plain_forms.cases, 3),
    "folds": (folds.cases, 4),
    "classifiers": (classifiers.cases, 3),
    "parts": (parts.cases, 3),
    "loading": (loading.cases, 3),
    "networks": (networks.cases, 3),
}
"""Benchmarks by name, in the order of the page; the name is that of the file of results, too. Each is a function that
yields the cases, whose arguments after the device are the options, and the number of turns; 0 for a single call."""
