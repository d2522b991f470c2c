"""The one scan of the library: act, judge, adapt, repeat."""

import functools
import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax.core.batching import default_chunk
from metarl_jax.core.environment import Environment
from metarl_jax.core.learner import Learner
from metarl_jax.core.policy import Policy
from metarl_jax.core.rollout import Scene, opening, rollout
from metarl_jax.core.types import Agent, Array, Experience, Key, Tree

JudgeAgent = Callable[[Tree, Agent, Experience], Array]  # φ, agent, what it saw -> loss
Record = tuple[Array, Experience]  # of turns: losses, and what was seen


class Lifetime(NamedTuple):
    """The static description of a life: who lives it, where, and how it is divided into turns."""

    environment: Environment
    policy: Policy
    learner: Learner
    adaptations: int  # K; a lifetime has K + 1 rollouts, and the agent adapts between them
    envs: int  # E
    steps: int  # T
    quota: int | None = None  # episodes that count from an opening on; later steps weigh nothing
    fresh: bool = True  # every rollout opens new episodes with blank memory; else the last scene goes on
    remat: bool = False  # recompute each turn in the backward pass: memory grows with T, not with K T
    depth: int | None = (
        None  # adaptations, from the last, that are differentiated; earlier ones count as constant steps
    )

    def default_chunk(self) -> int | None:
        """How many such lives to live side by side on this device; None for all of them."""
        memory = jax.eval_shape(lambda: self.policy.initial_memory((self.envs,)))
        remembered = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(memory))
        return default_chunk(self.envs * self.steps, self.learner.shared, remembered)


class LifetimeState(NamedTuple):
    """A life in progress."""

    task: Tree
    agent: Agent
    scene: Scene


def begin_lifetime(lifetime: Lifetime, meta_params: Tree, task: Tree, key: Key) -> LifetimeState:
    """A newborn agent in the first scene of its task."""
    birth_key, scene_key = jax.random.split(key)
    agent = lifetime.learner.birth(meta_params, birth_key)
    return LifetimeState(task, agent, opening(lifetime.environment, lifetime.policy, task, scene_key, lifetime.envs))


def run_lifetime(
    lifetime: Lifetime,
    loss: JudgeAgent | None,
    meta_params: Tree,
    state: LifetimeState,
    key: Key,
    past: Experience | None = None,
    before: JudgeAgent | None = None,
) -> tuple[LifetimeState, Array, Experience]:
    """Live K + 1 rollouts with an adaptation between each two. The first n of them may be given and are relived.

    What is in `past` [n, T, E] is not acted again. With n = K + 1 the environment is not touched: the same lifetime
    once more, as a differentiable function of φ. The losses [K+1] are of the agent that acted on what it then saw:
    `loss` of the last rollout, `before` of those that are adapted to; 0 where there is none.
    """

    def act(state: LifetimeState, key: Key, seen: Experience | None) -> tuple[LifetimeState, Experience]:
        return (state, seen) if seen is not None else _act(lifetime, state, key)

    def judge(loss: JudgeAgent | None, state: LifetimeState, seen: Experience) -> Array:
        return jnp.zeros(()) if loss is None else loss(meta_params, state.agent, seen)

    def turn(cut: bool, state: LifetimeState, inputs: tuple[Key, Experience | None]) -> tuple[LifetimeState, Record]:
        act_key, adapt_key = jax.random.split(inputs[0])
        state, seen = act(state, act_key, inputs[1])
        judgement = judge(before, state, seen)
        agent = lifetime.learner.adapt(meta_params, state.agent, seen, adapt_key)
        agent = _as_constant_step(state.agent, agent) if cut else agent
        return state._replace(agent=agent), (judgement, seen)

    keys, last = _turn_keys(lifetime, key)
    relived = 0 if past is None else jax.tree.leaves(past)[0].shape[0]
    records: list[Record] = []
    for start, stop, cut in _stretches(lifetime, relived):
        seen = jax.tree.map(lambda x, a=start, b=stop: x[a:b], past) if stop <= relived else None
        one = functools.partial(turn, cut)
        state, record = jax.lax.scan(jax.checkpoint(one) if lifetime.remat else one, state, (keys[start:stop], seen))
        records.append(record)
    seen = jax.tree.map(lambda x: x[-1], past) if relived > lifetime.adaptations else None
    state, seen = act(state, jax.random.split(last)[0], seen)
    records.append(jax.tree.map(lambda x: x[None], (judge(loss, state, seen), seen)))
    losses, history = jax.tree.map(lambda *parts: jnp.concatenate(parts), *records)
    return state, losses, history


def _stretches(lifetime: Lifetime, relived: int) -> list[tuple[int, int, bool]]:
    """The turns that end with an adaptation, in stretches of one kind: (start, stop, whether constant steps)."""
    total = lifetime.adaptations
    constant = 0 if lifetime.depth is None else max(0, total - lifetime.depth)
    cuts = sorted({0, min(relived, total), constant, total})
    return [(start, stop, stop <= constant) for start, stop in itertools.pairwise(cuts)]


def _as_constant_step(old: Agent, new: Agent) -> Agent:
    """The new agent, with the derivative of one that moved by a constant."""

    def step(old: Array, new: Array) -> Array:
        if not jnp.issubdtype(new.dtype, jnp.inexact):
            return new
        return jax.lax.stop_gradient(new) + (old - jax.lax.stop_gradient(old))

    return jax.tree.map(step, old, new)


def first_rollout(lifetime: Lifetime, state: LifetimeState, key: Key) -> tuple[LifetimeState, Experience]:
    """What `run_lifetime` does first with this state and key, as a `past` of one rollout [1, T, E].

    Newborn agents act alike in all tasks: vmapped over tasks their products are one.
    """
    turns, last = _turn_keys(lifetime, key)
    act_key, _ = jax.random.split(turns[0] if lifetime.adaptations else last)
    state, seen = _act(lifetime, state, act_key)
    return state, jax.tree.map(lambda x: x[None], seen)


def _turn_keys(lifetime: Lifetime, key: Key) -> tuple[Key, Key]:
    """The keys [K] of the turns that end with an adaptation, and that of the last."""
    keys = jax.random.split(key, lifetime.adaptations + 1)
    return keys[:-1], keys[-1]


def _act(lifetime: Lifetime, state: LifetimeState, key: Key) -> tuple[LifetimeState, Experience]:
    environment, policy = lifetime.environment, lifetime.policy
    open_key, act_key = jax.random.split(key)
    scene = opening(environment, policy, state.task, open_key, lifetime.envs) if lifetime.fresh else state.scene
    scene, seen = rollout(
        environment, policy, state.agent.params, state.task, scene, act_key, lifetime.steps, lifetime.quota
    )
    seen = seen._replace(memory=None) if lifetime.fresh else seen  # nothing, which need not be recorded
    return state._replace(scene=scene), seen
