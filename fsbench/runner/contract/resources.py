"""Checks of numbers in half precision, and of memory over many episodes."""

import gc
import tracemalloc
import warnings

import torch
from torch import Tensor

from fsbench.core.method import Method
from fsbench.data.batch import EpisodeBatch
from fsbench.protocols.reading import DEFAULT_PROTOCOLS, load_protocol
from fsbench.runner.contract.subject import (
    Episode,
    NotApplicableError,
    Subject,
    ViolationError,
    copied,
    join,
)
from fsbench.runner.engine.answering import evaluate_batch
from fsbench.runner.engine.machine.meter import release_memory, resident_mib

NEAR = 0.1
"""Norm of the difference that half precision makes to margins or scores, as a share of their norm in fp32."""
AGREEING = 0.9
"""Share of labels that stay as they are in fp32, where a method gives no logits."""

WARM_UP = 10
"""Episodes before the memory is measured first."""
TENSORS = 8
"""Number of live tensors that there may be more of afterwards."""
PYTHON_KIB = 128
"""Memory of Python and numpy, in KiB, that may be more."""
RESIDENT_MIB = 48
"""Resident memory of the process, in MiB, that may be more: allocators keep some of what is freed."""


def check_half_precision(subject: Subject) -> str:
    """Check that bf16 (on CUDA also fp16) gives finite predictions close to those of fp32."""
    if not subject.segments:
        raise NotApplicableError("classifiers answer with labels alone, no number of which could be near")
    words = []
    cases = [("cpu", torch.bfloat16)]
    if torch.cuda.is_available():
        cases += [("cuda", torch.bfloat16), ("cuda", torch.float16)]
    for device, dtype in cases:
        method = subject.method if device == "cpu" else subject.fresh().to(device)
        distance = max(_distance(method, subject, number, device, dtype) for number in range(2))
        name = f"{str(dtype).removeprefix('torch.')} on {device}"
        if not distance <= 1:
            raise ViolationError(
                f"answers {distance:.2g} times as far from fp32 as they may be, with {name}",
                f"finite ones, logits within {NEAR:.0%} or {AGREEING:.0%} of the labels",
                "compute sums, logarithms and divisions in fp32",
            )
        words.append(f"{name}: {distance:.0%} of what it may")
    return f"finite and near fp32 ({'; '.join(words)})"


def _distance(method: Method, subject: Subject, number: int, device: str, dtype: torch.dtype) -> float:
    """Return how far half precision changes an answer, as a share of what is allowed; infinity for NaN or infinity."""
    ways = 5 if subject.shots == 1 and subject.takes_ways(5) is None else subject.ways
    episode = subject.episode(60 + number, ways)
    full = _values(method, copied(episode).to(device))
    with torch.autocast(device, dtype):
        half = _values(method, copied(episode).to(device))
    if not bool(half.isfinite().all()):
        return float("inf")
    if full.is_floating_point():
        return float((half - full).norm() / full.norm()) / NEAR
    return float((half != full).float().mean()) / (1 - AGREEING)


def _values(method: Method, episode: object) -> Tensor:
    """Return the margins between foreground and background where a method gives logits, else its labels."""
    assert isinstance(episode, EpisodeBatch)
    with torch.inference_mode():
        prediction = method.predict_shots(episode.without_truth())  # type: ignore[operator]
    if prediction.presence_score is not None and not bool(prediction.presence_score.isfinite().all()):
        return torch.full((1,), torch.nan)
    if prediction.logits is None:
        return prediction.label_map
    return (prediction.logits[:, 1] - prediction.logits[:, 0]).double()


def check_memory(subject: Subject) -> str:
    """Check that memory (tensors, Python's objects, the process) does not grow over many episodes.

    The backbone's feature cache, whose size is limited anyway, is off during the check.

    Returns:
        A sentence on what was measured.
    """
    method, ways = subject.method, 1 if subject.takes_ways(1) is None else subject.ways
    cache = method.backbone.cache
    cache.clear()
    bound, cache.max_bytes = cache.max_bytes, 0
    tracemalloc.start(1)
    try:
        for number in range(WARM_UP):
            _answer(method, subject.episode(1000 + number, ways))
        before = _in_use()
        python = tracemalloc.get_traced_memory()[0]
        for number in range(WARM_UP, subject.memory_episodes):
            _answer(method, subject.episode(1000 + number, ways))
        after = _in_use()
        python = tracemalloc.get_traced_memory()[0] - python
    finally:
        cache.max_bytes = bound
        tracemalloc.stop()
    tensors, resident = (now - earlier for now, earlier in zip(after, before, strict=True))
    words = (
        f"{tensors:+.0f} live tensors, {python / 1024:+.0f} KiB of Python, {resident:+.1f} MiB resident from episode "
        f"{WARM_UP} to {subject.memory_episodes}"
    )
    if tensors > TENSORS or python > PYTHON_KIB * 1024 or resident > RESIDENT_MIB:
        raise ViolationError(
            words,
            f"at most {TENSORS} tensors, {PYTHON_KIB} KiB and {RESIDENT_MIB} MiB more",
            "keep nothing of an episode but in backbone.cache, which is bounded",
        )
    return words


def _answer(method: Method, episode: Episode) -> None:
    """Answer an episode by the test step alone, as no trainer is to hold memory."""
    with torch.inference_mode():
        evaluate_batch(method, load_protocol(DEFAULT_PROTOCOLS[method.task]), join(method, [episode]))


def _in_use() -> tuple[float, float]:
    """Return the number of live tensors and the process's resident memory in MiB."""
    release_memory()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of deprecated objects that are merely asked for their type
        tensors = sum(issubclass(type(item), Tensor) for item in gc.get_objects())
    return tensors, resident_mib()
