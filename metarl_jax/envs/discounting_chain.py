"""Five chains that pay after different times (Osband et al. 2020, bsuite; Bonnet et al. 2022)."""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax.core.drawing import Drawing, Episode
from metarl_jax.core.environment import Box, Discrete, Episodic
from metarl_jax.core.types import Array, Key, Split, Step
from metarl_jax.envs.nodes import chains

DELAYS = (1, 3, 10, 30, 100)  # steps until each chain pays
BONUS = (0.05, 0.15)  # range of the extra reward of the best chain in train and test
HIGHER = (0.16, 0.3)  # the same in the extrapolation split


class DiscountingChainTask(NamedTuple):
    """The reward of each chain."""

    pay: Array  # [5]


class State(NamedTuple):
    """The chosen chain and the position on it."""

    time: Array  # [] int32 steps taken
    chain: Array  # [] int32 the first action; 0 before it


@dataclasses.dataclass(frozen=True)
class DiscountingChain(Episodic):
    """The first action picks a chain; chain i pays once, after 1, 3, 10, 30 or 100 steps; no other action matters.

    All chains pay 1, except one that pays more: an agent with a small discount factor never takes it. The observation
    holds the time, as a share of 100 steps, and the chain, one-hot. The last step terminates, as nothing pays after it.

    Splits: in `train` and `test` the chain that pays more is random and pays 1 + U[.05, .15]; in the papers it pays
    1.1, and in Bonnet et al. it is the one that pays after 30 steps: `published_task()`. In `extrapolation` it pays
    1 + U[.16, .3].
    """

    name: ClassVar[str] = "discounting_chain"
    summary: ClassVar[str] = "pick the chain that pays most, though others pay sooner"
    reference: ClassVar[str | None] = "the best chain, known"
    Task: ClassVar[type] = DiscountingChainTask

    steps: int = 100
    episodes: int = 5

    @property
    def limits(self) -> dict[str, tuple[float, float]]:
        return {"pay": (-2.0, 2.0)}

    @property
    def observation_space(self) -> Box:
        return Box(0.0, self.steps / DELAYS[-1] if self.steps > DELAYS[-1] else 1.0, (1 + len(DELAYS),))

    @property
    def action_space(self) -> Discrete:
        return Discrete(len(DELAYS))

    def reset(self, key: Key, task: DiscountingChainTask) -> tuple[Array, State]:
        state = State(jnp.int32(0), jnp.int32(0))
        return observe(state), state

    def step(self, key: Key, state: State, action: Array, task: DiscountingChainTask) -> Step:
        state = State(state.time + 1, jnp.where(state.time == 0, action, state.chain))
        reward = jnp.where(state.time == jnp.asarray(DELAYS, jnp.int32)[state.chain], task.pay[state.chain], 0.0)
        return Step(observe(state), state, reward, state.time >= self.steps, jnp.array(False), {})

    def draw(self, task: DiscountingChainTask, episode: Episode) -> Drawing:
        """Draw the five chains with what they pay, and when."""
        return chains(DELAYS, task.pay, episode.state.chain, episode.state.time)

    def draw_task(self, key: Key, split: Split) -> DiscountingChainTask:
        chain_key, bonus_key = jax.random.split(key)
        low, high = HIGHER if split == "extrapolation" else BONUS
        bonus = jax.random.uniform(bonus_key, minval=low, maxval=high)
        best = jax.random.randint(chain_key, (), 0, len(DELAYS), jnp.int32)
        return DiscountingChainTask(1.0 + bonus * (jnp.arange(len(DELAYS), dtype=jnp.int32) == best).astype(float))

    def extrapolates(self, task: DiscountingChainTask) -> Array:
        return jnp.max(task.pay) - 1.0 > (BONUS[1] + HIGHER[0]) / 2


def observe(state: State) -> Array:
    """The time and, after the first step, the chain, [6] float32."""
    chain = jnp.where(state.time > 0, jax.nn.one_hot(state.chain, len(DELAYS)), 0.0)
    return jnp.concatenate([state.time[None].astype(float) / DELAYS[-1], chain])


def published_task() -> DiscountingChainTask:
    """The task of Bonnet et al. 2022: 1.1 after 30 steps, 1 on all other chains."""
    return DiscountingChainTask(jnp.array([1.0, 1.0, 1.0, 1.1, 1.0]))
