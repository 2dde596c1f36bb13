"""HMNet's operators: the selective scan, the recapped scan and the interception (selective-scan §1, §4, §5).

`FSBENCH_SCAN` chooses the back end.
"""

import torch
from torch import Tensor

from fsbench.ops.selective_scan import selective_scan
from fsbench.ops.selective_scan.interception import intercept
from fsbench.ops.selective_scan.recapped_scan import recapped_scan
from tests.goldens.harness import Case, Comparisons, Tolerance, absolute, relative

OUTPUTS = Tolerance("1e-6*max|ref|+1e-5", lambda ref: 1e-6 * float(ref.abs().max()) + 1e-5)
GRADIENTS = relative(1e-4)


def scan(case: Case) -> Comparisons:
    x = leaves(case, "weight", "weight_last")
    out, last = selective_scan(
        *(x.get(name) for name in ("u", "delta", "A", "B", "C", "D", "z", "delta_bias")),
        delta_softplus=case.config["softplus"],
        initial_state=x.get("initial_state"),
        return_last_state=True,
    )
    yield case.compare("out.out", out, OUTPUTS)
    yield case.compare("out.last_state", last, OUTPUTS)
    weighted = ((out, "weight"), (last, "weight_last"))
    yield from gradients(case, x, [(y * x[name]).sum() for y, name in weighted if name in x])


def recapped_and_intercepted(case: Case) -> Comparisons:
    """Inputs hold raw deltas; QIM takes direction 0's parameters, a scalar skip and the detached mean state."""
    c = case.config
    x = leaves(case, "weight_s", "weight_q", "weight_qim")
    shared = (x["A"], x["D"], x["delta_bias"], True)
    y_s, y_q, state = recapped_scan(*(x[f"{n}_{part}"] for part in "sq" for n in ("u", "delta", "B", "C")), *shared)
    mean = state.detach().unflatten(1, (c["directions"], -1)).mean(1)
    d = c["channels_per_direction"]
    y_qim = intercept(
        x["qim_u"],
        x["qim_delta"],
        x["A"][:d],
        x["qim_B"][:, 0],
        x["qim_C"][:, 0],
        x["D"][0],
        mean,
        x["delta_bias"][:d],
        True,
    )
    found = {"out.y_support_first": y_s, "out.y_query": y_q, "out.state_after_first_support": state}
    for name, value in (found | {"mid.h_mean": mean, "out.y_qim": y_qim}).items():
        yield case.compare(name, value, absolute(2e-5))
    weighted = ((y_s, "weight_s"), (y_q, "weight_q"), (y_qim, "weight_qim"))
    yield from gradients(case, x, [(y * x[name]).sum() for y, name in weighted if name in x])


def leaves(case: Case, *constants: str) -> dict[str, Tensor]:
    """Inputs, those but `constants` with gradients."""
    return {k: v.requires_grad_(k not in constants) for k, v in case.group("in.").items()}


def gradients(case: Case, x: dict[str, Tensor], losses: list[Tensor]) -> Comparisons:
    """Compare the gradients of the sum of `losses`; a case without weights of its outputs has none."""
    if not losses:
        return
    torch.stack(losses).sum().backward()
    for name, leaf in x.items():
        if leaf.grad is not None:
            yield case.compare(f"grad.{name}", leaf.grad, GRADIENTS)


KINDS = {"selective_scan": scan, "srm_qim": recapped_and_intercepted}
