"""Disco103 of Oh et al. 2025 as a rule to run; `disco` is its constructor."""

from metarl_jax.algorithms.disco.disco import Disco

__all__ = ["Disco"]
