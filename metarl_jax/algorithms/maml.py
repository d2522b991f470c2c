"""MAML: the meta-parameters are where a policy-gradient learner starts (Finn et al. 2017, arXiv:1703.03400, §4.2).

With learned step sizes, Meta-SGD (Li et al. 2017, arXiv:1707.09835); adapting the head alone, ANIL (Raghu et al. 2020,
arXiv:1909.09157); adapting a context vector alone, CAVIA (Zintgraf et al. 2019, arXiv:1810.03642).
"""

import dataclasses
from collections.abc import Callable
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp

from metarl_jax.algorithms.base import Algorithm
from metarl_jax.core.environment import Environment
from metarl_jax.core.learner import Learner, inner_gradient, merge, partition
from metarl_jax.core.lifetime import Lifetime
from metarl_jax.core.losses import Loss, actor_critic, reinforce
from metarl_jax.core.policy import Policy, mlp_policy
from metarl_jax.core.rollout import revalue
from metarl_jax.core.types import Agent, Array, Experience, Key, Tree

ADAPTED: dict[str, Callable[[str], bool]] = {
    "all": lambda path: True,
    "head": lambda path: "head" in path,
    "context": lambda path: "context" in path,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class MAML(Algorithm):
    """Learn initial parameters from which a few policy-gradient steps go far.

    φ = {params, rates}; an agent is born with θ = φ.params and adapts by θ ← θ − rates ⊙ ∇θ L(θ).

    Args:
        inner_lr: step size of an adaptation, or the first guess of it where `learned_rates`.
        first_order: drop second derivatives from the meta-gradient (FOMAML).
        learned_rates: meta-learn one step size per parameter (Meta-SGD).
        adapts: which parameters change within a lifetime: all, the last layer (ANIL), or a context vector (CAVIA).
        context: length of the context vector, where that is what adapts.
        inner_loss: REINFORCE with a linear baseline, or actor-critic with a learned one.
        hidden: widths of the policy's layers.
    """

    name: ClassVar[str] = "maml"
    summary: ClassVar[str] = "initial parameters from which a few gradient steps go far"

    inner_lr: float = 0.1
    first_order: bool = False
    learned_rates: bool = False
    adapts: Literal["all", "head", "context"] = "all"
    context: int = 8
    inner_loss: Literal["reinforce", "actor_critic"] = "reinforce"
    hidden: tuple[int, ...] = (64, 64)
    lambda_: float = 0.95
    entropy: float = 0.0

    def lifetime(self, environment: Environment) -> Lifetime:
        policy = mlp_policy(
            environment,
            self.hidden,
            critic=self.inner_loss == "actor_critic",
            context=self.context if self.adapts == "context" else 0,
        )
        steps, quota = self.rollout_steps(environment)
        learner = gradient_learner(
            policy, self._policy_loss(policy), self.inner_lr, ADAPTED[self.adapts], self.learned_rates, self.first_order
        )
        return Lifetime(environment, policy, learner, self.adaptations, self.envs, steps, quota)

    def loss(self, lifetime: Lifetime, entropy_share: Array) -> Loss:
        return self._policy_loss(lifetime.policy, self.entropy * entropy_share)

    def _policy_loss(self, policy: Policy, entropy: Array | float = 0.0) -> Loss:
        if self.inner_loss == "reinforce":
            return reinforce(policy, gamma=self.gamma, entropy=entropy)
        return actor_critic(policy, gamma=self.gamma, lambda_=self.lambda_, entropy=entropy, normalise=True)


def gradient_learner(
    policy: Policy,
    loss: Loss,
    inner_lr: Array | float,
    adapts: Callable[[str], bool] = ADAPTED["all"],
    learned_rates: bool = False,
    first_order: bool = False,
) -> Learner:
    """Birth at φ.params, adaptation by one step of gradient descent on the parameters that `adapts` chooses."""

    def meta_init(key: Key) -> Tree:
        params = policy.init(key)
        rates = jax.tree.map(lambda p: jnp.full_like(p, inner_lr), partition(params, adapts)[0])
        return {"params": params, "rates": rates} if learned_rates else {"params": params}

    def inner_loss(fast: Tree, others: tuple[Tree, Tree], seen: Experience) -> Array:
        slow, target_params = others  # the targets' parameters apart: a semi-gradient within, a full one without
        return loss(merge(fast, slow), revalue(policy, target_params, seen))

    gradient = inner_gradient(inner_loss, first_order)

    def adapt(meta_params: Tree, agent: Agent, seen: Experience, key: Key) -> Agent:
        fast, slow = partition(agent.params, adapts)
        slope = gradient(fast, (slow, agent.params), seen)
        rates = meta_params["rates"] if learned_rates else jax.tree.map(lambda _: inner_lr, fast)
        fast = jax.tree.map(lambda p, rate, g: p - rate * g, fast, rates, slope)
        return agent._replace(params=merge(fast, slow))

    return Learner(meta_init, lambda meta_params, key: Agent(meta_params["params"]), adapt)
