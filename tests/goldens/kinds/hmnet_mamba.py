"""HMNet's scan modules and hybrid Mamba network, reduced and at true size (hmnet.md §6)."""

from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from fsbench.methods.hmnet import mamba as _mamba
from fsbench.methods.hmnet.mamba import SS2D, HybridMamba, HybridMambaConfig, sum_directions
from fsbench.methods.modules.maps import resize
from tests.goldens import networks as n
from tests.goldens.cases import Case
from tests.goldens.declared import EXACT, Kind, Parts, Results, Same, Tolerance, absolute, relative
from tests.goldens.forms import statistics
from tests.goldens.hashed import hashed

NAMES = ("row", "col", "row_inv", "col_inv")


def scan_settings(config: dict[str, Any]) -> dict[str, int]:
    """Return the settings of the scan that a case names."""
    return {key: config[name] for key, name in (("states", "d_state"), ("ratio", "ratio")) if name in config}


def module(case: Case, d_model: int, q: Tensor, s: Tensor) -> Parts:
    """One SS2D; intermediate values come from its parts."""
    hybrid = case.entry["kind"] == "hybrid_mamba"
    config = HybridMambaConfig(hybrid=hybrid, **scan_settings(case.config))
    net = n.loaded(SS2D(d_model, config, hybrid), case.state())
    core: dict[str, Tensor] = {}
    project_in, project_out = net.project_in, net._project_out

    def watched_in(x: Tensor, projection: nn.Module, conv: nn.Module) -> tuple[Tensor, Tensor]:
        found = project_in(x, projection, conv)
        core["in_q" if projection is net.in_proj_q else "in_s"] = found[0]
        return found

    def watched_out(y: Tensor, z: Tensor, projection: nn.Module) -> Tensor:
        core["out_q" if projection is net.out_proj_q else "out_s"] = y.flatten(2)
        return project_out(y, z, projection)

    with patch.object(net, "project_in", watched_in), patch.object(net, "_project_out", watched_out):
        out_q, out_s = net(q.requires_grad_(), s.requires_grad_())
    yield {"out.q": out_q, "out.s": out_s, "mid.core_": core}
    yield gradients(case, net, n.weighted_loss(case, weight_q=out_q, weight_s=out_s), q, s)
    with torch.no_grad():
        yield {"mid.": parts(net, core["in_q"], core["in_s"], hybrid)}


def parts(net: SS2D, x_q: Tensor, x_s: Tensor, hybrid: bool) -> dict[str, Tensor]:
    """Return the values inside of a module, the directions of its scan one by one."""
    found: dict[str, Tensor] = {}
    directions: list[Tensor] = []

    def watch_directions(y: Tensor, side: int, ratio: int = 1) -> Tensor:
        if side == x_q.shape[-1] and not directions:
            kept = torch.eye(4)[:, None, :, None, None]  # one direction at a time, the others 0
            directions.extend(sum_directions(part, side, ratio).flatten(2) for part in y[None] * kept)
        return sum_directions(y, side, ratio)

    with patch.object(_mamba, "sum_directions", watch_directions):
        if hybrid:
            small = x_q.shape[-1] // net.config.ratio
            found["q_dwn"], found["s_dwn"] = resize(x_q, small), resize(x_s, small)
            y_q, y_s, found["h_mean"] = net.recap(x_q, found["s_dwn"])
            found["srm_q_sum_fullres"], found["srm_s_sum_lowres"] = y_q.flatten(2), y_s.flatten(2)
            found["qim_lowres"] = net.intercept(found["q_dwn"], found["h_mean"]).flatten(2)
        else:
            net.scan(x_q)
    names = (f"{'srm' if hybrid else 'self'}_q_{name}" for name in NAMES)
    return found | dict(zip(names, directions, strict=True))


def network(case: Case, dim: int, n_blocks: int, q: Tensor, s: Tensor) -> Parts:
    config = HybridMambaConfig(blocks=n_blocks, **scan_settings(case.config))
    net = n.loaded(HybridMamba(dim, config), case.state())
    out = net(q.requires_grad_(), s.requires_grad_())
    yield {"out.q": out}
    yield gradients(case, net, n.weighted_loss(case, weight=out), q, s)
    for i, (stream_q, stream_s) in enumerate(streams_of(net, q, s)):
        yield {f"mid.block{i}_": {"q": stream_q, "s": stream_s}}


def streams_of(net: HybridMamba, q: Tensor, s: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Query and support after every block, the last one's support included."""
    q, s = (x.permute(0, 2, 3, 1) for x in (q, s))
    with torch.no_grad():
        for block in net.blocks:
            q, s = block(q, s)
            yield q, s


def gradients(case: Case, net: nn.Module, loss: Tensor | None, q: Tensor, s: Tensor) -> Results:
    """Return the gradients of a loss; where a case notes that some parameters get none, their names count, too."""
    found = n.gradients(loss, net, q=q, s=s)
    inputs = {name: found.pop(name) for name in "qs" if name in found}
    results: dict[str, Any] = {"grad.": inputs, "grad.state.": found}
    stored = case.group("grad.state.")
    if stored and "receives no gradient" in case.entry.get("note", ""):  # what is absent has none
        results["parameters with a gradient"] = Same(sorted(found), sorted(stored))
    return results


def hashed_state(own: dict[str, Tensor], salt: str, prefix: str = "") -> dict[str, Tensor]:
    """Weights by the rules of the index, for the keys and shapes of `own`."""
    state = {}
    for key, tensor in own.items():
        if key.endswith("num_batches_tracked"):
            state[key] = tensor
            continue
        shape = tuple(tensor.shape)
        h = hashed(prefix + key, shape, salt)
        state[key] = weight_rule(key, shape, h, f"{key.rpartition('.')[0]}.running_mean" in own).float()
    return state


def weight_rule(key: str, shape: tuple[int, ...], h: Tensor, batch_norm: bool) -> Tensor:
    module, _, name = key.rpartition(".")
    layer_norm = module.rpartition(".")[2] in ("norm", "ln_1", "ln_2", "out_norm")
    if name == "running_var":
        return 1 + 0.2 * h
    if name == "weight" and (batch_norm or layer_norm):
        return 1 + 0.1 * h
    if name == "A_logs":
        return torch.arange(1, shape[1] + 1).double().log() + 0.1 * h
    if name == "Ds":
        return 1 + 0.1 * h
    if name == "dt_projs_bias":
        return -4 + h
    if name == "dt_projs_weight":
        return h / shape[-1] ** 0.5
    if name == "x_proj_weight":
        return h * (3 / shape[-1]) ** 0.5
    if module in ("gram_merge", "cls_merge"):
        return torch.tensor([1.0, 0.0]).double().view(shape) + 0.1 * h
    if name == "weight":
        return h * (3 * shape[0] / h.numel()) ** 0.5
    return 0.1 * h


STATISTICS = Tolerance("sum of |.| 1e-5 rel, rest 2e-5", lambda ref: torch.tensor([2e-5] * 4 + [1e-5 * float(ref[4])]))


@torch.no_grad()
def true_network(case: Case, dim: int, n_blocks: int, b: int, S: int) -> Parts:
    salt, config = case.entry["salt"], HybridMambaConfig(blocks=n_blocks, **scan_settings(case.config))
    net = HybridMamba(dim, config)
    net.load_state_dict(hashed_state(net.state_dict(), salt, "mamba."))
    q, s = (hashed(key, (b, dim, S, S), salt).float() for key in ("query", "support"))
    first = net.blocks[0].self_attention.x_proj_weight.flatten()[:4]
    yield {"in.first8_query": q.flatten()[:8], "in.first4_x_proj_block0": first}
    for i, streams in enumerate(streams_of(net, q, s)):
        for name, x in zip("qs", streams, strict=True):
            yield {f"mid.block_{name}{i}_slice": x[:, ::4, ::4, ::16], f"mid.block_{name}{i}_stats": statistics(x)}
    out = net.norm(streams[0]).permute(0, 3, 1, 2)
    yield {"out.q_slice": out[:, ::16, ::4, ::4], "out.q_stats": statistics(out)}


REDUCED = {"": relative(1e-5), "grad.": relative(1e-4)}
KINDS = {
    "self_mamba": Kind(module, REDUCED),
    "hybrid_mamba": Kind(module, REDUCED),
    "vssm": Kind(network, REDUCED),
    "vssm_true": Kind(true_network, {"in.": EXACT, "*_slice": absolute(2e-5), "*_stats": STATISTICS}),
}
