"""An adapted agent that acts one step at a time in an environment of the user."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.core.life import World
from metarl_jax.core.once import once
from metarl_jax.core.rollout import Scene
from metarl_jax.core.types import Agent, Array, Key, Timestep, Tree
from metarl_jax.experiment.config import require


class ActingAgent:
    """An adapted agent: its parameters, learning state, memory, last action and last reward.

        action = agent.act(observation)
        ...  # a step of your environment
        agent.observe(reward, terminated, truncated)

    Episodes follow one another in the task to which it has adapted; an agent with memory continues to learn in it.
    """

    def __init__(self, world: World, agent: Agent, scene: Scene, task: Tree, key: Key) -> None:
        self.params, self.state = agent
        self.memory = scene.memory
        self._world, self._key, self._acts = world, key, 0
        self._timestep = scene.timestep._replace(first=jnp.ones_like(scene.timestep.first))
        self._size = world.environment.observation_space.shape[0]
        inform = getattr(world.environment, "informed", lambda observation, task: observation)
        self._privileged = inform(jnp.zeros(0), task)  # task numbers, if the policy observes them

    def act(self, observation: Any, *, greedy: bool = False) -> np.ndarray:
        """Choose an action for the observation [O]: a number, or a vector [A]; the most likely one if `greedy`.

        Raises:
            UsageError: the observation has another shape.
        """
        timestep = self._timestep._replace(observation=self._perceived(observation)[None])
        key = jax.random.fold_in(self._key, self._acts)
        self.memory, action = _step(self._world)(self.params, self.memory, timestep, key, greedy)
        self._timestep, self._acts = timestep._replace(previous_action=action), self._acts + 1
        return np.asarray(action)[0]

    def _perceived(self, observation: Any) -> Array:
        """The observation with the task numbers, if the policy observes them."""
        expected = (self._size - self._privileged.size,)
        rule = f"of shape {expected}, as {self._world.environment.name} shows it"
        require(np.shape(observation) == expected, "observation", f"of shape {np.shape(observation)}", rule)
        return jnp.concatenate([jnp.asarray(observation, jnp.float32), self._privileged])

    def observe(self, reward: Any, terminated: bool = False, truncated: bool = False) -> None:
        """Record the outcome of the last action; after the end of an episode the next `act` begins a new one."""
        self._timestep = self._timestep._replace(
            previous_reward=jnp.full(1, reward, jnp.float32), first=jnp.full(1, bool(terminated or truncated))
        )


@once
def _step(world: World) -> Callable[..., tuple[Tree, Array]]:
    """The program (θ, memory, timestep, key, greedy) -> memory, action of one environment."""
    policy = world.policy

    @jax.jit
    def step(params: Tree, memory: Tree, timestep: Timestep, key: Key, greedy: Array) -> tuple[Tree, Array]:
        memory, output = policy.apply(params, memory, timestep)
        sampled, mode = policy.distribution.sample(key, output.distribution), policy.distribution.mode
        return memory, jnp.where(greedy, mode(output.distribution), sampled)

    return step
