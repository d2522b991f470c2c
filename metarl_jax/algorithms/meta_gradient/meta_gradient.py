"""Meta-gradients: an actor-critic tunes its own hyper-parameters as it learns (Xu et al. 2018, arXiv:1805.09801)."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, ClassVar, Literal

from metarl_jax.algorithms.base import (
    Adapting,
    Amount,
    Count,
    Improved,
    Rate,
    Recipe,
    Share,
    Size,
    Widths,
    actor_loss,
    improved,
    long_lived,
    rollout_steps,
)
from metarl_jax.algorithms.meta_gradient.bootstrap import bootstrapped
from metarl_jax.algorithms.meta_gradient.context import Hyper, context_of
from metarl_jax.algorithms.meta_gradient.outer_critic import by_prediction, critic_learner
from metarl_jax.algorithms.meta_gradient.tuned import check_starts, first, inner_loss, tuned_learner
from metarl_jax.core.environment import Environment
from metarl_jax.core.evolution import negative_return
from metarl_jax.core.learner import InnerOptimiser, Learner
from metarl_jax.core.losses import Loss, per_step
from metarl_jax.core.policy import Policy, mlp_policy

Tuned = Literal["gamma", "lambda", "entropy", "value", "rate"]
TUNED: tuple[Tuned, ...] = ("gamma", "lambda", "entropy", "value", "rate")


@dataclasses.dataclass(frozen=True, kw_only=True)
class MetaGradient(Improved, Adapting):
    """Tune discount, trace decay, loss weights and step size online, within one long lifetime.

    The agent is born as a random network and adapts by θ ← θ − rate ∇θ L_φ(θ) on a stream of experience. The outer loss
    evaluates the updated agent on the experience that follows, with fixed γ' and λ' (eq. 5-7 of the paper, with the
    exact product in place of its approximation). φ holds the hyper-parameters, {gamma, lambda} through a sigmoid and
    {entropy, value, rate} through an exponential, or a network that computes them from a context. The gradient of
    `value` passes through the critic to the next adaptation, so that it needs two adaptations in a window.

    The advantages of the outer loss bootstrap on the agent's only critic, which learns with the inner discount. If the
    two discounts differ, the outer loss is biased towards the inner one; `outer_critic` removes that bias.

    Args:
        tunes: the hyper-parameters that are meta-learned; the others keep their initial values.
        context: what these are functions of: of nothing, of the observation at each step, or of recent reward.
        history: rollouts whose mean rewards are the context of reward.
        outer_critic: a second critic, which learns on the outer return at step size `inner_lr`, for the outer loss.
        target: what the outer loss asks for: a high return, or closeness to the agent after further updates
            (bootstrapped): KL(target ‖ agent).
        bootstrap_steps: these further updates, the last of which is along the outer return.
        inner_lr: initial step size.
        inner_optimiser: optimiser of the inner loop.
        gamma: initial inner discount.
        lambda_: initial inner trace decay.
        entropy: initial inner entropy bonus.
        value_weight: initial weight of the critic's error in the inner loss.
        outer_gamma: discount of the outer loss.
        outer_lambda: trace decay of the outer loss.
        outer_entropy: weight of the agents' entropy in the outer loss. Seen over a short window, exploration only
            costs, so that a meta-gradient without it ends exploration.
        lifespan: meta-steps before an agent is reborn.
        hidden: widths of the policy's and the critics' layers.
    """

    name: ClassVar[str] = "meta_gradient"
    summary: ClassVar[str] = "an actor-critic that tunes its own discount, traces, exploration and step size"
    rule_reads: ClassVar[str] = "nothing: φ are numbers"

    tunes: tuple[Tuned, ...] = TUNED
    context: Literal["none", "observation", "reward"] = "none"
    history: Count = 10
    outer_critic: bool = False
    target: Literal["return", "bootstrapped"] = "return"
    bootstrap_steps: Count = 4
    adaptations: Size = 2
    steps: Size = 16
    tasks: Count = 16
    meta_lr: Rate = 1e-2
    inner_lr: Amount = 0.1
    inner_optimiser: InnerOptimiser = "sgd"
    lambda_: Share = 0.95
    entropy: Amount = 0.01
    outer_gamma: Share = 0.99
    outer_lambda: Share = 0.95
    outer_entropy: Amount = 0.0
    value_weight: Amount = 0.5
    lifespan: Count = 500
    hidden: Widths = (64, 64)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_starts(self, self.tunes)
        reason = self._contradiction()
        if reason:
            raise ValueError(f"meta_gradient cannot be made: {reason}")

    def _contradiction(self) -> str | None:
        """An option that contradicts another, or that another leaves without effect, and the remedy."""
        evolved, bootstrapped = self.estimator != "backprop", self.target == "bootstrapped"
        if self.context != "none" and not self.tunes:
            return f"context is {self.context} and tunes is empty: name what depends on it, or choose context=none"
        if self.context != "reward" and self.history != MetaGradient.history:
            return f"history is {self.history} and context {self.context}: choose context=reward, or leave history out"
        if evolved and self.outer_critic:
            return f"estimator={self.estimator} judges the return, not by outer_critic: choose estimator=backprop"
        if evolved and bootstrapped:
            return f"estimator={self.estimator} judges the return, not target=bootstrapped: choose estimator=backprop"
        if (evolved or bootstrapped) and self.outer_entropy:
            other = f"estimator={self.estimator}" if evolved else "target=bootstrapped"
            return f"outer_entropy is {self.outer_entropy} and {other}, which has no outer loss: leave it out"
        if bootstrapped and self.objective != "final":
            return f"objective is {self.objective} and target bootstrapped, which needs objective=final"
        if not bootstrapped and self.bootstrap_steps != MetaGradient.bootstrap_steps:
            remedy = "choose target=bootstrapped, or leave it out"
            return f"bootstrap_steps is {self.bootstrap_steps} and target {self.target}: {remedy}"
        return None

    def recipe(self, environment: Environment) -> Recipe:
        policy = mlp_policy(environment, self.hidden, critic=True, prediction=int(self.outer_critic))
        return self.recipe_of(environment, policy)

    def recipe_of(self, environment: Environment, policy: Policy) -> Recipe:
        """The recipe with a policy of one's own, which has a critic and, for an `outer_critic`, a prediction."""
        steps, _ = rollout_steps(self, environment)
        context = context_of(self.context, environment, first(self), self.tunes, self.history)
        view = by_prediction(policy) if self.outer_critic else policy  # its value is what the inner loss reads
        outer = functools.partial(actor_loss, policy, self.outer_gamma, self.outer_lambda, steps)
        critic = None
        if self.outer_critic:
            critic = critic_learner(policy, self.inner_optimiser, self.inner_lr, outer(value_weight=1.0))

        def following(acting: Policy, loss: Callable[[Hyper], Loss]) -> Learner:
            return tuned_learner(acting, self.inner_optimiser, loss, context, critic)

        learner = following(view, inner_loss(view, per_step(self.outer_gamma, steps)))
        window = long_lived(self, environment, policy, learner, self.adaptations, self.lifespan)
        loss = outer(normalise=True, entropy=self.outer_entropy)
        shape: Any = lambda objective, remaining: objective  # noqa: E731
        if self.target == "bootstrapped":
            last = following(policy, lambda hyper: outer())
            shape = lambda objective, remaining: bootstrapped(policy, loss, last, self.bootstrap_steps)  # noqa: E731
        fitness = negative_return(window.world, self.outer_gamma)
        # Meta-gradients of the entropy bonus and the discount can be tiny.
        return improved(self, window, lambda remaining: loss, fitness, shape=shape, eps=1e-9, lifespan=self.lifespan)
