"""Triton kernels of the selective scan: chunks of tokens in parallel, states in registers, sums in fp32.

A program works on a tile of channels x tokens and loops over the states n, so that no tensor has a channel, a token and
a state axis. Between chunks the state's map is affine and diagonal (selective-scan §2): `ends` computes each chunk's
exit state from zero, `chain` runs along the chunks, and `scan` and `backward` start from the states between chunks.

Tokens come in windows of equal length, one for a plain scan; no chunk crosses the end of a window. Memory: u, delta,
grad (b, D, L) and B, C (b, G, N, L) by their strides; states (b, chunks, N, D).

The interception (selective-scan §5) has one tile of channels x tokens a program, too; all its arguments are contiguous,
u, step, y, grad (b, D, L) and B, C (b, N, L).
"""
# mypy: disable-error-code="no-untyped-def"

import triton
import triton.language as tl


@triton.jit
def _compose(decay, inflow, later_decay, later_inflow):
    return decay * later_decay, later_decay * inflow + later_inflow


@triton.jit
def load_fp32(pointer, mask):
    return tl.load(pointer, mask=mask, other=0.0).to(tl.float32)


@triton.jit
def _softplus(x):
    small = tl.exp(tl.minimum(x, 20.0))
    one_more = small + 1.0
    exact = tl.log(one_more) * (small / tl.where(one_more == 1.0, 1.0, one_more - 1.0))  # undoes the rounding of 1 + e
    return tl.where(x > 20.0, x, tl.where(one_more == 1.0, small, exact))


@triton.jit
def _step(pointer, bias, channel, own, mask, HAS_BIAS: tl.constexpr, SOFTPLUS: tl.constexpr):
    """Return Delta of a tile, 0 outside so that the state passes unchanged, and delta with its bias."""
    raw = load_fp32(pointer, mask)
    if HAS_BIAS:
        raw += load_fp32(bias + channel, own)
    step = raw
    if SOFTPLUS:
        step = _softplus(raw)
    return tl.where(mask, step, 0.0), raw


@triton.jit
def _tile(window, width, BD: tl.constexpr, BT: tl.constexpr):
    """Return the place of the program: sample, group, channel block and chunk; its channels (BD, 1) and times (1, BT).

    Then masks of existing channels and times, and of the times whose next one is in the same chunk.
    """
    blocks = tl.cdiv(width, BD)
    per_window = tl.cdiv(window, BT)
    chunk = tl.program_id(0).to(tl.int64)
    group = tl.program_id(1).to(tl.int64) // blocks
    block = tl.program_id(1).to(tl.int64) % blocks
    inside = block * BD + tl.arange(0, BD)[:, None]
    place = tl.arange(0, BT)[None, :]
    local = chunk % per_window * BT + place
    time = chunk // per_window * window + local
    later = (local + 1 < window) & (place + 1 < BT)
    sample = tl.program_id(2).to(tl.int64)
    return sample, group, block, chunk, group * width + inside, time, inside < width, local < window, later


@triton.jit
def ends(
    values, delta, A, vectors, bias, sums, out,
    length, window, width, channels, states, chunks,
    value_b, value_d, value_t, delta_b, delta_d, delta_t, vector_b, vector_g, vector_n, vector_t,
    HAS_BIAS: tl.constexpr, SOFTPLUS: tl.constexpr, REVERSE: tl.constexpr, BD: tl.constexpr, BT: tl.constexpr,
):  # fmt: skip
    """Compute the exit state of each chunk from zero (values u, vectors B), and the sums of Delta for its decay.

    With REVERSE, compute the gradient at each chunk's entry from a zero gradient at its exit (values grad, vectors C).
    Both are sums over tokens with weights exp(A x sum of Delta over the tokens between), whose exponents are never
    positive.
    """
    sample, group, _, chunk, channel, time, own, token, later = _tile(window, width, BD, BT)
    delta += sample * delta_b + channel * delta_d + time * delta_t
    step, _ = _step(delta, bias, channel, own, own & token, HAS_BIAS, SOFTPLUS)
    value = load_fp32(values + sample * value_b + channel * value_d + time * value_t, own & token)
    if REVERSE:
        between = tl.cumsum(step, 1)
    else:
        next_step, _ = _step(delta + delta_t, bias, channel, own, own & later, HAS_BIAS, SOFTPLUS)
        between = tl.cumsum(next_step, 1, reverse=True)
        value *= step
    row = sample * chunks + chunk
    tl.store(sums + row * channels + channel, tl.sum(step, 1)[:, None], mask=own)
    vectors += sample * vector_b + group * vector_g + time * vector_t
    for n in range(states):
        a = load_fp32(A + channel * states + n, own)
        vector = load_fp32(vectors + n * vector_n, token)
        total = tl.sum(tl.exp(a * between) * value * vector, 1)
        tl.store(out + (row * states + n) * channels + channel, total[:, None], mask=own)


@triton.jit
def chain(
    sums, ends, A, first, entries, last, decay, offset, exits, grad_decay, grad_offset,
    channels, states, chunks, per_window,
    RECAP: tl.constexpr, REVERSE: tl.constexpr, BN: tl.constexpr, BD: tl.constexpr,
):  # fmt: skip
    """Compute the states between chunks: state <- exp(A sum) state + end, from `first` to `last` (b, N, D).

    `entries` are the states before each chunk. With RECAP, between windows also state <- decay state + offset; `exits`
    are the states before that. With REVERSE, gradients are passed on from the last chunk to the first, and the
    gradients of decay and offset are computed.
    """
    n = tl.arange(0, BN)[:, None]
    channel = tl.program_id(0).to(tl.int64) * BD + tl.arange(0, BD)[None, :]
    sample = tl.program_id(1).to(tl.int64)
    exists = channel < channels
    mask = (n < states) & exists
    own = n * channels + channel
    size = states * channels
    a = load_fp32(A + channel * states + n, mask)
    state = load_fp32(first + sample * size + own, mask)
    windows = chunks // per_window
    if RECAP:
        map_decay, map_offset = (
            load_fp32(decay + sample * size + own, mask),
            load_fp32(offset + sample * size + own, mask),
        )
        sum_decay, sum_offset = tl.zeros([BN, BD], tl.float32), tl.zeros([BN, BD], tl.float32)
    for i in range(chunks):
        chunk = i
        if REVERSE:
            chunk = chunks - 1 - i
            if RECAP:  # noqa: SIM102 - decided when compiled, the inner one when run
                if (chunk + 1) % per_window == 0 and i > 0:
                    exit_state = load_fp32(exits + (sample * windows + chunk // per_window) * size + own, mask)
                    sum_decay += state * exit_state
                    sum_offset += state
                    state = map_decay * state
        row = sample * chunks + chunk
        tl.store(entries + row * size + own, state, mask=mask)
        total = load_fp32(sums + row * channels + channel, exists)
        state = tl.exp(a * total) * state + load_fp32(ends + row * size + own, mask)
        if RECAP and not REVERSE:  # noqa: SIM102
            if (chunk + 1) % per_window == 0 and chunk + 1 < chunks:
                tl.store(exits + (sample * windows + chunk // per_window) * size + own, state, mask=mask)
                state = map_decay * state + map_offset
    tl.store(last + sample * size + own, state, mask=mask)
    if RECAP and REVERSE:
        tl.store(grad_decay + sample * size + own, sum_decay, mask=mask)
        tl.store(grad_offset + sample * size + own, sum_offset, mask=mask)


@triton.jit
def scan(
    u, delta, A, B, C, D, bias, entries, y,
    length, window, width, channels, states, chunks,
    u_b, u_d, u_t, delta_b, delta_d, delta_t, B_b, B_g, B_n, B_t, C_b, C_g, C_n, C_t,
    HAS_D: tl.constexpr, HAS_BIAS: tl.constexpr, SOFTPLUS: tl.constexpr, BD: tl.constexpr, BT: tl.constexpr,
):  # fmt: skip
    """Compute the outputs (b, D, L) of every chunk from its entry state."""
    sample, group, _, chunk, channel, time, own, token, _ = _tile(window, width, BD, BT)
    delta += sample * delta_b + channel * delta_d + time * delta_t
    step, _ = _step(delta, bias, channel, own, own & token, HAS_BIAS, SOFTPLUS)
    value = load_fp32(u + sample * u_b + channel * u_d + time * u_t, own & token)
    out = tl.zeros([BD, BT], tl.float32)
    if HAS_D:
        out += load_fp32(D + channel, own) * value
    value *= step
    first = tl.arange(0, BT)[None, :] == 0
    row = sample * chunks + chunk
    B += sample * B_b + group * B_g + time * B_t
    C += sample * C_b + group * C_g + time * C_t
    for n in range(states):
        decay = tl.exp(load_fp32(A + channel * states + n, own) * step)
        entry = load_fp32(entries + (row * states + n) * channels + channel, own)
        inflow = value * load_fp32(B + n * B_n, token) + tl.where(first, decay * entry, 0.0)
        _, state = tl.associative_scan((decay, inflow), 1, _compose)
        out += state * load_fp32(C + n * C_n, token)
    tl.store(y + (sample * channels + channel) * length + time, out, mask=own & token)


@triton.jit
def backward(
    u, delta, A, B, C, D, bias, grad, entries, exits, grad_u, grad_delta, grad_A, grad_B, grad_C, grad_D, grad_bias,
    length, window, width, channels, states, chunks, groups,
    u_b, u_d, u_t, delta_b, delta_d, delta_t, B_b, B_g, B_n, B_t, C_b, C_g, C_n, C_t, grad_b, grad_d, grad_t,
    HAS_D: tl.constexpr, HAS_BIAS: tl.constexpr, SOFTPLUS: tl.constexpr, BD: tl.constexpr, BT: tl.constexpr,
):  # fmt: skip
    """Compute the gradients of every chunk from its entry state and the gradient of its exit state.

    The formulas are in the specification selective-scan §1.1.

    Gradients of u and delta are written as (b, D, L); of A, D, bias as one summand per chunk, (b, chunks, [N,] D); of B
    and C as one summand per channel block, (blocks, b, G, N, L).
    """
    sample, group, block, chunk, channel, time, own, token, later = _tile(window, width, BD, BT)
    mask = own & token
    delta += sample * delta_b + channel * delta_d + time * delta_t
    step, raw = _step(delta, bias, channel, own, mask, HAS_BIAS, SOFTPLUS)
    next_step, _ = _step(delta + delta_t, bias, channel, own, own & later, HAS_BIAS, SOFTPLUS)
    u += sample * u_b + channel * u_d + time * u_t
    value = load_fp32(u, mask)
    g = load_fp32(grad + sample * grad_b + channel * grad_d + time * grad_t, mask)
    row = sample * chunks + chunk
    place = tl.arange(0, BT)[None, :]
    earlier = place > 0  # whose token before is in the same chunk
    past_step, _ = _step(delta - delta_t, bias, channel, own, mask & earlier, HAS_BIAS, SOFTPLUS)
    past_value = past_step * load_fp32(u - u_t, mask & earlier)
    into, through = tl.zeros([BD, BT], tl.float32), tl.zeros([BD, BT], tl.float32)
    B += sample * B_b + group * B_g + time * B_t
    C += sample * C_b + group * C_g + time * C_t
    columns = ((block * tl.num_programs(2) + sample) * groups + group) * states * length + time
    for n in range(states):
        at = (row * states + n) * channels + channel
        a = load_fp32(A + channel * states + n, own)
        b = load_fp32(B + n * B_n, token)
        past_inflow = past_value * load_fp32(B + n * B_n - B_t, token & earlier)
        entering = tl.where(earlier, past_inflow, load_fp32(entries + at, own))
        # the state before each token: h_t - Delta u B, where that is large, has no digits of a_t h_{t-1} left
        _, past = tl.associative_scan((tl.exp(a * past_step), entering), 1, _compose)
        kept = tl.exp(a * step) * past
        leaving = tl.where(place == BT - 1, load_fp32(exits + at, own), 0.0)
        received = g * load_fp32(C + n * C_n, token) + leaving
        _, flow = tl.associative_scan((tl.exp(a * next_step), received), 1, _compose, reverse=True)
        decayed = flow * kept  # a_t h_{t-1} g_t
        through += a * decayed
        into += flow * b
        tl.store(grad_A + at, tl.sum(decayed * step, 1)[:, None], mask=own)
        tl.store(grad_B + columns + n * length, tl.sum(flow * step * value, 0)[None, :], mask=token)
        tl.store(grad_C + columns + n * length, tl.sum((kept + step * value * b) * g, 0)[None, :], mask=token)
    out = into * step
    if HAS_D:
        out += load_fp32(D + channel, own) * g
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


@triton.jit
def _plain_tile(channels, length, BD: tl.constexpr, BT: tl.constexpr):
    """Return sample, channels (BD, 1), tokens (1, BT) of the program, masks of existing ones, places in (b, D, L)."""
    sample = tl.program_id(2).to(tl.int64)
    channel = tl.program_id(1).to(tl.int64) * BD + tl.arange(0, BD)[:, None]
    time = tl.program_id(0).to(tl.int64) * BT + tl.arange(0, BT)[None, :]
    at = (sample * channels + channel) * length + time
    return sample, channel, time, channel < channels, time < length, at


@triton.jit
def read(u, step, A, B, C, state, y, channels, length, states, BD: tl.constexpr, BT: tl.constexpr):
    """Compute the outputs (b, D, L), without the skip, of one scan step that each token makes from the same state."""
    sample, channel, time, own, token, at = _plain_tile(channels, length, BD, BT)
    delta = load_fp32(step + at, own & token)
    out, same = tl.zeros([BD, BT], tl.float32), tl.zeros([1, BT], tl.float32)
    for n in range(states):
        row = (sample * states + n) * length + time
        c = load_fp32(C + row, token)
        same += load_fp32(B + row, token) * c
        a = load_fp32(A + channel * states + n, own)
        h = load_fp32(state + (sample * channels + channel) * states + n, own)
        out += tl.exp(a * delta) * (h * c)
    out += delta * load_fp32(u + at, own & token) * same
    tl.store(y + at, out, mask=own & token)


@triton.jit
def read_backward(
    u, step, A, B, C, state, grad, grad_u, grad_step, grad_A, grad_B, grad_C, grad_state,
    channels, length, states, BD: tl.constexpr, BT: tl.constexpr,
):  # fmt: skip
    """Compute the gradients of `read`, one scan step of each token from the same state (selective-scan §5).

    Gradients of u and step are written as (b, D, L); of A and the state as one summand per block of tokens, (b, blocks,
    N, D); of B and C as one summand per block of channels, (blocks, b, N, L).
    """
    sample, channel, time, own, token, at = _plain_tile(channels, length, BD, BT)
    mask = own & token
    delta, value, g = load_fp32(step + at, mask), load_fp32(u + at, mask), load_fp32(grad + at, mask)
    received = tl.sum(g * delta * value, 0)[None, :]
    same, through = tl.zeros([1, BT], tl.float32), tl.zeros([BD, BT], tl.float32)
    for n in range(states):
        row = (sample * states + n) * length + time
        b, c = load_fp32(B + row, token), load_fp32(C + row, token)
        same += b * c
        a = load_fp32(A + channel * states + n, own)
        h = load_fp32(state + (sample * channels + channel) * states + n, own)
        weighted = tl.exp(a * delta) * g
        column = ((tl.program_id(1) * tl.num_programs(2) + sample) * states + n) * length + time
        tl.store(grad_B + column, c * received, mask=token)
        tl.store(grad_C + column, b * received + tl.sum(weighted * h, 0)[None, :], mask=token)
        weighted *= c
        place = ((sample * tl.num_programs(0) + tl.program_id(0)) * states + n) * channels + channel
        tl.store(grad_state + place, tl.sum(weighted, 1)[:, None], mask=own)
        weighted *= h
        through += a * weighted
        tl.store(grad_A + place, tl.sum(weighted * delta, 1)[:, None], mask=own)
    tl.store(grad_u + at, g * delta * same, mask=mask)
    tl.store(grad_step + at, through + g * value * same, mask=mask)
