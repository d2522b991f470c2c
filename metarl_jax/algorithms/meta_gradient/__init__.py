"""Meta-gradients: an actor-critic that tunes its own hyper-parameters."""

from metarl_jax.algorithms.meta_gradient.meta_gradient import MetaGradient

__all__ = ["MetaGradient"]
