"""Single blocks of EMAT and CST: forward, intermediate values and all gradients of sum(y * w) (emat.md §3)."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from fsbench.methods import cst, emat
from fsbench.methods.modules.correlation import FeedForward, kept_tokens
from tests.goldens.cases import Case
from tests.goldens.declared import EXACT, Check, Kind, Results, relative, scaled
from tests.goldens.networks import gradients, record_inputs, record_outputs, weighted_loss

TOLERANCES = {"": scaled(2e-5), "mid.kept": EXACT, "grad.": relative(1e-4, floor=1e-6)}


def block(build: Callable[[dict[str, Any]], nn.Module]) -> Check:
    """Make a check of a block alone."""
    return lambda case: forward_backward(case, build(case.config))


def attention(build: Callable[[dict[str, Any]], Any]) -> Check:
    """Make a check of a masked attention: also the tokens that it keeps, and values around the residual."""

    def results(case: Case) -> Results:
        net, with_class = build(case.config), case.config["class_token"]
        keep = kept_tokens(case.tensors["in.mask"], case.config["support_side"], with_class)
        found = {"kept": keep[:, 1:] if with_class else keep}
        record_outputs(found, short=net.short_cut[-1])
        record_inputs(found, attn_out=net.agg[0])
        return {**forward_backward(case, net, keep), "mid.": found}

    return results


def forward_backward(case: Case, net: nn.Module, *arguments: Tensor) -> Results:
    """Return output, loss and gradients of a block with the case's weights."""
    net.load_state_dict(case.state())
    x = case.tensors["in.x"].requires_grad_()
    y = net(x, *arguments)
    loss = weighted_loss(case, w=y)
    return {"out.y": y, "out.loss": None if loss is None else loss[None], "grad.": gradients(loss, net, x=x)}


CHECKS = {
    "learnable_downscaling": block(
        lambda c: emat.LearnableDownscaling(c["Cin"], c["Cout"], c["pool"], c["class_token"], c["bias"])
    ),
    "feed_forward": block(lambda c: FeedForward(c["C"])),
    "efficient_masked_attention": attention(
        lambda c: emat.EfficientMaskedAttention(c["Cin"], c["Cout"], c["pool"], c["class_token"])
    ),
    "cst_attention": attention(lambda c: cst.MaskedAttention(c["Cin"], c["Cout"], c["pool"])),
}
KINDS = {name: Kind(check, TOLERANCES) for name, check in CHECKS.items()}
