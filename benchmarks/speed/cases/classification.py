"""Few-shot classification: MetaOptNet's solver, episodes of every method, the features on disk, tuned networks."""

import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, cast
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.speed.harness import Case
from fsbench.config.build import parse
from fsbench.config.registry import names, task_of
from fsbench.config.request import Request
from fsbench.data.batch import ImageEpisode
from fsbench.engine.experiment import Experiment
from fsbench.ops.crammer_singer import CAP, crammer_singer
from methods.classifiers.fine_tuned import EpisodeState, FineTuned
from methods.classifiers.fort import roll_out, weighted_focus
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


def solver_cases(device: torch.device) -> Iterator[Case]:
    """Compare solvers of MetaOptNet's program, for one episode and for 16 together.

    The dense program is one QP of B x n variables for cvxopt's interior point, as the authors write it.
    """
    for ways, shots in ((5, 1), (20, 1), (20, 5)):
        grams, labels = (t.to(device) for t in gram_matrices(TOGETHER, ways, shots))
        dense = partial(solve_dense, grams[0].cpu().numpy(), labels[0].cpu().numpy(), ways)
        one = partial(crammer_singer, grams[:1], labels[:1], ways)

        def apart(dense: Callable[[], np.ndarray] = dense, one: Callable[[], Tensor] = one) -> float:
            expected = dense()
            return float(np.abs(one()[0].cpu().numpy() - expected).max() / np.abs(expected).max())

        together = f"ours, {TOGETHER} together"
        yield Case(
            f"MetaOptNet's solver, {ways}-way {shots}-shot, an episode",
            {"dense QP": dense, "ours": one, together: partial(crammer_singer, grams, labels, ways)},
            apart,
            tolerance=1e-3,
            units={"dense QP": 1, "ours": 1, together: TOGETHER},
        )


def build(
    device: torch.device, method: str, dataset: str, way: int, shot: int, queries: int, episodes: int, *more: str
) -> Any:
    """Return the experiment of a method, on the device."""
    extra = [f"--data.way={way}", f"--data.shot={shot}", f"--data.episodes={episodes}", f"--data.queries={queries}"]
    extra += ["--data.workers=0", *more]
    experiment: Any = Experiment(parse(Request([method], dataset, [0], extra=extra).arguments(method, 0)))
    experiment.method.to(device).eval()
    return experiment


def loaded_episodes(experiment: Any, device: torch.device) -> list[Any]:
    """Return the episodes of an experiment, without their decoding; features that it keeps are on disk afterwards."""
    method = experiment.method
    if method.asks_for_features and method.backbone.cache.max_bytes:
        method.encode_shown(experiment.data)
    elif method.asks_for_features:
        method.data = experiment.data
    return [one.to(device) for batch in experiment.data.test_dataloader() for one in batch]


def _classify(experiment: Any, episodes: list[Any]) -> Callable[[], None]:
    def call() -> None:
        with torch.no_grad():
            for episode in episodes:
                experiment.method.classify([episode])

    return call


def method_cases(
    device: torch.device,
    method: str | None = None,
    dataset: str = "demo-cls",
    way: int = 5,
    shot: int = 1,
    queries: int = 15,
    episodes: int = 4,
) -> Iterator[Case]:
    """Measure an episode of every method of classification, with features that are on disk already."""
    known = [name for name in names("methods") if task_of("methods", name) == "classification"]
    with tempfile.TemporaryDirectory() as folder, patch.dict("os.environ", {"FSBENCH_CACHE": folder}):
        for name in method.split(",") if method else known:
            experiment = build(device, name, dataset, way, shot, queries, episodes)
            call = _classify(experiment, loaded_episodes(experiment, device))
            what = f"{name} on {experiment.method.backbone.name}, {way}-way {shot}-shot, an episode"
            yield Case(what, {"ours": call}, units=episodes)


def feature_cases(
    device: torch.device, dataset: str = "demo-cls", way: int = 5, shot: int = 1, queries: int = 15, episodes: int = 4
) -> Iterator[Case]:
    """Compare features from disk with encoding every image for every episode."""
    with tempfile.TemporaryDirectory() as folder, patch.dict("os.environ", {"FSBENCH_CACHE": folder}):
        paths = {}
        for label, more in (("none kept", ["--model.backbone.cache_mib=0"]), ("on disk", [])):
            experiment = build(device, "nn", dataset, way, shot, queries, episodes, *more)
            paths[f"features {label}"] = _classify(experiment, loaded_episodes(experiment, device))
        yield Case(f"nn, {way}-way {shot}-shot, an episode", paths, units=episodes)


def tune_plainly(method: FineTuned, episode: ImageEpisode) -> Tensor:
    """Tune and predict as a training loop is usually written; returns the predicted classes of the queries."""
    with torch.inference_mode(False), method.start_episode(episode, with_prompts=False) as state:
        given = [prompts_plainly(method, state)] if method.schedule.alpha else None
        trained = [p for p in state.net.parameters() if p.requires_grad]
        is_adam = method.schedule.optimiser == "adamw"
        optimiser = (
            torch.optim.AdamW(trained, method.schedule.learning_rate) if is_adam else method.schedule.build(trained)
        )
        for step in state.order:
            focus = given and [part[step] for part in given]
            entropy, attention = losses(state.net, method.schedule, state.support[step], state.labels[step], focus)
            loss = entropy + method.schedule.alpha * attention.sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        with torch.no_grad():
            return state.net(state.query).argmax(1)


def prompts_plainly(method: FineTuned, state: EpisodeState) -> Tensor:
    """Return FORT's position prompts (B, N) of a ViT in its authors' scheme (fort.md §9.1).

    One pass forward and backward through all blocks, of which all attention is kept, and a full decomposition.
    """
    encoder: Any = state.net.encoder
    attention: list[Tensor] = []
    tokens: list[Tensor] = []

    def keep_tokens(layer: nn.Module, given: tuple[Tensor, ...]) -> None:
        given[0].retain_grad()
        tokens.append(given[0])

    hooks = [b.attn.attn_drop.register_forward_hook(lambda m, x, out: attention.append(out)) for b in encoder.blocks]
    hooks.append(encoder.blocks[-1].norm1.register_forward_pre_hook(keep_tokens))
    frozen = [p for p in state.net.parameters() if not p.requires_grad]
    for parameter in frozen:  # the authors leave them on
        parameter.requires_grad_()
    for block in encoder.blocks:
        block.attn.fused_attn = False  # a fused kernel never has the weights
    with torch.enable_grad():
        state.net(state.support).gather(1, state.labels[:, None]).mean().backward()
    for hook in hooks:
        hook.remove()
    for block in encoder.blocks:
        block.attn.fused_attn = True
    for parameter in frozen:
        parameter.requires_grad_(False)
    state.net.zero_grad()
    gradient = cast(Tensor, tokens[0].grad)[:, 1:]
    centred = gradient - gradient.mean(1, keepdim=True)
    component = torch.einsum("bnd,bd->bn", centred, torch.linalg.svd(centred).Vh[:, 0])
    maps = [layer.detach()[:, :, 1:, 1:].amin(1) for layer in attention]
    return weighted_focus(roll_out(maps, component, method.gradient_weight), method.patches)


def tuning_cases(
    device: torch.device,
    method: str = "ft,fort",
    dataset: str = "demo-cls",
    backbone: str = "dino_vitb16",
    way: int = 5,
    shot: int = 1,
    queries: int = 3,
) -> Iterator[Case]:
    """Compare an episode of methods that tune a network with the same steps in the usual order of a training loop.

    There gradients live until the next backward pass, torch's default AdamW updates all parameters at once, FORT's
    prompts are found as its authors do, and the last block computes every token. The network has random weights and
    images of 224 pixels; memory is that beyond the networks, their first weights and the images.
    """
    network = [f"--model.backbone.name={backbone}", "--model.backbone.weights=random:0", "--data.image_size=224"]
    with tempfile.TemporaryDirectory() as folder, patch.dict("os.environ", {"FSBENCH_CACHE": folder}):
        for name in method.split(","):
            experiment, whole = (build(device, name, dataset, way, shot, queries, 1, *network) for _ in range(2))
            episode = next(one for batch in experiment.data.test_dataloader() for one in batch).to(device)
            answers: dict[str, Tensor] = {}

            def plain(method: Any = whole.method, episode: Any = episode, answers: Any = answers) -> None:
                answers["plain"] = tune_plainly(method, episode)

            def ours(method: Any = experiment.method, episode: Any = episode, answers: Any = answers) -> None:
                answers["ours"] = method.classify([episode])[0]

            experiment.method._fresh(episode.pixels()[0], way)  # the network is there on both sides
            with patch("methods.classifiers.fine_tuned.read_class_token_alone"):
                whole.method._fresh(episode.pixels()[0], way)
            what = f"{name} on {experiment.method.backbone.name}, {way}-way {shot}-shot, an episode's tuning"
            yield Case(what, {"plain": plain, "ours": ours})
            if len(answers) == 2 and not torch.equal(answers["plain"], answers["ours"]):
                raise SystemExit(f"{name}: the predicted classes differ between the plain loop and the suite")
