"""Check cases, also in several processes. Not in `__main__`, which a process that was spawned does not import."""

import multiprocessing
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Literal

import torch

from tests.goldens.cases import Case, Skipped
from tests.goldens.harness import UnknownKind, run


@dataclass(frozen=True)
class Outcome:
    """The end of one case.

    Attributes:
        folder: name of the case's folder.
        file: name of the case.
        kind: kind of the case.
        verdict: how it ended; `unknown` if no check is there for its kind.
        lines: lines to print.
    """

    folder: str
    file: str
    kind: str
    verdict: Literal["passed", "failed", "skipped", "unknown"]
    lines: list[str]


def check_all(cases: list[Case], jobs: int) -> Iterator[Outcome]:
    """Yield the outcome of each case in order, with `jobs` processes."""
    if jobs <= 1:
        yield from (check(case) for case in cases)
        return
    pool = ProcessPoolExecutor(
        jobs, multiprocessing.get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)
    )
    with pool:
        yield from pool.map(check, cases)


def check(case: Case) -> Outcome:
    """Run one case."""
    name, started, lines, verdicts = case.entry["file"], time.perf_counter(), [], []

    def outcome(verdict: Literal["passed", "failed", "skipped", "unknown"]) -> Outcome:
        return Outcome(case.folder.name, name, case.entry["kind"], verdict, lines)

    try:
        for c in run(case):
            verdicts.append(c.passed)
            verdict = "ok" if c.passed else "FAILED"
            lines.append(f"{name}  {c.tensor}  abs {c.max_abs:.2e}  rel {c.relative:.2e}  [{c.tolerance}]  {verdict}")
    except UnknownKind as reason:
        lines.append(f"{name}  {reason}")
        return outcome("unknown")
    except Skipped as reason:
        lines.append(f"{name}  skipped: {reason}")
        if all(verdicts):
            return outcome("skipped")
    except Exception:
        verdicts.append(False)
        lines.append(traceback.format_exc())
    good = bool(verdicts) and all(verdicts)  # nothing compared is no pass
    lines.append(f"{name}  {'passed' if good else 'FAILED'}  ({time.perf_counter() - started:.1f} s)")
    return outcome("passed" if good else "failed")
