"""Measure few-shot classification: episodes a second of every method, MetaOptNet's solver, the features on disk.

python -m benchmarks.speed.fort [--what solver,methods,features] [--device cuda] [--dataset demo-cls] [--way 5]
                                [--shot 1] [--episodes 4] [--method nn,fort,...]

solver: MetaOptNet's program as the authors write it, one dense QP of B x n variables for cvxopt's interior point, and
`crammer_singer` for one episode and for 16 together; "apart" is the largest distance between the solutions, relative to
the largest entry. methods: after one warm-up episode, with features that are on disk already. features: the same
episodes with every image encoded for each episode that shows it.
"""

import argparse
import tempfile
import time
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

from benchmarks.speed.measure import device_name, measure
from fsbench.config.compose import parse
from fsbench.config.registry import names, task_of
from fsbench.config.request import Request
from fsbench.engine.experiment import Experiment
from fsbench.ops.crammer_singer import CAP, crammer_singer

TOGETHER = 16
"""Episodes that are solved in one call."""


def gram_matrices(episodes: int, ways: int, shots: int, width: int = 768, norm: float = 45.0) -> tuple[Tensor, Tensor]:
    """Draw Gram matrices (E, B, B) float64 of features whose norm is that of DINO's, and labels (E, B)."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(ways).repeat_interleave(shots).expand(episodes, -1)
    centers = torch.randn(episodes, ways, width, generator=generator, dtype=torch.float64)
    noise = torch.randn(episodes, ways * shots, width, generator=generator, dtype=torch.float64)
    features = 0.7 * centers.repeat_interleave(shots, 1) + noise
    features *= norm / features.norm(dim=-1, keepdim=True)
    return features @ features.mT, labels.contiguous()


def solve_dense(gram: np.ndarray, labels: np.ndarray, ways: int) -> np.ndarray:
    """Solve the program by cvxopt; returns its variables (B, n)."""
    from cvxopt import matrix, solvers, spmatrix  # optional, and needed for this comparison alone

    size = len(gram) * ways
    onehot = np.eye(ways)[labels].ravel()
    hessian = matrix(np.kron(gram + np.eye(len(gram)), np.eye(ways)))
    bounds, rows = spmatrix(1.0, range(size), range(size)), np.repeat(np.arange(len(gram)), ways)
    sums = spmatrix(1.0, rows.tolist(), range(size))
    options = {"show_progress": False, "abstol": 1e-12, "reltol": 1e-12, "feastol": 1e-12}
    solved = solvers.qp(
        hessian, matrix(-onehot), bounds, matrix(CAP * onehot), sums, matrix(0.0, (len(gram), 1)), options=options
    )
    return np.array(solved["x"]).reshape(len(gram), ways)


def solver(options: argparse.Namespace) -> None:
    """Compare the solvers of MetaOptNet's program."""
    device = torch.device(options.device)
    print(
        f"{'programme':>16} {'dense QP':>10} {'ours':>10} {f'ours, {TOGETHER}':>10} {'one':>8} {'together':>8}  apart"
    )
    for ways, shots in ((5, 1), (20, 1), (20, 5)):
        grams, labels = (t.to(device) for t in gram_matrices(TOGETHER, ways, shots))
        started = time.perf_counter()
        expected = solve_dense(grams[0].cpu().numpy(), labels[0].cpu().numpy(), ways)
        plain = time.perf_counter() - started
        one = measure(lambda g=grams, y=labels, n=ways: crammer_singer(g[:1], y[:1], n), device, 5).seconds
        many = measure(lambda g=grams, y=labels, n=ways: crammer_singer(g, y, n), device, 5).seconds / TOGETHER
        solution = crammer_singer(grams[:1], labels[:1], ways)[0].cpu().numpy()
        apart = np.abs(solution - expected).max() / np.abs(expected).max()
        print(
            f"{f'{ways}-way {shots}-shot':>16} {1000 * plain:8.1f}ms {1000 * one:8.2f}ms {1000 * many:8.2f}ms "
            f"{plain / one:7.0f}x {plain / many:7.0f}x  {apart:.1e}",
            flush=True,
        )


def build(options: argparse.Namespace, method: str, *more: str) -> Any:
    """Return the experiment of a method, on the device."""
    extra = [f"--data.way={options.way}", f"--data.shot={options.shot}", f"--data.episodes={options.episodes + 1}"]
    extra += ["--data.workers=0", *more]
    experiment: Any = Experiment(parse(Request([method], options.dataset, [0], extra=extra).arguments(method, 0)))
    experiment.method.to(options.device).eval()
    return experiment


def seconds_of(options: argparse.Namespace, experiment: Any) -> float:
    """Return the seconds of an episode, after a warm-up and without decoding."""
    if experiment.method.asks_for_features and experiment.method.backbone.cache.max_bytes:
        experiment.method.encode_shown(experiment.data)
    elif experiment.method.asks_for_features:
        experiment.method.data = experiment.data
    with patch.object(experiment.data, "trainer", argparse.Namespace(lightning_module=experiment.method), create=True):
        episodes = [one.to(options.device) for batch in experiment.data.test_dataloader() for one in batch]
    with torch.no_grad():
        experiment.method.classify(episodes[:1])
        started = time.perf_counter()
        for episode in episodes[1:]:
            experiment.method.classify([episode])
        if options.device != "cpu":
            torch.cuda.synchronize()
    return (time.perf_counter() - started) / (len(episodes) - 1)


def methods(options: argparse.Namespace) -> None:
    """Print episodes a second of every method."""
    known = [name for name in names("methods") if task_of("methods", name) == "classification"]
    chosen = options.method.split(",") if options.method else known
    print(f"{'method':>12} {'backbone':>14} {'episodes/s':>11}")
    for name in chosen:
        experiment = build(options, name)
        print(
            f"{name:>12} {experiment.method.backbone.name:>14} {1 / seconds_of(options, experiment):11.2f}", flush=True
        )


def features(options: argparse.Namespace) -> None:
    """Compare features from disk with encoding every image for every episode."""
    print(f"{'features':>12} {'seconds an episode':>19}")
    for label, more in (("on disk", ()), ("none kept", ("--model.backbone.cache_mib=0",))):
        print(f"{label:>12} {seconds_of(options, build(options, 'nn', *more)):19.4f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--what", default="solver,methods,features")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dataset", default="demo-cls")
    parser.add_argument("--method", help="with commas; default: all but those of other backbones")
    parser.add_argument("--way", type=int, default=5)
    parser.add_argument("--shot", type=int, default=1)
    parser.add_argument("--episodes", type=int, default=4)
    options = parser.parse_args()
    print(device_name(torch.device(options.device)))
    with tempfile.TemporaryDirectory() as folder, patch.dict("os.environ", {"FSBENCH_CACHE": folder}):
        for what in options.what.split(","):
            print(f"\n{what}")
            {"solver": solver, "methods": methods, "features": features}[what](options)


if __name__ == "__main__":
    main()
