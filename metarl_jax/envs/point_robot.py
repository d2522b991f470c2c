"""A point robot on the sparse half-circle (Rakelly et al. 2019, PEARL, figure 7).

Start, stride, goals, radius and horizon are those of the authors' code. Within the radius of the goal the sparse reward
is the dense one, the negative distance, plus 1; elsewhere it is 0.
"""

import dataclasses
import math
from typing import ClassVar

import jax
import jax.numpy as jnp

from metarl_jax.core.types import Array, Key, Split, Step
from metarl_jax.envs.point import GoalTask, Plane, State

RADIUS = 0.2  # distance to the goal beyond which the reward is 0


@dataclasses.dataclass(frozen=True)
class PointRobot(Plane):
    """Walk from the origin to a hidden goal on the unit circle; a step near it pays 1 - distance.

    Actions are clipped to +-0.1 an axis. Only the time limit ends an episode, by truncation after `steps` steps.

    Splits: `train` and `test` have goals uniform on the upper half of the unit circle, `extrapolation` on the lower
    half, strictly below the axis.
    """

    name: ClassVar[str] = "point_robot"
    summary: ClassVar[str] = "find a goal on a half-circle that pays only from nearby"
    reference: ClassVar[str | None] = "straight to the known goal"
    STRIDE: ClassVar[float] = 0.1

    steps: int = 20
    episodes: int = 3

    @property
    def limits(self) -> dict[str, tuple[float, float]]:
        return {"goal": (-1.0, 1.0)}

    @property
    def paying(self) -> float:
        return RADIUS

    def step(self, key: Key, state: State, action: Array, task: GoalTask) -> Step:
        state = self.move(state, action)
        distance = jnp.linalg.norm(state.position - task.goal)
        reward = jnp.where(distance <= RADIUS, 1.0 - distance, 0.0)
        return Step(state.position, state, reward, jnp.array(False), state.time >= self.steps, {})

    def draw_task(self, key: Key, split: Split) -> GoalTask:
        angle = math.pi * jax.random.uniform(key)
        height = jnp.abs(jnp.sin(angle))  # rounding could leave it below 0
        if split == "extrapolation":
            height = -jnp.maximum(height, 1e-6)
        return GoalTask(jnp.stack([jnp.cos(angle), height]))

    def extrapolates(self, task: GoalTask) -> Array:
        return task.goal[1] < 0.0
