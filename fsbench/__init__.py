"""fsbench: few-shot segmentation and few-shot classification-and-segmentation under one written-down protocol.

The names in `__all__` are the public interface. Each is loaded when it is first asked for, so that reading results
brings no torch along.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fsbench.base.version import __version__

if TYPE_CHECKING:
    from fsbench.predict.predictor import Predictor
    from fsbench.protocols.kit.writer import Answers
    from fsbench.runner.config.tests import load_test
    from fsbench.runner.evaluation.evaluate import evaluate
    from fsbench.runner.evaluation.score import score
    from fsbench.runner.training_data import load_training
    from fsbench.runs import load_runs

__all__ = ["Answers", "Predictor", "__version__", "evaluate", "load_runs", "load_test", "load_training", "score"]

_MODULES = {
    "Answers": "fsbench.protocols.kit.writer",
    "Predictor": "fsbench.predict.predictor",
    "evaluate": "fsbench.runner.evaluation.evaluate",
    "load_runs": "fsbench.runs",
    "load_test": "fsbench.runner.config.tests",
    "load_training": "fsbench.runner.training_data",
    "score": "fsbench.runner.evaluation.score",
}
"""Module of each public name."""


def __getattr__(name: str) -> Any:
    """Load a public name. Raises AttributeError for another."""
    if name not in _MODULES:
        raise AttributeError(f"module 'fsbench' has no attribute '{name}'; it has: {', '.join(__all__)}")
    value = globals()[name] = getattr(import_module(_MODULES[name]), name)
    return value


def __dir__() -> list[str]:
    return [*__all__]
