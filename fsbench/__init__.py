"""fsbench: few-shot segmentation and few-shot classification-and-segmentation under one written-down protocol."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fsbench.predict.predictor import Predictor as Predictor

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`fsbench.Predictor`, loaded when it is asked for: it brings torch along."""
    if name == "Predictor":
        from fsbench.predict.predictor import Predictor

        return Predictor
    raise AttributeError(f"module 'fsbench' has no attribute '{name}'")
