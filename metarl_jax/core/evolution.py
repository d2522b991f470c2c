"""Improve φ without a derivative: evolution strategies on what lives earn."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh

from metarl_jax.core.batching import Devices, map_tasks
from metarl_jax.core.lifetime import Lifetime, LifetimeState, run_lifetime
from metarl_jax.core.losses import Loss, weighted_mean
from metarl_jax.core.meta import (
    Info,
    Life,
    MetaLearner,
    Outer,
    Update,
    beginning,
    meta_learner,
    report,
)
from metarl_jax.core.objective import Schedule
from metarl_jax.core.returns import boundaries, discounted_returns
from metarl_jax.core.types import Array, Experience, Key, Split, Tree


def evolution(
    lifetime: Lifetime,
    objective: Schedule,
    optimiser: optax.GradientTransformation,
    tasks: int,
    *,
    pairs: int = 32,
    sigma: Array | float = 0.05,
    lifespan: int = 1,
    chunk: int | None = None,
    split: Split = "train",
    mesh: Mesh | None = None,
) -> MetaLearner:
    """Evolution strategies on an objective of lives (Salimans et al. 2017, arXiv:1703.03864).

        ∇φ L ≈ 1/(2 n σ) Σ_i [u(φ + σ ε_i) − u(φ − σ ε_i)] ε_i

    u are centred ranks of L over the population. All members live the same tasks with the same keys, so that a pair
    differs in φ alone. Needs no derivative of anything. Lives that outlast a meta-step go on as φ itself lives them,
    and every member lives the next window from there.
    """
    persistent = lifespan > 1

    def improve(outer: Outer, lives: Life, key: Key, devices: Devices) -> tuple[Outer, LifetimeState | None, Info]:
        judged = objective(outer.step)
        flat, unravel = ravel_pytree(outer.meta_params)
        directions = jax.random.normal(key, (pairs, flat.size), flat.dtype)

        def live(meta_params: Tree, *life: Any) -> tuple[LifetimeState, Array, Info]:
            state = beginning(lifetime, meta_params, life)
            state, losses, history = run_lifetime(
                lifetime, judged.last, meta_params, state, life[-1], before=judged.before
            )
            return state, judged.reduce(losses), report(history)

        def member(direction: Array) -> tuple[Array, Info]:
            member_params = unravel(flat + sigma * direction)
            losses, info = map_tasks(lambda *life: live(member_params, *life)[1:], chunk, *lives)
            return jnp.mean(losses), jax.tree.map(jnp.mean, info)

        both = jnp.concatenate([directions, -directions])
        losses, info = devices.mean(jax.lax.map(member, both) if chunk else jax.vmap(member)(both))
        rank = centred_ranks(losses)
        slope = unravel((rank[:pairs] - rank[pairs:]) @ directions / (2 * pairs * sigma))
        updates, memory = optimiser.update(slope, outer.optimiser, outer.meta_params)
        meta_params = optax.apply_updates(outer.meta_params, updates)
        info = {**jax.tree.map(jnp.mean, info), "loss": jnp.mean(losses), "gradient_norm": optax.tree.norm(slope)}
        go_on = lambda *life: live(outer.meta_params, *life)[0]  # noqa: E731
        after = map_tasks(go_on, chunk, *lives) if persistent else None
        return Outer(meta_params, memory, outer.step), after, info

    rollouts = (2 * pairs + persistent) * tasks * (lifetime.adaptations + 1)
    update = Update(optimiser.init, improve)
    return meta_learner(lifetime, update, tasks, rollouts=rollouts, lifespan=lifespan, split=split, mesh=mesh)


def negative_return(
    lifetime: Lifetime,
    gamma: Array | float,
    *,
    trial: bool = False,
    reward: Callable[[Experience], Array] = lambda seen: seen.reward,
) -> Loss:
    """What a rollout earned, less than nothing, and without a gradient.

    Of whole episodes −E[ return ]. Of windows, which cut episodes, −E_t[ Σ_u γ^u r_{t+u} ] in units of one reward: the
    mean over their steps of what is discounted from there to the end of the episode, of the trial if it is a `trial`,
    or of the window. It falls when rewards come sooner, and when episodes that pay at every step last longer.
    """

    def surrogate(params: Tree, seen: Experience) -> Array:
        paid = reward(seen) * seen.weight
        if lifetime.fresh and lifetime.quota is not None:
            return -jnp.sum(paid) / (lifetime.envs * lifetime.quota)
        to_go = discounted_returns(paid, gamma * boundaries(seen, trial).trace)
        horizon = jnp.sum(jnp.asarray(gamma) ** jnp.arange(lifetime.steps))
        return -weighted_mean(to_go, seen.weight) / horizon

    return Loss(lambda seen: seen, surrogate)


def centred_ranks(scores: Array) -> Array:
    """Ranks scaled to [−½, ½]; ties share the mean of their ranks, so that equal scores weigh nothing."""
    below = jnp.sum(scores[:, None] > scores[None, :], axis=1)
    tied = jnp.sum(scores[:, None] == scores[None, :], axis=1)
    return (below + (tied - 1) / 2) / jnp.maximum(scores.size - 1, 1) - 0.5
