"""Two slot machines of which one pays as often as the other does not (Wang et al. 2016, section 3.1)."""

import dataclasses
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp

from metarl_jax.core.checks import check_choice
from metarl_jax.core.environment import Discrete
from metarl_jax.core.types import Array, Key, Split
from metarl_jax.envs.bandit import BanditTask, SlotMachines

# What the worse arm pays under each law; None stands for p1 ~ U[0, 1].
WORSE: dict[str, float | None] = {"uniform": None, "easy": 0.1, "medium": 0.25, "hard": 0.4}
GAP = 0.3  # by how much the better arm of an extrapolation task pays more
MISS = 0.1  # by how much the sum of its two arms misses 1 at the least


@dataclasses.dataclass(frozen=True)
class TwoArm(SlotMachines):
    """Dependent arms, p2 = 1 - p1: what one arm pays says all about the other. Independent ones are Bandit(arms=2).

    Splits: `train` and `test` draw p1 from U[0, 1] (uniform), {.1, .9} (easy), {.25, .75} (medium) or {.4, .6} (hard).
    `extrapolation` breaks the dependence: one arm pays `GAP` more than the other, and either both pay too little,
    p1 + p2 < 1 - `MISS`, or both too much, p1 + p2 > 1 + `MISS`.
    """

    name: ClassVar[str] = "two_arm"
    summary: ClassVar[str] = "find the better of two slot machines whose odds add up to one"

    pulls: int = 100
    law: Literal["uniform", "easy", "medium", "hard"] = "uniform"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("law", self.law, WORSE)

    @property
    def action_space(self) -> Discrete:
        return Discrete(2)

    @property
    def withholds(self) -> bool:
        """Not the laws of two tasks, all but the uniform one."""
        return self.law == "uniform"

    def draw_task(self, key: Key, split: Split) -> BanditTask:
        level_key, side_key = jax.random.split(key)
        level, worse = jax.random.uniform(level_key), WORSE[self.law]
        if split == "extrapolation":
            low = (1.0 - GAP - MISS) * level
            low = low + jnp.where(level > 0.5, MISS, 0.0)
            return shuffled(side_key, low, low + GAP)
        first = level if worse is None else jnp.float32(worse)
        return shuffled(side_key, first, 1.0 - first)

    def extrapolates(self, task: BanditTask) -> Array:
        return jnp.abs(jnp.sum(task.mean) - 1.0) > MISS / 2


def shuffled(key: Key, one: Array, other: Array) -> BanditTask:
    """The two arms in a random order."""
    pair = jnp.stack([one, other])
    return BanditTask(jnp.where(jax.random.bernoulli(key), pair, pair[::-1]))
