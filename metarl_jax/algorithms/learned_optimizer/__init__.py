"""A learned optimiser."""

from metarl_jax.algorithms.learned_optimizer.learned_optimizer import LearnedOptimizer

__all__ = ["LearnedOptimizer"]
