"""Credit for the gain from an adaptation, which E-MAML adds to MAML (Al-Shedivat et al. 2018; Stadie et al. 2018).

The expected return of a lifetime also depends on φ through the actions before an adaptation:

    ∇φ E[ R_K ] = E[ ∂R_K/∂φ + R_K Σ_{k<K} Σ_{t,e} ∇ log π_{θ_k}(a|s) ]

The sum is over all E trajectories that are adapted to, not their mean.
"""

import jax
import jax.numpy as jnp

from metarl_jax.core.batching import Devices
from metarl_jax.core.losses import Loss, log_ratio, moments
from metarl_jax.core.objective import Objective, joined
from metarl_jax.core.policy import Policy
from metarl_jax.core.rollout import replay
from metarl_jax.core.types import Agent, Array, Record, Tree


def with_hindsight(objective: Objective, policy: Policy) -> Objective:
    """Credit the actions before an adaptation with the gain from it, which the record must hold."""

    def credit(meta_params: Tree, agent: Agent, lived: Record) -> Array:
        moved = log_ratio(policy, replay(policy, agent.params, lived.seen), lived.seen)
        return -jnp.sum(jnp.exp(moved) * lived.credit.hindsight * lived.seen.weight)

    return joined(objective, credit)


def credit_hindsight(loss: Loss, lived: Record, devices: Devices = Devices()) -> Record:  # noqa: B008
    """Fill in `hindsight` [N, K+1, T, E] of records: the same for all steps of a trajectory, 0 after the last.

    The credit is R_K − b in the units in which `loss` counts returns; R_K is the mean return after the last adaptation.
    The baseline b is the mean return of the other trajectories of the same adaptation plus the mean gain in the other
    tasks. It is independent of the credited actions, so the expected gradient is unchanged. Standardised advantages are
    divided by a number that itself depends on the adaptation; without standardising the credit is exact.
    """
    before = _mean_return(lived, axis=2)[:, :-1]  # [N, K, E]
    after = _mean_return(lived, axis=(2, 3))[:, -1:]  # [N, 1]
    single = before.shape[-1] == 1
    gained = after + jnp.zeros_like(before[..., 0]) if single else after - jnp.mean(before, axis=-1)  # [N, K]
    baseline = _others(before, axis=-1) + _others(gained, axis=0, devices=devices)[..., None]
    worth = (after[..., None] - baseline) * _unit(loss, lived)[:, None, None]
    whole = jnp.concatenate([worth, jnp.zeros_like(worth[:, :1])], axis=1)[:, :, None]  # [N, K+1, 1, E]
    hindsight = jnp.broadcast_to(whole, lived.seen.reward.shape)
    return lived._replace(credit=lived.credit._replace(hindsight=hindsight))


def _mean_return(lived: Record, axis: int | tuple[int, ...]) -> Array:
    """The mean return of the episodes that begin along an axis."""
    starts = jnp.where(lived.seen.timestep.first, lived.seen.weight, 0.0)
    return jnp.sum(starts * lived.credit.target, axis=axis) / jnp.maximum(jnp.sum(starts, axis=axis), 1e-8)


def _unit(loss: Loss, lived: Record) -> Array:
    """The decrease of the last loss when the return of an episode grows by one, [N]."""
    seen, credit = jax.tree.map(lambda x: x[:, -1], (lived.seen, lived.credit))
    counted = jnp.maximum(jnp.sum(seen.weight, axis=(1, 2)), 1e-8)
    unit = jnp.sum(jnp.where(seen.timestep.first, seen.weight, 0.0), axis=(1, 2)) / counted
    return unit / jax.vmap(moments)(credit, seen.weight)[1] if loss.normalise else unit


def _others(x: Array, axis: int, devices: Devices = Devices()) -> Array:  # noqa: B008
    """The mean of the others along an axis, which `devices` share; 0 where there are none."""
    count = x.shape[axis] * devices.count
    total = count * devices.mean(jnp.mean(x, axis=axis, keepdims=True))
    return (total - x) / (count - 1) if count > 1 else jnp.zeros_like(x)
