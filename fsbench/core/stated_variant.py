"""The variant of a method that an authors' checkpoint was trained as: stated beside it, or taken on trust.

Weights do not show every setting (those of CST* and CST-large have equal keys and shapes), so what the authors' file
beside a checkpoint states is compared with what the method is built with.
"""

from collections.abc import Mapping
from typing import Any

from fsbench.base.errors import CheckpointError

STATED = "stated"
"""Key under which a converted checkpoint keeps the settings that were stated beside the authors'."""

OPTIONS = {"support_side": "--model.support_side {}", "image_size": "--image-size {}"}
"""Option that sets a setting."""


def check_stated(name: str, settings: Mapping[str, Any], stated: Mapping[str, Any], whose: str) -> bool:
    """Compare the settings stated in a file beside an authors' checkpoint with those of a method.

    Args:
        name: registry name of the method.
        settings: {setting: value} of the method as it is built; with `image_size` where it is to be compared.
        stated: {setting in fsbench's names: value}; "method" is the method's name in the authors' spelling.
        whose: description of the checkpoint for messages.

    Returns:
        Whether all settings are stated that cannot be read off the weights; else they are taken on trust.

    Raises:
        CheckpointError: a setting differs; the message says how to set it.
    """
    spelling = stated.get("method")
    if spelling is not None and not _letters(spelling).startswith(name):
        raise CheckpointError(
            f"{whose} is of {spelling}, as its config.yaml states; expected {name}; give the METHOD that it is of, or "
            f"a checkpoint of {name}"
        )
    for key, ours in settings.items():
        if key in stated and stated[key] != ours:
            raise CheckpointError(
                f"{whose} was trained with {key} {stated[key]}, as its config.yaml states; expected {ours}, with which "
                f"the method is built; give {OPTIONS[key].format(stated[key])}"
            )
    return {"support_side", "image_size"} <= stated.keys()


def _letters(name: str) -> str:
    """Return a name in lower case without signs: "CST*" as "cst"."""
    return "".join(letter for letter in name.lower() if letter.isalnum())
