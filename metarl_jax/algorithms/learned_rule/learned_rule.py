"""A learned update rule, LPG (Oh et al. 2020, Discovering reinforcement learning algorithms, arXiv:2007.08794)."""

import dataclasses
from collections.abc import Callable
from typing import Annotated, ClassVar

import jax.numpy as jnp

from metarl_jax.algorithms.base import (
    Adapting,
    Amount,
    Count,
    Improved,
    Recipe,
    Share,
    Size,
    Widths,
    actor_loss,
    evolves,
    improved,
    long_lived,
    needs_discrete,
    rollout_steps,
)
from metarl_jax.algorithms.learned_rule.rule_network import Taught, rule_network
from metarl_jax.core.checks import Between, differs
from metarl_jax.core.distributions import categorical
from metarl_jax.core.environment import Environment
from metarl_jax.core.evolution import negative_return
from metarl_jax.core.learner import InnerOptimiser, gradient_learner, inner_optimiser
from metarl_jax.core.losses import Loss, per_step, policy_term, value_error, weighted_mean
from metarl_jax.core.networks import Network
from metarl_jax.core.objective import AgentLoss, Objective
from metarl_jax.core.policy import Policy, mlp_policy
from metarl_jax.core.rollout import replay, revalue
from metarl_jax.core.types import Agent, Array, Credit, Experience, Record, Tree


@dataclasses.dataclass(frozen=True, kw_only=True)
class LearnedRule(Improved, Adapting):
    """Learn what agents learn from: a network in place of returns and of the meaning of a value.

    An agent is born as a random policy π_θ with a categorical prediction y_θ(s) of M classes, whose meaning is left to
    the rule. The rule U_φ is an LSTM that reads a rollout backwards, blank at the end of every episode,

        (π̂_t, ŷ_t) = U_φ(r_t, d_t, γ, π(a_t|s_t), e(y_θ(s_t)), e(y_θ(s_{t+1})), state from t + 1),

    and the agent descends −E[ π_θ / π_b · π̂_t ] + α_y E[ KL(y_θ(s_t) ‖ ŷ_t) ]. Only probabilities are read, so the rule
    trains agents of any discrete environment. The outer loss is an actor-critic's; its critic is the agent's own, a
    network apart from π_θ and y_θ that no other part reads. φ is regularised by the agents' entropies and the size of
    the rule's outputs, as in the paper. Agents of all ages, lifespans and tasks share a batch.

    Args:
        width: units of the LSTM.
        predictions: M, classes of an agent's prediction.
        prediction_weight: α_y, weight of the divergence of the prediction from its target.
        inner_lr: step size of an adaptation.
        inner_optimiser: optimiser of the inner loop.
        lambda_: trace decay of the outer advantages.
        value_weight: weight of the error of the agent's critic, which only the outer loss of backpropagation reads.
        entropy: β₀, outer weight of the entropy of the agents' policies.
        prediction_entropy: β₁, outer weight of the entropy of their predictions.
        policy_penalty: β₂, outer weight of E[π̂²].
        target_penalty: β₃, outer weight of the mean square of the logits of ŷ.
        lifespan: the fewest and the most meta-steps before an agent is reborn in another task.
        hidden: widths of the layers of the agents' networks.
    """

    name: ClassVar[str] = "learned_rule"
    summary: ClassVar[str] = "an update rule that a network reads off the record, learned across tasks"
    rule_reads: ClassVar[str] = (
        "reward, end, discount, probability of the action, and predictions, of a rollout backwards"
    )

    adaptations: Size = 5
    steps: Size = 20
    tasks: Count = 32
    envs: Count = 16
    width: Count = 32
    predictions: Count = 30
    prediction_weight: Amount = 0.5
    inner_lr: Amount = 0.5
    inner_optimiser: InnerOptimiser = "sgd"
    lambda_: Share = 0.95
    value_weight: Amount = 0.5
    entropy: Amount = 0.01
    prediction_entropy: Amount = 0.001
    policy_penalty: Amount = 0.001
    target_penalty: Amount = 0.001
    lifespan: Annotated[tuple[int, int], Between(1)] = (5, 50)
    hidden: Widths = (32,)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.lifespan != (1, 1) and (len(self.lifespan) != 2 or not 1 < self.lifespan[0] <= self.lifespan[1]):
            rule = "the fewest, at least 2, and the most, for example (5, 50), or (1, 1) for lives of one meta-step"
            raise ValueError(f"lifespan of learned_rule is {list(self.lifespan)}; it must be {rule}")
        critic = differs(self.value_weight, LearnedRule.value_weight) or differs(self.lambda_, LearnedRule.lambda_)
        if critic and evolves(self.estimator):
            raise ValueError(
                f"estimator of learned_rule is {self.estimator}, which judges the return and trains no critic, so that "
                "value_weight and lambda_ have no effect; leave them out, or choose estimator=backprop"
            )

    def refuses(self, environment: Environment) -> str | None:
        return needs_discrete(environment)

    def recipe(self, environment: Environment) -> Recipe:
        steps, _ = rollout_steps(self, environment)
        policy = mlp_policy(environment, self.hidden, critic=True, prediction=self.predictions)
        rule = rule_network(policy, self.width, self.predictions, self.gamma)
        reward = per_step(self.gamma, steps)
        critic = value_error(policy, gamma=self.gamma, lambda_=self.lambda_, reward=reward)

        def inner_loss(meta_params: Tree) -> Loss:
            taught = taught_loss(policy, lambda seen: rule.apply(meta_params, seen), self.prediction_weight)
            return taught if evolves(self.estimator) else with_critic(taught, critic, self.value_weight)

        learner = gradient_learner(
            policy,
            meta_init=rule.init,
            birth=lambda meta_params, key: policy.init(key),
            loss=inner_loss,
            reads=lambda meta_params: meta_params,
            optimiser=inner_optimiser(self.inner_optimiser, self.inner_lr),
        )
        window = long_lived(self, environment, policy, learner, self.adaptations, self.lifespan)
        outer_loss = actor_loss(policy, self.gamma, self.lambda_, steps, normalise=True)
        return improved(
            self,
            window,
            lambda remaining: outer_loss,
            negative_return(window.world, self.gamma),
            shape=lambda objective, remaining: with_regularisers(self, policy, rule, objective, remaining),
            eps=1e-9,
            lifespan=self.lifespan,
        )


def taught_loss(policy: Policy, teach: Callable[[Experience], Taught], weight: Array | float) -> Loss:
    """The loss of an agent that is taught (π̂, ŷ): −E[ π_θ / π_b · π̂_t ] + α_y E[ KL(y_θ(s_t) ‖ ŷ_t) ] (eq. 2)."""

    def surrogate(params: Tree, seen: Experience, credit: Credit) -> Array:
        output = replay(policy, params, seen)
        divergence = categorical(credit.target.shape[-1]).divergence(output.prediction, credit.target)
        return policy_term(policy, output, seen, credit) + weight * weighted_mean(divergence, seen.weight)

    return Loss(lambda seen: Credit(*teach(seen)), surrogate)


def with_critic(loss: Loss, critic: Loss, weight: Array | float) -> Loss:
    """The loss beside the error of a critic, whose targets are of the record as it was lived."""

    def surrogate(params: Tree, seen: Experience, credit: Credit) -> Array:
        return loss.surrogate(params, seen, credit) + weight * critic(params, seen)

    return loss._replace(surrogate=surrogate)


def with_regularisers(
    options: LearnedRule, policy: Policy, rule: Network, objective: Objective, remaining: Array
) -> Objective:
    """The objective − β₀ E[H(π_θ)] − β₁ E[H(y_θ)] + β₂ E[π̂²] + β₃ E[ŷ²] of every agent that it judges (eq. 5)."""

    def regularisers(meta_params: Tree, agent: Agent, lived: Record) -> Array:
        seen = revalue(policy, agent.params, lived.seen)
        step, target = rule.apply(meta_params, seen)
        acting = policy.distribution.entropy(seen.distribution)
        predicting = categorical(options.predictions).entropy(seen.prediction)
        bonus = options.entropy * remaining * acting + options.prediction_entropy * predicting
        size = options.policy_penalty * step**2 + options.target_penalty * jnp.mean(target**2, axis=-1)
        return weighted_mean(size - bonus, seen.weight)

    def joined(loss: AgentLoss | None) -> AgentLoss | None:
        return loss and (lambda φ, agent, lived: loss(φ, agent, lived) + regularisers(φ, agent, lived))

    last, before = joined(objective.last), joined(objective.before)
    assert last is not None
    return objective._replace(last=last, before=before)
