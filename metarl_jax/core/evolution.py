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
from metarl_jax.core.window import Info, Window, averaged, entered, judged, live, report


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
    lives the next window from there. Then the gradient is truncated: it lacks what φ did in earlier windows (Vicol et
    al. 2021, algorithm 1). `core/persistent.py` has estimators without this bias.
    """
    schedule = scheduled(objective)

    def improve(meta_params: Tree, memory: Tree, lives: Lives, now: Now) -> tuple[Tree, Tree, Info, Lives]:
        flat, unravel = ravel_pytree(meta_params)
        directions = jax.random.normal(now.key, (pairs, flat.size), flat.dtype)
        aim = schedule(now.step)
        losses, info = fitness(window, aim, around(meta_params, directions, sigma), lives, now)
        rank = centred_ranks(losses)
        gradient = unravel((rank[:pairs] - rank[pairs:]) @ directions / (2 * pairs * sigma))
        squares = ((rank[:pairs] - rank[pairs:]) / (2 * sigma)) ** 2 * jnp.sum(directions**2, axis=1)
        noise = variance(gradient, jnp.mean(squares), pairs, pairs)
        lives = lived_on(window, meta_params, lives)
        meta_params, memory, found = followed(optimiser, gradient, meta_params, memory, aim.reach)
        return meta_params, memory, info | found | noise, lives

    return Update(functools.partial(unmoved, optimiser), improve, windows=2 * pairs + (not window.newborn))


def around(meta_params: Tree, noise: Array, sigma: Array | float) -> Tree:
    """φ + σ ε of M members and then φ − σ ε of their partners, [2 M, ...], given ε [M, D]."""
    flat, unravel = ravel_pytree(meta_params)
    return jax.vmap(unravel)(flat[None] + sigma * jnp.concatenate([noise, -noise]))


def fitness(window: Window, aim: Objective, members: Tree, lives: Lives, now: Now) -> tuple[Array, Info]:
    """The mean objective of each member [P, ...] over the same lives, [P], and what is logged of all."""

    def member(meta_params: Tree) -> tuple[Array, Info]:
        def one(life: Life) -> tuple[Array, Info]:
            value, lived = judged(window, aim, meta_params, entered(window, meta_params, life))
            return value, report(lived.seen)

        losses, info = map_tasks(one, window.chunk, lives.start)
        return jnp.mean(losses), averaged(info)

    losses, info = now.devices.mean(jax.lax.map(member, members) if window.chunk else jax.vmap(member)(members))
    return losses, averaged(info) | {"loss": jnp.mean(losses)}


def lived_on(window: Window, meta_params: Tree, lives: Lives) -> Lives:
    """The lives after their window with φ itself, where they continue."""

    def one(life: Life) -> Life:
        return live(window, meta_params, entered(window, meta_params, life), whole=False).end

    return lives if window.newborn else lives._replace(end=map_tasks(one, window.chunk, lives.start))


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
            begun = jnp.sum(jnp.where(seen.timestep.first, seen.weight, 0.0))  # without those that are masked
            return -jnp.sum(credit.target) / (jnp.maximum(begun, 1.0) if world.environment.masks else episodes)
        horizon = jnp.sum(jnp.asarray(gamma, float) ** jnp.arange(world.steps).astype(float))
        return -weighted_mean(credit.target, seen.weight) / horizon

    return Loss(credit, surrogate)


def centred_ranks(scores: Array) -> Array:
    """Ranks scaled to [−½, ½]; ties share the mean of their ranks, so that equal scores give a zero gradient."""
    chex.assert_rank(scores, 1)
    below = jnp.sum(scores[:, None] > scores[None, :], axis=1)
    tied = jnp.sum(scores[:, None] == scores[None, :], axis=1)
    ranks = below.astype(float) + (tied.astype(float) - 1) / 2
    return ranks / max(scores.size - 1, 1) - 0.5
