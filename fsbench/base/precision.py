"""Names of the types that a run, a frozen network and its kept features compute in."""

from typing import Any, Literal, get_args

from fsbench.base.errors import SettingsError

Precision = Literal["32-true", "16-mixed", "bf16-mixed", "32", "16", "bf16", 32, 16]
"""Precision of a run: Lightning's three names, whose weights and images stay in float32, and its short ones of them."""
FULL_NAMES = {"32": "32-true", "16": "16-mixed", "bf16": "bf16-mixed"}
"""Lightning's names of a precision by its short ones."""
NetworkPrecision = Literal["fp32", "bf16", "fp16"]
"""Precision in which a frozen network computes; `fp32` is that of the run."""
CacheDtype = Literal["float32", "bfloat16", "float16"]
"""Type that kept features are rounded to."""


def check_precision(precision: Any) -> None:
    """Raise SettingsError unless weights and images stay in float32."""
    if precision not in get_args(Precision):
        raise SettingsError(
            f"trainer.precision is {precision}, expected 32-true, 16-mixed or bf16-mixed: weights and images stay in "
            "float32"
        )
