"""LPG, a learned update rule."""

from metarl_jax.algorithms.learned_rule.learned_rule import LearnedRule

__all__ = ["LearnedRule"]
