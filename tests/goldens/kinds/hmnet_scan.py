"""HMNet's operators: the selective scan, the recapped scan and the interception (selective-scan §1, §4, §5).

`FSBENCH_SCAN` chooses the back end.
"""

from torch import Tensor

from fsbench.networks.ops.selective_scan import selective_scan
from fsbench.networks.ops.selective_scan.interception import intercept
from fsbench.networks.ops.selective_scan.recapped_scan import recapped_scan
from tests.goldens.cases import Case
from tests.goldens.declared import Kind, Results, Tolerance, absolute, relative
from tests.goldens.networks import gradients, weighted_loss

OUTPUTS = Tolerance("1e-6*max|ref|+1e-5", lambda ref: 1e-6 * float(ref.abs().max()) + 1e-5)


def scan(case: Case) -> Results:
    x = leaves(case)
    out, last = selective_scan(
        *(x.get(name) for name in ("u", "delta", "A", "B", "C", "D", "z", "delta_bias")),
        delta_softplus=case.config["softplus"],
        initial_state=x.get("initial_state"),
        return_last_state=True,
    )
    loss = weighted_loss(case, weight=out, weight_last=last)
    return {"out.out": out, "out.last_state": last, "grad.": gradients(loss, **x)}


def recapped_and_intercepted(case: Case) -> Results:
    """Inputs hold raw deltas; QIM takes direction 0's parameters, a scalar skip and the detached mean state."""
    x, d = leaves(case), case.config["channels_per_direction"]
    shared = (x["A"], x["D"], x["delta_bias"], True)
    y_s, y_q, state = recapped_scan(*(x[f"{n}_{part}"] for part in "sq" for n in ("u", "delta", "B", "C")), *shared)
    mean = state.detach().unflatten(1, (case.config["directions"], -1)).mean(1)
    y_qim = intercept(
        x["qim_u"], x["qim_delta"], x["A"][:d], x["qim_B"][:, 0], x["qim_C"][:, 0], x["D"][0], mean,
        x["delta_bias"][:d], True,
    )  # fmt: skip
    loss = weighted_loss(case, weight_s=y_s, weight_q=y_q, weight_qim=y_qim)
    return {
        "out.": {"y_support_first": y_s, "y_query": y_q, "state_after_first_support": state, "y_qim": y_qim},
        "mid.h_mean": mean,
        "grad.": gradients(loss, **x),
    }


def leaves(case: Case) -> dict[str, Tensor]:
    """Return the inputs, with gradients but for the weights of the loss."""
    return {k: v.requires_grad_(not k.startswith("weight")) for k, v in case.group("in.").items()}


KINDS = {
    "selective_scan": Kind(scan, {"out.": OUTPUTS, "grad.": relative(1e-4)}),
    "srm_qim": Kind(recapped_and_intercepted, {"": absolute(2e-5), "grad.": relative(1e-4)}),
}
