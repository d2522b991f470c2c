"""Improve φ without a derivative: evolution strategies on the return of the last rollout."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh

from metarl_jax.core.batching import Reduce, map_tasks
from metarl_jax.core.lifetime import Lifetime, run_lifetime
from metarl_jax.core.meta import (
    Info,
    Life,
    MetaLearner,
    Outer,
    Update,
    beginning,
    mean_return,
    meta_learner,
    report,
    turn_of,
)
from metarl_jax.core.types import Array, Key, Split, Tree


def evolution(
    lifetime: Lifetime,
    optimiser: optax.GradientTransformation,
    tasks: int,
    *,
    pairs: int = 32,
    sigma: Array | float = 0.05,
    chunk: int | None = None,
    split: Split = "train",
    mesh: Mesh | None = None,
) -> MetaLearner:
    """Evolution strategies on the return of the last rollout (Salimans et al. 2017, arXiv:1703.03864).

        ∇φ ≈ − 1/(2 n σ) Σ_i [u(φ + σ ε_i) − u(φ − σ ε_i)] ε_i

    u are centred ranks over the population. All members live the same tasks with the same keys, so that a pair
    differs in φ alone. Needs no derivative of anything.
    """

    def fitness(meta_params: Tree, *life: Any) -> tuple[Array, Info]:
        _, _, history = run_lifetime(lifetime, None, meta_params, beginning(lifetime, meta_params, life), life[-1])
        return mean_return(turn_of(history, -1)), report(history)

    def improve(outer: Outer, lives: Life, key: Key, reduce: Reduce) -> tuple[Outer, None, Info]:
        flat, unravel = ravel_pytree(outer.meta_params)
        directions = jax.random.normal(key, (pairs, flat.size), flat.dtype)

        def member(direction: Array) -> tuple[Array, Info]:
            member_params = unravel(flat + sigma * direction)
            scores, info = map_tasks(lambda *life: fitness(member_params, *life), chunk, *lives)
            return jnp.mean(scores), jax.tree.map(jnp.mean, info)

        both = jnp.concatenate([directions, -directions])
        scores, info = reduce(jax.lax.map(member, both) if chunk else jax.vmap(member)(both))
        utility = centred_ranks(scores)
        ascent = (utility[:pairs] - utility[pairs:]) @ directions / (2 * pairs * sigma)
        slope = unravel(-ascent)
        updates, memory = optimiser.update(slope, outer.optimiser, outer.meta_params)
        meta_params = optax.apply_updates(outer.meta_params, updates)
        info = {**jax.tree.map(jnp.mean, info), "loss": -jnp.mean(scores), "gradient_norm": optax.tree.norm(slope)}
        return Outer(meta_params, memory, outer.step), None, info

    rollouts = 2 * pairs * tasks * (lifetime.adaptations + 1)
    return meta_learner(lifetime, Update(optimiser.init, improve), tasks, rollouts=rollouts, split=split, mesh=mesh)


def centred_ranks(scores: Array) -> Array:
    """Ranks scaled to [−½, ½]; ties share the mean of their ranks, so that equal scores weigh nothing."""
    below = jnp.sum(scores[:, None] > scores[None, :], axis=1)
    tied = jnp.sum(scores[:, None] == scores[None, :], axis=1)
    return (below + (tied - 1) / 2) / jnp.maximum(scores.size - 1, 1) - 0.5
