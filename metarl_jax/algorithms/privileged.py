"""Observations of the hidden task numbers, for upper references and privileged critics."""

import dataclasses
from typing import Any, cast

import jax
import jax.numpy as jnp

from metarl_jax.core.environment import Box, Environment
from metarl_jax.core.keys import key_of
from metarl_jax.core.types import Array, Key, Step, Tree


def with_task_in_view(environment: Environment) -> Environment:
    """The environment with the task numbers at the end of its observations; integers are divided by their maximum."""
    return cast(Environment, _TaskInView(environment))


def numbers_of(environment: Environment) -> int:
    """How many numbers a task has."""
    return sum(like.size for _, like in _shapes(environment))


@dataclasses.dataclass(frozen=True)
class _TaskInView:
    hidden: Environment

    def __getattr__(self, name: str) -> Any:
        return getattr(self.hidden, name)

    @property
    def observation_space(self) -> Box:
        space, numbers = self.hidden.observation_space, _shapes(self.hidden)
        ends = [end / self._unit(name, like) for name, like in numbers for end in self.hidden.limits[name]]
        size = space.shape[0] + sum(like.size for _, like in numbers)
        return Box(min(space.low, *ends), max(space.high, *ends), (size,))

    def reset(self, key: Key, task: Tree) -> tuple[Array, Tree]:
        observation, state = self.hidden.reset(key, task)
        return self.informed(observation, task), state

    def step(self, key: Key, state: Tree, action: Array, task: Tree) -> Step:
        step = self.hidden.step(key, state, action, task)
        return step._replace(observation=self.informed(step.observation, task))

    def informed(self, observation: Array, task: Tree) -> Array:
        """An observation of the hidden environment followed by the task numbers."""
        scaled = [jnp.ravel(x).astype(observation.dtype) / self._unit(name, x) for name, x in _numbers(task)]
        return jnp.concatenate([observation, *scaled])

    def _unit(self, name: str, x: Any) -> float:
        """The unit of a task number: 1 for floats, the maximum for integers."""
        return 1.0 if jnp.issubdtype(x.dtype, jnp.floating) else max(map(abs, self.hidden.limits[name]))


def _shapes(environment: Environment) -> list[tuple[str, Any]]:
    return _numbers(jax.eval_shape(lambda: environment.draw_task(key_of(0), "train")))


def _numbers(task: Any) -> list[tuple[str, Any]]:
    return [(name, x) for name, x in task._asdict().items() if x is not None]
