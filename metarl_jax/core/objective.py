"""What a lifetime is judged by: losses [K+1] -> scalar, and which loss each of them is."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from metarl_jax.core.lifetime import JudgeAgent
from metarl_jax.core.losses import Loss, log_ratio, weighted_mean
from metarl_jax.core.policy import Policy
from metarl_jax.core.rollout import replay, select
from metarl_jax.core.types import Agent, Array, Experience, Tree


class Objective(NamedTuple):
    """The losses of a lifetime and their reduction; minimised."""

    loss: Loss  # of a policy; credits what was lived before it is relived
    last: JudgeAgent  # of the agent after its last adaptation
    before: JudgeAgent | None = None  # of the agent before each adaptation
    reduce: Callable[[Array], Array] = jnp.sum  # where there is no `before` its losses are 0
    hindsight: bool = False  # `before` reads what came after


Schedule = Callable[[Array], Objective]  # meta-steps taken -> what lives are judged by


def final(loss: Loss) -> Objective:
    """The loss after the last adaptation."""
    return Objective(loss, _of_agent(loss))


def mean(loss: Loss) -> Objective:
    """The mean of the losses before and after each adaptation."""
    return Objective(loss, _of_agent(loss), _of_agent(loss), jnp.mean)


OBJECTIVES = {"final": final, "mean": mean}


def with_hindsight(objective: Objective, policy: Policy) -> Objective:
    """Credit the actions before an adaptation with what it made of them (E-MAML: Al-Shedivat 2018, Stadie 2018).

    A lifetime's expected return depends on φ also through what its agents look at before they adapt:

        ∇φ E[ R_K ] = E[ ∂R_K/∂φ + R_K Σ_{k<K} Σ_{t,e} ∇ log π_{θ_k}(a|s) ]

    The sum is over all E trajectories that are adapted to, not their mean.
    """

    def credit(meta_params: Tree, agent: Agent, seen: Experience) -> Array:
        moved = log_ratio(policy, replay(policy, agent.params, seen), seen)
        return -jnp.sum(jnp.exp(moved) * seen.hindsight * seen.weight)

    return _joined(objective, credit)._replace(hindsight=True)


def with_penalty(objective: Objective, policy: Policy, weight: Array) -> Objective:
    """Hold on to the policies that acted before each adaptation: + η E[KL(π_b ‖ π_{θ_k})] (ProMP, arXiv:1810.06784)."""

    def penalty(meta_params: Tree, agent: Agent, seen: Experience) -> Array:
        return weight * divergence(policy, agent, seen)

    return _joined(objective, penalty)


def pull(loss: Loss) -> Objective:
    """Draw φ towards the parameters that it was adapted to, ½ ‖φ − θ_K‖² (Reptile: arXiv:1803.02999, algorithm 1)."""

    def distance(meta_params: Tree, agent: Agent, seen: Experience) -> Array:
        there = jax.lax.stop_gradient(agent.params)
        return 0.5 * optax.tree.norm(optax.tree.sub(meta_params["params"], there), squared=True)

    return Objective(loss, distance)


def growing(objective: Objective, steps: int, progress: Array) -> Objective:
    """Let only the first steps of a rollout count: a tenth of them at first, all `steps` when `progress` reaches 1."""
    loss = objective.loss
    count = jnp.ceil(steps * jnp.clip(progress, 0.1, 1.0))

    def credit(seen: Experience) -> Experience:
        clock = jnp.arange(steps)[:, None]
        weight = seen.weight * (clock < count)
        return loss.credit(seen._replace(weight=weight, final=seen.final | (clock == count - 1)))

    shortened = loss._replace(credit=credit)
    return objective._replace(loss=shortened, last=_of_agent(shortened))


def divergence(policy: Policy, agent: Agent, seen: Experience) -> Array:
    """How far an agent is from the one that acted, E[ KL(π_b ‖ π_θ) ], over the steps that count."""
    return divergence_of(policy, replay(policy, agent.params, seen).distribution, seen)


def divergence_of(policy: Policy, distribution: Tree, seen: Experience) -> Array:
    """The same from the agent's distribution parameters [T, E, ...]; where a step does not count it could overflow."""
    now = select(seen.weight > 0, distribution, seen.distribution)
    return weighted_mean(policy.distribution.divergence(seen.distribution, now), seen.weight)


def _of_agent(loss: Loss) -> JudgeAgent:
    return lambda meta_params, agent, seen: loss(agent.params, seen)


def _joined(objective: Objective, more: JudgeAgent) -> Objective:
    """The objective with one more loss of the agent before each adaptation."""
    before = objective.before

    def both(meta_params: Tree, agent: Agent, seen: Experience) -> Array:
        first = 0.0 if before is None else before(meta_params, agent, seen)
        return first + more(meta_params, agent, seen)

    return objective._replace(before=both)
