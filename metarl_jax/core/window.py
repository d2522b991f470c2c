"""The part of a life that a meta-step lives: where it begins, its objective, and what is logged."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax.core.batching import default_chunk
from metarl_jax.core.learner import Estimator, still
from metarl_jax.core.life import Life, World, begin, reborn, run, turn
from metarl_jax.core.objective import Objective
from metarl_jax.core.types import Agent, Array, Experience, Record, Tree

UNROLLED = 5  # most turns that are unrolled: a loop would store more for the backward pass
Info = dict[str, Any]  # diagnostics by name: arrays [], or each a `Ratio`


class Window(NamedTuple):
    """How a meta-step lives with its agents, and how that is differentiated."""

    world: World
    turns: int  # K, adaptations of each agent
    newborn: bool = True  # lives begin with the window; otherwise they continue from the end of the last one
    estimator: Estimator = Estimator()
    chunk: int | None = None  # lives that are lived side by side; None for all


class Lived(NamedTuple):
    """A window that has been lived."""

    end: Life
    agents: Agent  # [K] before each adaptation, where they were asked for
    seen: Experience  # [K+1, T, E, ...]


def fitting_chunk(world: World) -> int | None:
    """How many lives in this world to live side by side on this device; None for all of them."""
    memory = jax.eval_shape(lambda: world.policy.initial_memory((world.envs,)))
    remembered = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(memory))
    return default_chunk(world.envs * world.steps, world.learner.shared, remembered)


def entered(window: Window, meta_params: Tree, life: Life) -> Life:
    """The life at the start of the window, with something seen: to adapt to, or to judge where nothing adapts."""
    world = window.world
    if window.newborn:
        return begin(world, meta_params, life.task, life.key)
    life = bound(window, meta_params, life)
    return life if window.turns else turn(world._replace(learner=still(world.learner)), meta_params, life)


def bound(window: Window, meta_params: Tree, life: Life) -> Life:
    """The life with its agent as the function of φ that it is: newborn, or φ itself."""
    by_birth = window.newborn or window.world.learner.shared
    return reborn(window.world, meta_params, life) if by_birth else life


def live(
    window: Window,
    meta_params: Tree,
    life: Life,
    past: Experience | None = None,
    with_agents: bool = False,
    whole: bool = True,
) -> Lived:
    """Live the turns of a window from a life that has entered it; a `past` [K+1, T, E, ...] is relived.

    Unless the `whole` record is kept, it is the first and the last rollout alone: memory then does not grow with K.
    """

    def observe(meta_params: Tree, life: Life) -> Any:
        return (life.agent if with_agents else (), life.seen if past is None and whole else ())

    later = None
    if past is not None:
        life, later = life._replace(seen=turn_of(past, 0)), jax.tree.map(lambda x: x[1:], past)
    first = observe(meta_params, life)
    unroll = window.turns if window.turns <= UNROLLED and not window.estimator.remat else 1
    end, rest = run(
        window.world, meta_params, life, window.turns, observe, past=later, estimator=window.estimator, unroll=unroll
    )
    agents, seen = jax.tree.map(lambda x, xs: jnp.concatenate([x[None], xs]), first, rest)
    if past is not None:
        seen = past
    elif not whole:
        seen = jax.tree.map(lambda *x: jnp.stack(x), life.seen, end.seen)
    return Lived(end, jax.tree.map(lambda x: x[:-1], agents), seen)


def judged(
    window: Window, objective: Objective, meta_params: Tree, life: Life, past: Record | None = None
) -> tuple[Array, Lived]:
    """The objective of a life that has entered the window, lived or relived; and what was lived."""
    record, each = None if past is None else past.seen, objective.before is not None
    lived = live(window, meta_params, life, record, with_agents=each, whole=each)
    if past is None:
        seen = lived.seen if each else jax.tree.map(lambda x: x[-1:], lived.seen)
        seen = jax.vmap(objective.counts)(seen)
        past = Record(seen, jax.vmap(objective.loss.credited)(seen), target(window, objective, meta_params, lived.end))
    return objective(meta_params, lived.agents, lived.end.agent, past), lived


def target(window: Window, objective: Objective, meta_params: Tree, end: Life) -> Tree:
    """The `objective.goal` of a life that lives on for some turns from the end of the window: not differentiated.

    A bootstrapped target (Flennerhag et al. 2022, arXiv:2109.04504). The life itself continues from the window's end.
    """
    if objective.goal is None:
        return ()
    meta_params, end = jax.lax.stop_gradient((meta_params, end))
    life, _ = run(window.world, meta_params, end, objective.onward)
    return jax.lax.stop_gradient(objective.goal(meta_params, life))


class Ratio(NamedTuple):
    """A mean in the making: what is logged as total / weight once both are averaged over all lives."""

    total: Array  # []
    weight: Array  # []


def returns(seen: Experience) -> Ratio:
    """The return of the episodes that ended in a rollout [T, E], including those that began before it."""
    ends = (seen.terminated | seen.truncated) & (seen.weight > 0)
    over = jax.lax.cummax(ends.astype(seen.reward.dtype), axis=0, reverse=True)  # [T, E] 1 in episodes that ended
    total = jnp.sum(seen.reward * seen.weight * over) + jnp.sum(seen.earned * over[0])
    return Ratio(total, jnp.sum(ends, dtype=total.dtype))


def report(history: Experience) -> dict[str, Ratio]:
    """What is logged of a window [K+1, T, E].

    `return_before` and `return` are those of the episodes that ended in the first and in the last rollout, NaN where
    none did; `reward` is the mean reward of a step of the last rollout, which also rises where no episode ends.
    """
    last = turn_of(history, -1)
    reward = Ratio(jnp.sum(last.reward * last.weight), jnp.sum(last.weight))
    return {"return_before": returns(turn_of(history, 0)), "return": returns(last), "reward": reward}


def logged(info: Info) -> Info:
    """The diagnostics of a meta-step, every mean made."""

    def made(x: Array | Ratio) -> Array:
        return jnp.where(x.weight > 0, x.total / x.weight, jnp.nan) if isinstance(x, Ratio) else x

    return {name: made(x) for name, x in info.items()}


def averaged(info: Info) -> Info:
    """Diagnostics of lives [N], or of passes, averaged; a ratio by its parts."""
    return jax.tree.map(jnp.mean, info)


def turn_of(history: Experience, index: int) -> Experience:
    """One rollout of a window."""
    return jax.tree.map(lambda x: x[index], history)
