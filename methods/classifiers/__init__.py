"""Few-shot classification: training-free classifiers, fine-tuning, and FORT (NeurIPS 2023; `fort.md`)."""

from fsbench.methods.classifiers.fine_tuned import FineTuned as FineTuned
from fsbench.methods.classifiers.frozen import FrozenClassifier as FrozenClassifier
from fsbench.methods.classifiers.frozen import LinearProbe as LinearProbe
