"""The selective scan of Mamba, with an initial state and a differentiable last state (selective-scan §1).

    Delta_t = delta_t + delta_bias, through softplus if asked for
    h_t     = exp(Delta_t A) h_{t-1} + Delta_t u_t B_t
    y_t     = C_t · h_t + D u_t,  times silu(z_t) if z is given

Shapes: b samples, D channels, L tokens, N states of a channel, G groups of channels that share B and C (channel d
belongs to group d // (D / G)).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from fsbench.networks.ops.selective_scan import _mamba_ssm
from fsbench.networks.ops.selective_scan._arguments import MAX_STATES as MAX_STATES
from fsbench.networks.ops.selective_scan._arguments import check_arguments, expand_groups
from fsbench.networks.ops.selective_scan._backends import Backend, choose_backend, implementation


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    initial_state: Tensor | None = None,
    return_last_state: bool = False,
    backend: Backend | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """Run the selective scan of Mamba over L tokens, for b samples with D channels and N states per channel.

    Arguments are those of mamba-ssm's `selective_scan_fn`, with `initial_state` and `backend`.

    Args:
        u: (b, D, L) inputs; u, delta, z, and B and C that vary over tokens share one dtype.
        delta: (b, D, L) step sizes before bias and softplus.
        A: (D, N) state matrix, real, fp32 (fp64 if u is).
        B, C: input and output projections, (b, G, N, L) for G groups of channels, (b, N, L) for one group, or (D, N) if
            they are the same for all tokens; these are expanded to G = D groups, which takes b·D·N·L numbers.
        D: (D,) skip, the factor of the input that is added to the output.
        z: (b, D, L) gate, applied after the skip.
        delta_bias: (D,) bias of the step sizes.
        delta_softplus: whether the step size is softplus(delta + bias).
        initial_state: (b, D, N) state before the first token; zeros by default. It is differentiable.
        return_last_state: also return the state after the last token.
        backend: "reference" (token by token, everything kept for autograd), "doubling" (all tokens at once in log2(L)
            steps, for graphs that are exported), "torch" (in blocks, states recomputed in the backward pass), "triton"
            (chunks in parallel, forward and backward) or "mamba_ssm" (its CUDA kernel, which has no initial state and
            no gradient of the last state). Default: `$FSBENCH_SCAN`; else on CUDA "mamba_ssm" where it is installed,
            has what the call needs and torch does not insist on deterministic gradients (with `warn` it is taken, with
            a warning), or "triton"; "torch" otherwise.

    Returns:
        (b, D, L) in u's dtype, and with `return_last_state` the differentiable last state (b, D, N), fp32 or wider.
        State and sums are fp32 or wider whatever the inputs and autocast say.

    Raises:
        SettingsError: the arguments do not fit together, or the back end does not support the call.
    """
    b, channels, length = check_arguments(u, delta, A, B, C, D, z, delta_bias, initial_state)
    stateless = initial_state is None and not (return_last_state and torch.is_grad_enabled())
    chosen = choose_backend(u, backend, stateless)
    if chosen == "mamba_ssm":
        if B.dim() > 2 and C.dim() > 2:
            B, C = expand_groups(B, C, b, length, u.dtype)
        return _mamba_ssm.scan(u, delta, A, B, C, D, z, delta_bias, delta_softplus, initial_state, return_last_state)
    wide = torch.promote_types(u.dtype, torch.float32)
    if initial_state is None:
        initial_state = A.new_zeros(b, channels, A.shape[1], dtype=wide)
    B, C = expand_groups(B, C, b, length, wide)
    with torch.autocast(u.device.type, enabled=False):
        scan = implementation(chosen)
        D, delta_bias = (None if t is None else t.to(wide) for t in (D, delta_bias))
        start = initial_state.to(wide)
        y, last = scan(u, delta, A.to(wide), B, C, D, delta_bias, delta_softplus, start, length, None, None)
        if z is not None:
            y = y * F.silu(z.to(wide))
        y = y.to(u.dtype)
    return (y, last) if return_last_state else y
