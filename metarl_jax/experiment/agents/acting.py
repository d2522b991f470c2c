"""The agents of a run, which act one step at a time in an environment of the user."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.core import types
from metarl_jax.core.rollout import Scene
from metarl_jax.core.types import Key, Tree
from metarl_jax.experiment.agents.deployed import Agent, Arrays, Spec
from metarl_jax.experiment.agents.programs import MEMORY, forms_of, like, named, programs
from metarl_jax.experiment.config import RunConfig
from metarl_jax.experiment.errors import UsageError

if TYPE_CHECKING:
    from metarl_jax.experiment.api import Result


class ActingAgent(Agent):
    """An agent of a run. With a seed it lives exactly as an exported one does with that seed.

        action = agent.act(observation)
        ...  # a step of your environment
        agent.observe(reward, terminated, truncated, observation)

    Episodes follow one another in its task, in whose experience or memory it learns. `reset` begins another life.
    """

    error = UsageError

    def __init__(
        self, result: "Result", spec: Spec, *, seed: int = 0, envs: int | None = None, start: Arrays | None = None
    ) -> None:
        self._result, self._forms = result, forms_of(result.config.world)
        meta_params = named(result.meta_params)
        super().__init__(spec, programs(result.config.world), meta_params, seed=seed, envs=envs, start=start)

    @property
    def params(self) -> Tree:
        """Its parameters θ."""
        return like(self._forms.agent, self.life.agent).params

    @property
    def state(self) -> Tree:
        """Its learning state, such as that of its optimiser."""
        return like(self._forms.agent, self.life.agent).state

    @property
    def memory(self) -> Tree:
        """Its memory [E, ...], with an axis of size 1 for a single environment."""
        return like(self._forms.memory, self.life.scene)[MEMORY]

    def export(self, out: str | Path) -> Path:
        """Export the run with this agent as it is now, whose life is where exported agents begin; see `export`.

        Raises:
            UsageError: `out` exists.
        """
        from metarl_jax.experiment.agents.export import export

        return export(self._result, out, agent=self)


def born(result: "Result", *, seed: int = 0, envs: int | None = None) -> ActingAgent:
    """A newborn agent, which learns as in training.

    Raises:
        UsageError: its policy reads the numbers of a task, or `envs` does not divide those of a rollout.
    """
    return ActingAgent(result, spec_of(result.config), seed=seed, envs=envs)


def grown(result: "Result", agent: types.Agent, scene: Scene, task: Tree, key: Key) -> ActingAgent:
    """An agent that has adapted to a task, at the scene where its last trial ended; it adapts no more."""
    spec = dataclasses.replace(spec_of(result.config, task), adaptations=0)
    acting = ActingAgent(result, spec)
    life, last = acting.life, scene.timestep
    life.agent = named(agent)
    life.scene |= {"previous_action": last.previous_action, "previous_reward": last.previous_reward}
    life.scene |= named({MEMORY: scene.memory})
    life.clock["key"] = np.asarray(jax.random.key_data(key))
    acting.start_here()
    return acting


def spec_of(config: RunConfig, task: Tree = None) -> Spec:
    """How the agents of a run live; in a `task`, its numbers follow every observation of a policy that reads them.

    Raises:
        UsageError: there is no task, and the policy reads its numbers.
    """
    world, recipe, environment = config.world, config.recipe, config.environment
    space = environment.observation_space
    lasting = not (recipe.window.newborn or world.learner.shared)
    return Spec(
        observation=space.shape,
        action=environment.action_space.shape,
        action_dtype=jnp.dtype(environment.action_space.dtype).name,
        envs=world.envs,
        steps=world.steps,
        quota=world.quota,
        fresh=world.fresh,
        adaptations=None if lasting else recipe.turns,
        has_memory=world.policy.has_memory,
        told=_told(config, task),
        name=environment.name,
        real=jnp.result_type(float).name,
    )


def _told(config: RunConfig, task: Tree) -> tuple[float, ...]:
    """The task numbers that the policy observes; zeros where it does not use them."""
    shown = config.world.environment
    size = shown.observation_space.shape[0] - config.environment.observation_space.shape[0]
    if task is not None and size:
        return tuple(float(x) for x in shown.informed(jnp.zeros(0), task))  # type: ignore[attr-defined]
    if size and getattr(config.algorithm, "knows_task", False):
        raise UsageError(f"the policy of {config.algorithm.name} reads the numbers of its task: name one")
    return (0.0,) * size
