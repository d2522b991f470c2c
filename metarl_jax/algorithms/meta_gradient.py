"""Meta-gradients: an actor-critic tunes its own hyper-parameters as it learns (Xu et al. 2018, arXiv:1805.09801)."""

import dataclasses
from collections.abc import Callable
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import optax

from metarl_jax.algorithms.base import Algorithm, check_option
from metarl_jax.core.environment import Environment
from metarl_jax.core.evolution import negative_return
from metarl_jax.core.learner import Learner, inner_gradient, inner_optimiser, logit
from metarl_jax.core.lifetime import Lifetime
from metarl_jax.core.losses import Loss, actor_critic, per_step
from metarl_jax.core.policy import Policy, mlp_policy
from metarl_jax.core.rollout import revalue
from metarl_jax.core.types import Agent, Array, Experience, Key, Tree

Tuned = Literal["gamma", "lambda", "entropy", "rate"]
TUNED: tuple[Tuned, ...] = ("gamma", "lambda", "entropy", "rate")


@dataclasses.dataclass(frozen=True, kw_only=True)
class MetaGradient(Algorithm):
    """Tune discount, trace decay, entropy bonus and step size online, within one long lifetime.

    φ = {gamma, lambda} through a sigmoid and {entropy, rate} through an exponential. The agent is born as a random
    network and adapts by θ ← θ − rate ∇θ L_φ(θ) on a stream of experience; the outer loss judges the updated agent
    on what comes next, with fixed γ' and λ' (eq. 5-7 of the paper, with the exact product in place of its
    approximation). Its advantages bootstrap on the one critic that the agent has, which learns under the inner
    discount: where the two discounts are apart, the outer loss has the bias that Bonnet et al. 2022 describe.

    Args:
        tunes: which hyper-parameters are meta-learned; the others stay at their first value.
        inner_lr: first guess of the step size.
        inner_optimiser: what turns inner gradients into steps.
        gamma: first guess of the inner discount.
        lambda_: first guess of the inner trace decay.
        entropy: first guess of the inner entropy bonus.
        outer_gamma: discount of the outer loss.
        outer_lambda: trace decay of the outer loss.
        lifespan: meta-steps before an agent is reborn.
        hidden: widths of the policy's and the critic's layers.
    """

    name: ClassVar[str] = "meta_gradient"
    summary: ClassVar[str] = "an actor-critic that tunes its own discount, traces, exploration and step size"

    adam_eps: ClassVar[float] = 1e-9  # meta-gradients of the entropy bonus and the discount can be tiny

    tunes: tuple[Tuned, ...] = TUNED
    adaptations: int = 2
    steps: int = 16
    tasks: int = 16
    meta_lr: float = 1e-2
    inner_lr: float = 0.1
    inner_optimiser: Literal["sgd", "adam"] = "sgd"
    lambda_: float = 0.95
    entropy: float = 0.01
    outer_gamma: float = 0.99
    outer_lambda: float = 0.95
    value_weight: float = 0.5
    lifespan: int = 500
    hidden: tuple[int, ...] = (64, 64)

    def __post_init__(self) -> None:
        super().__post_init__()
        for tuned in self.tunes:
            check_option(self.name, "tunes", tuned, Tuned)
            option = {"lambda": "lambda_", "rate": "inner_lr"}.get(tuned, tuned)
            value, most = getattr(self, option), 1.0 if tuned in ("gamma", "lambda") else jnp.inf
            if isinstance(value, int | float) and not 0.0 < value < most:
                bound = "above 0" if most > 1.0 else "above 0 and below 1"
                remedy = f"leave {tuned} out of tunes, or start {bound}"
                raise ValueError(f"{option} of meta_gradient is {value}, from where it cannot be tuned; {remedy}")

    @property
    def lives(self) -> int:
        return self.lifespan

    @property
    def schedule(self) -> tuple[int, int]:
        return 10, max(1, self.lifespan * self.adaptations // 10)

    def lifetime(self, environment: Environment) -> Lifetime:
        policy = mlp_policy(environment, self.hidden, critic=True)
        first = {
            "gamma": logit(self.gamma),
            "lambda": logit(self.lambda_),
            "entropy": jnp.log(jnp.asarray(self.entropy, jnp.float32)),
            "rate": jnp.log(jnp.asarray(self.inner_lr, jnp.float32)),
        }
        steps, _ = self.rollout_steps(environment)
        reward = per_step(self.outer_gamma, steps)
        learner = tuned_learner(policy, first, self.tunes, self.inner_optimiser, self.value_weight, reward)
        return Lifetime(environment, policy, learner, self.adaptations, self.envs, steps, fresh=False)

    def loss(self, lifetime: Lifetime, entropy_share: Array) -> Loss:
        return actor_critic(
            lifetime.policy,
            gamma=self.outer_gamma,
            lambda_=self.outer_lambda,
            value_weight=0.0,  # the critic and the entropy are the inner loss's affair
            entropy=0.0,
            normalise=True,
            reward=per_step(self.outer_gamma, lifetime.steps),
        )

    def fitness(self, lifetime: Lifetime) -> Loss:
        return negative_return(lifetime, self.outer_gamma)


def hyper_parameters(meta_params: Tree) -> dict[str, Array]:
    """φ in the units of the loss: gamma and lambda in (0, 1), entropy and rate above 0."""
    shapes: dict[str, Callable[[Array], Array]] = {
        "gamma": jax.nn.sigmoid,
        "lambda": jax.nn.sigmoid,
        "entropy": jnp.exp,
        "rate": jnp.exp,
    }
    return {name: shape(meta_params[name]) for name, shape in shapes.items()}


def tuned_learner(
    policy: Policy,
    first: dict[str, Array],
    tunes: tuple[Tuned, ...],
    optimiser: Literal["sgd", "adam"],
    value_weight: Array | float,
    reward: Callable[[Experience], Array],
) -> Learner:
    """Birth as a random network, adaptation by one optimiser step on the actor-critic loss that φ parametrises."""
    direction = inner_optimiser(optimiser, 1.0)  # the step size is φ's, applied to the optimiser's direction

    def meta_init(key: Key) -> Tree:
        return {name: first[name] for name in tunes}

    def birth(meta_params: Tree, key: Key) -> Agent:
        params = policy.init(key)
        return Agent(params, direction.init(params))

    def inner_loss(params: Tree, others: tuple[dict[str, Array], Tree], seen: Experience) -> Array:
        hyper, target_params = others
        loss = actor_critic(
            policy,
            gamma=hyper["gamma"],
            lambda_=hyper["lambda"],
            value_weight=value_weight,
            entropy=hyper["entropy"],
            reward=reward,
        )
        return loss(params, revalue(policy, target_params, seen))

    gradient = inner_gradient(inner_loss)

    def adapt(meta_params: Tree, agent: Agent, seen: Experience, key: Key) -> Agent:
        hyper = hyper_parameters({**first, **meta_params})
        slope = gradient(agent.params, (hyper, agent.params), seen)
        updates, state = direction.update(slope, agent.state, agent.params)
        updates = jax.tree.map(lambda update: hyper["rate"] * update, updates)
        return Agent(optax.apply_updates(agent.params, updates), state)

    return Learner(meta_init, birth, adapt)
