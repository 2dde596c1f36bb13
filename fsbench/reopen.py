"""A finished run's method once more, as it was when it was evaluated."""

import json
from pathlib import Path
from typing import cast

import torch

from fsbench.cell import Cell
from fsbench.checkpoints import load_checkpoint
from fsbench.composition import parse
from fsbench.errors import RecordError


def reopen(folder: Path) -> Cell:
    """The cell of the finished run in `folder`, with its trained method in eval mode.

    Raises RecordError when the run is not finished or its checkpoint is gone.
    """
    config = folder / "config.yaml"
    if not (folder / "run.json").is_file() or not config.is_file():
        raise RecordError(f"{folder} is no finished run with a config.yaml; expected a folder that `make bench` wrote")
    cell = Cell(parse([f"--config={config}"]))
    if cell.trains:
        finished = folder / "checkpoints" / "finished.json"
        if not finished.is_file():
            raise RecordError(f"there is no {finished}; expected the checkpoint that the run trained; run it again")
        load_checkpoint(cell.method, finished.with_name(json.loads(finished.read_text())["checkpoint"]))
    cast(torch.nn.Module, cell.method).eval()
    return cell
