"""Learning in context from the histories of others."""

from metarl_jax.algorithms.in_context.algorithm_distillation import AlgorithmDistillation
from metarl_jax.algorithms.in_context.decision_pretrained import DecisionPretrained

__all__ = ["AlgorithmDistillation", "DecisionPretrained"]
