"""The checks by their names, and a registered method made ready for them."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Literal

from fsbench.base.errors import ContractError, FsbenchError, SettingsError, describe, known_names, user_message
from fsbench.core.global_state import kept_global_state
from fsbench.core.method import Method
from fsbench.runner.config.merge import setting
from fsbench.runner.config.registry import TaskName, choose_method, task_of
from fsbench.runner.config.run_config import RunConfig
from fsbench.runner.contract.answers import check_empty_query, check_empty_supports, check_shapes, check_ways_and_shots
from fsbench.runner.contract.exports import check_export
from fsbench.runner.contract.independence import (
    check_another_process,
    check_batch,
    check_determinism,
    check_inputs,
    check_other_episodes,
    check_side_effects,
    check_truth,
    check_way_order,
    raised_at,
)
from fsbench.runner.contract.resources import check_half_precision, check_memory
from fsbench.runner.contract.subject import NotApplicableError, Subject, ViolationError
from fsbench.runner.contract.training import (
    check_checkpoint,
    check_gradients,
    check_overfit,
    check_step_is_a_mean,
)

if TYPE_CHECKING:
    from fsbench.runner.config.parse import ParsedRun

CHECKS: Mapping[str, Callable[[Subject], str]] = {
    "truth": check_truth,
    "shapes": check_shapes,
    "inputs": check_inputs,
    "determinism": check_determinism,
    "batch": check_batch,
    "ways-and-shots": check_ways_and_shots,
    "empty-supports": check_empty_supports,
    "empty-query": check_empty_query,
    "side-effects": check_side_effects,
    "other-episodes": check_other_episodes,
    "way-order": check_way_order,
    "half-precision": check_half_precision,
    "another-process": check_another_process,
    "checkpoint": check_checkpoint,
    "export": check_export,
    "gradients": check_gradients,
    "step-is-a-mean": check_step_is_a_mean,
    "overfit": check_overfit,
    "memory": check_memory,
}
"""Checks by their names, in the order in which they run. Each returns what it measured, in words."""

BASIC = ("truth", "shapes", "inputs", "determinism", "batch")
"""Checks whose faults show in the later ones, too, which are not run then."""

SIZES = (64, 65, 128, 129, 224, 384)
"""Sides of images, the first of which that the method and its backbone take is used."""

SMALL_DATA: Mapping[TaskName, str] = {"segmentation": "demo", "classification": "demo-cls"}
"""Data sets whose settings make a method small; no data of them are read."""
OWN_DATA: Mapping[TaskName, str] = {"segmentation": "folder", "classification": "imagefolder"}
"""Data sets whose settings leave a method its own."""


@dataclass(frozen=True)
class Outcome:
    """The outcome of one check of a method.

    Attributes:
        check: name of the check.
        status: "ok", "failed" or "does not apply".
        text: for "ok" what was measured; for "failed" what was found, what was expected and what to do; else why the
            check does not apply.
        error: the unexpected exception that ended the check; None if there was none.
    """

    check: str
    status: Literal["ok", "failed", "does not apply"]
    text: str
    error: Exception | None = None


@lru_cache(maxsize=1)
def _parsed(run: RunConfig) -> "ParsedRun":
    """Check a run's settings, once for all the times that its method is built."""
    return run.parse(build=False)


def _build(run: RunConfig) -> Method:
    """Build the method of a run."""
    return _parsed(run).build_method()


def build_subject(
    name: str,
    backbone: str | None = None,
    size: int | None = None,
    seed: int = 0,
    extra: Sequence[str] = (),
    memory_episodes: int = 200,
) -> Subject:
    """Build a method with its demo configuration and random weights, to run the checks of its contract.

    Args:
        name: a method or an alias, as `fsbench bench --method` takes it.
        backbone: name of the backbone; by default the demo's, or the method's own if it does not accept that.
        size: side of the images; by default the first of `SIZES` that the method accepts.
        seed: random seed of weights and episodes.
        extra: further settings in LightningCLI's form, such as "--model.temperature=0.1".
        memory_episodes: number of episodes that the check of memory predicts.

    Raises:
        FsbenchError: the name is unknown, or the method does not accept these settings.
    """
    task = task_of("methods", choose_method(name, backbone).method)
    _parsed.cache_clear()  # a file of that name may be another one now

    run = RunConfig(name, SMALL_DATA[task], backbone=backbone, weights=f"random:{seed}", extra=tuple(extra))
    try:
        method = _build(run)
    except FsbenchError:
        own = setting(RunConfig(name, OWN_DATA[task]).values, "model.backbone.name")
        if backbone is not None or not isinstance(own, str):
            raise
        run = replace(run, backbone=own)
        method = _build(run)
    for side in SIZES if size is None else ():
        with suppress(FsbenchError):
            method.check_image_size(side)
            size = side
            break
    if size is None:
        raise SettingsError(f"{name} takes no images of {', '.join(map(str, SIZES))} pixels; give --size")
    return Subject(partial(_build, run), size, seed, memory_episodes)


def select_checks(names: Sequence[str]) -> list[str]:
    """Return the names of the checks to run, all if `names` is empty; SettingsError for an unknown one."""
    for name in names:
        if name not in CHECKS:
            raise SettingsError(f"unknown check '{name}'{known_names(name, CHECKS)}")
    return [name for name in CHECKS if not names or name in names]


def run_check(name: str, subject: Subject) -> Outcome:
    """Run the check `name` of a method's contract and return its outcome, also if the method raises an exception.

    After a basic check has failed, later checks do not apply, since they would fail for the same reason.
    """
    if subject.broken and subject.broken != name:
        words = f"the check {subject.broken} fails, and so this one tells nothing; mend that"
        return Outcome(name, "does not apply", words)
    try:
        with kept_global_state():  # a check would not see what an answer of an earlier one has switched
            return Outcome(name, "ok", CHECKS[name](subject))
    except NotApplicableError as reason:
        return Outcome(name, "does not apply", str(reason))
    except Exception as error:
        if isinstance(error, ContractError) and name != "inputs":
            return Outcome(name, "does not apply", "no answer, since the method changes what it is given; see inputs")
        if name in BASIC:
            subject.broken = name
        if isinstance(error, ViolationError):
            return Outcome(name, "failed", str(error))
        if isinstance(error, FsbenchError):
            return Outcome(name, "failed", f"found an error: {user_message(error)}", error)
        found = f"found {describe(error)} ({raised_at(error)}); expected no error; --debug shows the traceback"
        return Outcome(name, "failed", found, error)
