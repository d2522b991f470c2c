"""Returns and advantages along the time axis: arrays [T, ...], any trailing axes."""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from metarl_jax.core.types import Array, Experience


class Boundaries(NamedTuple):
    """Where sums over the future are cut."""

    bootstrap: Array  # [T, E] 1 where the value of the next observation counts
    trace: Array  # [T, E] 1 where the next step belongs to the same sum


def boundaries(experience: Experience, trial: bool = False) -> Boundaries:
    """Cut sums at the ends of episodes, or with `trial` only where the quota of episodes is used up.

    A terminated episode has no future; a truncated one has, but its next step belongs to another episode.
    """
    dtype = experience.reward.dtype
    if trial:
        continues = (~experience.final).astype(dtype)
        return Boundaries(continues, continues)
    bootstrap = ~experience.terminated
    return Boundaries(bootstrap.astype(dtype), (bootstrap & ~experience.truncated).astype(dtype))


def discounted_returns(reward: Array, discount: Array, last: Array | None = None) -> Array:
    """Reward to go, G_t = r_t + d_t G_{t+1}; `last` [...] follows the final step (0 unless given)."""
    chex.assert_equal_shape([reward, discount])

    def accumulate(future: Array, now: tuple[Array, Array]) -> tuple[Array, Array]:
        reward, discount = now
        total = reward + discount * future
        return total, total

    start = jnp.zeros_like(reward[0]) if last is None else last
    return jax.lax.scan(accumulate, start, (reward, discount), reverse=True)[1]


def gae(
    reward: Array, value: Array, next_value: Array, edges: Boundaries, gamma: Array | float, lambda_: Array | float
) -> Array:
    """Generalised advantage estimates (Schulman et al. 2016, arXiv:1506.02438, eq. 16), [T, ...].

        δ_t = r_t + γ b_t V(s_{t+1}) − V(s_t);     A_t = δ_t + γ λ c_t A_{t+1}

    b is `bootstrap` (0 where the task ended), c is `trace` (0 at every boundary).
    """
    chex.assert_equal_shape([reward, value, next_value, edges.bootstrap, edges.trace])
    delta = reward + gamma * edges.bootstrap * next_value - value
    return discounted_returns(delta, gamma * lambda_ * edges.trace)


def episode_time(first: Array) -> Array:
    """Steps since the episode began, [T, E], counted from the start of the record if it began earlier."""
    clock = jnp.arange(first.shape[0], dtype=jnp.int32).reshape((-1,) + (1,) * (first.ndim - 1))
    return clock - jax.lax.cummax(jnp.where(first, clock, 0))


def linear_baseline(experience: Experience, target: Array, ridge: float = 1e-5) -> Array:
    """The fitted values of a least-squares regression of `target` [T, E] on [s, s², t, t², t³, 1].

    The time-dependent linear baseline of Duan et al. 2016 (arXiv:1604.06778, §4.1), refitted to the data of one task; t
    is in units of 100 steps. The normal equations are solved on standardised features, and once more for the residual
    of the first solution, which in float32 exceeds rounding errors where all returns are as predicted.

    Every return contributes to its own prediction, so the advantages and the expected policy gradient shrink.
    `leave_one_out_baseline` has no such bias.
    """
    chex.assert_rank([target, experience.weight], 2)
    features = _standard_features(experience)
    features = jnp.concatenate([features, jnp.ones_like(features[..., :1])], axis=-1)  # [T, E, F]
    count = jnp.maximum(jnp.sum(experience.weight), 1.0)
    flat = (experience.weight[..., None] * features).reshape(-1, features.shape[-1])
    gram = flat.T @ features.reshape(flat.shape) / count + ridge * jnp.eye(flat.shape[-1])

    def fit(target: Array) -> Array:
        return features @ _solve(gram, flat.T @ target.reshape(-1) / count)

    first = fit(target)
    return first + fit(target - first)


def leave_one_out_baseline(experience: Experience, target: Array, ridge: float = 0.2) -> Array:
    """The same regression for each environment, fitted only to the other environments, [T, E].

    Given the agent, trajectories of different environments are independent. The baseline of an environment therefore
    depends on that environment only through s_t and t, and the expected policy gradient is unchanged. With a single
    environment the prediction is 0.

    Each environment has a Gram matrix of [1, features, target]. That of the others is the sum of all minus its own, and
    the E systems are solved together. Few trajectories cover few states, so the `ridge` is large, and predictions are
    clipped to the range of the others' returns. The ridge is in units of each feature's variance among the others; the
    constant has none. The variance in the whole record, which depends on the environment left out, matters only where
    the variance among the others is almost 0.
    """
    chex.assert_rank([target, experience.weight], 2)
    features, weight = _standard_features(experience), experience.weight
    rows = jnp.concatenate([jnp.ones_like(features[..., :1]), features, target[..., None]], axis=-1)  # [T, E, F + 1]
    own = jnp.einsum("tei,tej->eij", weight[..., None] * rows, rows)
    others = jnp.sum(own, axis=0) - own
    count = others[:, 0, 0]
    others = (others / jnp.where(count > 0, count, 1.0)[:, None, None]).at[:, 0, 0].set(1.0)
    gram, moment = others[:, :-1, :-1], others[:, :-1, -1]
    variance = jnp.diagonal(gram, axis1=1, axis2=2) - gram[:, 0] ** 2  # [E, F], 0 for the constant
    least = jnp.sqrt(jnp.finfo(gram.dtype).eps)
    penalty = (ridge * jnp.maximum(variance, 0.0) + least).at[:, 0].set(0.0)
    coefficients = jax.vmap(_solve)(gram + penalty[:, :, None] * jnp.eye(gram.shape[-1]), moment)
    predicted = jnp.einsum("tei,ei->te", rows[..., :-1], coefficients)
    low, high = _range_of_others(target, weight)
    return jnp.where(low <= high, jnp.clip(predicted, low, high), 0.0)


def _range_of_others(x: Array, weight: Array) -> tuple[Array, Array]:
    """The minimum and maximum of x [T, E] over the counted steps of the other environments, [E] each."""
    apart = ~jnp.eye(x.shape[1], dtype=bool)
    low = jnp.min(x, axis=0, where=weight > 0, initial=jnp.inf)
    high = jnp.max(x, axis=0, where=weight > 0, initial=-jnp.inf)
    return (
        jnp.min(jnp.broadcast_to(low, apart.shape), axis=1, where=apart, initial=jnp.inf),
        jnp.max(jnp.broadcast_to(high, apart.shape), axis=1, where=apart, initial=-jnp.inf),
    )


def _standard_features(experience: Experience) -> Array:
    """[s, s², t, t², t³] with mean 0 and deviation 1 over the steps that count, [T, E, F]."""
    observation = experience.timestep.observation  # [T, E, O]
    time = episode_time(experience.timestep.first)[..., None].astype(float) / 100.0
    features = jnp.concatenate([observation, observation**2, time, time**2, time**3], axis=-1)
    weight = experience.weight[..., None]
    count = jnp.maximum(jnp.sum(weight), 1.0)
    features = features - jnp.sum(weight * features, axis=(0, 1), keepdims=True) / count
    return features / jnp.sqrt(jnp.sum(weight * features**2, axis=(0, 1), keepdims=True) / count + 1e-8)


def _solve(matrix: Array, vector: Array) -> Array:
    """Solve A x = b, [F], for a positive definite A [F, F] by elimination, which then needs no pivoting.

    LAPACK's batched solvers can deadlock, as they wait for threads of the pool that they run in.
    """

    def eliminate(k: Array, rows: Array) -> Array:
        row = rows[k] / rows[k, k]
        return (rows - rows[:, k, None] * row[None]).at[k].set(row)

    rows = jnp.concatenate([matrix, vector[:, None]], axis=1)  # [F, F + 1]
    return jax.lax.fori_loop(0, len(matrix), eliminate, rows)[:, -1]
