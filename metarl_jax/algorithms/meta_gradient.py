"""Meta-gradients: an actor-critic tunes its own hyper-parameters as it learns (Xu et al. 2018, arXiv:1805.09801)."""

import dataclasses
from typing import ClassVar, Literal

import jax
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
    improved,
    rollout_steps,
)
from metarl_jax.core.environment import Environment
from metarl_jax.core.evolution import negative_return
from metarl_jax.core.learner import Learner, gradient_learner, inner_optimiser, logit
from metarl_jax.core.life import World
from metarl_jax.core.losses import Loss, actor_critic, per_step
from metarl_jax.core.policy import Policy, mlp_policy
from metarl_jax.core.types import Array, Tree
from metarl_jax.core.window import Window, fitting_chunk

Tuned = Literal["gamma", "lambda", "entropy", "rate"]
TUNED: tuple[Tuned, ...] = ("gamma", "lambda", "entropy", "rate")
OPTION = {"lambda": "lambda_", "rate": "inner_lr"}  # the option with the initial value, where the names differ


@dataclasses.dataclass(frozen=True, kw_only=True)
class MetaGradient(Improved, Adapting):
    """Tune discount, trace decay, entropy bonus and step size online, within one long lifetime.

    φ = {gamma, lambda} through a sigmoid and {entropy, rate} through an exponential. The agent is born as a random
    network and adapts by θ ← θ − rate ∇θ L_φ(θ) on a stream of experience; the outer loss evaluates the updated agent
    on the experience that follows, with fixed γ' and λ' (eq. 5-7 of the paper, with the exact product in place of its
    approximation). Its advantages bootstrap on the agent's only critic, which learns with the inner discount. If the
    two discounts differ, the outer loss has the bias described by Bonnet et al. 2022.

    Args:
        tunes: the hyper-parameters that are meta-learned; the others keep their initial values.
        inner_lr: initial step size.
        inner_optimiser: optimiser of the inner loop.
        gamma: initial inner discount.
        lambda_: initial inner trace decay.
        entropy: initial inner entropy bonus.
        outer_gamma: discount of the outer loss.
        outer_lambda: trace decay of the outer loss.
        value_weight: weight of the critic's error in the inner loss.
        lifespan: meta-steps before an agent is reborn.
        hidden: widths of the policy's and the critic's layers.
    """

    name: ClassVar[str] = "meta_gradient"
    summary: ClassVar[str] = "an actor-critic that tunes its own discount, traces, exploration and step size"
    reads: ClassVar[str] = "nothing: φ are numbers"

    tunes: tuple[Tuned, ...] = TUNED
    adaptations: Size = 2
    steps: Size = 16
    tasks: Count = 16
    meta_lr: Amount = 1e-2
    inner_lr: Amount = 0.1
    inner_optimiser: Literal["sgd", "adam"] = "sgd"
    lambda_: Share = 0.95
    entropy: Amount = 0.01
    outer_gamma: Share = 0.99
    outer_lambda: Share = 0.95
    value_weight: Amount = 0.5
    lifespan: Count = 500
    hidden: Widths = (64, 64)

    def __post_init__(self) -> None:
        super().__post_init__()
        for tuned in self.tunes:
            option = OPTION.get(tuned, tuned)
            value, most = getattr(self, option), 1.0 if tuned in ("gamma", "lambda") else jnp.inf
            if isinstance(value, int | float) and not 0.0 < value < most:
                bound = "above 0" if most > 1.0 else "above 0 and below 1"
                remedy = f"leave {tuned} out of tunes, or start {bound}"
                raise ValueError(f"{option} of meta_gradient is {value}, and cannot be tuned from there; {remedy}")

    def recipe(self, environment: Environment) -> Recipe:
        policy = mlp_policy(environment, self.hidden, critic=True)
        steps, _ = rollout_steps(self, environment)
        world = World(environment, policy, tuned_learner(self, policy, steps), self.envs, steps, fresh=False)
        window = Window(world, self.adaptations, self.lifespan == 1, chunk=self.chunk or fitting_chunk(world))
        outer_loss = actor_critic(
            policy,
            gamma=self.outer_gamma,
            lambda_=self.outer_lambda,
            value_weight=0.0,  # the critic and the entropy belong to the inner loss
            entropy=0.0,
            normalise=True,
            reward=per_step(self.outer_gamma, steps),
        )
        fitness = negative_return(world, self.outer_gamma)
        # Meta-gradients of the entropy bonus and the discount can be tiny.
        return improved(self, window, lambda remaining: outer_loss, fitness, eps=1e-9, lifespan=self.lifespan)


def tuned_learner(options: MetaGradient, policy: Policy, steps: int) -> Learner:
    """Birth as a random network; adaptation by one optimiser step on the actor-critic loss L_φ."""
    first = {
        "gamma": logit(options.gamma),
        "lambda": logit(options.lambda_),
        "entropy": jnp.log(jnp.asarray(options.entropy, jnp.float32)),
        "rate": jnp.log(jnp.asarray(options.inner_lr, jnp.float32)),
    }
    reads = lambda meta_params: hyper_parameters({**first, **meta_params})  # noqa: E731

    def loss(hyper: dict[str, Array]) -> Loss:
        return actor_critic(
            policy,
            gamma=hyper["gamma"],
            lambda_=hyper["lambda"],
            value_weight=options.value_weight,
            entropy=hyper["entropy"],
            reward=per_step(options.outer_gamma, steps),
        )

    def scale(meta_params: Tree, updates: Tree) -> Tree:
        rate = reads(meta_params)["rate"]
        return jax.tree.map(lambda update: rate * update, updates)

    return gradient_learner(
        policy,
        meta_init=lambda key: {name: first[name] for name in options.tunes},
        birth=lambda meta_params, key: policy.init(key),
        loss=loss,
        reads=reads,
        scale=scale,
        optimiser=inner_optimiser(options.inner_optimiser, 1.0),  # the step size is φ's
    )


def hyper_parameters(meta_params: Tree) -> dict[str, Array]:
    """φ in the units of the loss: gamma and lambda in (0, 1), entropy and rate above 0."""
    shapes = {"gamma": jax.nn.sigmoid, "lambda": jax.nn.sigmoid, "entropy": jnp.exp, "rate": jnp.exp}
    return {name: shape(meta_params[name]) for name, shape in shapes.items()}
