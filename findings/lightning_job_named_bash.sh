#!/usr/bin/env bash
# Guess: the name of a SLURM job is a label; `srun` with two tasks makes two processes of one training.
# Found: Lightning takes a job that is called "bash" or "interactive" for a shell at which somebody types, and ignores
#   SLURM's tasks: each of them begins a training of its own. "Bash" is a job as any other.
# Hurts: whoever starts `srun bash train.sh`, whose job SLURM names after its program, or `sbatch -J bash`: as many
#   trainings as tasks, on the same cores and in the same folder.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet torch==2.13.0 lightning==2.6.6
venv/bin/python -I - <<'PYTHON'
import os, sys, warnings

warnings.simplefilter("ignore")
import lightning
from lightning.pytorch.plugins.environments import SLURMEnvironment

print(f"Lightning {lightning.__version__}")
# what srun sets in the second of two tasks on one node
os.environ |= {"SLURM_JOB_ID": "1", "SLURM_STEP_ID": "0", "SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2"}
os.environ |= {"SLURM_PROCID": "1", "SLURM_LOCALID": "1", "SLURM_NODEID": "0", "SLURM_NNODES": "1", "SLURM_NODELIST": "localhost"}
found = {}
for name in ("training", "bash", "interactive", "Bash"):
    os.environ["SLURM_JOB_NAME"] = name
    trainer = lightning.Trainer(
        accelerator="cpu", devices=2, strategy="ddp", logger=False, enable_checkpointing=False, enable_progress_bar=False
    )
    found[name] = (SLURMEnvironment.detect(), trainer.global_rank)
print("expected by guess: SLURM is seen and this is rank 1, whatever the name")
for name, (seen, rank) in found.items():
    print(f"found: job {name!r}: SLURM is {'seen' if seen else 'not seen'}, this is rank {rank}")
job, shell = (True, 1), (False, 0)
if found != {"training": job, "bash": shell, "interactive": shell, "Bash": job}:
    sys.exit("changed: expected that jobs called bash and interactive are not seen")
PYTHON
