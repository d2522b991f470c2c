"""Q-learning as the inner loop, with meta-learned initialisation, step size and exploration (Watkins & Dayan 1992)."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from metarl_jax.algorithms.base import (
    Adapting,
    Amount,
    Count,
    Improved,
    Positive,
    Recipe,
    Size,
    Widths,
    improved,
    needs_discrete,
    rollout_steps,
)
from metarl_jax.core.checks import is_off
from metarl_jax.core.distributions import distribution_of
from metarl_jax.core.environment import Environment
from metarl_jax.core.evolution import negative_return
from metarl_jax.core.learner import Learner, inner_gradient
from metarl_jax.core.life import World
from metarl_jax.core.losses import Baseline, reinforce, weighted_mean
from metarl_jax.core.networks import Network, mlp
from metarl_jax.core.policy import Policy
from metarl_jax.core.types import Agent, Array, Experience, Key, Output, Timestep, Tree
from metarl_jax.core.window import Window, fitting_chunk


@dataclasses.dataclass(frozen=True, kw_only=True)
class QLearning(Improved, Adapting):
    """Learn the initialisation, the step size and the temperature of Q-learning.

    φ = {params, log_temperature, log_rate}; θ = the Q-function and its temperature. The policy is Boltzmann's,
    π(a|s) ∝ exp(Q(s, a) / τ), through which the outer gradient reaches Q. Adaptation descends the one-step error

        θ ← θ − α ∇θ ½ E[ (Q_θ(s, a) − r − γ max_b Q_θ̄(s', b))² ],    θ̄ = θ, constant only in the inner gradient.

    Args:
        inner_lr: initial step size α.
        temperature: initial temperature τ.
        sweeps: temporal-difference steps on each rollout.
        baseline: subtracted from an environment's returns in the outer loss: a linear regression on all environments
            (fitted), or on only the others (leave_one_out), which leaves the expected gradient unchanged.
        hidden: widths of the Q-network; none for a function linear in the observation, a table if that is one-hot.
    """

    name: ClassVar[str] = "q_learning"
    summary: ClassVar[str] = "temporal-difference learning with learned initialisation, step size and exploration"

    adaptations: Size = 3
    inner_lr: Amount = 0.1
    temperature: Positive = 0.3
    sweeps: Count = 4
    baseline: Baseline = "fitted"
    hidden: Widths = (64,)

    def __post_init__(self) -> None:
        super().__post_init__()
        if is_off(self.inner_lr):
            raise ValueError("inner_lr of q_learning is 0; its logarithm is meta-learned: choose a number above 0")

    def refuses(self, environment: Environment) -> str | None:
        return needs_discrete(environment)

    def recipe(self, environment: Environment) -> Recipe:
        distribution = distribution_of(environment.action_space)
        network = mlp(environment.observation_space.shape[0], self.hidden, distribution.size, head_scale=0.01)
        policy = boltzmann_policy(environment, network, self.temperature)
        learner = q_learner(policy, network, self.gamma, self.inner_lr, self.sweeps)
        steps, quota = rollout_steps(self, environment)
        world = World(environment, policy, learner, self.envs, steps, quota)
        window = Window(world, self.adaptations, chunk=self.chunk or fitting_chunk(world))
        outer_loss = reinforce(policy, gamma=self.gamma, baseline=self.baseline)
        return improved(self, window, lambda remaining: outer_loss, negative_return(world, self.gamma))


def boltzmann_policy(environment: Environment, network: Network, temperature: Array | float) -> Policy:
    """The policy π(a|s) ∝ exp(Q(s, a) / τ) with parameters {q, log_temperature}."""

    def init(key: Key) -> Tree:
        return {"q": network.init(key), "log_temperature": jnp.log(jnp.asarray(temperature, jnp.float32))}

    def output(params: Tree, timestep: Timestep) -> Output:
        q = network.apply(params["q"], timestep.observation)
        return Output(q * jnp.exp(-params["log_temperature"]), jnp.zeros(q.shape[:-1]))

    return Policy(
        init=init,
        initial_memory=lambda shape: (),
        apply=lambda params, memory, timestep: (memory, output(params, timestep)),
        unroll=lambda params, memory, timesteps: output(params, timesteps),
        distribution=distribution_of(environment.action_space),
        critic=False,
    )


def q_learner(policy: Policy, network: Network, gamma: Array | float, inner_lr: Array | float, sweeps: int) -> Learner:
    """Birth at φ.params, adaptation by `sweeps` steps down the squared one-step error."""

    def error(q: Tree, target_q: Tree, seen: Experience) -> Array:
        following = jnp.max(network.apply(target_q, seen.next_observation), axis=-1)
        target = seen.reward + gamma * jnp.where(seen.terminated, 0.0, following)
        values = network.apply(q, seen.timestep.observation)
        chosen = jnp.sum(values * jax.nn.one_hot(seen.action, policy.distribution.size), axis=-1)
        return 0.5 * weighted_mean((chosen - target) ** 2, seen.weight)

    inner = inner_gradient(error)

    def meta_init(key: Key) -> Tree:
        return {"params": policy.init(key), "log_rate": jnp.log(jnp.asarray(inner_lr, jnp.float32))}

    def adapt(meta_params: Tree, agent: Agent, seen: Experience, key: Key) -> Agent:
        rate = jnp.exp(meta_params["log_rate"])

        def sweep(q: Tree, _: None) -> tuple[Tree, None]:
            gradient = inner(q, q, seen)
            return jax.tree.map(lambda p, g: p - rate * g, q, gradient), None

        q, _ = jax.lax.scan(sweep, agent.params["q"], None, length=sweeps)
        return agent._replace(params={**agent.params, "q": q})

    return Learner(meta_init, lambda meta_params, key: Agent(meta_params["params"]), adapt)
