"""The checks by their names, and a registered method made ready for them."""

from collections.abc import Callable, Mapping, Sequence

from fsbench.base.errors import FsbenchError, SettingsError, describe, known_names, user_message
from fsbench.runner.config.merge import setting
from fsbench.runner.config.parse import ParsedRun
from fsbench.runner.config.registry import TaskName, choose_method, task_of
from fsbench.runner.config.run_config import RunConfig
from fsbench.runner.contract.answers import check_empty_query, check_empty_supports, check_shapes, check_ways_and_shots
from fsbench.runner.contract.exports import check_export
from fsbench.runner.contract.independence import (
    check_batch,
    check_determinism,
    check_inputs,
    check_other_episodes,
    check_truth,
    check_way_order,
)
from fsbench.runner.contract.outcome import (
    DifferenceError,
    NotApplicableError,
    Outcome,
    ReadsTruthError,
    ViolationError,
    frame_words,
)
from fsbench.runner.contract.resources import check_half_precision, check_memory
from fsbench.runner.contract.shipping import check_another_process, check_checkpoint
from fsbench.runner.contract.subject import Subject
from fsbench.runner.contract.training import check_gradients, check_overfit

Check = Callable[[Subject], str]

CHECKS: Mapping[str, Check] = {
    "shapes": check_shapes,
    "ways-and-shots": check_ways_and_shots,
    "empty-supports": check_empty_supports,
    "empty-query": check_empty_query,
    "inputs": check_inputs,
    "determinism": check_determinism,
    "batch": check_batch,
    "other-episodes": check_other_episodes,
    "truth": check_truth,
    "way-order": check_way_order,
    "half-precision": check_half_precision,
    "another-process": check_another_process,
    "checkpoint": check_checkpoint,
    "export": check_export,
    "gradients": check_gradients,
    "overfit": check_overfit,
    "memory": check_memory,
}
"""Checks by their names, in the order in which they run."""

CAUSES_OF_DIFFERENCES = ("inputs", "determinism", "batch", "truth")
"""Checks whose faults make answers differ wherever two are compared."""

SIZES = (64, 65, 128, 129, 224, 384)
"""Sides of images, the first of which that the method and its backbone take is used."""

SMALL_DATA: Mapping[TaskName, str] = {"segmentation": "demo", "classification": "demo-cls"}
"""Data sets whose settings make a method small; no data of them are read."""
OWN_DATA: Mapping[TaskName, str] = {"segmentation": "folder", "classification": "imagefolder"}
"""Data sets whose settings leave a method its own."""


def build_subject(
    name: str,
    backbone: str | None = None,
    size: int | None = None,
    seed: int = 0,
    extra: Sequence[str] = (),
    memory_episodes: int = 200,
) -> Subject:
    """Make a registered method ready for its checks, with its configuration for the demo and random weights.

    Args:
        name: a method or an alias, as `fsbench bench --method` takes it.
        backbone: its backbone; by default the demo's, or the method's own where it does not take that.
        size: side of the images; by default the first of `SIZES` that it takes.
        seed: of weights and episodes.
        extra: further arguments in LightningCLI's form.
        memory_episodes: number of episodes of the check of memory.

    Raises:
        FsbenchError: the name is unknown, or the method takes none of these settings.
    """
    task = task_of("methods", choose_method(name, backbone).method)
    configuration, composed = _compose(name, task, backbone, seed, extra)
    try:
        method = composed.build_method()
    except FsbenchError:
        own = setting(RunConfig(name, OWN_DATA[task]).values, "model.backbone.name")
        if backbone is not None or not isinstance(own, str):
            raise
        configuration, composed = _compose(name, task, own, seed, extra)
        method = composed.build_method()
    if size is None:
        size = next((side for side in SIZES if _takes(method.check_image_size, side)), None)
    if size is None:
        raise SettingsError(f"{name} takes no images of {', '.join(map(str, SIZES))} pixels; give --size")
    return Subject(composed.build_method, size, seed, configuration, memory_episodes)


def _compose(
    name: str, task: TaskName, backbone: str | None, seed: int, extra: Sequence[str]
) -> tuple[RunConfig, ParsedRun]:
    """Return the configuration of a run, and what the parser makes of it."""
    run = RunConfig(name, SMALL_DATA[task], backbone=backbone, weights=f"random:{seed}", extra=tuple(extra))
    return run, run.parse(build=False)


def _takes(check: Callable[[int], None], size: int) -> bool:
    try:
        check(size)
    except FsbenchError:
        return False
    return True


def select_checks(names: Sequence[str]) -> list[str]:
    """Return the names of the checks to run, all if none is given; SettingsError for an unknown one."""
    for name in names:
        if name not in CHECKS:
            raise SettingsError(f"unknown check '{name}'{known_names(name, CHECKS)}")
    return [name for name in CHECKS if not names or name in names]


def run_check(name: str, subject: Subject) -> Outcome:
    """Run one check; an exception of the method is an outcome, too.

    Where a more basic check fails and explains the failure, this one does not apply: each fault has one check.
    """
    try:
        return Outcome(name, "ok", CHECKS[name](subject))
    except NotApplicableError as reason:
        return Outcome(name, "does not apply", str(reason))
    except Exception as error:
        if name != "truth" and _reads_truth(subject):
            cause: str | None = "truth"
        else:
            cause = next((root for root in _possible_causes(name, error) if _error(root, subject)), None)
        if cause is not None:
            return Outcome(name, "does not apply", f"the check {cause} fails, and so this one tells nothing; mend that")
        return Outcome(name, "failed", _failure(error), None if isinstance(error, ViolationError) else error)


def _possible_causes(name: str, error: Exception) -> list[str]:
    """Return the more basic checks whose fault may show in `name` as this failure."""
    if isinstance(error, ReadsTruthError):
        return []
    causes = ["shapes", *(CAUSES_OF_DIFFERENCES if isinstance(error, DifferenceError) else ())]
    earlier = list(CHECKS)[: list(CHECKS).index(name)]
    return [cause for cause in causes if cause in earlier]


def _reads_truth(subject: Subject) -> bool:
    """Return whether the method asks for the truth or fails without it, which may fail every other check, too."""
    return isinstance(_error("truth", subject), ReadsTruthError)


def _error(name: str, subject: Subject) -> Exception | None:
    """Run a check; return the exception that ended it, None where it passed or does not apply."""
    try:
        CHECKS[name](subject)
    except NotApplicableError:
        return None
    except Exception as error:
        return error
    return None


def _failure(error: Exception) -> str:
    """Return what ended a check, in words."""
    if isinstance(error, ViolationError):
        return str(error)
    if isinstance(error, FsbenchError):
        return f"found an error: {user_message(error)}"
    return f"found {describe(error)} ({frame_words(error)}); expected no error; --debug shows the traceback"
