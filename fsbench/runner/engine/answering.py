"""A method that answers outside of a run: single batches, fresh copies of it, and the device where it computes."""

import copy
from typing import Any

import torch

from fsbench.base.errors import SettingsError
from fsbench.core.answering import asked
from fsbench.core.method import Method
from fsbench.protocols.loop import Counting, count_answers


def evaluate_batch(method: Method, test: Counting, batch: Any) -> list[Any]:
    """Predict a batch and count the pixels of the predictions; return each episode's result.

    Call it in eval mode.

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
    with asked():
        answers = method.answer_batch(seen)
    return count_answers(test, answers, truths, method.registry_name)


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
