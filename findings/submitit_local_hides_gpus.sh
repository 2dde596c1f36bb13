#!/usr/bin/env bash
# Guess: a job that submitit starts on this machine (`cluster="local"`) sees the GPUs that the shell sees.
# Found: CUDA_VISIBLE_DEVICES is set to "" in the job unless gpus_per_node was asked for; and where it was, the
#   numbers count from 0, whatever the shell had chosen.
# Hurts: whoever tries a grid at home before it goes to a cluster: trainings run on the CPU without a word, or on the
#   GPU of a colleague.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet submitit==1.5.4
venv/bin/python -I - <<'PYTHON'
import os, sys

import submitit


def seen():
    return os.environ.get("CUDA_VISIBLE_DEVICES")


print(f"submitit {submitit.__version__}")
os.environ["CUDA_VISIBLE_DEVICES"] = "3"
found = []
for gpus in (0, 1):
    executor = submitit.AutoExecutor("logs", cluster="local")
    executor.update_parameters(timeout_min=5, **({"gpus_per_node": gpus} if gpus else {}))
    found.append(executor.submit(seen).result())
print("expected by guess: '3', as in the shell, both times")
print(f"found: {found[0]!r} where nothing is said of GPUs, {found[1]!r} with gpus_per_node=1")
if found != ["", "0"]:
    sys.exit("changed: expected '' and '0'")
PYTHON
