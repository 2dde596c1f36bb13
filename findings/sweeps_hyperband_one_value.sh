#!/usr/bin/env bash
# Guess: Hyperband in a W&B sweep compares the best that a run has reached so far, and keeps the run that leads.
# Found: unless `strict: false` is written, the one value at the band decides. A run that is ahead of all others in
#   every validation but the fifth, where it dips, is stopped at min_iter 5, though it leads again.
# Hurts: whoever sweeps over trainings whose validation is noisy, as few-shot episodes are: the best settings are the
#   ones that end.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet numpy==1.26.4 sweeps==0.3.0
venv/bin/python -I - <<'PYTHON'
import sys, warnings
from importlib.metadata import version

warnings.simplefilter("ignore")
from sweeps.hyperband_stopping import hyperband_stop_runs
from sweeps.run import RunState, SweepRun


def run(name, scores, state=RunState.finished):
    return SweepRun(name=name, state=state, history=[{"miou": score} for score in scores])


print(f"sweeps {version('sweeps')}")
leading = [30, 38, 44, 50, 45, 52, 55]
others = {"a": [20, 28, 34, 40, 46, 47, 48], "b": [18, 25, 33, 41, 47, 48, 48]}
print(f"mIoU of the validations: leading {leading}, others {others}")
stopped = {}
for words in ({}, {"strict": False}):
    config = {
        "method": "random",
        "metric": {"name": "miou", "goal": "maximize"},
        "parameters": {"lr": {"min": 0.001, "max": 0.1}},
        "early_terminate": {"type": "hyperband", "min_iter": 5} | words,
    }
    runs = [run(name, scores) for name, scores in others.items()] + [run("leading", leading, RunState.running)]
    stopped[bool(words)] = [one.name for one in hyperband_stop_runs(runs, config)]
print("expected by guess: nothing is stopped")
print(f"found: stopped {stopped[False]}; with strict: false {stopped[True]}")
if stopped != {False: ["leading"], True: []}:
    sys.exit("changed: expected that the leading run is stopped, and not with strict: false")
PYTHON
