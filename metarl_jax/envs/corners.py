"""A point and four corners, one of which pays (Stadie et al. 2018, E-MAML; Rothfuss et al. 2019, ProMP).

Corners, start, stride and horizon are those of ProMP's code. Its code has two sparse rewards. The reward of the walking
point, progress toward the goal within the goal's quadrant, can be exploited: a step out of the paying region costs
nothing, and a step back in pays again. The reward here is therefore that of its point with momentum,
max(radius - distance, 0) with a radius of 2, which cannot be exploited in this way.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from metarl_jax.core.drawing import Disc, Drawing, Episode
from metarl_jax.core.types import Array, Key, Split, Step
from metarl_jax.envs.point import GoalTask, Plane, State

CORNER = 2.0  # both coordinates of a corner are +-CORNER
MIDDLE = 1.0  # a goal of the extrapolation split has one coordinate in +-MIDDLE
LARGEST = 0.5  # the largest `jitter`


@dataclasses.dataclass(frozen=True)
class Corners(Plane):
    """Find out which of the four corners pays: a step earns max(radius - distance to the goal, 0).

    The start is uniform in [-.2, .2]^2, and actions are clipped to +-0.2 an axis. Only the time limit ends an episode,
    by truncation after `steps` steps.

    Splits: `train` and `test` have a random corner, displaced along both axes by U[-jitter, jitter]. In `extrapolation`
    only one axis is displaced in this way, and the other coordinate is uniform in [-1, 1], between two corners. With
    `jitter=0` the tasks are the four of the papers; train and test share them, as four are too few to split.
    """

    name: ClassVar[str] = "corners"
    summary: ClassVar[str] = "find the one of four corners that pays"
    reference: ClassVar[str | None] = "straight to the known goal"
    STRIDE: ClassVar[float] = 0.2
    START: ClassVar[float] = 0.2
    ROOM: ClassVar[float] = 2.3

    radius: float = 2.0
    jitter: float = 0.2
    steps: int = 100
    episodes: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 < self.radius <= CORNER:
            raise ValueError(f"radius is {self.radius!r}; it must lie in (0, {CORNER:g}]: choose radius={CORNER:g}")
        if not 0.0 <= self.jitter <= LARGEST:
            raise ValueError(f"jitter is {self.jitter!r}; it must lie in [0, {LARGEST:g}], so that corners stay apart")

    @property
    def limits(self) -> dict[str, tuple[float, float]]:
        return {"goal": (-CORNER - LARGEST, CORNER + LARGEST)}

    def start(self, key: Key) -> Array:
        return jax.random.uniform(key, (2,), minval=-self.START, maxval=self.START)

    @property
    def paying(self) -> float:
        return self.radius

    def draw(self, task: GoalTask, episode: Episode) -> Drawing:
        """Draw the four corners too."""
        drawing = super().draw(task, episode)
        corners = [Disc((x, y), 0.1, "faint") for x in (-CORNER, CORNER) for y in (-CORNER, CORNER)]
        return drawing._replace(background=[*corners, *drawing.background])

    def step(self, key: Key, state: State, action: Array, task: GoalTask) -> Step:
        state = self.move(state, action)
        reward = jnp.maximum(self.radius - jnp.linalg.norm(state.position - task.goal), 0.0)
        return Step(state.position, state, reward, jnp.array(False), state.time >= self.steps, {})

    @property
    def withholds(self) -> bool:
        """False without jitter: four tasks are too few to split."""
        return self.jitter > 0.0

    def draw_task(self, key: Key, split: Split) -> GoalTask:
        place, side, axis = jnp.split(2.0 * jax.random.uniform(key, (5,)) - 1.0, (2, 4))  # each in [-1, 1)
        goal = jnp.where(side < 0.0, -CORNER, CORNER) + self.jitter * place
        if split == "extrapolation":
            between = (jnp.arange(2) == 0) == (axis < 0.0)
            goal = jnp.where(between, MIDDLE * place, goal)
        return GoalTask(goal)

    def extrapolates(self, task: GoalTask) -> Array:
        displaced = jnp.abs(jnp.abs(task.goal) - CORNER)
        return jnp.any(displaced > self.jitter + 1e-6)
