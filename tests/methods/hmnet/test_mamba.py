"""HMNet's hybrid Mamba network: orders of the scan, ablations, and what the last block leaves out."""

import pytest
import torch

from fsbench.methods.hmnet.mamba import SS2D, HybridMamba, HybridMambaConfig, scan_order, sum_directions

WIDTH, SIDE = 8, 8


def streams(batch=2):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(batch, WIDTH, SIDE, SIDE, generator=generator) for _ in range(2)]


def network(**options):
    torch.manual_seed(0)
    net = HybridMamba(WIDTH, HybridMambaConfig(**{"blocks": 2, "states": 4} | options))
    for parameter in net.parameters():  # the initial weights of 0.02 would leave little to see
        parameter.data += 0.2 * torch.randn_like(parameter)
    return net


def test_order_of_the_scan_by_hand():
    """A 4 x 4 map of pixel numbers in 2 x 2 patches."""
    x = torch.arange(16.0).view(1, 1, 1, 4, 4).expand(1, 4, 1, 4, 4)
    rows = [0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15]
    columns = [0, 4, 1, 5, 8, 12, 9, 13, 2, 6, 3, 7, 10, 14, 11, 15]
    found = scan_order(x, ratio=2)[0, :, 0].int().tolist()
    assert found == [rows, columns, rows[::-1], columns[::-1]]
    plain = scan_order(x)[0, :2, 0].int().tolist()
    assert plain == [list(range(16)), [c + 4 * r for c in range(4) for r in range(4)]]


@pytest.mark.parametrize("ratio", [1, 2, 4])
def test_summed_directions_undo_the_order(ratio):
    x = torch.randn(2, 4, 3, SIDE, SIDE)
    torch.testing.assert_close(sum_directions(scan_order(x, ratio), SIDE, ratio), x.sum(1))


def test_parameter_counts_are_the_papers():
    """hmnet.md §12: 8 blocks of width 256."""
    with torch.device("meta"):
        counts = [
            sum(p.numel() for p in HybridMamba(256, HybridMambaConfig(blocks=n)).parameters()) for n in (4, 6, 8, 10)
        ]
    assert counts == [n * 1229824 + 512 for n in (4, 6, 8, 10)]


def test_start_values():
    net = SS2D(256, HybridMambaConfig(), hybrid=True)
    step = torch.nn.functional.softplus(net.dt_projs_bias)
    assert 1e-3 <= step.min() < 2e-3 and 0.05 < step.max() <= 0.1 + 1e-6
    assert torch.equal(net.A_logs.exp().round()[7], torch.arange(1.0, 17)) and (net.Ds == 1).all()
    assert net.x_proj_weight.abs().max() <= 512**-0.5 and net.dt_projs_weight.abs().max() <= 0.25


PAIRS = (("recap", "share"), ("recap", "off"), ("basic", "basic"), ("off", "share"), ("off", "off"))


@pytest.mark.parametrize("options", [dict(srm=srm, qim=qim) for srm, qim in PAIRS], ids=str)
def test_ablations_mix_what_they_say(options):
    """The query depends on the support unless both ways are off, and every parameter in use gets a gradient."""
    net = network(**options)
    q, s = (x.requires_grad_() for x in streams())
    net(q, s).square().sum().backward()
    assert all((p.grad is not None) == p.requires_grad for p in net.parameters())
    mixes = options["srm"] != "off"  # the interception's state carries no gradient
    assert bool(s.grad is not None and s.grad.abs().max() > 0) == mixes
    changed = net(q, streams(batch=4)[1][2:])
    assert bool((changed - net(q, s)).abs().max() > 1e-6) == (mixes or options["qim"] != "off")
    own = options["qim"] == "basic"
    assert any("qim" in name for name, _ in net.named_parameters()) == own
    assert all(p.grad is not None for p in net.blocks[1].self_attention.qim.parameters()) if own else True


@pytest.mark.parametrize(
    "options",
    [*({"srm": srm, "qim": qim} for srm, qim in PAIRS), {"hybrid": False}, {"blocks": 1}, {"blocks": 5}],
    ids=str,
)
def test_training_scans_query_and_support_as_a_test_does_one_by_one(options):
    net = network(**options)
    with torch.no_grad():
        assert torch.equal(net.train()(*streams()), net.eval()(*streams()))


def test_self_blocks_keep_the_streams_apart():
    net = network(hybrid=False)
    q, s = streams()
    torch.testing.assert_close(net(q, s), net(q, q), rtol=0, atol=0)
    assert len(net.state_dict()) == len(network().state_dict())


@pytest.mark.parametrize(
    ("options", "frozen"),
    [({}, 5), ({"hybrid": False}, 16), ({"blocks": 3}, 13), ({"srm": "off"}, 16), ({"blocks": 1}, 8)],
    ids=str,
)
def test_exactly_the_frozen_parameters_are_without_use(options, frozen):
    """A distributed optimiser stops at a trainable parameter that gets no gradient."""
    net = network(**options)
    net(*streams()).sum().backward()
    assert all((p.grad is not None) == p.requires_grad for p in net.parameters())
    assert sum(not p.requires_grad for p in net.parameters()) == frozen


def test_the_scalar_skip_of_the_interception():
    """The authors' code reads the first channel's skip for all channels; the gradient goes to that one alone."""
    gradients = []
    for scalar in (True, False):
        net = network(qim_scalar_skip=scalar).layers[0].blocks[1].self_attention
        u, state = torch.randn(1, 2 * WIDTH, 2, 2), torch.zeros(1, 2 * WIDTH, 4)
        net.intercept(u, state).sum().backward()
        gradients.append(net.Ds.grad.nonzero().flatten().tolist())
    assert gradients == [[0], list(range(2 * WIDTH))]
