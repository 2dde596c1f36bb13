"""Measure few-shot classification: episodes a second of every method, MetaOptNet's solver, the features on disk.

python -m benchmarks.speed.fort [--what solver,methods,features,finetune] [--device cuda] [--dataset demo-cls] [--way 5]
                                [--shot 1] [--queries 15] [--episodes 4] [--method nn,fort,...]
                                [--backbone dino_vitb16]

solver: MetaOptNet's program as the authors write it, one dense QP of B x n variables for cvxopt's interior point, and
`crammer_singer` for one episode and for 16 together; "apart" is the largest distance between the solutions, relative to
the largest entry. methods: after one warm-up episode, with features that are on disk already. features: the same
episodes with every image encoded for each episode that shows it. finetune: one episode of the methods that tune a
network, beside the same steps in the usual order of a training loop, in which gradients live until the next backward
pass; memory is that beyond the network and the images.
"""

import argparse
import tempfile
import time
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

from benchmarks.speed.measure import Cost, Recorder, Row, add_json_option, measure
from fsbench.config.build import parse
from fsbench.config.registry import names, task_of
from fsbench.config.request import Request
from fsbench.data.batch import ImageEpisode
from fsbench.engine.experiment import Experiment
from fsbench.engine.machine.meter import Meter
from fsbench.ops.crammer_singer import CAP, crammer_singer
from methods.classifiers.fine_tuned import FineTuned
from methods.classifiers.tuning import losses

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


def solver(options: argparse.Namespace, recorder: Recorder) -> None:
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
        alone = measure(lambda g=grams, y=labels, n=ways: crammer_singer(g[:1], y[:1], n), device, 5)
        joint = measure(lambda g=grams, y=labels, n=ways: crammer_singer(g, y, n), device, 5)
        one, many = alone.seconds, joint.seconds / TOGETHER
        what = f"MetaOptNet's solver, {ways}-way {shots}-shot, an episode"
        recorder.rows.append(Row(what=what, path="dense QP", times=[plain]))
        recorder.add(what, "ours", alone)
        recorder.rows.append(
            Row(what=what, path=f"ours, {TOGETHER} together", times=[t / TOGETHER for t in joint.times])
        )
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
    extra += [f"--data.queries={options.queries}", "--data.workers=0", *more]
    experiment: Any = Experiment(parse(Request([method], options.dataset, [0], extra=extra).arguments(method, 0)))
    experiment.method.to(options.device).eval()
    return experiment


def cost_of(options: argparse.Namespace, experiment: Any) -> Cost:
    """Return the seconds of an episode, after a warm-up and without decoding, and the peak memory of the process."""
    if experiment.method.asks_for_features and experiment.method.backbone.cache.max_bytes:
        experiment.method.encode_shown(experiment.data)
    elif experiment.method.asks_for_features:
        experiment.method.data = experiment.data
    with patch.object(experiment.data, "trainer", argparse.Namespace(lightning_module=experiment.method), create=True):
        episodes = [one.to(options.device) for batch in experiment.data.test_dataloader() for one in batch]
    with torch.no_grad():
        meter = Meter(torch.device(options.device))
        experiment.method.classify(episodes[:1])
        started = time.perf_counter()
        for episode in episodes[1:]:
            experiment.method.classify([episode])
        if options.device != "cpu":
            torch.cuda.synchronize()
    seconds = (time.perf_counter() - started) / (len(episodes) - 1)
    return Cost(seconds, meter.peak_mib, (seconds,))


def methods(options: argparse.Namespace, recorder: Recorder) -> None:
    """Print episodes a second of every method, and the peak memory of the whole process."""
    known = [name for name in names("methods") if task_of("methods", name) == "classification"]
    chosen = options.method.split(",") if options.method else known
    print(f"{'method':>12} {'backbone':>14} {'episodes/s':>11} {'peak memory':>13}")
    for name in chosen:
        experiment = build(options, name)
        cost, backbone = cost_of(options, experiment), experiment.method.backbone.name
        recorder.add(f"{name} on {backbone}, {options.way}-way {options.shot}-shot, an episode", "ours", cost)
        print(f"{name:>12} {backbone:>14} {1 / cost.seconds:11.2f} {cost.peak_mib:9.0f} MiB", flush=True)


def features(options: argparse.Namespace, recorder: Recorder) -> None:
    """Compare features from disk with encoding every image for every episode."""
    print(f"{'features':>12} {'seconds an episode':>19}")
    for label, more in (("on disk", ()), ("none kept", ("--model.backbone.cache_mib=0",))):
        cost = cost_of(options, build(options, "nn", *more))
        recorder.add(f"nn, {options.way}-way {options.shot}-shot, an episode", f"features {label}", cost)
        print(f"{label:>12} {cost.seconds:19.4f}", flush=True)


def tune_plainly(method: FineTuned, episode: ImageEpisode) -> Tensor:
    """Tune and predict as a training loop is usually written; returns the predicted classes of the queries."""
    with torch.inference_mode(False), method.start_episode(episode, bool(method.schedule.alpha)) as state:
        optimiser = method.schedule.build(state.net.parameters())
        for step in state.order:
            focus = state.focus and [part[step] for part in state.focus]
            entropy, attention = losses(state.net, method.schedule, state.support[step], state.labels[step], focus)
            loss = entropy + method.schedule.alpha * attention.sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        with torch.no_grad():
            return state.net(state.query).argmax(1)


def finetune(options: argparse.Namespace, recorder: Recorder) -> None:
    """Compare the peak memory of an episode with that of a plain training loop, after a check that both agree."""
    print(f"{'method':>12} {'plain':>22} {'ours':>22}")
    for name in (options.method or "ft").split(","):
        network = [f"--model.backbone.name={options.backbone}", "--model.backbone.weights=random:0"]
        larger = [*network, "--data.image_size=224"] if options.backbone else []
        experiment = build(options, name, *larger)
        method = experiment.method
        fitting = argparse.Namespace(lightning_module=method)
        with patch.object(experiment.data, "trainer", fitting, create=True):
            episode = next(one for batch in experiment.data.test_dataloader() for one in batch).to(options.device)
        answers: dict[str, Tensor] = {}

        def plain(method: Any = method, episode: Any = episode, answers: Any = answers) -> None:
            answers["plain"] = tune_plainly(method, episode)

        def ours(method: Any = method, episode: Any = episode, answers: Any = answers) -> None:
            answers["ours"] = method.classify([episode])[0]

        method._fresh(episode.pixels()[0], options.way)  # the network is there on both sides
        costs = {path: measure(call, torch.device(options.device), 0, True) for path, call in
                 {"plain": plain, "ours": ours}.items()}  # fmt: skip
        if not torch.equal(answers["plain"], answers["ours"]):
            raise SystemExit(f"{name}: the predicted classes differ between the plain loop and the suite")
        what = f"{name} on {method.backbone.name}, {options.way}-way {options.shot}-shot, an episode's tuning"
        for path, cost in costs.items():
            recorder.add(what, path, cost)
        cells = " ".join(f"{cost.seconds:8.1f} s {cost.peak_mib:7.0f} MiB" for cost in costs.values())
        print(f"{name:>12} {cells}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--what", default="solver,methods,features")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dataset", default="demo-cls")
    parser.add_argument("--method", help="with commas; default: all but those of other backbones")
    parser.add_argument("--way", type=int, default=5)
    parser.add_argument("--backbone", help="of finetune, with random weights, at 224 pixels; default: the data set's")
    parser.add_argument("--shot", type=int, default=1)
    parser.add_argument("--queries", type=int, default=15, help="query images of each class")
    parser.add_argument("--episodes", type=int, default=4)
    add_json_option(parser)
    options = parser.parse_args()
    is_tuning = options.what == "finetune"
    if not is_tuning and "finetune" in options.what.split(","):
        parser.error("finetune has another opponent and clock than the others; give it a call of its own")
    opponent = "cvxopt's interior point on the authors' dense program; methods stand alone"
    if is_tuning:
        opponent = "the same steps in a plain training loop, written by this project"
    recorder = Recorder(torch.device(options.device), opponent, is_processor=is_tuning)
    with tempfile.TemporaryDirectory() as folder, patch.dict("os.environ", {"FSBENCH_CACHE": folder}):
        for what in options.what.split(","):
            print(f"\n{what}")
            {"solver": solver, "methods": methods, "features": features, "finetune": finetune}[what](options, recorder)
    recorder.write(options.json)


if __name__ == "__main__":
    main()
