"""One of our environments with a fixed task, as an environment of gymnax or of Gymnasium."""

import functools
import os
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.core.environment import Box, Discrete, Environment
from metarl_jax.core.keys import key_of
from metarl_jax.core.types import Step, Tree


def to_gymnax(environment: Environment, task: Any) -> Any:
    """The task as a gymnax environment: `reset`, `step` with its automatic reset, and the spaces.

    Its parameters hold the task, by default this one; the time limit is that of the environment.

    Raises:
        ValueError: the task is illegal.
    """
    task = environment.check_task(task)
    return _gymnax_class()(environment, task)


@functools.cache
def _gymnax_class() -> type:
    from flax import struct
    from gymnax.environments import environment as base
    from gymnax.environments import spaces

    @struct.dataclass
    class Params(base.EnvParams):
        task: Any = None

    @struct.dataclass
    class State(base.EnvState):
        inner: Any
        truncated: Any

    class TaskEnvironment(base.Environment):
        """An environment of metarl_jax in one task."""

        def __init__(self, environment: Environment, task: Tree) -> None:
            self.environment, self.task = environment, task

        def __reduce__(self) -> Any:
            return to_gymnax, (self.environment, _plain(self.task))

        @property
        def name(self) -> str:
            return self.environment.name

        @property
        def default_params(self) -> Any:
            return Params(max_steps_in_episode=self.environment.horizon, task=self.task)

        @property
        def num_actions(self) -> int:
            space = self.environment.action_space
            return space.n if isinstance(space, Discrete) else int(np.prod(space.shape))

        def reset_env(self, key: Any, params: Any) -> tuple[Any, Any]:
            observation, inner = self.environment.reset(key, params.task)
            return observation, State(time=jnp.int32(0), inner=inner, truncated=jnp.array(False))

        def step_env(self, key: Any, state: Any, action: Any, params: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
            action = jnp.asarray(action, self.environment.action_space.dtype)
            step = self.environment.step(key, state.inner, action, params.task)
            after = State(time=state.time + 1, inner=step.state, truncated=step.truncated)
            info = {**step.info, "discount": 1.0 - step.terminated}
            return step.observation, after, step.reward, step.terminated, info

        def is_truncated(self, state: Any, params: Any) -> Any:
            return state.truncated

        def action_space(self, params: Any = None) -> Any:
            return _space(self.environment.action_space)

        def observation_space(self, params: Any = None) -> Any:
            return _space(self.environment.observation_space)

    def _space(space: Any) -> Any:
        return spaces.Discrete(space.n) if isinstance(space, Discrete) else spaces.Box(*space)

    return TaskEnvironment


def to_gymnasium(environment: Environment, task: Any) -> Any:
    """The task as a `gymnasium.Env`, one episode after another; copies and pickles keep its current state.

    Continuous actions are rescaled to [-1, 1] elementwise, and the bounds of observations are finite.

    It lives in the process in which the first one was made, and in others that were spawned; a forked one inherits
    locks of JAX that nobody releases: `AsyncVectorEnv(..., context="spawn")`.

    Raises:
        ValueError: the task is illegal.
        RuntimeError: the process was forked from one that has such environments.
    """
    _check_process()
    task = environment.check_task(task)
    return _gymnasium_class()(environment, task)


_first: list[int] = []  # the process in which the first environment was made


def _check_process() -> None:
    if not _first:
        _first.append(os.getpid())
    if _first[0] != os.getpid():
        remedy = 'start it with "spawn", as in gymnasium.vector.AsyncVectorEnv(makers, context="spawn")'
        raise RuntimeError(f"this process was forked from one that uses JAX, which would never answer here; {remedy}")


class _Programs(NamedTuple):
    reset: Any
    step: Any


@functools.cache
def _programs(environment: Environment) -> _Programs:
    """Reset and step, compiled once for all tasks and copies."""

    def reset(seed: Any, task: Tree) -> Any:
        return environment.reset(key_of(seed), task)

    def step(seed: Any, state: Tree, action: Any, task: Tree) -> Step:
        return environment.step(key_of(seed), state, action, task)

    return _Programs(jax.jit(reset), jax.jit(step))


@functools.cache
def _gymnasium_class() -> type:
    import gymnasium
    from gymnasium.envs.registration import EnvSpec

    class TaskEnv(gymnasium.Env):
        """An environment of metarl_jax in one task."""

        metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012

        def __init__(self, environment: Environment, task: Tree) -> None:
            self.environment, self.task, self.state = environment, task, None
            self.observation_space = gymnasium.spaces.Box(*_finite(environment.observation_space))
            space = environment.action_space
            self.action_space = (
                gymnasium.spaces.Discrete(space.n)
                if isinstance(space, Discrete)
                else gymnasium.spaces.Box(-1.0, 1.0, space.shape)
            )
            label = f"metarl_jax/{environment.name.replace('/', '-')}-v0"
            maker: Any = to_gymnasium
            self.spec = EnvSpec(label, maker, kwargs={"environment": environment, "task": _plain(task)})

        def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict]:
            _check_process()
            super().reset(seed=seed)
            observation, self.state = _programs(self.environment).reset(self._draw(), self.task)
            return np.array(observation, np.float32), {}

        def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
            if self.state is None:
                raise gymnasium.error.ResetNeeded("step was called before reset; call reset first")
            if isinstance(self.action_space, gymnasium.spaces.Box):
                action = np.asarray(action, np.float32)
            if not self.action_space.contains(action):
                raise ValueError(f"action {action} is not in {self.action_space}; sample() gives a legal one")
            step = _programs(self.environment).step(self._draw(), self.state, self._scaled(action), self.task)
            self.state = step.state
            info = {name: np.asarray(value) for name, value in step.info.items()}
            ends = bool(step.terminated), bool(step.truncated)
            return np.array(step.observation, np.float32), float(step.reward), *ends, info

        def _draw(self) -> np.uint32:
            return np.uint32(self.np_random.integers(2**32))

        def _scaled(self, action: Any) -> Any:
            space = self.environment.action_space
            if isinstance(space, Discrete):
                return np.int32(action)
            return np.float32(space.low) + np.float32(space.high - space.low) * (action + 1) / 2

        def __reduce__(self) -> Any:
            leaves = None if self.state is None else [np.asarray(leaf) for leaf in jax.tree.leaves(self.state)]
            return _stand, (self.environment, _plain(self.task), leaves, self.np_random)

    return TaskEnv


def _stand(environment: Environment, task: Any, leaves: list[Any] | None, np_random: np.random.Generator) -> Any:
    """Restore a Gymnasium environment from a copy or a pickle."""
    env = to_gymnasium(environment, task)
    env.np_random = np_random
    if leaves is not None:
        state = jax.eval_shape(environment.reset, key_of(0), env.task)[1]
        env.state = jax.tree.unflatten(jax.tree.structure(state), leaves)
    return env


def _plain(task: Any) -> dict[str, Any]:
    return {name: None if value is None else np.asarray(value) for name, value in task._asdict().items()}


def _finite(space: Box) -> tuple[Any, Any, tuple[int, ...]]:
    """Bounds that Gymnasium accepts: finite and different."""
    most = np.finfo(np.float32).max
    low, high = np.clip([space.low, space.high], -most, most).astype(np.float32)
    return low if low < high else low - 1, high, space.shape
