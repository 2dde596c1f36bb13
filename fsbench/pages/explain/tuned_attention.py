"""The last attention before and after a classification method tuned it, and FORT's key patches."""

import json
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, cast

from fsbench.base.files import write_text
from fsbench.results.pictures.episodes import image_array
from fsbench.results.pictures.masks import SCALE, heat_map
from fsbench.results.pictures.sheet import Panel, write_sheet
from fsbench.runner.engine.experiment import Experiment

TILE = 160
KEY = (
    "key patches: those that FORT tells the network to look at, yellow",
    f"attention before, after: the last attention before and after tuning, {SCALE}",
)
"""Key of `attention.png`."""


@dataclass
class AttentionShares:
    """Mean share of the last attention that lies on the key patches, over a number of supports."""

    supports: int
    before: float
    after: float


def explain_tuned_attention(experiment: Experiment, out: Path, batches: int, figures: int) -> AttentionShares:
    """Write `explain.json`, and `attention.png` of the first `figures` supports.

    Args:
        experiment: Its method has `HasTunedAttention`.
        out: Folder to write to.
        batches: Number of test batches to look at.
        figures: Number of supports to draw.
    """
    method, data = cast(Any, experiment.method), cast(Any, experiment.data)
    rows: list[list[Panel]] = []
    before: list[float] = []
    after: list[float] = []
    for episode in (episode for batch in islice(data.test_dataloader(), batches) for episode in batch):
        maps = method.look(episode)
        key = maps.focus > 0
        before += (maps.before * key).sum((1, 2)).tolist()
        after += (maps.after * key).sum((1, 2)).tolist()
        names = [data.dataset.class_names[class_id - 1] for class_id in episode.classes]
        for row, label in enumerate(episode.labels(key.device).tolist()):
            if len(rows) < figures:
                image = image_array(episode.images[row])
                named = {"key patches": maps.focus, "attention before": maps.before, "attention after": maps.after}
                drawn = [(name, heat_map(values[row].cpu().numpy(), image)) for name, values in named.items()]
                rows.append([(names[label], image), *drawn])
    shares = AttentionShares(len(before), sum(before) / len(before), sum(after) / len(after))
    numbers = {"supports": shares.supports, "on_key_patches": {"before": shares.before, "after": shares.after}}
    write_text(out / "explain.json", json.dumps(numbers) + "\n")
    write_sheet(out / "attention.png", rows, (TILE, TILE), KEY)
    return shares
