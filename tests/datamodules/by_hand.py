"""Train and test a method by Lightning's own Trainer: `python -m tests.datamodules.by_hand FILE FOLDER`.

FILE is what `tests.cli.many_cells` takes, with one cell. Rank 0 writes what was found to the folder. Lightning starts
the other ranks; they run this program as well.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint

from fsbench.core.method import Method
from fsbench.runner.config.parse import parse_judged
from tests.cli.many_cells import read_settings

TAKEN = ("accelerator", "devices", "strategy", "max_epochs", "precision", "deterministic", "gradient_clip_val")
"""Arguments that a user gives the Trainer as a run does."""


def weights(method: Method) -> dict[str, list[float]]:
    """Return the learned weights as numbers that JSON keeps to the last bit."""
    return {name: value.double().flatten().tolist() for name, value in sorted(method.state_dict().items())}


def main(arguments: Sequence[str]) -> int:
    file, folder = map(Path, arguments)
    parsed = parse_judged(read_settings(file.read_text())[0])
    method, data = parsed.model, parsed.datamodule
    given = parsed.config_init["trainer"]
    batches = int(given["limit_train_batches"]) * data.step_division(int(given["devices"])).accumulation
    best = ModelCheckpoint(folder / "by-hand", "best", monitor="val/mIoU", mode="max")
    trainer = L.Trainer(
        **{name: given[name] for name in TAKEN}, limit_train_batches=batches, callbacks=[best], logger=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(method, datamodule=data)
    found = {"weights": weights(method), "validation": float(best.best_model_score or 0)}
    (tested,) = trainer.test(method, datamodule=data, ckpt_path="best", verbose=False)
    found["test"] = {name.removeprefix("test/"): value for name, value in tested.items()}
    if trainer.is_global_zero:
        (folder / "found.json").write_text(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
