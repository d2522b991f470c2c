"""The return of a lifetime, and a critic of the agent's history that estimates it (arXiv:1912.05500, §3)."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax.algorithms.intrinsic_reward.history import Reader, both, clock, over, recurrence, shared
from metarl_jax.core.environment import Environment
from metarl_jax.core.losses import Loss, weighted_mean
from metarl_jax.core.networks import mlp
from metarl_jax.core.objective import AgentLoss
from metarl_jax.core.returns import Boundaries, gae
from metarl_jax.core.types import Agent, Array, Credit, Experience, Record, Tree


class Chronicle(NamedTuple):
    """What an agent remembers of its life."""

    age: Array  # [] int32 records read
    reward: Tree  # [E, ...] memory of the reward network
    critic: Tree  # [E, ...] memory of the lifetime critic


def lifetime_critic(environment: Environment, envs: int, width: int, hidden: tuple[int, ...]) -> Reader:
    """V_φ of the history before each step and after the last, [T + 1, E]: the return from there to the life's end."""
    memory = recurrence(environment, envs, width)
    head = mlp(2 * width + 1, hidden, 1, head_scale=0.01)

    def read(params: Tree, state: Tree, seen: Experience, clock: Array) -> tuple[Array, Tree]:
        _, readout, state = memory.unroll(params["memory"], state, seen, clock)
        features = jnp.concatenate([shared(readout), over(clock, readout)], axis=-1)
        return head.apply(params["head"], features)[..., 0], state

    return Reader(both(memory.init, head.init), memory.blank, read)


def lifetime_loss(
    critic: Reader,
    outer: Loss,
    reward: Callable[[Experience], Array],
    records: int,
    gamma: Array | float,
    lambda_: Array | float,
    weight: Array | float,
) -> AgentLoss:
    """The policy loss with advantages of the lifetime return, and the error of the critic that estimates it.

    L(θ, φ) = −E[ π_θ / π_b · A_t ] + weight · ½ E[ (V_φ(h_t) − A_t − V(h_t))² ]

    Advantages and targets are data. The critic has parameters and a memory of its own, so that neither its error nor
    its targets move the reward network. The last of `records` ends the life; other records bootstrap from V_φ.
    """

    def loss(meta_params: Tree, agent: Agent, lived: Record) -> Array:
        seen, memory = lived.seen, agent.state.memory
        now = clock(memory.age, len(seen.reward), records)
        value, _ = critic.read(meta_params["critic"], memory.critic, seen, now)
        data = jax.lax.stop_gradient(value)
        credit = lifetime_credit(reward(seen), data, memory.age + 1 >= records, gamma, lambda_)
        error = 0.5 * weighted_mean((value[:-1] - credit.target) ** 2, seen.weight)
        return outer.surrogate(agent.params, seen, credit) + weight * error

    return loss


def lifetime_credit(reward: Array, value: Array, ends: Array, gamma: Array | float, lambda_: Array | float) -> Credit:
    """Generalised advantages of the lifetime return [T, E], given the values [T + 1, E]; episodes do not cut it."""
    goes_on = jnp.ones_like(reward).at[-1].set(jnp.where(ends, 0.0, 1.0))
    advantage = gae(reward, value[:-1], value[1:], Boundaries(goes_on, goes_on), gamma, lambda_)
    return Credit(advantage, value[:-1] + advantage)
