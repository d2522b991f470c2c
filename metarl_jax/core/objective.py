"""Objectives of a window of a life: losses of its agents before and after they adapt, and their reduction."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from metarl_jax.core.life import Life
from metarl_jax.core.losses import Loss, weighted_mean
from metarl_jax.core.policy import Policy
from metarl_jax.core.rollout import replay, select
from metarl_jax.core.types import Agent, Array, Experience, Record, Tree

AgentLoss = Callable[[Tree, Agent, Record], Array]  # φ, agent, its experience with credit -> loss


class Objective(NamedTuple):
    """The losses of a window and their reduction; minimised."""

    loss: Loss  # of a policy; it also credits a record before that is relived
    last: AgentLoss  # of the agent after its last adaptation
    before: AgentLoss | None = None  # of the agent before each adaptation
    reduce: Callable[[Array], Array] = jnp.sum  # of all these losses
    counts: Callable[[Experience], Experience] = lambda seen: seen  # sets the weights of the steps
    reach: Callable[[str], bool] = lambda path: True  # whether it is a function of the leaf of φ at a path
    goal: Callable[[Tree, Life], Tree] | None = None  # φ, the life that lived on -> its target: `Record.target`
    onward: int = 0  # turns that it lives on, without a gradient

    def __call__(self, meta_params: Tree, agents: Agent, agent: Agent, lived: Record) -> Array:
        """The objective of the `agents` [K] before each adaptation and of the last `agent`, on their record [K+1]."""
        seen, credit = jax.tree.map(lambda x: x[-1], (lived.seen, lived.credit))
        losses = self.last(meta_params, agent, Record(seen, credit, lived.target))[None]
        if self.before is not None:
            earlier = Record(*jax.tree.map(lambda x: x[:-1], (lived.seen, lived.credit)))
            before = jax.vmap(self.before, (None, 0, 0))(meta_params, agents, earlier)
            losses = jnp.concatenate([before, losses])
        return self.reduce(losses)


Schedule = Callable[[Array], Objective]  # meta-steps taken -> objective


def final(loss: Loss) -> Objective:
    """The loss after the last adaptation."""
    return Objective(loss, _of_agent(loss))


def mean(loss: Loss) -> Objective:
    """The mean of the losses before and after each adaptation."""
    return Objective(loss, _of_agent(loss), _of_agent(loss), jnp.mean)


OBJECTIVES = {"final": final, "mean": mean}


def with_penalty(objective: Objective, policy: Policy, weight: Array) -> Objective:
    """Penalise divergence before each adaptation: + η E[KL(π_b ‖ π_{θ_k})] (ProMP, arXiv:1810.06784)."""
    return joined(objective, lambda meta_params, agent, lived: weight * divergence(policy, agent, lived.seen))


def reptile(loss: Loss) -> Objective:
    """The distance from φ to the adapted parameters, ½ ‖φ − θ_K‖² (Reptile: arXiv:1803.02999, algorithm 1)."""

    def distance(meta_params: Tree, agent: Agent, lived: Record) -> Array:
        adapted = jax.lax.stop_gradient(agent.params)
        return 0.5 * optax.tree.norm(optax.tree.sub(meta_params["params"], adapted), squared=True)

    return Objective(loss, distance)


def curriculum(objective: Objective, steps: int, progress: Array) -> Objective:
    """Count only the first steps of a rollout: a tenth of them at first, all `steps` once `progress` reaches 1."""
    count = jnp.ceil(steps * jnp.clip(progress, 0.1, 1.0))

    def shorten(seen: Experience) -> Experience:
        clock = jnp.arange(steps)[:, None]
        return seen._replace(weight=seen.weight * (clock < count), final=seen.final | (clock == count - 1))

    return objective._replace(counts=shorten)


def divergence(policy: Policy, agent: Agent, seen: Experience) -> Array:
    """The mean divergence of an agent from the behaviour policy, E[ KL(π_b ‖ π_θ) ], over the steps that count."""
    return divergence_of(policy, replay(policy, agent.params, seen).distribution, seen)


def divergence_of(policy: Policy, distribution: Tree, seen: Experience) -> Array:
    """The same from the agent's distribution parameters [T, E, ...]."""
    # Steps that do not count could overflow.
    now = select(seen.weight > 0, distribution, seen.distribution)
    return weighted_mean(policy.distribution.divergence(seen.distribution, now), seen.weight)


def joined(objective: Objective, more: AgentLoss) -> Objective:
    """The objective with one more loss of the agent before each adaptation."""
    before = objective.before

    def both(meta_params: Tree, agent: Agent, lived: Record) -> Array:
        first = 0.0 if before is None else before(meta_params, agent, lived)
        return first + more(meta_params, agent, lived)

    return objective._replace(before=both)


def _of_agent(loss: Loss) -> AgentLoss:
    return lambda meta_params, agent, lived: loss.surrogate(agent.params, lived.seen, lived.credit)
