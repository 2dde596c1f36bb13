"""MetaOptNet's quadratic programme against its optimality conditions and a general solver."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from fsbench.base.errors import NumericsError
from fsbench.networks.ops.crammer_singer import CAP, crammer_singer, project


def problem(seed: int, ways: int, shots: int, width: int, size: float):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(ways).repeat_interleave(shots)[torch.randperm(ways * shots, generator=generator)]
    centres = torch.randn(ways, width, generator=generator, dtype=torch.float64)
    features = size * (centres[labels] + torch.randn(len(labels), width, generator=generator, dtype=torch.float64))
    return features @ features.T, labels


def worst_violation(z, gram, labels, ways, cap):
    """How far Z is from the conditions that only the solution meets: in every row the gradient is one number at the
    free entries and not larger at those on their bound; bounds and sums hold. Relative to the gradient's size."""
    y = torch.nn.functional.one_hot(labels, ways).double()
    gradient = gram @ z + z - y
    room = cap * y - z
    free = room > 1e-7
    level = (gradient * free).sum(1) / free.sum(1)
    apart = torch.where(free, (gradient - level[:, None]).abs(), (gradient - level[:, None]).clamp(min=0))
    return max(float(apart.max()) / max(1, float(gram.abs().max())), float((-room).max()), float(z.sum(1).abs().max()))


@settings(max_examples=20, deadline=None)
@given(
    st.integers(0, 10_000),
    st.integers(2, 8),
    st.integers(1, 4),
    st.integers(2, 40),
    st.sampled_from([1e-3, 0.1, 1.0, 10.0, 45.0]),
    st.sampled_from([0.01, CAP, 1.0]),
)
def test_the_solution_meets_the_optimality_conditions(seed, ways, shots, width, size, cap):
    gram, labels = problem(seed, ways, shots, width, size)
    z = crammer_singer(gram[None], labels[None], ways, cap)[0]
    assert worst_violation(z, gram, labels, ways, cap) < 1e-7


def test_equals_a_general_solver():
    gram, labels = problem(5, 3, 2, 6, 1.0)
    z = crammer_singer(gram[None], labels[None], 3)[0].numpy()
    y = np.eye(3)[labels.numpy()]
    hessian = gram.numpy() + np.eye(len(y))

    def objective(flat):
        v = flat.reshape(y.shape)
        return 0.5 * np.sum(v * (hessian @ v)) - np.sum(y * v), (hessian @ v - y).ravel()

    sums = {
        "type": "eq",
        "fun": lambda f: f.reshape(y.shape).sum(1),
        "jac": lambda f: np.kron(np.eye(len(y)), np.ones(3)),
    }
    bounds = [(None, CAP * entry) for entry in y.ravel()]
    found = minimize(
        objective,
        np.zeros(y.size),
        jac=True,
        bounds=bounds,
        constraints=[sums],
        method="SLSQP",
        options={"ftol": 1e-14},
    )
    assert found.success and np.abs(found.x.reshape(y.shape) - z).max() < 1e-5


def test_episodes_together_equal_episodes_alone():
    """Also where one is done long before another."""
    parts = [problem(seed, 4, 2, 10, size) for seed, size in ((1, 0.01), (2, 1.0), (3, 60.0))]
    together = crammer_singer(torch.stack([g for g, _ in parts]), torch.stack([y for _, y in parts]), 4)
    for z, (gram, labels) in zip(together, parts, strict=True):
        assert (z - crammer_singer(gram[None], labels[None], 4)[0]).abs().max() < 1e-9


def test_equal_support_images_of_two_classes_are_no_obstacle():
    gram = torch.ones(1, 2, 2, dtype=torch.float64)
    z = crammer_singer(gram, torch.tensor([[0, 1]]), 2)[0]
    assert worst_violation(z, gram[0], torch.tensor([0, 1]), 2, CAP) < 1e-7


def test_features_that_are_not_finite_are_refused():
    gram = torch.full((1, 2, 2), float("nan"))
    with pytest.raises(NumericsError, match="not finite"):
        crammer_singer(gram, torch.tensor([[0, 1]]), 2)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 30), st.sampled_from([0.0, 0.1, 5.0]))
def test_projection(seed, ways, cap):
    """Feasible, and no nearer than any feasible step away from it: <x - p, v - p> <= 0 for feasible v."""
    rng = torch.Generator().manual_seed(seed)
    x = 3 * torch.randn(ways, generator=rng, dtype=torch.float64)
    bound = torch.zeros(ways, dtype=torch.float64)
    bound[seed % ways] = cap
    p = project(x, bound)
    assert float((p - bound).max()) <= 0 and abs(float(p.sum())) < 1e-9
    for _ in range(10):
        v = project(3 * torch.randn(ways, generator=rng, dtype=torch.float64), bound)
        assert float(((x - p) * (v - p)).sum()) < 1e-9
