"""Bandits: k arms with unknown mean rewards, n pulls (Wang et al. 2016; Duan et al. 2016, RL^2, table 1)."""

import dataclasses
from typing import ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.core.checks import check_choice, check_least
from metarl_jax.core.drawing import Drawing, Episode, Line, Polygon, Shape, Text, box
from metarl_jax.core.environment import Box, Discrete, Environment, Expert, any_of
from metarl_jax.core.memory import Memory, recursive
from metarl_jax.core.types import Array, Key, Split, Step

GAP = {"bernoulli": 0.3, "gaussian": 1.0}  # extra mean reward of the one good arm in an extrapolation task

HEIGHT = 3.0  # of a drawing, in widths of a bar


class BanditTask(NamedTuple):
    """The mean reward of each arm."""

    mean: Array  # [k] probability of a reward of 1, or mean of a normal reward of variance 1


@dataclasses.dataclass(frozen=True)
class SlotMachines(Environment):
    """Pull one arm a step, `pulls` times: a trial is one episode.

    Args:
        pulls: pulls in a trial.
        clock: observe the share of pulls done, [1], as in Wang et al. 2016; otherwise a constant, as in Duan et al.
            2016.
    """

    reference: ClassVar[str | None] = "the best arm at every pull, known means"
    Task: ClassVar[type] = BanditTask

    pulls: int = 10
    clock: bool = False

    def __post_init__(self) -> None:
        check_least("pulls", self.pulls, 1)

    @property
    def limits(self) -> dict[str, tuple[float, float]]:
        return {"mean": (0.0, 1.0)}

    @property
    def observation_space(self) -> Box:
        return Box(0.0, 1.0, (1,))

    @property
    def horizon(self) -> int:
        return self.pulls

    @property
    def trial_episodes(self) -> int:
        return 1

    def expert(self) -> Expert:
        """The arms of the largest mean."""

        def best(task: BanditTask, observation: Array, time: Array) -> Array:
            arms = any_of(task.mean == jnp.max(task.mean))
            return jnp.broadcast_to(arms, (*time.shape, *arms.shape))

        return best

    def reset(self, key: Key, task: BanditTask) -> tuple[Array, Array]:
        return self.observe(jnp.int32(0)), jnp.int32(0)

    def step(self, key: Key, state: Array, action: Array, task: BanditTask) -> Step:
        mean, pulled = task.mean[action], state + 1
        # The last pull terminates, so that nothing after it is bootstrapped.
        over = pulled >= self.pulls
        seen = self.observe(pulled)
        return Step(seen, pulled, self.pay(key, mean), over, jnp.array(False), {"expected_reward": mean})

    def draw(self, task: BanditTask, episode: Episode) -> Drawing:
        """Draw a bar for each arm: its posterior mean, the true mean as a line, and below the number of pulls."""
        arms = np.eye(len(task.mean))[episode.action]  # [T, k]
        pulls, total = (
            np.cumsum(np.concatenate([np.zeros((1, len(task.mean))), gained]), axis=0)
            for gained in (arms, arms * episode.reward[:, None])
        )
        means = self.posterior_mean(pulls, total)  # [T+1, k]
        low, high = min(0.0, means.min(), task.mean.min()), max(1.0, means.max(), task.mean.max())
        scale = HEIGHT / (high - low)
        truth = [
            Line([(k, scale * mean), (k + 1, scale * mean)], "reference", 0.06) for k, mean in enumerate(task.mean)
        ]
        frames: list[list[Shape]] = []
        for time, mean in enumerate(means):
            chosen = episode.action[time - 1] if time else -1
            bars = [
                Polygon(box(k + 0.15, 0, k + 0.85, scale * y), "agent" if k == chosen else "visited")
                for k, y in enumerate(mean)
            ]
            counts = [Text((k + 0.5, scale * low - 0.4), f"{n:.0f}", 0.4) for k, n in enumerate(pulls[time])]
            frames.append([*bars, *truth, *counts])
        base = Line([(0.0, 0.0), (len(task.mean), 0.0)], "wall", 0.04)
        words = Text((len(task.mean) / 2, scale * low - 0.95), "pulls", 0.35)
        return Drawing((-0.5, scale * low - 1.3, len(task.mean) + 0.5, scale * high + 0.3), [base, words], frames)

    def posterior_mean(self, pulls: np.ndarray, total: np.ndarray) -> np.ndarray:
        """The mean reward of an arm after `pulls` that paid `total`, under the prior U[0, 1] of its probability."""
        return (1 + total) / (2 + pulls)

    def observe(self, pulled: Array) -> Array:
        """The share of pulls done with `clock`, otherwise 1, [1] float32."""
        return jnp.reshape(pulled.astype(float) / self.pulls, 1) if self.clock else jnp.ones(1)

    def pay(self, key: Key, mean: Array) -> Array:
        """A sampled reward with that mean, [] float32."""
        return jax.random.bernoulli(key, mean).astype(float)


@dataclasses.dataclass(frozen=True)
class Bandit(SlotMachines):
    """Find the best of `arms` independent arms.

    Splits: in `train` and `test` the arms are independent, p ~ U[0, 1] (bernoulli) or mean ~ N(0, 1) (gaussian).
    `extrapolation` has the instances of the minimax lower bound (Lattimore & Szepesvari 2020, chapter 15): all arms
    have the same mean, p ~ U[0, .7] or N(0, 1), except one whose mean is `GAP` larger. This set has measure zero in
    training, so the splits are disjoint.
    """

    name: ClassVar[str] = "bandit"
    summary: ClassVar[str] = "find the best of several slot machines in a handful of pulls"

    arms: int = 5
    rewards: Literal["bernoulli", "gaussian"] = "bernoulli"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_least("arms", self.arms, 2)
        check_choice("rewards", self.rewards, GAP)

    @property
    def limits(self) -> dict[str, tuple[float, float]]:
        return super().limits if self.rewards == "bernoulli" else {"mean": (-100.0, 100.0)}

    @property
    def action_space(self) -> Discrete:
        return Discrete(self.arms)

    def belief(self) -> Memory | None:
        """The posterior under U[0, 1]: means of the arms and shares of the pulls, [2 k]; bernoulli only.

        With s successes and f failures an arm is Beta(1 + s, 1 + f), of mean (1 + s) / (2 + s + f).
        """
        if self.rewards != "bernoulli":
            return None

        def step(counts: Array, inputs: Array, keep: Array) -> tuple[Array, Array]:
            action, reward, first = inputs[..., 1:-2], inputs[..., -2:-1], inputs[..., -1:]
            pulled = jnp.stack([action * reward, action * (1 - reward)], axis=-2) * (1 - first)[..., None]
            counts = counts * keep[..., None] + pulled  # [..., 2, k] successes and failures
            total = jnp.sum(counts, axis=-2)
            return counts, jnp.concatenate([(1 + counts[..., 0, :]) / (2 + total), total / self.pulls], axis=-1)

        return recursive(lambda shape: jnp.zeros((*shape, 2, self.arms)), step, 2 * self.arms)

    def posterior_mean(self, pulls: np.ndarray, total: np.ndarray) -> np.ndarray:
        """The same under the prior of the rewards: that of a normal mean is N(0, 1)."""
        return super().posterior_mean(pulls, total) if self.rewards == "bernoulli" else total / (1 + pulls)

    def pay(self, key: Key, mean: Array) -> Array:
        return super().pay(key, mean) if self.rewards == "bernoulli" else mean + jax.random.normal(key)

    def draw_task(self, key: Key, split: Split) -> BanditTask:
        if split != "extrapolation":
            return BanditTask(self.draw_means(key, 1.0, self.arms))
        level_key, good_key = jax.random.split(key)
        gap = GAP[self.rewards]
        level = self.draw_means(level_key, 1.0 - gap, 1)
        good = jax.random.randint(good_key, (), 0, self.arms, jnp.int32)
        return BanditTask(level + gap * (jnp.arange(self.arms, dtype=jnp.int32) == good).astype(float))

    def extrapolates(self, task: BanditTask) -> Array:
        *others, best = jnp.sort(task.mean)
        alike = others[0] == others[-1]
        return alike & jnp.isclose(best - others[0], GAP[self.rewards], atol=1e-5)

    def draw_means(self, key: Key, top: float, n: int) -> Array:
        """Independent arms, U[0, top] or N(0, 1), [n]."""
        if self.rewards == "bernoulli":
            return jax.random.uniform(key, (n,), maxval=top)
        return jax.random.normal(key, (n,))
