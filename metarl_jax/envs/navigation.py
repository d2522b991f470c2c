"""Navigation of a point in the plane to a hidden goal (Finn et al. 2017, MAML, figure 4).

The order within a step is that of the authors' code: move, reward the new position, then end if it is at the goal. The
reward is the negative distance; the text of the paper squares it.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from metarl_jax.core.types import Array, Key, Split, Step
from metarl_jax.envs.point import GoalTask, Plane, State

TOLERANCE = 0.01  # largest distance along either axis at which the goal is reached
SQUARE = 0.5  # goals of train and test lie in the square +-SQUARE
FAR = 1.0  # goals of the extrapolation split lie in +-FAR, outside the square


@dataclasses.dataclass(frozen=True)
class Navigation(Plane):
    """Walk from the origin to a hidden goal; every step costs the remaining distance.

    Actions are clipped to +-0.1 an axis. An episode terminates at the goal and is truncated after `steps` steps.

    Splits: `train` and `test` have goals uniform in [-.5, .5]^2. `extrapolation` has goals in [-1, 1]^2 outside that
    square: a random coordinate is larger than .5 in size, and the other is unrestricted.
    """

    name: ClassVar[str] = "navigation"
    summary: ClassVar[str] = "walk to a goal in the plane that only the rewards reveal"
    reference: ClassVar[str | None] = "straight to the known goal"
    STRIDE: ClassVar[float] = 0.1

    @property
    def limits(self) -> dict[str, tuple[float, float]]:
        return {"goal": (-FAR, FAR)}

    def step(self, key: Key, state: State, action: Array, task: GoalTask) -> Step:
        state = self.move(state, action)
        offset = state.position - task.goal
        terminated = jnp.all(jnp.abs(offset) < TOLERANCE)
        truncated = ~terminated & (state.time >= self.steps)
        return Step(state.position, state, -jnp.linalg.norm(offset), terminated, truncated, {})

    def draw_task(self, key: Key, split: Split) -> GoalTask:
        if split != "extrapolation":
            return GoalTask(jax.random.uniform(key, (2,), minval=-SQUARE, maxval=SQUARE))
        place, share, side, axis = jax.random.uniform(key, (4,))  # each in [0, 1)
        free = FAR * (2.0 * place - 1.0)
        outside = (FAR - (FAR - SQUARE) * share) * jnp.where(side < 0.5, -1.0, 1.0)  # never on the edge of the square
        return GoalTask(jnp.where(axis < 0.5, jnp.stack([outside, free]), jnp.stack([free, outside])))

    def extrapolates(self, task: GoalTask) -> Array:
        return jnp.any(jnp.abs(task.goal) > SQUARE)
