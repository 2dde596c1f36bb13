"""Compare EMAT's masked attention as a loop over samples, with a dense mask, and on its two fast paths.

    python -m benchmarks.speed.emat [--device cuda] [--query-side 25] [--batch 2] [--repeats 3] [--json FILE]
    python -m benchmarks.speed.emat --part learner --share 1 --paths kept,packed
    python -m benchmarks.speed.emat --ways 1,5,20 [--query-side 50]
    python -m benchmarks.speed.emat --episode 20

Time and peak memory of forward pass and training step for three shares of foreground, beside the plain loop, which is
the oracle of the tests: of the operation (layer 1 at the paper's widths) with 145, 325 and 401 support tokens, and of
the whole EMAT learner with 401, without the dense mask, which it does not know; there "kept" is the packed attention on
a correlation that is kept for the backward pass as a whole.

With `--ways`: the learner's evaluation of a query and so many ways, a quarter of each support kept; all at once with
the whole correlation stored, and one way at a time with the correlation in chunks.

With `--episode`: one 1-shot episode of so many ways at 700 pixels through the whole method, with random weights; its
peak memory is that of the process.
"""

import argparse
import os
from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.speed.measure import OWN_REFERENCE, Cost, Recorder, add_json_option, measure
from fsbench.backbones.base import BackboneConfig
from fsbench.data.batch import EpisodeBatch
from fsbench.engine.machine.meter import Meter
from fsbench.ops.masked_attention import masked_attention
from methods.emat import EMAT, emat_learner
from methods.modules.correlation import HEADS

CHANNELS, HIDDEN, WIDTH = 72, 32, 64  # correlation channels, D and head width of the features
PATHS = ("reference", "dense", "packed", "fused")
LEARNER_PATHS = ("reference", "kept", "packed", "fused")
OPPONENTS = {
    "reference": OWN_REFERENCE,
    "dense": "this project's attention over all tokens with a dense mask",
    "kept": "this project's own packed attention on a correlation that is kept for the backward pass as a whole",
    "packed": "this project's own packed attention",
    "fused": "this project's own fused attention",
    "whole": "this project's own learner with the whole correlation stored",
}
"""Path that stands first in a comparison."""


def dense_masked(q: Tensor, x: Tensor, weight: Tensor, bias: Tensor, keep: Tensor, heads: int) -> Tensor:
    """Attend over all keys and values with -1e9 where the mask drops a token, as CST does."""
    k, v = F.conv2d(x, weight[:, :, None, None], bias).unflatten(1, (2, heads, -1)).unbind(1)
    logits = torch.einsum("bhetd,bhetm->bhtdm", q.unflatten(1, (heads, -1)), k)
    attention = logits.masked_fill(~keep[:, None, None, None], -1e9).softmax(-1)
    return torch.einsum("bhtdm,bhetm->bhetd", attention, v).flatten(1, 2)


def attend(path: str, *arguments: Tensor) -> Tensor:
    """Run the attention on the given path."""
    if path == "dense":
        return dense_masked(*arguments, heads=HEADS)
    return masked_attention(*arguments, HEADS, path)  # type: ignore[arg-type]


def operation(
    side: int, share: float, options: argparse.Namespace, paths: Sequence[str] = PATHS
) -> dict[str, dict[str, Callable[[], object]]]:
    """Return forward pass and training step of the attention alone, by path, after a check that `paths` agree."""
    tokens, positions = side * side + 1, options.query_side**2
    queries = (side // 2) ** 2 + 1
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(options.device)

    q = random(options.batch, HIDDEN, positions, queries).requires_grad_()
    x = random(options.batch, CHANNELS, positions, tokens)  # from frozen features: no gradient
    weight, bias = (random(2 * HIDDEN, CHANNELS) / 8).requires_grad_(), random(2 * HIDDEN).requires_grad_()
    keep = _foreground(options.batch, side, share).to(options.device)
    reference = attend("reference", q, x, weight, bias, keep).detach()

    def forward(path: str) -> Callable[[], object]:
        def call() -> None:
            with torch.no_grad():
                attend(path, q, x, weight, bias, keep)

        return call

    def step(path: str) -> Callable[[], object]:
        return lambda: attend(path, q, x, weight, bias, keep).sum().backward()

    for path in paths:
        torch.testing.assert_close(attend(path, q, x, weight, bias, keep), reference, atol=1e-4, rtol=1e-4)
    return {"forward": {p: forward(p) for p in paths}, "training step": {p: step(p) for p in paths}}


def _foreground(batch: int, side: int, share: float) -> Tensor:
    """Return a mask (batch, 1 + side²) that keeps the class token and about `share` of the others in every sample."""
    kept = max(1, round(share * side * side))
    order = torch.rand(batch, side * side, generator=torch.Generator().manual_seed(1)).argsort(1)
    keep = torch.zeros(batch, side * side, dtype=torch.bool).scatter(1, order[:, :kept], True)
    return F.pad(keep, (1, 0), value=True)


def learner(side: int, share: float, options: argparse.Namespace) -> dict[str, dict[str, Callable[[], object]]]:
    """Return forward pass and training step of the whole learner, from features to the gradient of a loss, by path."""
    torch.manual_seed(0)
    net = emat_learner(CHANNELS, side).to(options.device)
    query = F.normalize(torch.randn(options.batch, CHANNELS, options.query_side**2, WIDTH), dim=-1).to(options.device)
    support = F.normalize(torch.randn(options.batch, CHANNELS, side * side + 1, WIDTH), dim=-1).to(options.device)
    masks = torch.zeros(options.batch, 700, 700, device=options.device)
    edge = round(700 * share**0.5)
    masks[:, :edge, :edge] = 1

    def loss(path: str) -> Tensor:
        os.environ["FSBENCH_ATTENTION"] = "packed" if path == "kept" else path
        is_whole = path in ("reference", "kept")
        answer = net.decode(net.transform(query @ support.mT, masks)) if is_whole else net(query, support, masks)
        labels, maps = answer
        assert labels is not None
        return maps.square().mean() + labels.square().mean()

    def forward(path: str) -> Callable[[], object]:
        return torch.no_grad()(partial(loss, path))

    def step(path: str) -> Callable[[], object]:
        def run() -> None:
            net.zero_grad()
            loss(path).backward()

        return run

    return {
        "learner forward": {p: forward(p) for p in LEARNER_PATHS},
        "learner training step": {p: step(p) for p in LEARNER_PATHS},
    }


def ways_at_once(ways: int, options: argparse.Namespace) -> dict[str, Callable[[], object]]:
    """Return the learner's evaluation of `ways` ways, all at once and one by one, after a check that both agree."""
    torch.manual_seed(0)
    net = emat_learner(CHANNELS, 20).to(options.device).requires_grad_(False)
    query = F.normalize(torch.randn(1, CHANNELS, options.query_side**2, WIDTH), dim=-1).to(options.device)
    support = F.normalize(torch.randn(ways, CHANNELS, 401, WIDTH), dim=-1).to(options.device)
    masks = torch.zeros(ways, 700, 700, device=options.device)
    masks[:, :350, :350] = 1

    def chunks() -> Tensor:
        with torch.no_grad():
            return net(query, support, masks)[1]

    def whole() -> Tensor:
        with torch.enable_grad():  # which keeps the modules from working in place; there is nothing to differentiate
            return net.decode(net.transform(query @ support.mT, masks))[1]

    torch.testing.assert_close(chunks(), whole(), atol=1e-5, rtol=1e-4)
    return {"whole": whole, "chunks": chunks}


def compare_ways(options: argparse.Namespace, recorder: Recorder) -> None:
    """Print time and peak memory of the learner by number of ways."""
    print(f"{'ways':>4}  {'whole':>22}  {'chunks':>22}  ratio")
    for ways in options.ways:
        calls = ways_at_once(ways, options)
        costs = {path: measure(c, options.device, options.repeats, recorder.is_processor) for path, c in calls.items()}
        for path, cost in costs.items():
            recorder.add(f"EMAT learner, {ways} ways, evaluation, {options.query_side}² query tokens", path, cost)
        whole, chunks = costs.values()
        cells = "  ".join(f"{cost.seconds:8.3f} s {cost.peak_mib:7.0f} MiB" for cost in (whole, chunks))
        print(f"{ways:4}  {cells}  {whole.seconds / chunks.seconds:4.2f}x", flush=True)


def run_episode(ways: int, device: torch.device, size: int = 700) -> None:
    """Print seconds and peak memory of one 1-shot episode of drawn images through the whole method."""
    method = EMAT(BackboneConfig("dinov2_vits14", "random:0")).to(device).eval()
    generator = torch.Generator().manual_seed(0)
    labels = torch.zeros(1, ways, 1, size, size, dtype=torch.uint8)
    labels[..., : size // 2, : size // 2] = 1
    episode = EpisodeBatch(
        images=torch.randint(256, (ways + 1, 3, size, size), generator=generator, dtype=torch.uint8).to(device),
        image_names=[str(i) for i in range(ways + 1)],
        query=torch.tensor([0]),
        support=torch.arange(1, ways + 1).view(1, ways, 1),
        support_labels=labels.to(device),
        valid=torch.ones(1, ways, 1, dtype=torch.bool),
        query_sizes=torch.tensor([[375, 500]]),
        episodes=torch.tensor([0]),
        truth=None,
    )
    meter = Meter(device)
    with torch.inference_mode():
        answer = method(episode)
    assert answer.present is not None
    print(
        f"{ways}-way 1-shot, {size} pixels: {meter.seconds:.1f} s, peak {meter.peak_mib:.0f} MiB, "
        f"label map {tuple(answer.label_map.shape)}, {int(answer.present.sum())} ways present"
    )


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", type=torch.device)
    parser.add_argument(
        "--query-side", type=int, default=25, help="50 in the paper, which needs 30 GB for the plain path"
    )
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--ways", type=_numbers, help="numbers of ways, e.g. 1,5,20")
    parser.add_argument("--episode", type=int, help="number of ways of one whole episode")
    parser.add_argument("--part", choices=["operation", "learner"], help="default: both")
    parser.add_argument("--share", type=float, help="of the support that the mask keeps; default: 0.02, 0.2 and 1")
    parser.add_argument("--paths", help="only these, the first as the opponent, e.g. kept,packed")
    parser.add_argument("--processor", action="store_true", help="processor seconds, for a machine with other work")
    add_json_option(parser)
    options = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    recorder = Recorder(
        options.device,
        OPPONENTS["whole" if options.ways else (options.paths or "reference").split(",")[0]],
        is_processor=options.processor or bool(options.ways),
        settings=f"{options.query_side}² query tokens, batch {options.batch}, fp32",
    )
    if options.ways:
        compare_ways(options, recorder)
    elif options.episode:
        return run_episode(options.episode, options.device)
    else:
        compare_paths(options, recorder)
    return recorder.write(options.json)


def compare_paths(options: argparse.Namespace, recorder: Recorder) -> None:
    """Print time and peak memory of the attention and of the learner by path."""
    print(f"{'what':22} {'tokens':>6} {'share':>6}  each path")
    for side in (12, 18, 20):
        for share in (0.02, 0.2, 1.0) if options.share is None else (options.share,):
            cases = operation(side, share, options) if options.part != "learner" else {}
            if side == 20 and options.part != "operation":
                cases |= learner(side, share, options)
            for what, calls in cases.items():
                wanted = {p: calls[p] for p in (options.paths.split(",") if options.paths else calls) if p in calls}
                costs = {p: measure(c, options.device, options.repeats, options.processor) for p, c in wanted.items()}
                for path, cost in costs.items():
                    recorder.add(
                        f"EMAT {what}, {side * side + 1} support tokens, {share:.0%} kept, {options.query_side}² query "
                        f"tokens, batch {options.batch}", path, cost,
                    )  # fmt: skip
                first = next(iter(costs.values()))
                cells = [f"[{path}: {_cell(cost, first)}]" for path, cost in costs.items()]
                print(f"{what:22} {side * side + 1:6} {share:6.0%}  " + "  ".join(cells), flush=True)


def _cell(cost: Cost, first: Cost) -> str:
    """Return the figures of one path."""
    return f"{cost.seconds:7.3f} s {first.seconds / cost.seconds:4.1f}x {cost.peak_mib:7.0f} MiB"


if __name__ == "__main__":
    main()
