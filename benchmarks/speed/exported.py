"""Size of exported files, and their time per image beside the method's own, on one thread.

python -m benchmarks.speed.exported [METHOD …]     # with the demo's settings; methods that learn have first weights
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch

import fsbench
from fsbench.base.terminal import print_line
from fsbench.datamodules.datasets.demo.scenes import draw_scene
from fsbench.predict.export import load_program
from fsbench.predict.supports import Support
from fsbench.results.sheets.text import align
from fsbench.runner.config.run_config import RunConfig

METHODS = ("prototype", "linear_probe_dense", "emat", "cst", "dcama", "hsnet", "pfenet", "bam", "hmnet", "fssdino")
CLASS = 16
SUPPORTS = 3
REPEATS = 9


def seconds(function: Callable[[], object]) -> float:
    """Return the median time of a call after the first, which warms up."""
    function()
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return median(times)


def measure(name: str, folder: Path) -> list[str]:
    """Return a method's row: name, megabytes of the file, milliseconds of the method and of the file, the figure."""
    checkpoint = None
    torch.manual_seed(0)
    method = RunConfig(name, "demo").parse(build=False).build_method()
    if method.learns:
        checkpoint = folder / f"{name}.ckpt"
        torch.save({"state_dict": method.state_dict()}, checkpoint)
    predictor = fsbench.Predictor(name, dataset="demo", device="cpu", checkpoint=checkpoint)
    scenes = [draw_scene([0, number], (CLASS,)) for number in range(SUPPORTS + 1)]
    marked = [(pixels, (labels == CLASS).astype(np.uint8)) for pixels, labels in scenes[1:]]
    predictor.add([Support(str(n), *shown, {1: "thing"}) for n, shown in enumerate(marked)])
    query = scenes[0][0]
    path = folder / f"{name}.onnx"
    agreement = predictor.export(path, images=[query])
    run = load_program(path, "onnx", threads=1)
    own, file = seconds(lambda: predictor.predict(query)), seconds(lambda: run(query))
    same = 100 * (1 - agreement.other / agreement.pixels)
    return [name, f"{path.stat().st_size / 1e6:.1f}", f"{1e3 * own:.0f}", f"{1e3 * file:.0f}", f"{same:.4g}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("methods", nargs="*", default=METHODS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = [["method", "MB", "method ms", "file ms", "same labels %"]]
    with tempfile.TemporaryDirectory() as folder:
        for name in options.methods:
            rows.append(measure(name, Path(folder)))
            print_line(" ".join(rows[-1]))
    for line in align(rows, words=1):
        print_line(line)


if __name__ == "__main__":
    main()
