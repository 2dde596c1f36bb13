"""HMNet's head: priors, ensemble, losses, unused weights of ablations, half precision."""

import weakref

import pytest
import torch

from fsbench.methods.hmnet.head import HMNetHead, best_priors, deep_prototypes, dice_loss, prior_maps
from fsbench.methods.hmnet.mamba import HybridMambaConfig
from fsbench.methods.modules.base_ensemble import shot_weights
from fsbench.methods.modules.pspnet import Features


def test_weights_of_shots_without_hidden_channels_start_as_the_mean():
    net = HMNetHead((4, 4), 4, 4, None, True, 3, reweight_width=0)
    assert {k: tuple(v.shape) for k, v in net.kshot_rw.state_dict().items()} == {"weight": (3, 3, 1, 1)}
    weights = shot_weights(torch.rand(2, 3, 1, 1), net.kshot_rw, sorted_order=True)
    torch.testing.assert_close(weights, torch.full((2, 3, 1, 1), 1 / 3))


@pytest.mark.parametrize(
    "config", [None, {}, {"hybrid": False}, {"srm": "basic", "qim": "off"}, {"srm": "off"}], ids=str
)
def test_every_trainable_weight_of_an_ablation_has_a_use(config):
    """On several GPUs an optimiser waits for the gradient of each."""
    torch.manual_seed(0)
    head = HMNetHead(
        (6, 6), 8, 8, None if config is None else HybridMambaConfig(blocks=2, states=2, **config), True
    ).train()
    features = [Features(*(torch.rand(2, 6, 8, 8) for _ in range(4))) for _ in range(2)]
    output = head(features[0], [(features[1], torch.randint(0, 2, (2, 16, 16)))], lambda f4: f4)
    head.losses(output, torch.randint(0, 2, (2, 16, 16)))["loss"].backward()
    assert all((p.grad is not None) == p.requires_grad for p in head.parameters())
    frozen = {name.split(".")[0] for name, p in head.named_parameters() if not p.requires_grad}
    learns = config is not None and config.get("hybrid", True) and config.get("srm") != "off"
    assert ("init_merge_supp" in frozen) != learns and frozen <= {"init_merge_supp", "mamba"}


def test_priors_come_from_the_level_that_answers_most():
    torch.manual_seed(0)
    query, support, masks = torch.rand(2, 5, 6, 6), torch.rand(2, 3, 5, 8, 8), (torch.rand(2, 3, 1, 8, 8) > 0.6).float()
    prototypes = deep_prototypes(support, masks)
    low, high = (prior_maps(features, prototypes, 8) for features in (query - 0.5, query))
    assert (low.fg_max < high.fg_max).all()
    found = best_priors([low, high])
    torch.testing.assert_close(found[:, 0], high.fg.mean(1))
    chosen = torch.where((low.corr_max < high.corr_max)[..., None, None], high.corr, low.corr)
    torch.testing.assert_close(found[:, 1], chosen.mean(1))


def test_no_shot_is_held_when_the_next_one_comes():
    torch.manual_seed(0)
    head = HMNetHead((6, 6), 8, 8, HybridMambaConfig(blocks=2, states=2), True).eval()
    held: list[weakref.ref] = []

    def supports():
        for _ in range(3):
            assert not [ref for ref in held if ref() is not None]
            shot = Features(*(torch.rand(1, 6, 8, 8) for _ in range(4)))
            held.extend(map(weakref.ref, shot))
            yield shot, torch.randint(0, 2, (1, 32, 32))
            del shot

    query = Features(*(torch.rand(1, 6, 8, 8) for _ in range(4)))
    with torch.no_grad():
        head(query, supports(), lambda f4: f4)
    assert len(held) == 12


def test_dice_of_a_perfect_answer_is_nothing_but_void():
    target = torch.tensor([[[0, 1], [1, 255]]])
    logits = torch.stack([target == 0, target == 1], 1).float() * 200 - 100
    assert dice_loss(logits, target) < 1e-6
    logits[0, :, 1, 1] = 100  # what is said on void still counts in the denominator
    assert dice_loss(logits, target) == pytest.approx((1 - 2 / 3) + (1 - 4 / 5), abs=1e-5)


@pytest.mark.parametrize(("dtype", "scale"), [(torch.bfloat16, 1), (torch.float16, 300)])  # whose products overflow
def test_half_precision_of_the_head_stays_near(dtype, scale):
    torch.manual_seed(0)
    head = HMNetHead((6, 6), 8, 8, HybridMambaConfig(blocks=2, states=2), True, shots=2).eval()
    query, *supports = (
        Features(*(scale * torch.rand(2, 6, 8, 8) for _ in range(3)), torch.rand(2, 6, 8, 8)) for _ in range(3)
    )
    labels, target = torch.randint(0, 2, (2, 2, 32, 32)), torch.randint(0, 2, (2, 32, 32))
    arguments = (query, [*zip(supports, labels.unbind(1), strict=True)], lambda f4: f4.float())
    exact = head(*arguments).logits
    with torch.autocast("cpu", dtype=dtype):
        output = head(*arguments)
        loss = head.losses(output, target)["loss"]
    loss.backward()
    assert float(((output.logits.float() - exact).norm() / exact.norm()).detach()) < 8 * torch.finfo(dtype).eps
    assert loss.dtype == torch.float32 and all(p.grad is None or p.grad.isfinite().all() for p in head.parameters())
