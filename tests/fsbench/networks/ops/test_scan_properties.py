"""The selective scan and the recapped one equal a plain loop in double precision under all combinations of options."""

from unittest.mock import patch

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor

from fsbench.networks.ops.selective_scan import selective_scan
from fsbench.networks.ops.selective_scan.recapped_scan import recapped_scan
from tests.conftest import DEVICE, needs_triton

OPTIONAL = ("D", "z", "delta_bias", "initial_state")
TRITON = "fsbench.networks.ops.selective_scan._triton"
HALF = [torch.bfloat16, torch.float16]


def loop(u, delta, A, B, C, D=None, z=None, delta_bias=None, delta_softplus=False, initial_state=None):
    """Outputs and last state, token by token; autograd keeps everything."""
    b, d, length = u.shape

    def of_channels(t: Tensor) -> Tensor:  # (b, D, N, L)
        if t.dim() == 2:
            return t[None, :, :, None].expand(b, -1, -1, length)
        t = t if t.dim() == 4 else t[:, None]
        owner = torch.arange(d) // (d // t.shape[1])
        return t[:, owner]

    B, C = of_channels(B), of_channels(C)
    step = delta if delta_bias is None else delta + delta_bias[None, :, None]
    if delta_softplus:
        step = torch.where(step > 20, step, step.clamp(max=20).exp().log1p())
    state = u.new_zeros(b, d, A.shape[1]) if initial_state is None else initial_state
    outputs = []
    for t in range(length):
        state = torch.exp(step[:, :, t, None] * A) * state + (step * u)[:, :, t, None] * B[..., t]
        outputs.append(torch.einsum("bdn,bdn->bd", state, C[..., t]))
    y = torch.stack(outputs, 2)
    y = y if D is None else y + D[None, :, None] * u
    return (y if z is None else y * z / (1 + torch.exp(-z))), state


@st.composite
def calls(draw, dtypes, widths, most):
    """Arguments of a call, the names of those that want a gradient, and which results the loss reads. `widths`: numbers
    of groups and of channels in each; `most`: of samples, states and tokens."""
    groups, width = draw(st.sampled_from(widths))
    b, n, length = (draw(st.integers(1, limit)) for limit in most)
    d, dtype = groups * width, draw(st.sampled_from(dtypes))
    wide = torch.promote_types(dtype, torch.float32)
    softplus, scale = draw(st.booleans()), draw(st.sampled_from([0.3, 3.0, 60.0]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 999)))

    def random(*shape: int, to: torch.dtype = dtype) -> Tensor:
        x = torch.randn(shape, generator=generator, dtype=torch.float64).to(to)
        if draw(st.booleans()):  # in another order in memory
            return x.mT.contiguous().mT if x.dim() > 1 else torch.stack([x, x + 1], -1)[:, 0]
        return x

    def vectors() -> Tensor:
        kind = draw(st.sampled_from(["groups", "groups", "one group", "none", "fixed"]))
        shapes = {"groups": (b, groups, n, length), "one group": (b, 1, n, length), "none": (b, n, length)}
        return random(d, n, to=wide) if kind == "fixed" else random(*shapes[kind])

    delta = random(b, d, length)
    x = {"u": random(b, d, length), "delta": delta * scale if softplus else delta.abs() / 4}
    x |= {"A": -random(d, n, to=wide).exp(), "B": vectors(), "C": vectors()}
    shapes = {"D": (d,), "delta_bias": (d,), "initial_state": (b, d, n)}
    for name in draw(st.sets(st.sampled_from(OPTIONAL))):
        x[name] = random(b, d, length) if name == "z" else random(*shapes[name], to=wide)
    if "delta_bias" in x and not softplus:
        x["delta_bias"] = x["delta_bias"].abs()
    wanted = draw(st.sets(st.sampled_from(sorted(x)), min_size=1))
    return x, softplus, wanted, draw(st.sampled_from([("y",), ("last",), ("y", "last")]))


@st.composite
def recaps(draw, dtypes, most):
    """The same of a recapped scan; `most`: of samples, states, tokens of the segment, windows and tokens of these."""
    groups, width = draw(st.sampled_from([(1, 2), (2, 1), (2, 3)]))
    b, n, tokens, windows, window = (draw(st.integers(1, limit)) for limit in most)
    d, dtype, softplus = groups * width, draw(st.sampled_from(dtypes)), draw(st.booleans())
    wide = torch.promote_types(dtype, torch.float32)
    generator = torch.Generator().manual_seed(draw(st.integers(0, 999)))

    def random(*shape: int, to: torch.dtype = dtype) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(to)

    x = {}
    for part, last in (("s", (tokens,)), ("q", (windows, window))):
        delta = random(b, d, *last)
        x |= {f"u_{part}": random(b, d, *last), f"delta_{part}": delta if softplus else delta.abs() / 4}
        x |= {f"{name}_{part}": random(b, groups, n, *last) for name in "BC"}
    x["A"] = -random(d, n, to=wide).exp()
    x |= {name: random(d, to=wide).abs() for name in draw(st.sets(st.sampled_from(["D", "delta_bias"])))}
    wanted = draw(st.sets(st.sampled_from(sorted(x)), min_size=1))
    return x, softplus, wanted, draw(st.sampled_from([("y_s",), ("y_q",), ("last",), ("y_s", "y_q", "last")]))


def written_out(u_s, delta_s, B_s, C_s, u_q, delta_q, B_q, C_q, A, D=None, delta_bias=None, delta_softplus=False):
    """The whole sequence [S, Q_0, S, Q_1, ...] in the loop."""
    pairs = ((u_s, u_q), (delta_s, delta_q), (B_s, B_q), (C_s, C_q))
    whole = [torch.cat([t for w in q.unbind(-2) for t in (s, w)], -1) for s, q in pairs]
    y, _ = loop(whole[0], whole[1], A, *whole[2:], D, None, delta_bias, delta_softplus)
    y_s, last = loop(u_s, delta_s, A, B_s, C_s, D, None, delta_bias, delta_softplus)
    return y_s, y.unflatten(2, (u_q.shape[2], -1))[..., u_s.shape[2] :], last


def results(function, names, x, wanted, read, device, **options):
    """What the function returns, and the gradients of a loss that weighs every number of it differently."""
    leaves = {k: v.to(device).requires_grad_(k in wanted) for k, v in ((k, v.detach()) for k, v in x.items())}
    found = dict(zip(names, function(**leaves, **options), strict=True))
    used = [found[name] for name in read if found[name].requires_grad]
    weights = [torch.linspace(-1, 1, t.numel()).to(torch.bfloat16).view(t.shape).to(t) for t in used]
    if used:
        torch.autograd.backward(used, weights)
    return {**found, **{f"gradient of {k}": v.grad for k, v in leaves.items() if v.grad is not None}}


def check(function, plain, names, call, device="cpu", roundings=1, **options):
    """`roundings`: how many rounded numbers a gradient is the sum of."""
    x, softplus, wanted, read = call
    found = results(function, names, x, wanted, read, device, delta_softplus=softplus, **options)
    doubled = {k: v.double() for k, v in x.items()}
    expected = results(plain, names, doubled, wanted, read, "cpu", delta_softplus=softplus)
    tokens = next(iter(x.values())).dtype
    for name, value in expected.items():
        if name not in found:  # there is no way from it to what the loss reads
            assert value.abs().max() == 0, name
            continue
        of = x.get(name.split()[-1])
        assert found[name].dtype == (of.dtype if of is not None else x["A"].dtype if name == "last" else tokens), name
        own = roundings * torch.finfo(found[name].dtype).eps
        error = (found[name].cpu().double() - value).abs().max()
        assert error <= (own + (2e-5 if own > 1e-10 else 1e-11)) * value.abs().max().clamp(min=1), (name, error)


@settings(max_examples=15, deadline=None)
@given(call=calls([torch.float32, torch.float64, *HALF], [(1, 1), (1, 5), (2, 3), (3, 1), (4, 2), (2, 20)], (3, 5, 40)))
@pytest.mark.parametrize("backend", ["reference", "doubling", "torch"])
def test_torch_paths(backend, call):
    check(selective_scan, loop, ("y", "last"), call, return_last_state=True, backend=backend)


@pytest.mark.parametrize("backend", ["reference", "torch", pytest.param("triton", marks=needs_triton)])
def test_the_gradient_of_one_group_is_rounded_once(backend):
    """Beside fixed C both channels add to the gradient of the one group of B, and nearly cancel."""
    x = {"u": torch.full((1, 2, 1), 50.0), "delta": torch.ones(1, 2, 1), "B": torch.ones(1, 1, 1, 1)}
    x = {name: value.to(torch.bfloat16) for name, value in x.items()}
    x |= {"A": torch.full((2, 1), -0.5), "C": torch.tensor([[1.0], [1.003]])}
    device = DEVICE if backend == "triton" else "cpu"
    call = (x, True, {"B"}, ("y",))
    check(selective_scan, loop, ("y", "last"), call, device, return_last_state=True, backend=backend)


@needs_triton
@pytest.mark.slow(4)
@settings(max_examples=15, deadline=None, phases=[Phase.explicit, Phase.generate])  # to shrink would take minutes
@given(call=calls([torch.float32, *HALF], [(1, 1), (1, 3), (2, 1), (2, 3)], (2, 3, 40)))
def test_triton(call):
    """With tiles so small that tokens and channels fill several, also in the interpreter's patience."""
    with patch(f"{TRITON}.TOKENS", 16), patch(f"{TRITON}.CHANNELS", 2):
        check(selective_scan, loop, ("y", "last"), call, DEVICE, return_last_state=True, backend="triton")


@settings(max_examples=15, deadline=None)
@given(call=recaps([torch.float32, torch.float64, *HALF], (3, 4, 20, 4, 20)))
@pytest.mark.parametrize("backend", ["reference", "doubling", "torch"])
def test_recapped_torch_paths(backend, call):
    check(recapped_scan, written_out, ("y_s", "y_q", "last"), call, roundings=3, backend=backend)


@needs_triton
@pytest.mark.slow(8)
@settings(max_examples=6, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(call=recaps([torch.float32, *HALF], (2, 3, 20, 3, 20)))
def test_recapped_triton(call):
    with patch(f"{TRITON}.TOKENS", 16), patch(f"{TRITON}.CHANNELS", 2):
        check(recapped_scan, written_out, ("y_s", "y_q", "last"), call, DEVICE, roundings=3, backend="triton")


@pytest.mark.parametrize("backend", ["reference", "torch", pytest.param("triton", marks=needs_triton)])
def test_a_small_gradient_behind_a_large_inflow(backend):
    """What a token keeps of the state before it may be a millionth of what it adds, so no difference may give it."""
    generator = torch.Generator().manual_seed(0)
    u, delta, B, C = (torch.randn(1, d, 16, generator=generator) for d in (4, 4, 3, 3))
    x = {"u": u, "delta": 50 * delta.sigmoid(), "A": -torch.linspace(0.2, 2, 12).view(4, 3), "B": B, "C": C}
    read = (("y", "last"), {"A"}, ("y",))
    found = results(selective_scan, read[0], x, *read[1:], DEVICE, backend=backend, return_last_state=True)
    expected = results(loop, read[0], {k: v.double() for k, v in x.items()}, *read[1:], "cpu")
    name = "gradient of A"
    torch.testing.assert_close(found[name].cpu().double(), expected[name], rtol=1e-5, atol=1e-7)
