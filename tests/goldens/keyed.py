"""Weights, images, masks and statistics of the goldens that give all by a hash of a key (`hash` in their `about`)."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from tests.goldens.declared import Result, Tolerance
from tests.goldens.hashed import hashed

FIRST = 14
"""Number of values that `statistics` has after norm and product."""


def keyed_state(own: Mapping[str, Tensor], salt: str, prefix: str = "") -> dict[str, Tensor]:
    """Return weights by the rules of `about.weights`, rounded to float32, for the keys and shapes of `own`."""
    return {key: _weight(salt + prefix + key, tuple(tensor.shape)) for key, tensor in own.items()}


def _weight(key: str, shape: tuple[int, ...]) -> Tensor:
    if key.endswith("num_batches_tracked"):
        return torch.tensor(7)
    h = hashed(key, shape)
    if key.endswith("running_mean"):
        return (0.1 * h).float()
    if key.endswith("running_var"):
        return (1 + 0.2 * h).float()
    if len(shape) == 1:
        return (1 + 0.1 * h if key.endswith("weight") else 0.1 * h).float()
    return (h * (3 * shape[0] / h.numel()) ** 0.5).float()


def keyed_image(key: str, height: int, width: int, channels: int = 3) -> Tensor:
    """Return a normalised image (channels, H, W), rounded to float32."""
    low = hashed(f"{key}/low", (channels, -(-height // 8), -(-width // 8)))
    coarse = low.repeat_interleave(8, 1).repeat_interleave(8, 2)[:, :height, :width]
    return (1.5 * coarse + 0.5 * hashed(f"{key}/fine", (channels, height, width))).float()


def keyed_mask(n: int, height: int, width: int) -> Tensor:
    """Return the ellipse number `n` (H, W), bool."""
    y, x = torch.arange(height)[:, None], torch.arange(width)[None]
    middle = height // 2 + (7 * n) % 13 - 6, width // 2 + (5 * n) % 17 - 8
    return 9 * (y - middle[0]) ** 2 + 4 * (x - middle[1]) ** 2 < height * width // (2 + n % 3)


def keyed_batch(
    salt: str, side: int, batch: int, shots: int, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return queries (b, 3, S, S), supports (b, K, 3, S, S), and the masks (b, S, S) and (b, K, S, S)."""
    query = torch.stack([keyed_image(f"{salt}q{i}", side, side) for i in range(batch)])
    support = [[keyed_image(f"{salt}s{i}.{k}", side, side) for k in range(shots)] for i in range(batch)]
    masks = [[keyed_mask(10 * i + k + 1, side, side) for k in range(shots)] for i in range(batch)]
    truth = torch.stack([keyed_mask(10 * i, side, side) for i in range(batch)])
    stacked = torch.stack([torch.stack(own) for own in support])
    return query.to(dtype), stacked.to(dtype), truth, torch.stack([torch.stack(own) for own in masks])


def statistics(values: Tensor, name: str) -> Tensor:
    """Return norm, product with a probe and the first values (16,), float64, of a tensor of this name."""
    flat = values.detach().double().flatten()
    first = torch.zeros(FIRST).double()
    first[: flat.numel()] = flat[:FIRST]
    return torch.cat([flat.norm()[None], (flat @ hashed(f"probe/{name}", flat.shape))[None], first])


def statistics_result(values: Tensor, name: str, tol: float, note: str = "") -> Result:
    """Return `statistics`, each held to `tol` times the norm, and the product to that times the root of its terms."""
    rows = statistics_rows([values], [name], tol)
    assert rows.tolerance is not None
    bound = rows.tolerance.bound
    tolerance = Tolerance(rows.tolerance.text, lambda ref: bound(ref[None])[0])  # type: ignore[index]
    return Result(rows.value[0], note=note, tolerance=tolerance)


def statistics_rows(values: Sequence[Tensor], names: Sequence[str], tol: float) -> Result:
    """Return `statistics` of tensors of these names in a row each, held as `statistics_result` does."""
    roots = torch.tensor([x.numel() for x in values], dtype=torch.float64).sqrt()

    def bound(ref: Tensor) -> Tensor:
        allowed = tol * ref[:, :1].expand(ref.shape).clone()
        allowed[:, 1] *= roots
        return allowed

    found = torch.stack([statistics(x, name) for x, name in zip(values, names, strict=True)])
    return Result(found, tolerance=Tolerance(f"{tol:g}*l2", bound))
