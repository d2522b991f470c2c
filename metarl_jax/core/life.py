"""Lives: the one loop of acting and adapting. A life composes: `run(K₁)`, then `run(K₂)`, is `run(K₁ + K₂)`."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax.core.environment import Environment
from metarl_jax.core.keys import check_key
from metarl_jax.core.learner import Estimator, Learner
from metarl_jax.core.policy import Policy
from metarl_jax.core.rollout import Scene, opening, rollout
from metarl_jax.core.types import Agent, Array, Experience, Key, Tree


class World(NamedTuple):
    """What stays the same in all lives: the environment, how agents act and adapt in it, and the size of a turn."""

    environment: Environment
    policy: Policy
    learner: Learner
    envs: int  # E
    steps: int  # T
    quota: int | None = None  # episodes that count from an opening on; later steps weigh nothing
    fresh: bool = True  # every turn opens new episodes with blank memory; otherwise the last scene continues


class Life(NamedTuple):
    """A life between two turns: all that decides how it continues."""

    task: Tree
    agent: Agent
    scene: Scene  # where its E environments stand
    seen: Experience  # [T, E, ...] of the last turn, awaiting adaptation
    age: Array  # [] int32 turns since birth
    key: Key  # from which turn `age` draws
    noise: Tree = ()  # what evolution has yet to credit, see core/persistent.py


Observer = Callable[[Tree, Life], Any]  # φ, life -> what one wants to know of it after a turn


class Draws(NamedTuple):
    """The keys of one turn."""

    adapt: Key  # at age 0: of the birth
    open: Key
    act: Key
    observe: Key


def draws(life: Life) -> Draws:
    """The keys of the turn that leads to the age of this life."""
    return Draws(*jax.random.split(jax.random.fold_in(life.key, life.age), 4))


def unborn(task: Tree, key: Key) -> Life:
    """A task and a key from which a life can `begin`; it has no agent yet and has seen nothing."""
    check_key(key)
    return Life(task, Agent(()), (), (), jnp.int32(0), key)  # type: ignore[arg-type]


def born(world: World, meta_params: Tree, task: Tree, key: Key) -> Life:
    """A newborn agent at the opening of its task; it has yet to act."""
    life = unborn(task, key)
    keys = draws(life)
    scene = opening(world.environment, world.policy, task, keys.open, world.envs)
    return life._replace(agent=world.learner.birth(meta_params, keys.adapt), scene=scene)


def begin(world: World, meta_params: Tree, task: Tree, key: Key) -> Life:
    """A life at age 0: born, and has acted once. What it has `seen` awaits adaptation."""
    life = born(world, meta_params, task, key)
    return _act(world, life, draws(life).act)


def reborn(world: World, meta_params: Tree, life: Life) -> Life:
    """The same life with its newborn agent as a function of φ."""
    newborn = life._replace(age=jnp.zeros_like(life.age))
    return life._replace(agent=world.learner.birth(meta_params, draws(newborn).adapt))


def turn(world: World, meta_params: Tree, life: Life, seen: Experience | None = None, constant: bool = False) -> Life:
    """Adapt to what was seen, then act anew with the adapted agent, or see the recorded `seen` in place of acting.

    With `constant` the inner gradient counts as a constant: ∂θ'/∂θ = 1, and φ counts only where `adapt` reads it.
    """
    life = life._replace(age=life.age + 1)
    keys = draws(life)
    before = jax.lax.stop_gradient(life.agent) if constant else life.agent
    agent = world.learner.adapt(meta_params, before, life.seen, keys.adapt)
    agent = _shifted(agent, life.agent, before) if constant else agent
    life = life._replace(agent=agent)
    if seen is not None:
        return life._replace(seen=seen)
    if world.fresh:
        life = life._replace(scene=opening(world.environment, world.policy, life.task, keys.open, world.envs))
    return _act(world, life, keys.act)


def run(
    world: World,
    meta_params: Tree,
    life: Life,
    turns: int,
    observe: Observer = lambda meta_params, life: (),
    *,
    past: Experience | None = None,
    estimator: Estimator = Estimator(),  # noqa: B008
    unroll: int = 1,
) -> tuple[Life, Any]:
    """Live `turns` turns, and observe the life after each.

    Given a `past` [turns, T, E, ...] in place of the environment, the life is relived: a differentiable function of φ
    with the same numbers. The `estimator` says how it is differentiated, by its depth and recomputation. `unroll` turns
    are one iteration of the loop.

    Returns:
        The life in the end, and what was observed, with a leading axis [turns].
    """

    def one(constant: bool, life: Life, seen: Experience | None) -> tuple[Life, Any]:
        life = turn(world, meta_params, life, seen, constant)
        return life, observe(meta_params, life)

    def stretch(life: Life, start: int, stop: int, constant: bool) -> tuple[Life, Any]:
        step: Any = functools.partial(one, constant)
        step = jax.checkpoint(step) if estimator.remat else step
        return jax.lax.scan(step, life, jax.tree.map(lambda x: x[start:stop], past), length=stop - start, unroll=unroll)

    if turns == 0:
        return life, jax.tree.map(lambda x: x[None][:0], observe(meta_params, life))
    constant = 0 if estimator.depth is None else max(0, turns - estimator.depth)
    if constant in (0, turns):
        return stretch(life, 0, turns, constant > 0)
    life, early = stretch(life, 0, constant, True)
    life, late = stretch(life, constant, turns, False)
    return life, jax.tree.map(lambda *parts: jnp.concatenate(parts), early, late)


def _act(world: World, life: Life, key: Key) -> Life:
    scene, seen = rollout(
        world.environment, world.policy, life.agent.params, life.task, life.scene, key, world.steps, world.quota
    )
    seen = seen._replace(memory=None) if world.fresh else seen  # blank, which need not be recorded
    return life._replace(scene=scene, seen=seen)


def _shifted(agent: Agent, start: Agent, constant: Agent) -> Agent:
    """The agent, with the derivative in `start` of one that moved by a constant."""

    def shift(new: Array, start: Array, constant: Array) -> Array:
        return new + (start - constant) if jnp.issubdtype(new.dtype, jnp.inexact) else new

    return jax.tree.map(shift, agent, start, constant)
