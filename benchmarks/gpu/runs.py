"""`fsbench bench` on a GPU beside the CPU: the same counts, by one process and by two.

Each run is a program of its own. Polars, which reads the counts, is imported when they are compared.
"""

import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from benchmarks.gpu.figures import Figures, Rows
from fsbench.base.paths import REPOSITORY

COUNTS = ["episode", "slot", "tp", "pred", "gt", "decided"]


def runs(device: torch.device, small: bool, deadline: float) -> Rows:
    """Yield the runs; those of a GPU are held against the CPU's."""
    with TemporaryDirectory() as folder:
        bench = Bench(Path(folder), "gpu" if device.type == "cuda" else "cpu", small, deadline)
        yield "bench, prototype and emat, demo, --fast", "CPU", bench.on_cpu
        yield "bench, prototype and emat, demo, --fast", "GPU", partial(bench.compare, "prototype", "emat")
        yield "bench, emat, demo, weights of the CPU's run", "GPU", bench.with_weights
        for backend in ("gloo", "nccl") if device.type == "cuda" else ("gloo",):
            yield "bench, prototype, demo, --fast", f"two processes, {backend}", partial(bench.divided, backend)


FEW = 0.1
"""Share of rows whose counts rounding may move."""


class Bench:
    """Runs of `fsbench bench` in a folder.

    Args:
        folder: where they are kept.
        accelerator: what is held against the CPU.
        small: few episodes.
        deadline: of time.monotonic, at which a run is ended.
    """

    def __init__(self, folder: Path, accelerator: str, small: bool, deadline: float):
        self.folder, self.accelerator, self.deadline = folder, accelerator, deadline
        self.few = ["--data.test.episodes=4", "--trainer.limit_train_batches=2"] if small else []

    def on_cpu(self) -> Figures:
        """Run both methods on the CPU."""
        return Figures(seconds=self.run("cpu", "cpu", ["prototype", "emat"]))

    def compare(self, *methods: str) -> Figures:
        """Run methods on the GPU, of which the first learns nothing; what is trained there has other weights."""
        seconds = self.run("gpu", self.accelerator, list(methods))
        found = [self.differing("gpu", method) for method in methods]
        return Figures(found[0][0], FEW, seconds, note="; ".join(words for _, words in found))

    def with_weights(self) -> Figures:
        """Evaluate on the GPU what was trained on the CPU."""
        (weights,) = self.folder.glob("cpu/emat-*/checkpoints/best.ckpt")
        seconds = self.run("weights", self.accelerator, ["emat"], [f"--ckpt={weights}"])
        share, words = self.differing("weights", "emat")
        return Figures(share, FEW, seconds, note=words)

    def divided(self, backend: str) -> Figures:
        """Let two processes share the GPU, as two nodes of one process each."""
        strategy = [f"--trainer.{option}" for option in ("num_nodes=2", "devices=1", "strategy=DDPStrategy")]
        strategy.append(f"--trainer.strategy.process_group_backend={backend}")
        seconds = self.run(backend, self.accelerator, ["prototype"], strategy, processes=2)
        share, words = self.differing(backend, "prototype")
        return Figures(share, FEW, seconds, note=words)

    def run(
        self, name: str, accelerator: str, methods: list[str], options: list[str] | None = None, processes: int = 1
    ) -> float:
        """Run methods into the folder `name`; return the seconds.

        Raises:
            RuntimeError: a process failed, with the end of what it said.
        """
        words = [*self.words(name, accelerator, methods), *(options or [])]
        started = time.monotonic()
        children = [
            subprocess.Popen(
                [sys.executable, "-m", "fsbench", *words], cwd=REPOSITORY, env=self._environment(rank, processes),
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            )
            for rank in range(processes)
        ]  # fmt: skip
        try:
            for child in children:
                said, _ = child.communicate(timeout=max(1.0, self.deadline - time.monotonic()))
                if child.returncode:
                    raise RuntimeError(f"exit status {child.returncode}: {said.strip()[-2000:]}")
        finally:
            for child in children:
                child.kill()
        return time.monotonic() - started

    def words(self, name: str, accelerator: str, methods: list[str]) -> list[str]:
        """Return the arguments of `fsbench` that run methods into the folder `name`."""
        return [
            "bench", f"--method={','.join(methods)}", "--dataset=demo", "--fast", f"--runs={self.folder / name}",
            f"--trainer.accelerator={accelerator}", *self.few,
        ]  # fmt: skip

    def _environment(self, rank: int, processes: int) -> dict[str, str]:
        if processes == 1:
            return dict(os.environ)
        rank_of = {"RANK": str(rank), "GROUP_RANK": str(rank), "NODE_RANK": str(rank), "LOCAL_RANK": "0"}
        sizes = {"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": "1", "TORCHELASTIC_RUN_ID": "gpu-check"}
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(29500 + os.getpid() % 1000)}
        # NCCL refuses two processes on a GPU of one host, so they say that theirs are two
        return os.environ | rank_of | sizes | address | {"NCCL_HOSTID": f"host{rank}"}

    def differing(self, name: str, method: str) -> tuple[float, str]:
        """Return the share of a run's rows whose counts are not those of the CPU's, and say so in words."""
        own, other = (self._counts(folder, method) for folder in (name, "cpu"))
        rows = sum(a != b for a, b in zip(own, other, strict=True))
        return rows / len(other), f"{method}: {rows} of {len(other)} rows of counts differ from the CPU's"

    def _counts(self, name: str, method: str) -> list[tuple[Any, ...]]:
        from fsbench.records.record import find_records  # needs Polars, which only this part does

        (record,) = (r for r in find_records(self.folder / name) if r.path.name.startswith(f"{method}-"))
        return record.episodes.select(COUNTS).rows()
