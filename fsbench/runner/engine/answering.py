"""A method as the one who answers a test: on its device, in its precision, without gradients."""

import copy
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch

from fsbench.base.errors import SettingsError
from fsbench.core.method import Method
from fsbench.datamodules.datamodule import DataModule
from fsbench.protocols.loop import Answerer, Counting, count_answers


@contextmanager
def answering(
    method: Method, data: DataModule | None = None, precision: Callable[[], AbstractContextManager[Any]] = nullcontext
) -> Iterator[Answerer]:
    """Prepare a method for a test; within the block, yield a function that predicts a batch.

    Args:
        method: the method, on the device where it computes.
        data: data module of the test; None to predict single batches.
        precision: returns a context manager for each prediction, such as autocast; by default the precision of the
            method's weights.

    Yields:
        A function that takes a batch and returns a list with the prediction for each of its episodes.
    """

    def answer(batch: Any) -> list[Any]:
        here = method.on_device(batch)  # of tensors that inference mode makes nobody counts the writes
        with torch.inference_mode(), precision():
            return method.answer_batch(here)

    was_training = method.training
    method.eval()
    method.begin_test(data)
    try:
        yield answer
    finally:
        method.end_test()
        method.train(was_training)


def evaluate_batch(method: Method, test: Counting, batch: Any) -> list[Any]:
    """Predict a batch and count the pixels of the predictions; return each episode's result.

    Call it in eval mode and within `torch.inference_mode`.

    Args:
        method: the method; it does not get the truth.
        test: the test or its protocol, whose rules count pixels.
        batch: a batch of the test's loader, on the method's device.

    Returns:
        Counts and decisions of each episode of the batch (`SegmentationResult` or `ClassificationResult`).

    Raises:
        SettingsError, NumericsError: a prediction has a wrong size or labels, or scores that are not finite.
    """
    seen, truths = test.part(batch)
    return count_answers(test, method.answer_batch(seen), truths, method.registry_name)


def fresh_copy(method: Method) -> Method:
    """Return a copy of a method that shares its frozen network but starts without cached features."""
    method.backbone.cache.clear()
    shared = (method.backbone, vars(method).get("_trainer"))
    return copy.deepcopy(method, {id(part): part for part in shared})


def choose_device(name: str) -> torch.device:
    """Return the torch device of a name; "auto" is a GPU if there is one. Raises SettingsError if unavailable."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise SettingsError(f"device is '{name}', expected auto, cpu, cuda or cuda:<number>") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise SettingsError(
            f"device is '{name}', but torch sees {torch.cuda.device_count()} GPUs; expected cpu or auto"
        )
    return device
