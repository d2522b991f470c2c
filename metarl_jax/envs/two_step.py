"""The two-step task of Daw et al. 2011 (figure 1) as a bandit that changes (Wang et al. 2016, section 3.2.1)."""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.core.checks import check_least
from metarl_jax.core.drawing import Drawing, Episode
from metarl_jax.core.environment import Box, Discrete, Environment
from metarl_jax.core.types import Array, Key, Split, Step
from metarl_jax.envs.nodes import journey, node

PLANETS = 2
MOST = 0.05  # the largest spread with disjoint splits


class Numbers(NamedTuple):
    """The centre of the distribution of a split."""

    common: float  # probability that an action leads to its own planet
    good: float  # probability of a reward on the good planet
    bad: float  # probability of a reward on the other planet
    stay: float  # probability that the good planet is the same after a trial


PAPER = Numbers(common=0.8, good=0.9, bad=0.1, stay=0.975)
HARDER = Numbers(common=0.65, good=0.75, bad=0.25, stay=0.925)


class TwoStepTask(NamedTuple):
    """The probabilities of a game. The identity of the good planet changes during it and is part of the state."""

    first: Array  # [2] probability that the action leads to planet 0
    reward: Array  # [2] probability of a reward on the good planet and on the bad one
    stay: Array  # [] probability that the good planet is the same after a trial


class State(NamedTuple):
    """The position of the player, and the hidden good planet."""

    planet: Array  # [] int32 0 or 1 in the second half of a trial, PLANETS in the first
    good: Array  # [] int32 the current good planet
    trial: Array  # [] int32 trials done


@dataclasses.dataclass(frozen=True)
class TwoStep(Environment):
    """Travel to one of two planets for a reward; now and then the two swap their reward probabilities.

    A trial takes two steps. In the first, each action usually leads to a planet of its own and sometimes to the other
    one. In the second, any action collects a reward of 1 with the probability of the planet.

    Splits: `train` and `test` have the probabilities of the paper (common transition .8, reward .9 and .1, swap .025),
    and the two actions are exchanged with probability 1/2. With a `spread` U[-spread, spread] is added to each number,
    and a quarter of that to stay; without one there are two tasks, which train and test share. `extrapolation` has the
    probabilities `HARDER` (common transition .65, reward .75 and .25, swap .075) with a spread of `MOST`, all outside
    the training range.
    """

    name: ClassVar[str] = "two_step"
    summary: ClassVar[str] = "keep track of the better of two planets and of the action that leads there"
    reference: ClassVar[str | None] = "optimal player with known probabilities and unknown good planet, in expectation"
    Task: ClassVar[type] = TwoStepTask

    trials: int = 100
    spread: float = 0.0

    def __post_init__(self) -> None:
        check_least("trials", self.trials, 1)
        if not 0.0 <= self.spread <= MOST:
            raise ValueError(f"spread is {self.spread}; it must lie in [0, {MOST}], or the splits overlap")

    @property
    def limits(self) -> dict[str, tuple[float, float]]:
        return dict.fromkeys(TwoStepTask._fields, (0.0, 1.0))

    @property
    def observation_space(self) -> Box:
        return Box(0.0, 1.0, (PLANETS + 1,))

    @property
    def action_space(self) -> Discrete:
        return Discrete(2)

    @property
    def horizon(self) -> int:
        return 2 * self.trials

    @property
    def trial_episodes(self) -> int:
        return 1

    def reset(self, key: Key, task: TwoStepTask) -> tuple[Array, State]:
        good = jax.random.bernoulli(key).astype(jnp.int32)
        state = State(jnp.int32(PLANETS), good, jnp.int32(0))
        return observe(state), state

    def step(self, key: Key, state: State, action: Array, task: TwoStepTask) -> Step:
        travel, pay, swap = jax.random.uniform(key, (3,))
        choosing = state.planet == PLANETS
        reached = (travel >= task.first[action]).astype(jnp.int32)
        mean = jnp.where(choosing, 0.0, jnp.where(state.planet == state.good, task.reward[0], task.reward[1]))
        good = jnp.where(choosing | (swap < task.stay), state.good, 1 - state.good)
        state = State(jnp.where(choosing, reached, PLANETS), good, state.trial + (~choosing).astype(jnp.int32))
        # The last trial terminates, so that nothing after it is bootstrapped.
        over = state.trial >= self.trials
        reward = (pay < mean).astype(float)
        return Step(observe(state), state, reward, over, jnp.array(False), {"expected_reward": mean})

    @property
    def withholds(self) -> bool:
        """False without a spread: two tasks are too few to split."""
        return self.spread > 0.0

    def draw(self, task: TwoStepTask, episode: Episode) -> Drawing:
        """Draw the choice and the two planets, of which the good one is green."""
        places = np.array([(-1.0, 1.5), (1.0, 1.5), (0.0, 0.0)])
        nodes = [shape for place in places for shape in node(place, "")]
        good = [node(places[planet], f"{task.reward[0]:.2g}", "goal", out=0.6) for planet in episode.state.good]
        return journey(places[episode.state.planet], nodes, good, trail=False)

    def draw_task(self, key: Key, split: Split) -> TwoStepTask:
        middle, spread = (HARDER, MOST) if split == "extrapolation" else (PAPER, self.spread)
        move_key, order_key = jax.random.split(key)
        move = jax.random.uniform(move_key, (5,), minval=-spread, maxval=spread)
        first = jnp.stack([middle.common + move[0], 1.0 - middle.common - move[1]])
        return TwoStepTask(
            first=jnp.where(jax.random.bernoulli(order_key), first, first[::-1]),
            reward=jnp.stack([middle.good + move[2], middle.bad + move[3]]),
            stay=middle.stay + move[4] / 4.0,
        )

    def extrapolates(self, task: TwoStepTask) -> Array:
        return jnp.max(task.first) < 0.5 * (PAPER.common + HARDER.common)

    def checked(self, task: Any) -> TwoStepTask:
        checked: TwoStepTask = super().checked(task)
        if checked.reward[0] < checked.reward[1]:
            raise ValueError("task number 'reward' of two_step must list the good planet first")
        return checked


def observe(state: State) -> Array:
    """Planet 0, planet 1 or the choice between them, one-hot, [3] float32."""
    return jax.nn.one_hot(state.planet, PLANETS + 1)
