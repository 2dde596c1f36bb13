"""HMNet's operators: the selective scan, the recapped scan and the interception (selective-scan §1, §4, §5).

`FSBENCH_SCAN` chooses the back end.
"""

from collections.abc import Iterator

from torch import Tensor

from fsbench.ops.selective_scan import selective_scan
from tests.goldens.harness import Case, Comparison, Tolerance, relative

OUTPUTS = Tolerance("1e-6*max|ref|+1e-5", lambda ref: 1e-6 * float(ref.abs().max()) + 1e-5)
GRADIENTS = relative(1e-4)


def scan(case: Case) -> Iterator[Comparison]:
    x = leaves(case, "weight")
    out, last = selective_scan(
        *(x.get(name) for name in ("u", "delta", "A", "B", "C", "D", "z", "delta_bias")),
        delta_softplus=case.config["softplus"],
        return_last_state=True,
    )
    yield case.compare("out.out", out, OUTPUTS)
    yield case.compare("out.last_state", last, OUTPUTS)
    (out * case.tensors["in.weight"]).sum().backward()
    yield from gradients(case, x)


def leaves(case: Case, *constants: str) -> dict[str, Tensor]:
    """Inputs, those but `constants` with gradients."""
    return {k: v.requires_grad_(k not in constants) for k, v in case.group("in.").items()}


def gradients(case: Case, x: dict[str, Tensor]) -> Iterator[Comparison]:
    for name in case.group("grad."):
        gradient = x[name].grad
        assert gradient is not None, name
        yield case.compare(f"grad.{name}", gradient, GRADIENTS)


KINDS = {"selective_scan": scan}
