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


class Lifetime(NamedTuple):
    """The static description of a life: who lives it, where, and how it is divided into turns."""

    environment: Environment
    policy: Policy
    learner: Learner
    adaptations: int  # K; a lifetime has K + 1 rollouts, and the agent adapts between them
    envs: int  # E
    steps: int  # T
    quota: int | None = None  # episodes that count in a rollout; later steps weigh nothing
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
    """Live K + 1 rollouts with an adaptation between each two, or relive those of `past`.

    With `past` [K+1, T, E] the environment is not touched: the same lifetime again, as a differentiable function of
    φ. The losses are those of the agent that acted on what it then saw, [K+1]; unless `judge_all` only the last is
    computed and the others are 0, and without a `loss` all are.
    """

    def act(state: LifetimeState, key: Key, seen: Experience | None) -> tuple[LifetimeState, Experience]:
        return (state, seen) if seen is not None else _act(lifetime, state, key)

    def judge(state: LifetimeState, seen: Experience, wanted: bool) -> Array:
        return loss(meta_params, state.agent, seen) if wanted and loss is not None else jnp.zeros(())

    Turn = tuple[Key, Experience | None]

    def turn(state: LifetimeState, inputs: Turn) -> tuple[LifetimeState, tuple[Array, Experience]]:
        act_key, adapt_key = jax.random.split(inputs[0])
        state, seen = act(state, act_key, inputs[1])
        judgement = judge(state, seen, judge_all)
        agent = lifetime.learner.adapt(meta_params, state.agent, seen, adapt_key)
        return state._replace(agent=agent), (judgement, seen)

    turns_key, last_key = jax.random.split(key)
    keys = jax.random.split(turns_key, lifetime.adaptations)
    earlier, last = (None, None) if past is None else (jax.tree.map(lambda x: x[:-1], past), _at(past, -1))
    turn = jax.checkpoint(turn) if lifetime.remat else turn
    state, (losses, history) = jax.lax.scan(turn, state, (keys, earlier), length=lifetime.adaptations)
    state, seen = act(state, last_key, last)
    losses = jnp.append(losses, judge(state, seen, True))
    return state, losses, jax.tree.map(lambda xs, x: jnp.concatenate([xs, x[None]]), history, seen)


def _act(lifetime: Lifetime, state: LifetimeState, key: Key) -> tuple[LifetimeState, Experience]:
    environment, policy = lifetime.environment, lifetime.policy
    open_key, act_key = jax.random.split(key)
    scene = opening(environment, policy, state.task, open_key, lifetime.envs) if lifetime.fresh else state.scene
    scene, seen = rollout(
        environment, policy, state.agent.params, state.task, scene, act_key, lifetime.steps, lifetime.quota
    )
    return state._replace(scene=scene), seen


def _at(experience: Experience, index: int) -> Experience:
    return jax.tree.map(lambda x: x[index], experience)
