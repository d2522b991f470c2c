"""The records that pass between environment, policy, learner and lifetime.

Axis letters in the shape comments: N tasks, K adaptations, T steps, E parallel environments, A actions.
"""

from typing import Any, Literal, NamedTuple

import jax

Array = jax.Array
Key = jax.Array  # a typed key: `key_of(seed)` in keys.py
Tree = Any  # any pytree of arrays
Split = Literal["train", "test", "extrapolation"]
SPLITS: tuple[Split, ...] = ("train", "test", "extrapolation")


class Timestep(NamedTuple):
    """The input of the policy before it acts."""

    observation: Array  # [..., O]
    previous_action: Array  # [...] int32, or [..., A] float32
    previous_reward: Array  # [...]
    first: Array  # [...] bool: the first step of an episode


class Step(NamedTuple):
    """The response of the environment to an action. There is no automatic reset."""

    observation: Array  # [O] the true next observation, also at the end of an episode
    state: Tree
    reward: Array  # [] float32
    terminated: Array  # [] bool: the task ended the episode
    truncated: Array  # [] bool: the time limit ended it; the value of `observation` still counts
    info: dict[str, Array]  # diagnostics, never perceived by the policy


class Output(NamedTuple):
    """The output of the policy for a timestep."""

    distribution: Tree  # parameters of the action distribution
    value: Array  # [...] estimate of the return from here; zero without a critic
    prediction: Tree = ()  # [..., M] what a rule predicts besides, in the meaning that the rule gives it


class Experience(NamedTuple):
    """The record of a rollout: data, never differentiated."""

    timestep: Timestep  # [T, E, ...]
    action: Array  # [T, E, ...]
    log_prob: Array  # [T, E] of the action under the behaviour policy
    value: Array  # [T, E] of the timestep under the behaviour policy
    next_value: Array  # [T, E] of the true next observation, before any reset
    reward: Array  # [T, E]
    terminated: Array  # [T, E] bool
    truncated: Array  # [T, E] bool
    final: Array  # [T, E] bool: the step that completed the quota of episodes
    weight: Array  # [T, E] 1 where the step counts, 0 after the quota of episodes
    next_observation: Array  # [T, E, O] the true one, before any reset
    memory: Tree  # [E, ...] at the first timestep
    earned: Tree = ()  # [E] return of the current episode before the first timestep
    onward: Tree = ()  # [E] value of the timestep after the record, which may begin the next episode
    distribution: Tree = ()  # [T, E, ...] parameters of the distribution that the actions were drawn from
    expected_reward: Tree = ()  # [T, E] expectation of the reward, where the environment provides it
    prediction: Tree = ()  # [T, E, M] of the timestep, and of the true next observation: not recorded, see `revalue`
    next_prediction: Tree = ()
    state: Tree = ()  # [T, E, ...] of the environment before each step, and after it: recorded only for drawings
    next_state: Tree = ()


class Credit(NamedTuple):
    """The credit that a loss assigns to the actions of a record: data, never differentiated."""

    advantage: Array  # [T, E]
    target: Array  # [T, E] regression target of the value, or [T, E, M] of the prediction
    hindsight: Tree = ()  # [T, E] the gain from adapting to this record, see algorithms/hindsight.py


class Record(NamedTuple):
    """The record of a life with its credit; a relived life is differentiated on it."""

    seen: Experience  # [T, E, ...]
    credit: Credit  # [T, E]
    target: Tree = ()  # of the life that lived on after the window: `Objective.goal`


class Agent(NamedTuple):
    """All that changes during a lifetime and is shared by its parallel environments."""

    params: Tree
    state: Tree = ()  # optimiser state, running statistics, ...
