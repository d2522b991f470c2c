"""Improve φ without a derivative: evolution strategies on an objective of lives."""

import functools
from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from metarl_jax.core.backprop import scheduled
from metarl_jax.core.batching import map_tasks
from metarl_jax.core.diagnostics import followed, unmoved, variance
from metarl_jax.core.life import Life, World
from metarl_jax.core.losses import Loss, weighted_mean
from metarl_jax.core.objective import Objective, Schedule
from metarl_jax.core.returns import boundaries, discounted_returns
from metarl_jax.core.types import Array, Credit, Experience, Tree
from metarl_jax.core.update import Lives, Now, Update
from metarl_jax.core.window import Info, Window, averaged, entered, judged, report


def evolution(
    window: Window,
    objective: Schedule | Objective,
    optimiser: optax.GradientTransformation,
    *,
    pairs: int = 32,
    sigma: Array | float = 0.05,
) -> Update:
    """Evolution strategies on an objective of lives (Salimans et al. 2017, arXiv:1703.03864).

        ∇φ L ≈ 1/(2 n σ) Σ_i [u(φ + σ ε_i) − u(φ − σ ε_i)] ε_i

    u are centred ranks of L over the population. All members live the same tasks with the same keys, so that a pair
    differs only in φ. No derivative is needed. Lives that outlast a meta-step continue with φ itself, and every member
    lives the next window from there.
    """
    schedule = scheduled(objective)

    def improve(meta_params: Tree, memory: Tree, lives: Lives, now: Now) -> tuple[Tree, Tree, Info, Lives]:
        aim = schedule(now.step)
        flat, unravel = ravel_pytree(meta_params)
        directions = jax.random.normal(now.key, (pairs, flat.size), flat.dtype)

        def one(meta_params: Tree, life: Life) -> tuple[Life, Array, Info]:
            value, lived = judged(window, aim, meta_params, entered(window, meta_params, life))
            return lived.end, value, report(lived.seen)

        def member(direction: Array) -> tuple[Array, Info]:
            φ = unravel(flat + sigma * direction)
            losses, info = map_tasks(lambda life: one(φ, life)[1:], window.chunk, lives.start)
            return jnp.mean(losses), averaged(info)

        both = jnp.concatenate([directions, -directions])
        losses, info = now.devices.mean(jax.lax.map(member, both) if window.chunk else jax.vmap(member)(both))
        rank = centred_ranks(losses)
        gradient = unravel((rank[:pairs] - rank[pairs:]) @ directions / (2 * pairs * sigma))
        squares = ((rank[:pairs] - rank[pairs:]) / (2 * sigma)) ** 2 * jnp.sum(directions**2, axis=1)
        continues = lambda life: one(meta_params, life)[0]  # noqa: E731
        end = None if window.newborn else map_tasks(continues, window.chunk, lives.start)
        meta_params, memory, found = followed(optimiser, gradient, meta_params, memory, aim.reach)
        info = averaged(info) | {"loss": jnp.mean(losses)} | found | variance(gradient, jnp.mean(squares), pairs, pairs)
        return meta_params, memory, info, lives._replace(end=end)

    return Update(functools.partial(unmoved, optimiser), improve, windows=2 * pairs + (not window.newborn))


def negative_return(
    world: World,
    gamma: Array | float,
    *,
    trial: bool = False,
    reward: Callable[[Experience], Array] = lambda seen: seen.reward,
) -> Loss:
    """The negative return of a rollout, without a gradient.

    For whole episodes it is −E[ return ]. For windows, which cut episodes, it is −E_t[ Σ_u γ^u r_{t+u} ] in units of
    one reward: the mean over steps of the discounted return to the end of the episode (with `trial`, of the trial) or
    of the window. It falls when rewards come sooner, and when episodes that pay at every step last longer.
    """
    episodes = world.envs * world.quota if world.fresh and world.quota else 0  # 0 where windows cut them

    def credit(seen: Experience) -> Credit:
        paid = reward(seen) * seen.weight
        to_go = paid if episodes else discounted_returns(paid, gamma * boundaries(seen, trial).trace)
        return Credit(to_go, to_go)

    def surrogate(params: Tree, seen: Experience, credit: Credit) -> Array:
        if episodes:
            return -jnp.sum(credit.target) / episodes
        horizon = jnp.sum(jnp.asarray(gamma) ** jnp.arange(world.steps))
        return -weighted_mean(credit.target, seen.weight) / horizon

    return Loss(credit, surrogate)


def centred_ranks(scores: Array) -> Array:
    """Ranks scaled to [−½, ½]; ties share the mean of their ranks, so that equal scores give a zero gradient."""
    chex.assert_rank(scores, 1)
    below = jnp.sum(scores[:, None] > scores[None, :], axis=1)
    tied = jnp.sum(scores[:, None] == scores[None, :], axis=1)
    return (below + (tied - 1) / 2) / jnp.maximum(scores.size - 1, 1) - 0.5
