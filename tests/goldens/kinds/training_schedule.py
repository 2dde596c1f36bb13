"""When a training validates, which checkpoints it keeps and when it stops (hmnet.md §2.4.4, §10; bam.md §9)."""

from collections.abc import Callable
from typing import Any

from fsbench.runner.engine.validation_schedule import BestScore, ValidationSchedule
from tests.goldens.cases import Case
from tests.goldens.declared import Kind, Parts, Same


def validation_schedule(case: Case) -> Parts:
    """`data` lists trainings; each result that is stored is compared."""
    for number, training in enumerate(case.data):
        found = simulated(case.config["method"], training)
        for name, value in training["result"].items():
            yield {f"{number}: {name}": Same(found.get(name, f"nothing known about {name}"), value)}


def hmnet_schedule(epochs: int) -> ValidationSchedule:
    """Return the rule of HMNet's program for a training of `epochs` epochs; configs/methods has its two cases (§10)."""
    return ValidationSchedule(first_epoch=26, first_middle=26 if epochs <= 100 else 101)


def bam_schedule(epochs: int) -> ValidationSchedule:
    """Return the rule of BAM's and HDMNet's programs: in the middle, too, of 100 epochs or fewer (bam.md §9)."""
    return ValidationSchedule(first_middle=1 if epochs <= 100 else None)


def pfenet_schedule(epochs: int) -> ValidationSchedule:
    """Return the rule of PFENet's program: every second epoch of trainings of more than 50 (pfenet-method.md §5)."""
    return ValidationSchedule(every=1 if epochs <= 50 else 2)


SCHEDULES: dict[str, Callable[[int], ValidationSchedule]] = {
    "pspnet": lambda epochs: ValidationSchedule(), "hmnet": hmnet_schedule, "bam": bam_schedule,
    "pfenet": pfenet_schedule, "hdmnet": bam_schedule,
}  # fmt: skip


def _known(case: Case) -> bool:
    return case.config["method"] in SCHEDULES


def simulated(method: str, training: dict[str, Any]) -> dict[str, Any]:
    """Return what a training does whose validations have the scores `miou`, in order of use."""
    epochs, steps = training["epochs"], training["steps_per_epoch"]
    schedule = SCHEDULES[method](epochs) if training.get("mid_epoch", True) else ValidationSchedule()
    patience = None if method == "pfenet" else training["stop_interval"]
    best, scores = BestScore(patience), iter(training["miou"])
    used: list[float] = []
    validations: list[list[int]] = []
    saved: list[float] = []
    begun = 0
    while begun < epochs and not best.is_over:
        best.begin_epoch()
        for step, stored_epoch in schedule.validations(begun, steps):
            validations.append([begun, step])
            used.append(next(scores))
            if best.update(used[-1]):
                saved.append(stored_epoch)
        begun += 1
    result = {"validations": validations, "used": used, "saved": saved, "best": saved[-1] if saved else None}
    return result | {"last_iteration": begun * steps, "epochs_run": begun}


KINDS = {"validation_schedule": Kind(validation_schedule, accepts=_known)}
