"""Measure whole processes of `fsbench run` that evaluate HSNet at the paper's size: peak memory and processor seconds.

    python -m benchmarks.speed.hsnet_process [--episodes 5] [--shot 1] [--cache-mib 128] [--repeats 1] [--json FILE]

"plain" calculates by the formulas and keeps no features, "ours" is the suite with the given bound on kept features.
Both load torch and the suite; a process that only builds the method says how much memory that takes. Images are the
demo's at 400 pixels, ResNet-50, random weights; runs take turns.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import torch

from benchmarks.speed.hsnet import plain_formulas
from benchmarks.speed.measure import Cost, Recorder, add_json_option
from fsbench.cli.main import main as fsbench
from fsbench.config.build import compose_method
from fsbench.engine.machine.meter import resident_mib
from fsbench.paths import REPOSITORY

PATHS = ("plain", "ours")
BACKBONE = "resnet50_v1"


def commands(options: argparse.Namespace, folder: Path, path: str, turn: int) -> list[str]:
    """Return the arguments of `fsbench run` for one path."""
    files = (REPOSITORY / "configs" / name for name in ("base.yaml", "methods/hsnet.yaml", "data/demo.yaml"))
    settings = {
        "run.name": "hsnet",
        "run.runs": folder / f"{path}{turn}",
        "run.checkpoint": folder / "random.ckpt",
        "model.backbone.name": BACKBONE,
        "model.backbone.weights": "random",
        "model.backbone.cache_mib": 0 if path == "plain" else options.cache_mib,
        "data.dataset.root": folder / "demo",
        "data.protocol": "hsnet",
        "data.image_size": options.side,
        "data.shot": options.shot,
        "data.episodes": options.episodes,
        "data.workers": 0,
        "trainer.accelerator": "cpu",
    }
    return ["run", *(f"--config={file}" for file in files), *(f"--{key}={value}" for key, value in settings.items())]


def measure_process(words: Sequence[str]) -> Cost:
    """Return processor seconds and largest resident memory of this module with `--part` and these words.

    The process tells its memory itself: what the system reports of a child is at least its parent's.

    Raises:
        SystemExit: the process failed; its output is printed.
    """
    own = {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": str(torch.get_num_threads()), "WANDB": "off"}
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.speed.hsnet_process", "--part", *words],
            env=os.environ | own, stdout=output, stderr=output,
        )  # fmt: skip
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        printed = output.read().decode()
    if process.returncode:
        raise SystemExit(printed)
    seconds = usage.ru_utime + usage.ru_stime
    return Cost(seconds, float(printed.split()[-1]), (seconds,))


def run_part(part: str, words: Sequence[str]) -> None:
    """Do a part in this process: build the method, or run a command of fsbench; print the largest resident memory."""
    if part == "nothing":
        compose_method("hsnet", "pascal", BACKBONE, "random").build_method()
    else:
        with plain_formulas() if part == "plain" else nullcontext():
            if status := fsbench(words):
                sys.exit(status)
    print(resident_mib("VmHWM"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=5)
    parser.add_argument("--shot", type=int, default=1)
    parser.add_argument("--side", type=int, default=400)
    parser.add_argument("--cache-mib", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=1)
    add_json_option(parser)
    parser.add_argument("--part", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)  # of this program's own processes
    options = parser.parse_args()
    if options.part:
        run_part(options.part[0], options.part[1:])
        return
    recorder = Recorder(torch.device("cpu"), is_processor=True, settings=f"{options.side} pixels, whole processes")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        method = compose_method("hsnet", "pascal", BACKBONE, "random").build_method()
        checkpoint = {"state_dict": method.state_dict()}
        method.on_save_checkpoint(checkpoint)
        torch.save(checkpoint, folder / "random.ckpt")
        measure_process(["ours", *commands(options, folder, "first", 0)])  # draws the demo's images
        costs: dict[str, list[Cost]] = {path: [] for path in PATHS}
        for turn in range(options.repeats):
            for path in PATHS:
                costs[path].append(measure_process([path, *commands(options, folder, path, turn)]))
        start = measure_process(["nothing"])
    what = f"`fsbench run` of HSNet, {BACKBONE}, {options.side} pixels, {options.episodes} episodes, 1-way "
    what += f"{options.shot}-shot, features kept up to {options.cache_mib} MiB"
    for path, found in costs.items():
        times = tuple(cost.seconds for cost in found)
        cost = Cost(sorted(times)[len(times) // 2], max(cost.peak_mib for cost in found), times)
        recorder.add(what, path, cost)
        print(f"{path:6} {cost.seconds:8.2f} s  {cost.peak_mib:6.0f} MiB")
    print(f"building the method alone: {start.seconds:.2f} s  {start.peak_mib:.0f} MiB")
    recorder.add("a process that builds HSNet and evaluates nothing", "ours", start)
    recorder.write(options.json)


if __name__ == "__main__":
    main()
