"""Lives with a record, and the logs of agents that do not learn."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from probes import Line
from trees import double

from metarl_jax.algorithms import make
from metarl_jax.algorithms.maml import MAML
from metarl_jax.core.backprop import record as recording
from metarl_jax.core.batching import Devices
from metarl_jax.core.environment import Environment
from metarl_jax.core.life import Life, begin, run, turn, unborn
from metarl_jax.core.policy import Policy
from metarl_jax.core.rollout import opening, rollout
from metarl_jax.core.types import Experience, Record
from metarl_jax.core.update import Lives, Now
from metarl_jax.core.window import Window, live
from metarl_jax.envs import make as make_environment

ENVIRONMENT = make_environment("tabular", states=3, actions=2, steps=4, episodes=1)
SMALL: dict[str, Any] = {"tasks": 4, "envs": 2, "pairs": 2, "sigma": 1e-3}
BLIND: dict[str, Any] = {"memory": "none", "hidden": (4,), "width": 4, "epochs": 1, "minibatches": 1}

# Compiled, which takes less time than to execute one operation after another.
begun = jax.jit(begin, static_argnums=0)  # world, φ, task, key
turned = jax.jit(turn, static_argnums=0)  # world, φ, life
ran = jax.jit(run, static_argnums=(0, 3, 4))  # world, φ, life, turns, observe
living = jax.jit(live, static_argnums=0)  # window, φ, life


@functools.partial(jax.jit, static_argnums=(0, 1, 4, 5, 6))
def rolled(
    environment: Environment, policy: Policy, params: Any, task: Any, envs: int, steps: int, quota: int | None = None
) -> Experience:
    """The record of a rollout from the opening."""
    scene = opening(environment, policy, task, jax.random.key(2), envs)
    return rollout(environment, policy, params, task, scene, jax.random.key(3), steps, quota)[1]


@functools.cache
def program(name: str, environment: Line, options: tuple[tuple[str, Any], ...]) -> Any:
    learner = make(name, **SMALL, **dict(options)).build(environment)
    return learner, jax.jit(learner.step)


def played(environment: Line, go: float, windows: int = 6, **options: Any) -> dict[str, float]:
    """The log of the last of some windows on agents that go with that chance and do not learn."""
    learner, step = program("rl2", environment, tuple({**BLIND, "meta_lr": 0.0, **options}.items()))
    state = learner.init(jax.random.key(0))
    head = state.meta_params["actor"]["head"]
    odds = jnp.array([0.0, np.log(go / (1 - go))])
    state.meta_params["actor"]["head"] = {"kernel": jnp.zeros_like(head["kernel"]), "bias": odds}
    for key in jax.random.split(jax.random.key(1), windows):
        state, info = step(state, key)
    return {name: float(value) for name, value in info.items()}


class MamlLives:
    """Three lives of MAML, lived in single precision and differentiated in double precision."""

    def __init__(self, tasks: int = 3, **options: Any) -> None:
        self.algorithm = MAML(hidden=(4,), envs=2, tasks=tasks, inner_lr=0.5, **options)
        self.recipe = self.algorithm.recipe(ENVIRONMENT)
        self.window = self.recipe.window._replace(chunk=1)
        self.objective = self.recipe.objective(jnp.int32(0))
        learner = self.window.world.learner
        noise = lambda x, i: x + 0.3 * jax.random.normal(jax.random.key(i), x.shape)  # noqa: E731
        meta_params = learner.meta_init(jax.random.key(0))
        leaves, shape = jax.tree.flatten(meta_params)
        self.meta_params = jax.tree.unflatten(shape, [noise(x, i) for i, x in enumerate(leaves)])
        keys = jax.random.split(jax.random.key(1), tasks)
        self.lives = jax.vmap(lambda k: unborn(ENVIRONMENT.sample_task(k, "train"), k))(keys)
        update, now = recording(self.window, self.recipe.objective), Now(jnp.int32(0), jax.random.key(2), Devices())
        live = jax.jit(lambda φ: update.improve(φ, (), Lives(self.lives), now)[-1].past)
        self.past: Record = live(self.meta_params)

    def precise(self) -> Window:
        world = self.window.world
        learner = world.learner._replace(birth=lambda φ, key: double(world.learner.birth(φ, key)))
        return self.window._replace(world=world._replace(learner=learner))

    def first(self) -> tuple[Record, Life]:
        """The life that had most to learn from its first rollout."""
        most = int(jnp.argmax(jnp.max(jnp.abs(self.past.credit.advantage[:, 0]), axis=(1, 2))))
        return jax.tree.map(lambda x: x[most], (self.past, self.lives))
