"""Steps that training-free methods wait for, beside their definitions: k-means and clusters of tokens."""

from collections.abc import Callable, Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.speed.harness import Case
from fsbench.ops.average_linkage import linkage_by_rounds, linkage_by_tree, same_partition
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


def cases(device: torch.device, tokens: tuple[int, ...] = (1024, 4096), channels: int = 768) -> Iterator[Case]:
    """Compare FSSDINO's k-means and INSID3's clusters, after a check that the labels are the same.

    k-means (five centres) by broadcasting against a product of unit vectors; on a GPU, average linkage by scikit-learn
    against rounds of merges. On a CPU scikit-learn's is the only way. Tokens are drawn around a few directions.
    """
    for count in tokens:
        for what, (plain, fast) in _calls(draw_tokens(count, channels, device)).items():
            yield Case(
                f"{what}, {count} tokens, {channels} channels",
                {"plain": plain, "fast": fast},
                partial(_partition_difference, plain, fast),
                tolerance=0.0,
            )


def _partition_difference(plain: Callable[[], Tensor], fast: Callable[[], Tensor]) -> float:
    return 0.0 if same_partition(plain().cpu(), fast().cpu()) else 1.0


def _calls(x: Tensor) -> dict[str, tuple[Callable[[], Tensor], Callable[[], Tensor]]]:
    """Return the plain and the fast call by name; each returns labels."""
    initial, distances = torch.arange(CLUSTERS, device=x.device), 1 - (x @ x.T).clamp(-1, 1)

    def kmeans(path: Callable) -> Callable[[], Tensor]:
        return lambda: path(x, initial, torch.Generator().manual_seed(0)).labels

    calls = {"k-means": (kmeans(cosine_kmeans_reference), kmeans(cosine_kmeans))}
    if x.device.type != "cpu":
        calls["clusters"] = (lambda: linkage_by_tree(distances, CUT), lambda: linkage_by_rounds(distances, CUT))
    return calls
