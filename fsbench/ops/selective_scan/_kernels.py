"""Triton kernels of the selective scan: chunks of tokens in parallel, states in registers, sums in fp32.

A program works on a tile of channels x tokens and loops over the states n, so that no tensor has a channel, a token and
a state axis. Between chunks the state's map is affine and diagonal (selective-scan §2): `ends` finds what each chunk
adds to a zero state, `chain` runs along the chunks, `scan` and `backward` then know how each chunk begins and ends.

Memory: u, delta, grad (b, D, L) and B, C (b, G, N, L) by their strides; states (b, chunks, N, D).
"""
# mypy: disable-error-code="no-untyped-def"

import triton
import triton.language as tl


@triton.jit
def _compose(decay, inflow, later_decay, later_inflow):
    return decay * later_decay, later_decay * inflow + later_inflow


@triton.jit
def _load(pointer, channel, time, stride_d, stride_t, mask):
    return tl.load(pointer + channel * stride_d + time * stride_t, mask=mask, other=0.0).to(tl.float32)


@triton.jit
def _softplus(x):
    small = tl.exp(tl.minimum(x, 20.0))
    one_more = small + 1.0
    exact = tl.log(one_more) * (small / tl.where(one_more == 1.0, 1.0, one_more - 1.0))  # undoes the rounding of 1 + e
    return tl.where(x > 20.0, x, tl.where(one_more == 1.0, small, exact))


@triton.jit
def _step(delta, bias, channel, time, stride_d, stride_t, mask, HAS_BIAS: tl.constexpr, SOFTPLUS: tl.constexpr):
    """Delta of a tile, 0 outside, where the state then passes unchanged; and delta with its bias."""
    raw = _load(delta, channel, time, stride_d, stride_t, mask)
    if HAS_BIAS:
        raw += tl.load(bias + channel, mask=mask, other=0.0)
    step = raw
    if SOFTPLUS:
        step = _softplus(raw)
    return tl.where(mask, step, 0.0), raw


@triton.jit
def _tile(length, width, BD: tl.constexpr, BT: tl.constexpr):
    """Sample, group, channel block, chunk; channels (BD, 1), times (1, BT) and the mask of the program's tile."""
    blocks = tl.cdiv(width, BD)
    chunk = tl.program_id(0).to(tl.int64)
    group = tl.program_id(1).to(tl.int64) // blocks
    block = tl.program_id(1).to(tl.int64) % blocks
    sample = tl.program_id(2).to(tl.int64)
    inside = block * BD + tl.arange(0, BD)[:, None]
    time = chunk * BT + tl.arange(0, BT)[None, :]
    return sample, group, block, chunk, group * width + inside, time, (inside < width) & (time < length)


@triton.jit
def ends(
    values, delta, A, vectors, bias, sums, out,
    length, width, channels, states, chunks,
    value_b, value_d, value_t, delta_b, delta_d, delta_t, vector_b, vector_g, vector_n, vector_t,
    HAS_BIAS: tl.constexpr, SOFTPLUS: tl.constexpr, REVERSE: tl.constexpr, BD: tl.constexpr, BT: tl.constexpr,
):  # fmt: skip
    """Exit state of each chunk from zero (values u, vectors B), or, reversed, the gradient at its entry from a zero
    gradient at its exit (values grad, vectors C); and the sums of Delta, whose decay is the chunk's.

    Both are sums over tokens with weights exp(A x Delta's sum over the tokens between), whose exponents are never
    positive.
    """
    sample, group, _, chunk, channel, time, mask = _tile(length, width, BD, BT)
    delta += sample * delta_b
    step, _ = _step(delta, bias, channel, time, delta_d, delta_t, mask, HAS_BIAS, SOFTPLUS)
    value = _load(values + sample * value_b, channel, time, value_d, value_t, mask)
    if REVERSE:
        between = tl.cumsum(step, 1)
    else:
        later = mask & (time + 1 < length) & (time + 1 < (chunk + 1) * BT)
        next_step, _ = _step(delta, bias, channel, time + 1, delta_d, delta_t, later, HAS_BIAS, SOFTPLUS)
        between = tl.cumsum(next_step, 1, reverse=True)
        value *= step
    own = channel < (group + 1) * width
    row = sample * chunks + chunk
    vectors += sample * vector_b + group * vector_g
    tl.store(sums + row * channels + channel, tl.sum(step, 1)[:, None], mask=own)
    for n in range(states):
        a = tl.load(A + channel * states + n, mask=own, other=0.0)
        vector = tl.load(vectors + n * vector_n + time * vector_t, mask=time < length, other=0.0).to(tl.float32)
        total = tl.sum(tl.exp(a * between) * value * vector, 1)
        tl.store(out + (row * states + n) * channels + channel, total[:, None], mask=own)


@triton.jit
def chain(
    sums, ends, A, first, entries, last, channels, states, chunks,
    REVERSE: tl.constexpr, BN: tl.constexpr, BD: tl.constexpr,
):  # fmt: skip
    """Along the chunks: state <- exp(A sum) state + end, from `first` to `last` (b, N, D); `entries` are the states
    before each chunk. Reversed, the same for gradients, from the last chunk to the first."""
    n = tl.arange(0, BN)[:, None]
    channel = tl.program_id(0).to(tl.int64) * BD + tl.arange(0, BD)[None, :]
    sample = tl.program_id(1).to(tl.int64)
    mask = (n < states) & (channel < channels)
    a = tl.load(A + channel * states + n, mask=mask, other=0.0)
    state = tl.load(first + (sample * states + n) * channels + channel, mask=mask, other=0.0)
    for i in range(chunks):
        chunk = i
        if REVERSE:
            chunk = chunks - 1 - i
        row = sample * chunks + chunk
        at = (row * states + n) * channels + channel
        tl.store(entries + at, state, mask=mask)
        total = tl.load(sums + row * channels + channel, mask=channel < channels, other=0.0)
        state = tl.exp(a * total) * state + tl.load(ends + at, mask=mask, other=0.0)
    tl.store(last + (sample * states + n) * channels + channel, state, mask=mask)


@triton.jit
def scan(
    u, delta, A, B, C, D, bias, entries, y,
    length, width, channels, states, chunks,
    u_b, u_d, u_t, delta_b, delta_d, delta_t, B_b, B_g, B_n, B_t, C_b, C_g, C_n, C_t,
    HAS_D: tl.constexpr, HAS_BIAS: tl.constexpr, SOFTPLUS: tl.constexpr, BD: tl.constexpr, BT: tl.constexpr,
):  # fmt: skip
    """Outputs (b, D, L) of every chunk from its entry state."""
    sample, group, _, chunk, channel, time, mask = _tile(length, width, BD, BT)
    step, _ = _step(delta + sample * delta_b, bias, channel, time, delta_d, delta_t, mask, HAS_BIAS, SOFTPLUS)
    value = _load(u + sample * u_b, channel, time, u_d, u_t, mask)
    own = channel < (group + 1) * width
    out = tl.zeros([BD, BT], tl.float32)
    if HAS_D:
        out += tl.load(D + channel, mask=own, other=0.0) * value
    value *= step
    first = time == chunk * BT
    B += sample * B_b + group * B_g
    C += sample * C_b + group * C_g
    for n in range(states):
        a = tl.load(A + channel * states + n, mask=own, other=0.0)
        entry = tl.load(entries + ((sample * chunks + chunk) * states + n) * channels + channel, mask=own, other=0.0)
        decay = tl.exp(a * step)
        inflow = value * tl.load(B + n * B_n + time * B_t, mask=time < length, other=0.0).to(tl.float32)
        inflow += tl.where(first, decay * entry, 0.0)
        _, state = tl.associative_scan((decay, inflow), 1, _compose)
        out += state * tl.load(C + n * C_n + time * C_t, mask=time < length, other=0.0).to(tl.float32)
    tl.store(y + (sample * channels + channel) * length + time, out, mask=mask)


@triton.jit
def backward(
    u, delta, A, B, C, D, bias, grad, entries, exits, grad_u, grad_delta, grad_A, grad_B, grad_C, grad_D, grad_bias,
    length, width, channels, states, chunks, groups,
    u_b, u_d, u_t, delta_b, delta_d, delta_t, B_b, B_g, B_n, B_t, C_b, C_g, C_n, C_t, grad_b, grad_d, grad_t,
    HAS_D: tl.constexpr, HAS_BIAS: tl.constexpr, SOFTPLUS: tl.constexpr, BD: tl.constexpr, BT: tl.constexpr,
):  # fmt: skip
    """Gradients (selective-scan §1.1) of every chunk, from its entry state and the gradient of its exit state.

    Those of u and delta are written (b, D, L); of A, D, bias as one summand per chunk, (b, chunks, [N,] D); of B and C
    as one summand per channel block, (blocks, b, G, N, L).
    """
    sample, group, block, chunk, channel, time, mask = _tile(length, width, BD, BT)
    delta += sample * delta_b
    step, raw = _step(delta, bias, channel, time, delta_d, delta_t, mask, HAS_BIAS, SOFTPLUS)
    later = mask & (time + 1 < length) & (time + 1 < (chunk + 1) * BT)
    next_step, _ = _step(delta, bias, channel, time + 1, delta_d, delta_t, later, HAS_BIAS, SOFTPLUS)
    value = _load(u + sample * u_b, channel, time, u_d, u_t, mask)
    g = _load(grad + sample * grad_b, channel, time, grad_d, grad_t, mask)
    own = channel < (group + 1) * width
    row = sample * chunks + chunk
    first, final = time == chunk * BT, time == (chunk + 1) * BT - 1
    into, through = tl.zeros([BD, BT], tl.float32), tl.zeros([BD, BT], tl.float32)
    B += sample * B_b + group * B_g
    C += sample * C_b + group * C_g
    for n in range(states):
        at = (row * states + n) * channels + channel
        a = tl.load(A + channel * states + n, mask=own, other=0.0)
        b = tl.load(B + n * B_n + time * B_t, mask=time < length, other=0.0).to(tl.float32)
        c = tl.load(C + n * C_n + time * C_t, mask=time < length, other=0.0).to(tl.float32)
        decay = tl.exp(a * step)
        inflow = step * value * b
        entering = tl.where(first, decay * tl.load(entries + at, mask=own, other=0.0), 0.0)
        _, state = tl.associative_scan((decay, inflow + entering), 1, _compose)
        leaving = tl.where(final, tl.load(exits + at, mask=own, other=0.0), 0.0)
        _, flow = tl.associative_scan((tl.exp(a * next_step), g * c + leaving), 1, _compose, reverse=True)
        decayed = flow * (state - inflow)  # a_t h_{t-1} g_t
        through += a * decayed
        into += flow * b
        tl.store(grad_A + at, tl.sum(decayed * step, 1)[:, None], mask=own)
        column = (((block * tl.num_programs(2) + sample) * groups + group) * states + n) * length + time
        tl.store(grad_B + column, tl.sum(flow * step * value, 0)[None, :], mask=time < length)
        tl.store(grad_C + column, tl.sum(state * g, 0)[None, :], mask=time < length)
    out = into * step
    if HAS_D:
        out += tl.load(D + channel, mask=own, other=0.0) * g
        tl.store(grad_D + row * channels + channel, tl.sum(g * value, 1)[:, None], mask=own)
    through += into * value
    if SOFTPLUS:
        through *= 1.0 / (1.0 + tl.exp(-raw))
    through = tl.where(mask, through, 0.0)
    if HAS_BIAS:
        tl.store(grad_bias + row * channels + channel, tl.sum(through, 1)[:, None], mask=own)
    at = (sample * channels + channel) * length + time
    tl.store(grad_u + at, out, mask=mask)
    tl.store(grad_delta + at, through, mask=mask)
