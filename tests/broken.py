"""An environment that returns NaN or inf in some of its tasks, and an algorithm whose gradient is not always finite."""

import dataclasses
from typing import Annotated, Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from probes import Probe

from metarl_jax.algorithms.base import Algorithm, Recipe
from metarl_jax.core.checks import Between
from metarl_jax.core.environment import Environment
from metarl_jax.core.learner import frozen
from metarl_jax.core.life import World
from metarl_jax.core.policy import mlp_policy
from metarl_jax.core.types import Agent, Array, Key, Split, Step, Tree
from metarl_jax.core.update import Lives, Now, Update
from metarl_jax.core.window import Window

FAULTS = ("none", "reward is NaN", "reward is inf", "observation is NaN", "observation is inf", "reset is NaN")


class Faulty(NamedTuple):
    """What a step of action 1 earns, and what goes wrong."""

    pay: Array  # []
    fault: Array  # [] int32, of FAULTS


@dataclasses.dataclass(frozen=True)
class Broken(Probe):
    """Two steps an episode; `share` of the tasks have a fault, which shows in the first step with action 0."""

    name: ClassVar[str] = "broken"
    summary: ClassVar[str] = "some tasks return NaN or inf"
    Task: ClassVar[type] = Faulty

    share: float = 0.25
    fault: int = 0  # 0: any

    @property
    def limits(self) -> dict[str, tuple[float, float]]:
        return {"pay": (0.5, 1.0), "fault": (0, len(FAULTS) - 1)}

    @property
    def horizon(self) -> int:
        return 2

    def reset(self, key: Key, task: Faulty) -> tuple[Array, Array]:
        return jnp.where(task.fault == 5, jnp.nan, jnp.ones(1)), jnp.int32(0)

    def step(self, key: Key, state: Array, action: Array, task: Faulty) -> Step:
        shows = (state == 0) & (action == 0)
        wrong = jnp.array([0.0, jnp.nan, jnp.inf, jnp.nan, jnp.inf, 0.0])[task.fault]
        reward = jnp.where(shows & (task.fault <= 2), task.pay * action + wrong, task.pay * action)
        observation = jnp.ones(1) + jnp.where(shows & (task.fault > 2), wrong, 0.0)
        return Step(observation, state + 1, reward, jnp.array(False), state == 1, {})

    def draw_task(self, key: Key, split: Split) -> Faulty:
        pay, share, which = jax.random.split(key, 3)
        fault = self.fault or jax.random.randint(which, (), 1, len(FAULTS))
        faulty = jax.random.uniform(share) < self.share
        return Faulty(jax.random.uniform(pay, minval=0.5), jnp.where(faulty, fault, 0).astype(jnp.int32))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Steep(Algorithm):
    """φ grows by `meta_lr` a step; from step `first` to `last` the gradient is infinite unless that is small."""

    name: ClassVar[str] = "steep"
    summary: ClassVar[str] = "a gradient that is not always finite"

    first: Annotated[int, Between(-1)] = -1
    last: Annotated[int, Between(-1)] = -1
    meta_lr: Annotated[float, Between(0)] = 1.0
    width: Annotated[int, Between(1)] = 2

    def recipe(self, environment: Environment) -> Recipe:
        policy = mlp_policy(environment, (2,), critic=False)
        learner = frozen(lambda key: jnp.zeros(self.width))._replace(birth=lambda phi, key: Agent(policy.init(key)))
        window = Window(World(environment, policy, learner, envs=1, steps=1), turns=0)

        def improve(meta_params: Tree, memory: Tree, lives: Lives, now: Now) -> tuple[Tree, Tree, Any, Lives]:
            steep = (now.step >= self.first) & (now.step <= self.last) & (self.meta_lr > 0.1)
            gradient = jnp.where(steep, jnp.inf, 1.0)
            return meta_params + self.meta_lr * gradient, memory + gradient, {"loss": jnp.float32(0.0)}, lives

        return Recipe(window, Update(lambda meta_params: jnp.zeros(()), improve))
