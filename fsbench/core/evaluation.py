"""Evaluate batches that carry their truth: the method answers without it, and the protocol counts the answers."""

from collections.abc import Sequence
from typing import Any

from fsbench.core.method import Method
from fsbench.errors import NumericsError, SettingsError
from fsbench.protocols.base import Protocol


def evaluate_batch(method: Method, protocol: Protocol, batch: Any) -> list[Any]:
    """Answer a batch by the method's `test_step`, and count its answers; for use in `torch.inference_mode`.

    Args:
        method: the method.
        protocol: how the answers are counted.
        batch: items of the protocol's loader, on the method's device.

    Returns:
        The results of the episodes.

    Raises:
        SettingsError, NumericsError: an answer cannot be counted.
    """
    visible, truths = protocol.separate(batch)
    step: Any = method.test_step
    return count_answers(method.registry_name, protocol, step(visible, 0), truths)


def count_answers(name: str, protocol: Any, outputs: Any, truths: Sequence[Any]) -> list[Any]:
    """Count what a step of the evaluation gave against the truth of its episodes.

    Args:
        name: the method's, for messages.
        protocol: how the answers are counted.
        outputs: what `test_step` or `validation_step` returned.
        truths: what the answers are counted against, in their order.

    Raises:
        SettingsError: there is not one answer for each episode, or a mask of another size or with other labels.
        NumericsError: a presence score is NaN or infinite.
    """
    answers = outputs.get("answers") if isinstance(outputs, dict) else None
    if not isinstance(answers, list) or len(answers) != len(truths):
        found = "no list 'answers'" if not isinstance(answers, list) else f"{len(answers)} answers"
        raise SettingsError(
            f"{name}: a step of the evaluation gave {found} for {len(truths)} episodes, expected one answer each; "
            "leave test_step and validation_step as the base class has them"
        )
    try:
        return [protocol.count(answer, truth) for answer, truth in zip(answers, truths, strict=True)]
    except (SettingsError, NumericsError) as error:
        raise type(error)(f"{name}: {error}") from error
