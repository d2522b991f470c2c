"""The classical learning rules by name, each a policy and the loss that it descends. A new one needs a line here."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from metarl_jax.algorithms.base import Acting, Amount, Positive, Share, Widths, needs_discrete
from metarl_jax.core.environment import Environment
from metarl_jax.core.losses import Baseline, Loss, actor_critic, dpo, per_step, ppo, reinforce
from metarl_jax.core.policy import Policy, mlp_policy
from metarl_jax.core.q_values import boltzmann_policy, q_learning


class Rule(NamedTuple):
    """How an agent acts and what it descends: all that tells a learning rule from another."""

    policy: Policy
    loss: Loss


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ruled(Acting):
    """Options of agents that follow a classical rule.

    Args:
        loss: REINFORCE, actor-critic, PPO, discovered policy optimisation (dpo), Q-learning, or Q-learning with
            Watkins's traces (q_lambda).
        hidden: widths of the layers of the policy, the critic or the Q-network.
        baseline: subtracted from an environment's returns in REINFORCE: a linear regression on all environments
            (fitted), or on only the others (leave_one_out), which leaves the expected gradient unchanged.
        lambda_: trace decay of the advantages and of Q-learning with traces.
        entropy: weight of the entropy bonus of the policy gradients.
        clip: clipping range of the ratio to the behaviour policy in PPO.
        temperature: temperature of the policy that acts by Q-values.
    """

    loss: Literal["reinforce", "actor_critic", "ppo", "dpo", "q_learning", "q_lambda"] = "ppo"
    hidden: Widths = (64, 64)
    baseline: Baseline = "fitted"
    lambda_: Share = 0.95
    entropy: Amount = 0.01
    clip: Amount = 0.2
    temperature: Positive = 0.3

    def refuses(self, environment: Environment) -> str | None:
        return needs_discrete(environment) if self.loss.startswith("q_") else None

    def ruled(self, environment: Environment, steps: int) -> Rule:
        """The rule in that environment, for rollouts of T steps."""
        return RULES[self.loss](self, environment, steps)


def _reinforce(options: Ruled, environment: Environment, steps: int) -> Rule:
    policy = mlp_policy(environment, options.hidden)
    loss = reinforce(policy, gamma=options.gamma, baseline=options.baseline, entropy=options.entropy)
    return Rule(policy, loss)


def _of_critic(make: Callable[..., Loss], options: Ruled, environment: Environment, steps: int, **more: Any) -> Rule:
    policy = mlp_policy(environment, options.hidden, critic=True)
    how = {"gamma": options.gamma, "lambda_": options.lambda_, "entropy": options.entropy, "normalise": True, **more}
    return Rule(policy, make(policy, reward=per_step(options.gamma, steps), **how))


def _of_q_values(options: Ruled, environment: Environment, lambda_: float) -> Rule:
    policy = boltzmann_policy(environment, options.hidden, options.temperature)
    return Rule(policy, q_learning(policy, gamma=options.gamma, lambda_=lambda_))


RULES: dict[str, Callable[[Ruled, Environment, int], Rule]] = {
    "reinforce": _reinforce,
    "actor_critic": lambda options, environment, steps: _of_critic(actor_critic, options, environment, steps),
    "ppo": lambda options, environment, steps: _of_critic(ppo, options, environment, steps, clip=options.clip),
    "dpo": lambda options, environment, steps: _of_critic(dpo, options, environment, steps),
    "q_learning": lambda options, environment, steps: _of_q_values(options, environment, 0.0),
    "q_lambda": lambda options, environment, steps: _of_q_values(options, environment, options.lambda_),
}
