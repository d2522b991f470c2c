"""The outer loop: φ ← φ − α ∇φ E_task[L(f_φ(task))]. What all ways to improve φ share: tasks, births, long lives."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from metarl_jax.core.batching import Devices, across_devices
from metarl_jax.core.lifetime import Lifetime, LifetimeState, begin_lifetime
from metarl_jax.core.types import Agent, Array, Experience, Key, Split, Tree

Info = dict[str, Any]  # diagnostics by name: arrays [], or each a `Ratio`
Life = tuple[Any, ...]  # (task, birth key, state in progress, key): a life to begin has no state, one to go on no task


class MetaState(NamedTuple):
    """Everything that changes from one meta-step to the next."""

    meta_params: Tree  # φ
    optimiser: Tree  # what the outer update remembers
    step: Array  # [] meta-steps taken
    lifetimes: LifetimeState | None = None  # [N, ...] lives that outlast a meta-step
    lived: Tree = None  # [N] meta-steps that these lives have seen


class MetaLearner(NamedTuple):
    """A meta-learner as two pure functions; both can be jitted, vmapped over keys and scanned."""

    init: Callable[[Key], MetaState]
    step: Callable[[MetaState, Key], tuple[MetaState, Info]]
    lifetime: Lifetime
    env_steps: int  # environment steps of one meta-step


class Outer(NamedTuple):
    """Where an outer update stands: φ, what it remembers, and how many meta-steps it has taken."""

    meta_params: Tree
    optimiser: Tree
    step: Array


Improve = Callable[[Outer, Life, Key, Devices], tuple[Outer, LifetimeState | None, Info]]


class Update(NamedTuple):
    """A way to improve φ by a batch of lives [N, ...], of which each device has its share."""

    init: Callable[[Tree], Tree]  # φ -> what the update remembers
    improve: Improve  # (outer, lives, key, devices) -> outer, the lives where they end, what is logged


def meta_learner(
    lifetime: Lifetime,
    update: Update,
    tasks: int,
    *,
    rollouts: int | None = None,
    lifespan: int = 1,
    split: Split = "train",
    mesh: Mesh | None = None,
) -> MetaLearner:
    """Draw `tasks` tasks of `split`, let agents live in them, improve φ; again and again.

    Agents live for `lifespan` meta-steps, or until their quota of episodes is used up: with more than one, a
    meta-step is a window on a longer life. `rollouts` counts those of a meta-step, a life in each task unless given.
    """
    persistent = lifespan > 1

    def init(key: Key) -> MetaState:
        meta_key, life_key = jax.random.split(key)
        meta_params = lifetime.learner.meta_init(meta_key)
        state = MetaState(meta_params, update.init(meta_params), jnp.int32(0))
        if not persistent:
            return strongly_typed(state)
        ages = jnp.arange(tasks, dtype=jnp.int32) * lifespan // tasks  # of all ages, so that no two batches differ
        lives = _births(lifetime, split, meta_params, life_key, tasks)
        return strongly_typed(state._replace(lifetimes=lives, lived=ages))

    def local(devices: Devices, shared: tuple[Outer, Key], lives: Life) -> tuple[Any, Any]:
        outer, after, info = update.improve(shared[0], lives, shared[1], devices)
        going_on = _without_shared(lifetime, after) if persistent and after is not None else ()
        return (outer, logged(devices.mean(info))), going_on

    def step(state: MetaState, key: Key) -> tuple[MetaState, Info]:
        birth_key, live_key, update_key = jax.random.split(key, 3)
        keys = jax.random.split(live_key, tasks)
        if persistent:
            state = _reborn(lifetime, split, state, birth_key, tasks, lifespan)
            lives: Life = (None, None, state.lifetimes, keys)
        else:
            task_keys, birth_keys = jax.random.split(birth_key, (2, tasks))
            lives = (jax.vmap(lambda k: lifetime.environment.sample_task(k, split))(task_keys), birth_keys, None, keys)
        shared = (Outer(state.meta_params, state.optimiser, state.step), update_key)
        (outer, info), after = across_devices(mesh, local)(shared, lives)
        state = state._replace(meta_params=outer.meta_params, optimiser=outer.optimiser, step=state.step + 1)
        return (state._replace(lifetimes=after) if persistent else state), info

    count = tasks * (lifetime.adaptations + 1) if rollouts is None else rollouts
    return MetaLearner(init, step, lifetime, count * lifetime.envs * lifetime.steps)


def beginning(lifetime: Lifetime, meta_params: Tree, life: Life) -> LifetimeState:
    """The state from which a life goes on: a birth, or where it stood."""
    task, birth_key, state, key = life
    if state is None:
        return begin_lifetime(lifetime, meta_params, task, birth_key)
    if lifetime.learner.shared:
        return state._replace(agent=lifetime.learner.birth(meta_params, key))
    return state


class Ratio(NamedTuple):
    """A mean in the making: what is logged as total / weight once both are averaged over all lives."""

    total: Array  # []
    weight: Array  # []


def returns(seen: Experience) -> Ratio:
    """The return of the episodes that ended in a rollout [T, E], of those too that began before it."""
    ends = (seen.terminated | seen.truncated) & (seen.weight > 0)
    over = jax.lax.cummax(ends.astype(seen.reward.dtype), axis=0, reverse=True)  # [T, E] 1 in episodes that ended
    total = jnp.sum(seen.reward * seen.weight * over) + jnp.sum(seen.earned * over[0])
    return Ratio(total, jnp.sum(ends, dtype=total.dtype))


def report(history: Experience) -> dict[str, Ratio]:
    """What is logged of a lifetime [K+1, T, E].

    `return_before` and `return` are those of the episodes that ended in the first and in the last rollout, NaN where
    none did; `reward` is that of a step in the last rollout, which rises with the agent also where no episode ends.
    """
    last = turn_of(history, -1)
    reward = Ratio(jnp.sum(last.reward * last.weight), jnp.sum(last.weight))
    return {"return_before": returns(turn_of(history, 0)), "return": returns(last), "reward": reward}


def logged(info: Info) -> Info:
    """The diagnostics of a meta-step, every mean made."""

    def made(x: Array | Ratio) -> Array:
        return jnp.where(x.weight > 0, x.total / x.weight, jnp.nan) if isinstance(x, Ratio) else x

    return {name: made(x) for name, x in info.items()}


def strongly_typed(state: Tree) -> Tree:
    """The same with lasting types: what JAX takes for a Python number would be of another type after a step.

    A program would then be compiled twice, for the first state and for all others.
    """

    def typed(x: Array) -> Array:
        return x if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else jax.lax.convert_element_type(x, x.dtype)

    return jax.tree.map(typed, state)


def turn_of(history: Experience, index: int) -> Experience:
    """One rollout of a lifetime."""
    return jax.tree.map(lambda x: x[index], history)


def _births(lifetime: Lifetime, split: Split, meta_params: Tree, key: Key, tasks: int) -> LifetimeState:
    def birth(key: Key) -> LifetimeState:
        task_key, life_key = jax.random.split(key)
        task = lifetime.environment.sample_task(task_key, split)
        return _without_shared(lifetime, begin_lifetime(lifetime, meta_params, task, life_key))

    return jax.vmap(birth)(jax.random.split(key, tasks))


def _reborn(lifetime: Lifetime, split: Split, state: MetaState, key: Key, tasks: int, lifespan: int) -> MetaState:
    """Replace the lives that have reached their span, or used up their episodes, by new ones in new tasks."""
    lives = state.lifetimes
    assert lives is not None
    over = state.lived >= lifespan
    if lifetime.quota is not None and not lifetime.fresh:
        over |= jnp.all(lives.scene.episodes >= lifetime.quota, axis=1)

    block = -(-2 * tasks // lifespan)  # twice as many as reach their span in one meta-step: few tasks are drawn in vain

    def left(carry: tuple[LifetimeState, Array, Key]) -> Array:
        return jnp.any(carry[1])

    def replace(carry: tuple[LifetimeState, Array, Key]) -> tuple[LifetimeState, Array, Key]:
        lives, dead, key = carry
        key, birth_key = jax.random.split(key)
        places = jnp.nonzero(dead, size=block, fill_value=tasks)[0]  # those past the end are dropped
        fresh = _births(lifetime, split, state.meta_params, birth_key, block)
        lives = jax.tree.map(lambda old, new: old.at[places].set(new, mode="drop"), lives, fresh)
        return lives, dead.at[places].set(False, mode="drop"), key

    lifetimes = jax.lax.while_loop(left, replace, (lives, over, key))[0]
    return state._replace(lifetimes=lifetimes, lived=jnp.where(over, 0, state.lived) + 1)


def _without_shared(lifetime: Lifetime, state: LifetimeState) -> LifetimeState:
    """A life to be continued; an agent that is φ itself is not kept, φ will have moved on."""
    return state._replace(agent=Agent(())) if lifetime.learner.shared else state
