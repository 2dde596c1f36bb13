"""Probes of frozen tokens that any method on the same backbone must beat: a linear classifier, and one with LoRA."""

from fsbench.methods.dense_probes.linear_probe import LinearProbeDense
from fsbench.methods.dense_probes.lora_probe import LoraProbeDense

__all__ = ["LinearProbeDense", "LoraProbeDense"]
