"""Compare the steps that training-free methods wait for with their definitions: k-means and clusters of tokens.

    python -m benchmarks.speed.training_free [--device cuda] [--tokens 1024,4096] [--channels 768] [--repeats 1]

`k-means` is FSSDINO's (five centres; distances by broadcasting against a product of unit vectors), `clusters` INSID3's
(average linkage by scikit-learn against SciPy's tree on a CPU, against rounds of merges on a GPU). Both paths are
compared before they are timed: the labels must be the same. Tokens are drawn around a few directions. Times on a CPU
are processor seconds.
"""

import argparse
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.speed.measure import Recorder, add_json_option, measure
from fsbench.ops.average_linkage import average_linkage, average_linkage_reference, same_partition
from fsbench.ops.cosine_kmeans import cosine_kmeans, cosine_kmeans_reference

CLUSTERS = 5
CUT = 0.4
"""1 − tau of INSID3."""


def draw_tokens(count: int, channels: int, device: torch.device) -> Tensor:
    """Draw unit vectors (count, channels) around 30 directions, cosines of about 0.75 within a direction."""
    generator = torch.Generator().manual_seed(0)
    directions = F.normalize(torch.randn(30, channels, generator=generator), dim=1)
    noise = torch.randn(count, channels, generator=generator) / channels**0.5
    return F.normalize(directions[torch.randint(30, (count,), generator=generator)] + 0.55 * noise, dim=1).to(device)


def build_calls(tokens: Tensor) -> dict[str, tuple[Callable[[], Tensor], Callable[[], Tensor]]]:
    """Return the calls to time, plain and fast, by name; each returns labels."""
    initial = torch.arange(CLUSTERS, device=tokens.device)
    distances = 1 - (tokens @ tokens.T).clamp(-1, 1)

    def kmeans(path: Callable[..., object]) -> Callable[[], Tensor]:
        return lambda: path(tokens, initial, torch.Generator().manual_seed(0)).labels  # type: ignore[attr-defined]

    return {
        "k-means": (kmeans(cosine_kmeans_reference), kmeans(cosine_kmeans)),
        "clusters": (lambda: average_linkage_reference(distances, CUT), lambda: average_linkage(distances, CUT)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", type=torch.device)
    parser.add_argument("--tokens", default="1024,4096", help="numbers of tokens")
    parser.add_argument("--channels", type=int, default=768)
    parser.add_argument("--repeats", type=int, default=1)
    add_json_option(parser)
    options = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = False
    opponent = "distances by broadcasting, and scikit-learn's average linkage as the methods' authors call it"
    recorder = Recorder(options.device, opponent, options.device.type == "cpu", f"{options.channels} channels, fp32")
    print(f"{'tokens':>7} {'what':9} {'plain':>11} {'fast':>11} {'speed':>7}  same labels")
    for count in map(int, options.tokens.split(",")):
        tokens = draw_tokens(count, options.channels, options.device)
        for what, paths in build_calls(tokens).items():
            plain, fast = (path().cpu() for path in paths)
            costs = [measure(path, options.device, options.repeats, recorder.is_processor) for path in paths]
            for name, cost in zip(("plain", "fast"), costs, strict=True):
                recorder.add(f"{what}, {count} tokens, {options.channels} channels", name, cost)
            ratio = costs[0].seconds / max(costs[1].seconds, 1e-9)
            times = " ".join(f"{cost.seconds:9.3f} s" for cost in costs)
            print(f"{count:7} {what:9} {times} {ratio:6.1f}x  {same_partition(plain, fast)}", flush=True)
    recorder.write(options.json)


if __name__ == "__main__":
    main()
