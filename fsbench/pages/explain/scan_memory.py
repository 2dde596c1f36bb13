"""Curves of how much of the support a scan remembers while the query is read, over a run's test episodes."""

import json
from pathlib import Path
from typing import Any, cast

from torch import Tensor

from fsbench.base.files import write_text
from fsbench.pages.explain.coarse_masks import evaluated_episodes
from fsbench.results.pictures.plots import curve_figure, rasterize
from fsbench.results.pictures.sheet import Panel, write_sheet
from fsbench.runner.engine.experiment import Experiment

SIDE = 480
"""Side of a plot in pixels."""
KEY = (
    "Each curve: similarity of the scan's state to its state right after the support, while the query is read from its "
    "first patch (left) to its last (right); a mean over episodes.",
)
"""Key of `memory.png`."""


def explain_memory(experiment: Experiment, out: Path, episodes: int | None) -> tuple[dict[str, Tensor], int]:
    """Write `explain.json` and `memory.png`: the state's similarity to the support, averaged over test episodes.

    Args:
        experiment: Its method has `HasScanMemory`.
        out: Folder to write to.
        episodes: Look at the first of them only; default: all.

    Returns:
        Curves (points,) by name, and the number of episodes.
    """
    curves, number = average_memory(experiment, episodes)
    numbers = {"episodes": number, "memory": {name: curve.tolist() for name, curve in curves.items()}}
    write_text(out / "explain.json", json.dumps(numbers, indent=2) + "\n")
    panels = memory_panels(curves, "similarity of the state to the support", "query, as it is scanned", SIDE)
    if panels:
        write_sheet(out / "memory.png", [panels], (SIDE, SIDE), KEY)
    return curves, number


def average_memory(experiment: Experiment, limit: int | None = None) -> tuple[dict[str, Tensor], int]:
    """Average the curves of the first `limit` test episodes; returns them and the number of episodes."""
    sums: dict[str, Tensor] = {}
    number = 0
    for episode in evaluated_episodes(experiment, limit):
        for name, curve in cast(Any, experiment.method).scan_memory(episode.without_truth()).items():
            sums[name] = sums.get(name, 0) + curve.double().cpu()
        number += 1
    return {name: total / number for name, total in sums.items()}, number


def memory_panels(curves: dict[str, Tensor], title: str, x_label: str, side: int) -> list[Panel]:
    """Plot the curves of each block, whose names are "<block>: <curve>", side by side."""
    blocks: dict[str, dict[str, Tensor]] = {}
    for name, curve in curves.items():
        block, _, curve_name = name.partition(": ")
        blocks.setdefault(block, {})[curve_name] = curve
    return [
        (f"{block}: {title}", rasterize(curve_figure(block_curves, x_label, side)))
        for block, block_curves in blocks.items()
    ]
