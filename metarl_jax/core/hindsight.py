"""What an adaptation was worth, as seen afterwards: the credit of the actions that it learned from."""

import jax
import jax.numpy as jnp

from metarl_jax.core.batching import Devices
from metarl_jax.core.losses import Loss, moments
from metarl_jax.core.types import Array, Experience


def credit_hindsight(loss: Loss, history: Experience, devices: Devices = Devices()) -> Experience:  # noqa: B008
    """Fill in `hindsight` [N, K+1, T, E] of credited lives: the same for all steps of a trajectory, 0 after the last.

    R_K − b in the units in which `loss` counts returns, where R_K is the mean return after the last adaptation. The
    baseline b is the mean return of the other trajectories that the agent then adapted to, plus what adapting gained in
    the other tasks: no action is judged against its own luck, so b leaves the expected gradient as it is. Standardised
    advantages divide by a number that itself depends on what was adapted to; without them the credit is exact.
    """
    before = _mean_return(history, axis=2)[:, :-1]  # [N, K, E]
    after = _mean_return(history, axis=(2, 3))[:, -1:]  # [N, 1]
    alone = before.shape[-1] == 1
    gained = after + jnp.zeros_like(before[..., 0]) if alone else after - jnp.mean(before, axis=-1)  # [N, K]
    baseline = _others(before, axis=-1) + _others(gained, axis=0, devices=devices)[..., None]
    worth = (after[..., None] - baseline) * _unit(loss, history)[:, None, None]
    whole = jnp.concatenate([worth, jnp.zeros_like(worth[:, :1])], axis=1)[:, :, None]  # [N, K+1, 1, E]
    return history._replace(hindsight=jnp.broadcast_to(whole, history.reward.shape))


def _mean_return(history: Experience, axis: int | tuple[int, ...]) -> Array:
    """The mean return of the episodes that begin along an axis."""
    starts = history.timestep.first * history.weight
    return jnp.sum(starts * history.target, axis=axis) / jnp.maximum(jnp.sum(starts, axis=axis), 1e-8)


def _unit(loss: Loss, history: Experience) -> Array:
    """By how much the last loss falls when the return of an episode grows by one, [N]."""
    last = jax.tree.map(lambda x: x[:, -1], history)
    counted = jnp.maximum(jnp.sum(last.weight, axis=(1, 2)), 1e-8)
    unit = jnp.sum(last.timestep.first * last.weight, axis=(1, 2)) / counted
    return unit / jax.vmap(moments)(last)[1] if loss.normalise else unit


def _others(x: Array, axis: int, devices: Devices = Devices()) -> Array:  # noqa: B008
    """The mean of the others along an axis, which `devices` share; 0 where there are none."""
    count = x.shape[axis] * devices.count
    total = count * devices.mean(jnp.mean(x, axis=axis, keepdims=True))
    return (total - x) / (count - 1) if count > 1 else jnp.zeros_like(x)
