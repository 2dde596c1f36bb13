"""MetaOptNet's support vector machine as a base learner: Crammer and Singer's dual with a unit ridge (fort.md §6).

`min_Z 1/2 tr(Z^T (K + I) Z) - sum(Y * Z)` such that `Z <= C Y` and every row of Z sums to 0; K = S S^T is the Gram
matrix of the support features and Y the one-hot labels. As a general quadratic programme it has B x n variables; its
Hessian is `(K + I) (x) I_n`, so ADMM needs one eigenvalue decomposition of a B x B matrix, for any number of classes.

Shapes: E episodes, B support vectors, n classes.
"""

import torch
from torch import Tensor

from fsbench.base.errors import NumericsError

RIDGE = 1.0  # fort.md §6
CAP = 0.1  # C, fort.md §6
ITERATIONS = 10_000


def crammer_singer(gram: Tensor, labels: Tensor, ways: int, cap: float = CAP, tol: float = 1e-9) -> Tensor:
    """Solve Crammer and Singer's multi-class support vector machine for E episodes together, by ADMM.

    Args:
        gram: Gram matrices (E, B, B) of the support features; the work is done in float64.
        labels: classes (E, B) of the supports, int64 in 0..ways-1.
        ways: number of classes n.
        cap: C, upper bound of a support's dual variable for its own class.
        tol: an episode is solved when ADMM's two copies of Z differ, and change, by no more than this.

    Returns:
        Dual variables Z (E, B, n) in the dtype of `gram`; every entry keeps its bound exactly, rows sum to 0 up to
        rounding.

    Raises:
        NumericsError: the Gram matrix is not finite, or the iteration has not converged.
    """
    if not bool(gram.isfinite().all()):
        raise NumericsError("the Gram matrix of the support features has entries that are not finite")
    # K + I = U diag(w) U^T, so that any rho costs two products; the best rho is the geometric mean of the extreme w.
    w, u = torch.linalg.eigh(gram.double())
    w = w.clamp(min=0) + RIDGE
    rho = (w[:, :1] * w[:, -1:]).sqrt()
    y = torch.nn.functional.one_hot(labels, ways).double()
    bound = cap * y
    inverse = (u / (w + rho)[:, None]) @ u.mT
    copy = torch.zeros_like(y)
    scaled = torch.zeros_like(y)
    solved = torch.zeros_like(copy)
    unsolved = torch.arange(len(gram), device=gram.device)  # episodes that still change
    rho = rho[..., None]
    for _ in range(ITERATIONS):
        z = inverse @ (y + rho * (copy - scaled))
        projected = project(z + scaled, bound)
        scaled = scaled + z - projected
        difference = torch.maximum((z - projected).abs(), (projected - copy).abs()).flatten(1).amax(1)
        copy = projected
        moving = difference > tol
        if not bool(moving.all()):
            solved[unsolved[~moving]] = copy[~moving]
            unsolved = unsolved[moving]
            if not len(unsolved):
                return solved.to(gram.dtype)
            inverse, y, rho, copy, scaled, bound = (t[moving] for t in (inverse, y, rho, copy, scaled, bound))
    raise NumericsError(f"MetaOptNet's programme has not converged in {ITERATIONS} steps for {len(unsolved)} episodes")


def project(x: Tensor, bound: Tensor) -> Tensor:
    """Project each row of `x` (..., n) to the nearest point that is at most `bound` and sums to 0.

    The nearest point is `min(x - t, bound)` for the number t that makes its sum 0. The entries that reach their bound
    are those with the largest `x - bound`; all possible numbers of such entries are tried together.
    """
    slack, order = (x - bound).sort(-1, descending=True)
    bounds, free = bound.gather(-1, order), x.gather(-1, order)
    capped = bounds.cumsum(-1) - bounds  # sum of the bounds of the m largest, m = 0..n-1
    rest = free.flip(-1).cumsum(-1).flip(-1)  # sum of the others
    count = torch.arange(x.shape[-1], 0, -1, device=x.device)
    shift = (capped + rest) / count
    fits = slack <= shift  # none of the others reaches its bound; true for the last m at the latest, up to rounding
    fits[..., -1] = True
    first = fits.to(torch.uint8).argmax(-1, keepdim=True)
    return torch.minimum(x - shift.gather(-1, first), bound)
