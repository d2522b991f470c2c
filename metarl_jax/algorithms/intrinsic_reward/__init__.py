"""Learned intrinsic rewards."""

from metarl_jax.algorithms.intrinsic_reward.intrinsic_reward import IntrinsicReward

__all__ = ["IntrinsicReward"]
