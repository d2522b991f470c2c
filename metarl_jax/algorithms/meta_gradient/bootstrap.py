"""Bootstrapped targets: an agent is judged by the agent that it becomes (Flennerhag et al. 2022, arXiv:2109.04504)."""

from metarl_jax.core.learner import Learner
from metarl_jax.core.life import Life, draws
from metarl_jax.core.losses import Loss
from metarl_jax.core.objective import Objective, divergence_of
from metarl_jax.core.policy import Policy
from metarl_jax.core.rollout import replay
from metarl_jax.core.types import Agent, Array, Record, Tree


def bootstrapped(policy: Policy, loss: Loss, last: Learner, steps: int) -> Objective:
    """The divergence of the target from the agent after its last adaptation, E[ KL(π_θ̃ ‖ π_θ_K) ], in nats.

    The target θ̃ is the agent after `steps` L further updates: L − 1 of the rule that is learned, then one of the
    learner `last`. It has no gradient. The expectation is over the observations of the last rollout. `loss` credits the
    record, which is of no further use here.
    """

    def goal(meta_params: Tree, life: Life) -> Tree:
        return last.adapt(meta_params, life.agent, life.seen, draws(life).observe).params

    def distance(meta_params: Tree, agent: Agent, lived: Record) -> Array:
        wanted = replay(policy, lived.target, lived.seen).distribution
        now = replay(policy, agent.params, lived.seen).distribution
        return divergence_of(policy, now, lived.seen._replace(distribution=wanted))

    return Objective(loss, distance, goal=goal, onward=steps - 1)
