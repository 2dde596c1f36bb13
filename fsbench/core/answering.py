"""A method as the one who answers: without training mode, gradients and the settings of a program around it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch

from fsbench.core.global_state import apart_from_program
from fsbench.core.method import Method

THREADS = torch.get_num_threads()
"""Number of threads that torch uses before Lightning divides the cores among the ranks of a machine."""


@contextmanager
def asked(precision: Callable[[], AbstractContextManager[Any]] = nullcontext) -> Iterator[None]:
    """Within the block, a method predicts: without gradients, in the precision of its weights or in that given."""
    with torch.inference_mode(), apart_from_program(), precision():
        yield


@contextmanager
def in_eval_mode(network: torch.nn.Module) -> Iterator[None]:
    """Within the block, a network is in eval mode; each of its modules gets its own mode back afterwards."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def answering(
    method: Method, data: Any = None, precision: Callable[[], AbstractContextManager[Any]] = nullcontext
) -> Iterator[Callable[[Any], Sequence[Any]]]:
    """Prepare a method for a test; within the block, yield a function that predicts a batch.

    Args:
        method: the method, on the device where it computes.
        data: data module of the test; None to predict single batches.
        precision: returns a context manager for each prediction, such as autocast; by default the precision of the
            method's weights.

    Yields:
        A function that takes a batch and returns a list with the prediction for each of its episodes.
    """

    def answer(batch: Any) -> Sequence[Any]:
        here = method.on_device(batch)  # of tensors that inference mode makes nobody counts the writes
        with asked(precision):
            return method.answer_batch(here)

    with in_eval_mode(method):
        method.begin_test(data)
        try:
            yield answer
        finally:
            method.end_test()
