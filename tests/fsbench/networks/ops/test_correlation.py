"""HSNet's correlation and PFENet's prior, against loops."""

import torch
import torch.nn.functional as F

from fsbench.networks.ops.correlation import hyper_correlation, prior_mask, reference


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_correlation_equals_the_cosine_of_each_pair():
    q, s = draw(2, 3, 4, 2, 3), draw(2, 3, 4, 3, 2, seed=1)
    found = hyper_correlation(q, s)
    assert found.shape == (2, 3, 2, 3, 3, 2)
    a, b = q[1, 2, :, 1, 2], s[1, 2, :, 0, 1]
    expected = (a @ b / ((a.norm() + 1e-5) * (b.norm() + 1e-5))).clamp(min=0)
    torch.testing.assert_close(found[1, 2, 1, 2, 0, 1], expected)
    torch.testing.assert_close(found, reference(q, s))
    assert (found >= 0).all() and (found > 0).any() and (found == 0).any()


def test_masked_support_does_not_correlate():
    q, s = draw(1, 2, 4, 3, 3), draw(1, 2, 4, 3, 3, seed=1)
    mask = torch.zeros(1, 9, 9)
    mask[:, 6:] = 1
    found = hyper_correlation(q, s, mask)
    assert (found[..., 0, :] == 0).all() and (found[..., 2, :] > 0).any()


def test_the_prior_is_the_best_match_with_the_foreground_spread_over_0_to_1():
    q, s = draw(1, 5, 4, 4).float(), draw(1, 2, 5, 4, 4, seed=1).float()
    masks = torch.zeros(1, 2, 16, 16)
    masks[:, 0, :8], masks[:, 1] = 1, 1
    found = prior_mask(q, s, masks, (4, 4))
    best = F.normalize(q.flatten(2), dim=1)[0].T @ F.normalize(s[:, 1].flatten(2), dim=1)[0]
    best = best.max(1).values
    torch.testing.assert_close(
        found[0, 1].flatten(), (best - best.min()) / (best.max() - best.min()), atol=1e-5, rtol=1e-4
    )
    assert found.min() >= 0 and found.max() <= 1 and not torch.allclose(found[:, 0], found[:, 1])
