"""Single blocks of EMAT and CST: forward, intermediate values and all gradients of sum(y * w) (emat.md §3)."""

from torch import Tensor, nn

from methods import cst, emat
from methods.modules.correlation import FeedForward, kept_tokens
from tests.goldens.harness import EXACT, Case, Comparisons, relative, scaled

VALUES = scaled(2e-5)
GRADIENTS = relative(1e-4, floor=1e-6)


def downscaling(case: Case) -> Comparisons:
    c = case.config
    block = emat.LearnableDownscaling(c["Cin"], c["Cout"], c["pool"], c["class_token"], c["bias"])
    yield from _forward_backward(case, block)


def feed_forward(case: Case) -> Comparisons:
    yield from _forward_backward(case, FeedForward(case.config["C"]))


def emat_attention(case: Case) -> Comparisons:
    c = case.config
    block = emat.EfficientMaskedAttention(c["Cin"], c["Cout"], c["pool"], c["class_token"])
    yield from _attention(case, block, c["class_token"])


def cst_attention(case: Case) -> Comparisons:
    c = case.config
    yield from _attention(case, cst.MaskedAttention(c["Cin"], c["Cout"], c["pool"]), c["class_token"])


def _attention(
    case: Case, block: emat.EfficientMaskedAttention | cst.MaskedAttention, class_token: bool
) -> Comparisons:
    keep = kept_tokens(case.tensors["in.mask"], case.config["support_side"], class_token)
    yield case.compare("mid.kept", keep[:, 1:] if class_token else keep, EXACT)
    caught: dict[str, Tensor] = {}
    block.short_cut[-1].register_forward_hook(lambda m, args, out: caught.update({"mid.short": out.detach()}))
    block.agg[0].register_forward_pre_hook(lambda m, args: caught.update({"mid.attn_out": args[0].detach()}))
    yield from _forward_backward(case, block, keep)
    for name, value in caught.items():
        yield case.compare(name, value, VALUES)


def _forward_backward(case: Case, block: nn.Module, *arguments: Tensor) -> Comparisons:
    block.load_state_dict(case.state())
    x = case.tensors["in.x"].requires_grad_()
    y = block(x, *arguments)
    yield case.compare("out.y", y, VALUES)
    if "in.w" not in case.tensors:  # a case without a loss
        return
    loss = (y * case.tensors["in.w"]).sum()
    loss.backward()
    yield case.compare("out.loss", loss[None], VALUES)
    gradients = {"x": x.grad} | {name: p.grad for name, p in block.named_parameters()}
    for name, gradient in gradients.items():
        assert gradient is not None, name
        yield case.compare(f"grad.{name}", gradient, GRADIENTS)


KINDS = {
    "learnable_downscaling": downscaling,
    "feed_forward": feed_forward,
    "efficient_masked_attention": emat_attention,
    "cst_attention": cst_attention,
}
