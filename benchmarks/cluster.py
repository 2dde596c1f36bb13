"""Where the time of many runs on a cluster goes: a model of measured parts, and a simulation of a lost node.

    python -m benchmarks.speed parts --json benchmarks/speed/results/parts.json
    python -m benchmarks.cluster          # writes the tables into docs/guides/cluster.md

It plans COCO-20i: ten methods, four folds, 10,000 episodes each, 1-way 1-shot, from checkpoints, on two nodes of four
GPUs, a run on each GPU. What a processor does comes from `speed/results/parts.json`, what a GPU does from the rates of
five methods on one H100 in docs/benchmarks.md.
"""

import argparse
import heapq
import json
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.pages import fill, markdown
from benchmarks.speed.harness import RESULTS, Measurements
from fsbench.base.files import write_text
from fsbench.base.paths import REPOSITORY

PAGE = REPOSITORY / "docs/guides/cluster.md"

EPISODES, FOLDS, GPUS, NODES = 10_000, 4, 8, 2
GPU_RATES = {"hsnet": 32, "cst": 20, "emat": 9, "dcama": 10, "hmnet": 23}
"""Episodes a second on one H100, both images encoded anew."""
OTHERS = ("prototype", "linear_probe_dense", "pfenet", "bam", "hdmnet")
"""Methods whose rate on a GPU was not measured; they are planned with the median of the others."""
LOADERS = 4
"""Loader processes of a run."""
START = 25.0
"""Seconds from a command to its first episode: imports, network, manifest, planned generously."""


@dataclass(frozen=True)
class Run:
    """One method on one fold.

    Attributes:
        gpu: seconds an episode that the GPU takes.
        decode: seconds an episode that a loader process takes.
        after: seconds an episode that counting and writing take, during which the GPU waits.
    """

    gpu: float
    decode: float
    after: float

    @property
    def seconds(self) -> float:
        """From the command to the record."""
        return START + EPISODES * (max(self.gpu, self.decode / LOADERS) + self.after)


def planned_runs() -> dict[str, Run]:
    """Return a run of each method by its name; those of its folds are alike."""
    parts = measured_parts()
    slowest = {part: max(own[part] for own in parts.values()) for part in ("decode", "count", "write")}
    rates = GPU_RATES | dict.fromkeys(OTHERS, median(GPU_RATES.values()))
    runs = {}
    for name, rate in rates.items():
        own = parts.get(name, slowest)
        runs[name] = Run(1 / rate, own["decode"], own["count"] + own["write"])
    return runs


def measured_parts() -> dict[str, dict[str, float]]:
    """Return seconds an episode, of encoding seconds an image, by method and part."""
    content = Measurements(**json.loads((RESULTS / "parts.json").read_text()))
    parts: dict[str, dict[str, float]] = {}
    for row in content.rows:
        parts.setdefault(row.what.partition(",")[0], {})[row.path] = row.seconds
    return parts


def schedule(free: Sequence[float], seconds: Sequence[float]) -> list[tuple[int, float, float]]:
    """Return the GPU, begin and end of each run; whichever GPU is free first takes the next one.

    Args:
        free: when each GPU is free.
        seconds: of the runs, in the order in which they begin.
    """
    queue = [(time, gpu) for gpu, time in enumerate(free)]
    heapq.heapify(queue)
    plan = []
    for taken in seconds:
        begin, gpu = heapq.heappop(queue)
        plan.append((gpu, begin, begin + taken))
        heapq.heappush(queue, (begin + taken, gpu))
    return plan


def end_after_loss(seconds: Sequence[float], lost_at: float, back_after: float | None) -> float:
    """Return when the last run ends where the second node stops; its runs go on elsewhere, before those not begun.

    Args:
        seconds: of the runs, in the order in which they begin.
        lost_at: when the node stops.
        back_after: seconds after which it is there again; None for never.
    """
    staying, again = GPUS - GPUS // NODES, START + 1 / min(GPU_RATES.values())
    plan = schedule([0.0] * GPUS, seconds)
    free, left, waiting = [0.0] * staying, [], []
    for (gpu, begin, end), taken in zip(plan, seconds, strict=True):
        if begin >= lost_at:
            waiting.append(taken)
        elif gpu < staying:
            free[gpu] = end
        elif end > lost_at:
            left.append(end - lost_at + again)
    if back_after is not None:
        free += [lost_at + back_after] * (GPUS - staying)
    return max([*free[:staying], *(end for _, _, end in schedule(free, left + waiting))])


def tables() -> dict[str, str]:
    """Return the page's tables by name, in Markdown."""
    runs = planned_runs()
    parts = measured_parts()
    rows = [["method", "decode", "encode an image", "answer", "count", "write"]]
    for name, own in parts.items():
        rows.append([f"`{name}`", *(_duration(own[part]) for part in ("decode", "encode", "answer", "count", "write"))])
    seconds = [run.seconds for run in runs.values() for _ in range(FOLDS)]
    longest = sorted(seconds, reverse=True)
    whole = max(end for _, _, end in schedule([0.0] * GPUS, seconds))
    times = [
        ["40 runs on 8 GPUs", "time"],
        ["work of all GPUs, divided by 8", _minutes(sum(seconds) / GPUS)],
        ["in the grid's order", _minutes(whole)],
        ["longest first", _minutes(max(end for _, _, end in schedule([0.0] * GPUS, longest)))],
        ["a node of 4 GPUs lost half-way, back after ten minutes", _minutes(end_after_loss(seconds, whole / 2, 600))],
        ["the same, never back", _minutes(end_after_loss(seconds, whole / 2, None))],
    ]
    return {"cluster-parts": markdown(rows), "cluster-times": markdown(times)}


def _duration(seconds: float) -> str:
    return f"{1000 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    write_text(PAGE, fill(PAGE.read_text(), tables()))


if __name__ == "__main__":
    main()
