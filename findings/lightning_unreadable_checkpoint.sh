#!/usr/bin/env bash
# Guess: a checkpoint that Lightning's Trainer writes is read by the Trainer that wrote it.
# Found: `save_hyperparameters()` puts the arguments into the checkpoint as they are. With a Path among them the training
#   ends well, and then `test(ckpt_path="best")` raises: torch loads weights alone.
# Hurts: whoever trains for days and evaluates afterwards. What fails is the reading, long after the line that is to
#   blame.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet torch==2.13.0 lightning==2.6.6
venv/bin/python -I - <<'PYTHON'
import logging, sys, warnings
from pathlib import Path

warnings.simplefilter("ignore")
import lightning, torch

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


class Net(lightning.LightningModule):
    def __init__(self, data):
        super().__init__()
        self.save_hyperparameters()
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch, _):
        return self.layer(batch).mean()

    def test_step(self, batch, _):
        self.log("score", self.layer(batch).mean())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


print(f"Lightning {lightning.__version__}, torch {torch.__version__.split('+')[0]}")
found = {}
for data in ("images", Path("images")):
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = lightning.Trainer(max_epochs=1, accelerator="cpu", default_root_dir=type(data).__name__, **quiet)
    net, batches = Net(data), torch.utils.data.DataLoader(torch.ones(4, 1))
    trainer.fit(net, batches)
    try:
        trainer.test(net, batches, ckpt_path="best", verbose=False)
        found[data] = "tested"
    except Exception as error:
        found[data] = type(error).__name__
print("expected by guess: tested, both times")
print(f"found: with a str {found['images']}, with a Path {found[Path('images')]}")
if list(found.values()) != ["tested", "UnpicklingError"]:
    sys.exit("changed: expected that the checkpoint with a Path is refused")
PYTHON
