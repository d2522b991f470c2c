"""Two arms whose reward probabilities add up to 1 (Wang et al. 2016, section 3.1)."""

import dataclasses
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp

from metarl_jax.core.checks import check_choice
from metarl_jax.core.environment import Discrete
from metarl_jax.core.types import Array, Key, Split
from metarl_jax.envs.bandit import BanditTask, SlotMachines

# The mean of the worse arm under each law; None stands for p1 ~ U[0, 1].
WORSE: dict[str, float | None] = {"uniform": None, "easy": 0.1, "medium": 0.25, "hard": 0.4}
GAP = 0.3  # extra mean reward of the better arm in an extrapolation task
MISS = 0.1  # least distance between 1 and the sum of the two means of such a task


@dataclasses.dataclass(frozen=True)
class TwoArm(SlotMachines):
    """Dependent arms, p2 = 1 - p1: one arm determines the other. Independent arms are Bandit(arms=2).

    Splits: `train` and `test` draw p1 from U[0, 1] (uniform), {.1, .9} (easy), {.25, .75} (medium) or {.4, .6} (hard).
    `extrapolation` breaks the dependence: one mean is `GAP` larger than the other, and either p1 + p2 < 1 - `MISS` or
    p1 + p2 > 1 + `MISS`.
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
        """True only under the uniform law: the others have two tasks each."""
        return self.law == "uniform"

    def draw_task(self, key: Key, split: Split) -> BanditTask:
        level_key, side_key = jax.random.split(key)
        level, worse = jax.random.uniform(level_key), WORSE[self.law]
        if split == "extrapolation":
            low = (1.0 - GAP - MISS) * level
            low = low + jnp.where(level > 0.5, MISS, 0.0)
            return shuffled(side_key, low, low + GAP)
        first = level if worse is None else jnp.asarray(worse, float)
        return shuffled(side_key, first, 1.0 - first)

    def extrapolates(self, task: BanditTask) -> Array:
        return jnp.abs(jnp.sum(task.mean) - 1.0) > MISS / 2


def shuffled(key: Key, one: Array, other: Array) -> BanditTask:
    """The two arms in a random order."""
    pair = jnp.stack([one, other])
    return BanditTask(jnp.where(jax.random.bernoulli(key), pair, pair[::-1]))
