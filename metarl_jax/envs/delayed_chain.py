"""A chain whose first action decides its final reward (Oh et al. 2020, Discovering RL algorithms, NeurIPS)."""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax.core.checks import check_least
from metarl_jax.core.drawing import Drawing, Episode
from metarl_jax.core.environment import Box, Discrete, Environment
from metarl_jax.core.types import Array, Key, Split, Step
from metarl_jax.envs.nodes import chains

EXTRA = 20  # largest additional length of the chains in the extrapolation split


class DelayedChainTask(NamedTuple):
    """The length of a chain and its final rewards."""

    length: Array  # [] int32 steps of an episode
    pay: Array  # [2] reward at the end of the chain for each first action


class State(NamedTuple):
    """The position on the chain and the first action."""

    time: Array  # [] int32 steps taken
    chosen: Array  # [] int32 the first action; 0 before it


@dataclasses.dataclass(frozen=True)
class DelayedChain(Environment):
    """Choose one of two actions and be rewarded for it at the end of the chain; all other actions are ignored.

    The observation holds the time and the first action, each one-hot. The end terminates the episode.

    Splits: `train` and `test` have lengths uniform from `shortest` to `longest`. A random one of the two actions pays
    x ~ U[.5, 1.5] and the other -x: on average the +-1 of the paper, with enough tasks to withhold some. In
    `extrapolation` the chains are up to 20 steps longer than `longest`.
    """

    name: ClassVar[str] = "delayed_chain"
    summary: ClassVar[str] = "learn from the end of a chain which action to take at its start"
    reference: ClassVar[str | None] = "the better action, known"
    Task: ClassVar[type] = DelayedChainTask

    shortest: int = 5
    longest: int = 30
    episodes: int = 5

    def __post_init__(self) -> None:
        check_least("shortest", self.shortest, 2)
        check_least("longest", self.longest, self.shortest)
        check_least("episodes", self.episodes, 1)

    @property
    def limits(self) -> dict[str, tuple[float, float]]:
        return {"length": (1, self.horizon), "pay": (-2.0, 2.0)}

    @property
    def observation_space(self) -> Box:
        return Box(0.0, 1.0, (self.horizon + 1 + 2,))

    @property
    def action_space(self) -> Discrete:
        return Discrete(2)

    @property
    def horizon(self) -> int:
        return self.longest + EXTRA

    @property
    def trial_episodes(self) -> int:
        return self.episodes

    def reset(self, key: Key, task: DelayedChainTask) -> tuple[Array, State]:
        state = State(jnp.int32(0), jnp.int32(0))
        return self.observe(state), state

    def step(self, key: Key, state: State, action: Array, task: DelayedChainTask) -> Step:
        state = State(state.time + 1, jnp.where(state.time == 0, action, state.chosen))
        over = state.time >= task.length
        reward = jnp.where(over, task.pay[state.chosen], 0.0)
        return Step(self.observe(state), state, reward, over, jnp.array(False), {})

    def observe(self, state: State) -> Array:
        """The time and, after the first step, the first action, both one-hot, [horizon + 3] float32."""
        time = jax.nn.one_hot(state.time, self.horizon + 1)
        return jnp.concatenate([time, jnp.where(state.time > 0, jax.nn.one_hot(state.chosen, 2), 0.0)])

    def draw(self, task: DelayedChainTask, episode: Episode) -> Drawing:
        """Draw the two chains with what they pay at their ends."""
        return chains([int(task.length)] * 2, task.pay, episode.state.chosen, episode.state.time)

    def draw_task(self, key: Key, split: Split) -> DelayedChainTask:
        length_key, pay_key, way_key = jax.random.split(key, 3)
        outside = split == "extrapolation"
        low, high = (self.longest + 1, self.horizon) if outside else (self.shortest, self.longest)
        pay = jax.random.uniform(pay_key, minval=0.5, maxval=1.5)
        sign = jnp.where(jax.random.bernoulli(way_key), 1.0, -1.0)
        return DelayedChainTask(
            jax.random.randint(length_key, (), low, high + 1, jnp.int32), pay * sign * jnp.array([1.0, -1.0])
        )

    def extrapolates(self, task: DelayedChainTask) -> Array:
        return task.length > self.longest
