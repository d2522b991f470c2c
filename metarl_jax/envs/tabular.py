"""Random finite Markov decision processes (Duan et al. 2016, RL^2, table 2)."""

import dataclasses
import math
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.core.checks import check_least
from metarl_jax.core.drawing import Colour, Drawing, Episode
from metarl_jax.core.environment import Box, Discrete, Episodic, Expert
from metarl_jax.core.types import Array, Key, Split, Step
from metarl_jax.envs.nodes import circle, journey, node

BRANCHES = 2  # possible next states of a state and action in the extrapolation split


class TabularTask(NamedTuple):
    """The whole decision process; rewards are normal with variance 1."""

    transition: Array  # [S, A, S] probability of the next state
    reward_mean: Array  # [S, A]


class State(NamedTuple):
    """The current state of the process."""

    current: Array  # [] int32
    time: Array  # [] int32 steps taken


@dataclasses.dataclass(frozen=True)
class RandomMDP(Episodic):
    """Maximise the return in an unknown decision process that starts in state 0.

    Splits: in `train` and `test` P(. | s, a) ~ Dirichlet(1) and the mean reward ~ N(1, 1). `extrapolation` has Garnet
    processes (Archibald et al. 1995) with `BRANCHES` possible next states for each state and action and the same
    rewards. Transitions of probability zero do not occur in training, so the splits are disjoint.
    """

    name: ClassVar[str] = "tabular"
    summary: ClassVar[str] = "learn a random Markov decision process from its states and noisy rewards"
    reference: ClassVar[str | None] = "the optimal policy of the known process, in expectation"
    Task: ClassVar[type] = TabularTask

    states: int = 10
    actions: int = 5
    steps: int = 10
    episodes: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        check_least("states", self.states, BRANCHES + 1)  # or extrapolation would equal training
        check_least("actions", self.actions, 2)

    @property
    def limits(self) -> dict[str, tuple[float, float]]:
        return {"transition": (0.0, 1.0), "reward_mean": (-100.0, 100.0)}

    @property
    def observation_space(self) -> Box:
        return Box(0.0, 1.0, (self.states,))

    @property
    def action_space(self) -> Discrete:
        return Discrete(self.actions)

    def expert(self) -> Expert:
        """The actions of `optimal_plan`, which depend on the steps to go."""

        def best(task: TabularTask, observation: Array, time: Array) -> Array:
            actions = optimal_plan(jax.tree.map(lambda leaf: leaf[None], task), self.steps)[1]
            return jax.nn.one_hot(actions[time, jnp.argmax(observation, axis=-1)], self.actions)

        return best

    def reset(self, key: Key, task: TabularTask) -> tuple[Array, State]:
        state = State(jnp.int32(0), jnp.int32(0))
        return self.observe(state), state

    def step(self, key: Key, state: State, action: Array, task: TabularTask) -> Step:
        next_key, noise_key = jax.random.split(key)
        mean = task.reward_mean[state.current, action]
        reward = mean + jax.random.normal(noise_key)
        following = draw_index(next_key, task.transition[state.current, action])
        state = State(following, state.time + 1)
        # The horizon is part of the task, so the last step terminates.
        terminated = state.time >= self.steps
        return Step(self.observe(state), state, reward, terminated, jnp.array(False), {"expected_reward": mean})

    def observe(self, state: State) -> Array:
        """The state one-hot, [S] float32."""
        return jax.nn.one_hot(state.current, self.states)

    def draw(self, task: TabularTask, episode: Episode) -> Drawing:
        """Draw the states on a circle; those that pay more than average are green with the best of their rewards."""
        places, best = circle(self.states), np.max(task.reward_mean, axis=1)
        rich = best > np.mean(best)
        colours: list[Colour] = ["goal" if is_rich else "faint" for is_rich in rich]
        nodes = [shape for i in range(self.states) for shape in node(places[i], f"{best[i]:.1f}", colours[i], out=0.6)]
        return journey(places[episode.state.current], nodes)

    def draw_task(self, key: Key, split: Split) -> TabularTask:
        transition_key, branch_key, reward_key = jax.random.split(key, 3)
        shape = (self.states, self.actions, self.states)
        size = math.prod(shape)  # drawn flat: a tenth of the time to compile
        weight = jax.random.exponential(transition_key, (size,)).reshape(shape)  # normalised: Dirichlet(1)
        if split == "extrapolation":
            chance = jax.random.uniform(branch_key, (size,)).reshape(shape)
            least = jnp.sort(chance, axis=-1)[..., -BRANCHES, None]
            weight = weight * (chance >= least)
        return TabularTask(
            transition=weight / jnp.sum(weight, axis=-1, keepdims=True),
            reward_mean=1.0 + jax.random.normal(reward_key, (size // self.states,)).reshape(shape[:2]),
        )

    def extrapolates(self, task: TabularTask) -> Array:
        return jnp.any(task.transition == 0.0)

    def checked(self, task: Any) -> TabularTask:
        checked: TabularTask = super().checked(task)
        total = jnp.sum(checked.transition, axis=-1)
        if not jnp.allclose(total, 1.0, atol=1e-4):
            worst = float(total.ravel()[jnp.argmax(jnp.abs(total - 1.0))])
            raise ValueError(f"task number 'transition' of tabular has a row that sums to {worst:g}; it must be 1")
        return checked


def optimal_plan(tasks: TabularTask, steps: int) -> tuple[Array, Array]:
    """The value [S] and the actions [steps, S], first step first, that are optimistic over several processes.

    Backward induction: V_0 = 0, V_h(s) = max_a r(s, a) + sum_s' P(s' | s, a) V_{h-1}(s'), with the value of each state
    and action maximised over the processes [K]. O(K steps S^2 A).
    """

    def backup(value: Array, _: None) -> tuple[Array, Array]:
        worth = jnp.max(tasks.reward_mean + tasks.transition @ value, axis=0)
        return jnp.max(worth, axis=-1), jnp.argmax(worth, axis=-1)

    value, actions = jax.lax.scan(backup, jnp.zeros(tasks.reward_mean.shape[1]), None, length=steps)
    return value, actions[::-1]


def draw_index(key: Key, probability: Array) -> Array:
    """An index drawn with the given probabilities [S], by inversion of their sums, [] int32."""
    sums = jnp.cumsum(probability)
    index = jnp.sum(sums <= jax.random.uniform(key) * sums[-1])
    return jnp.minimum(index, probability.size - 1).astype(jnp.int32)
