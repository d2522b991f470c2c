"""Meta-learners that compile in no time: with every kind of leaf a training state may have; divided over devices."""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import pytest

from metarl_jax.algorithms import ALGORITHMS
from metarl_jax.algorithms.base import Algorithm, Recipe
from metarl_jax.core.batching import Devices, across_devices
from metarl_jax.core.environment import Environment
from metarl_jax.core.learner import frozen
from metarl_jax.core.life import World
from metarl_jax.core.update import Update
from metarl_jax.core.window import Window


class ToyState(NamedTuple):
    meta_params: Any
    optimiser: Any
    lives: Any


class ToyLearner(NamedTuple):
    init: Any
    step: Any
    env_steps: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Toy(Algorithm):
    """A random walk that remembers its keys; `breaks_at` is the meta-step that leaves a NaN behind."""

    name: ClassVar[str] = "toy"
    summary: ClassVar[str] = "a random walk"

    tasks: int = 8
    breaks_at: int = -1

    def recipe(self, environment: Environment) -> Recipe:
        nothing: Any = None
        learner = frozen(lambda key: jnp.zeros(3))
        window = Window(World(environment, nothing, learner, envs=1, steps=1), turns=0)
        return Recipe(window, Update(lambda meta_params: (), nothing))

    def build(self, environment: Environment, mesh: Any = None) -> Any:
        def init(key: jax.Array) -> ToyState:
            walk = {"w": jax.random.normal(key, (3, 2)), "none": jnp.zeros((0, 4)), "half": jnp.ones(2, jnp.bfloat16)}
            lives = {"key": jax.random.split(key, 2), "alive": jnp.ones(4, bool), "age": jnp.int32(0)}
            return ToyState(walk, (jnp.zeros(3), jnp.int32(0)), lives)

        def step(state: ToyState, key: jax.Array) -> tuple[ToyState, dict[str, jax.Array]]:
            own = jax.random.normal(state.lives["key"][0], (3, 2))
            w = jnp.sin(state.meta_params["w"] * 1.7 + own + jax.random.normal(key, (3, 2)))
            age = state.lives["age"] + 1
            w = jnp.where(age == self.breaks_at, jnp.nan, w)
            lives = state.lives | {"age": age, "key": jax.vmap(jax.random.fold_in, (0, None))(state.lives["key"], age)}
            optimiser = (state.optimiser[0] + w.sum(1), state.optimiser[1] + 1)
            info = {"return": w.sum(), "return_before": -w.mean()}
            return ToyState(state.meta_params | {"w": w}, optimiser, lives), info

        return ToyLearner(init, step, env_steps=7)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Divided(Toy):
    """A random walk whose tasks are divided over the devices: each pulls φ by numbers of its own, which it keeps."""

    name: ClassVar[str] = "divided"

    def build(self, environment: Environment, mesh: Any = None) -> Any:
        def init(key: jax.Array) -> ToyState:
            return ToyState(jnp.zeros(3), jnp.int32(0), jnp.zeros((self.tasks, 3)))

        def local(devices: Devices, phi: jax.Array, keys: jax.Array) -> tuple[jax.Array, jax.Array]:
            drawn = jax.vmap(lambda key: jax.random.normal(key, (3,)))(keys)
            return phi + devices.mean(jnp.mean(jnp.sin(phi + drawn), axis=0)), drawn

        def step(state: ToyState, key: jax.Array) -> tuple[ToyState, dict[str, jax.Array]]:
            phi, drawn = across_devices(mesh, local)(state.meta_params, jax.random.split(key, self.tasks))
            return ToyState(phi, state.optimiser + 1, drawn), {"return": phi.sum(), "return_before": -phi.sum()}

        return ToyLearner(init, step, env_steps=7)


@pytest.fixture(scope="module", autouse=True)
def toy():
    """The toy among the algorithms while a module's tests run."""
    for kind in (Toy, Divided):
        ALGORITHMS[kind.name] = kind
    yield
    for kind in (Toy, Divided):
        del ALGORITHMS[kind.name]


SHORT = {"evaluation_tasks": 0, "quiet": True, "log_every": 4, "checkpoint_every": 8}
