"""The one scan of the library: act, judge, adapt, repeat."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

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
    judge_all: bool = False,
) -> tuple[LifetimeState, Array, Experience]:
    """Live K + 1 rollouts with an adaptation between each two. The first n of them may be given and are relived.

    What is in `past` [n, T, E] is not acted again. With n = K + 1 the environment is not touched: the same lifetime
    once more, as a differentiable function of φ. The losses are those of the agent that acted on what it then saw,
    [K+1]; unless `judge_all` only the last is computed and the others are 0, and without a `loss` all are.
    """

    def act(state: LifetimeState, key: Key, seen: Experience | None) -> tuple[LifetimeState, Experience]:
        return (state, seen) if seen is not None else _act(lifetime, state, key)

    def judge(state: LifetimeState, seen: Experience, wanted: bool) -> Array:
        return loss(meta_params, state.agent, seen) if wanted and loss is not None else jnp.zeros(())

    def turn(state: LifetimeState, inputs: tuple[Key, Experience | None]) -> tuple[LifetimeState, Record]:
        act_key, adapt_key = jax.random.split(inputs[0])
        state, seen = act(state, act_key, inputs[1])
        judgement = judge(state, seen, judge_all)
        agent = lifetime.learner.adapt(meta_params, state.agent, seen, adapt_key)
        return state._replace(agent=agent), (judgement, seen)

    turn = jax.checkpoint(turn) if lifetime.remat else turn
    turns, last = _turn_keys(lifetime, key)
    relived = 0 if past is None else jax.tree.leaves(past)[0].shape[0]
    earlier = jax.tree.map(lambda x: x[: lifetime.adaptations], past)
    records: list[Record] = []
    for stretch in ((turns[:relived], earlier), (turns[relived:], None)):
        if len(stretch[0]) > 0:
            state, record = jax.lax.scan(turn, state, stretch)
            records.append(record)
    seen = jax.tree.map(lambda x: x[-1], past) if relived > lifetime.adaptations else None
    state, seen = act(state, jax.random.split(last)[0], seen)
    records.append(jax.tree.map(lambda x: x[None], (judge(state, seen, True), seen)))
    losses, history = jax.tree.map(lambda *parts: jnp.concatenate(parts), *records)
    return state, losses, history


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
    return state._replace(scene=scene), seen
