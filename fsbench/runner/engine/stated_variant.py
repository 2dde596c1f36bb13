"""The variant of a method that an authors' checkpoint was trained as: stated beside it, or taken on trust.

Weights do not show every setting (those of CST* and CST-large have equal keys and shapes), so what the authors' file
beside a checkpoint states is compared with what the method is built with.
"""

from collections.abc import Mapping
from typing import Any

from fsbench.base.errors import CheckpointError
from fsbench.core.method import Method
from fsbench.records.run import ON_TRUST, STATED_VARIANT, Variant

STATED = "stated"
"""Key under which a converted checkpoint keeps the settings that were stated beside the authors'."""

VARIANT = "variant"
"""Key of `fsbench.runner.engine.checkpoint.load_checkpoint`'s result: STATED_VARIANT, ON_TRUST, or None."""

OPTIONS = {"support_side": "--model.support_side {}", "image_size": "--data.image_size {}"}
"""Option that sets a setting."""


def check_stated(method: Method, stated: Mapping[str, Any], image_size: int | None, whose: str) -> Variant:
    """Compare the settings stated in a file beside an authors' checkpoint with those of the method.

    Args:
        method: the method as it is built.
        stated: {setting in fsbench's names: value}; "method" is the method's name in the authors' spelling.
        image_size: side of the images that the method gets; None for no comparison.
        whose: description of the checkpoint for messages.

    Returns:
        STATED_VARIANT, or ON_TRUST if a setting that cannot be read off the weights is not stated.

    Raises:
        CheckpointError: a setting differs; the message says how to set it.
    """
    expected = method.checkpoint_settings() | ({} if image_size is None else {"image_size": image_size})
    name = stated.get("method")
    if name is not None and not _letters(name).startswith(method.registry_name):
        raise CheckpointError(
            f"{whose} is of {name}, as its config.yaml states; expected {method.registry_name}; give the "
            f"METHOD that it is of, or a checkpoint of {method.registry_name}"
        )
    for key, ours in expected.items():
        if key in stated and stated[key] != ours:
            raise CheckpointError(
                f"{whose} was trained with {key} {stated[key]}, as its config.yaml states; expected {ours}, with which "
                f"the method is built; give {OPTIONS[key].format(stated[key])}"
            )
    return STATED_VARIANT if {"support_side", "image_size"} <= stated.keys() else ON_TRUST


def describe_stated(stated: Mapping[str, Any]) -> str:
    """Describe stated settings, such as "support_side 12, image_size 700", or that they are taken on trust."""
    words = ", ".join(f"{key} {value}" for key, value in stated.items())
    return f"{words} ({STATED_VARIANT})" if stated else f"{ON_TRUST}, as no config.yaml is beside it"


def _letters(name: str) -> str:
    """Return a name in lower case without signs: "CST*" as "cst"."""
    return "".join(letter for letter in name.lower() if letter.isalnum())
