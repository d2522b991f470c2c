"""The public rule of DiscoRL, to run: Disco103 (Oh et al. 2025, Nature, doi.org/10.1038/s41586-025-09761-x)."""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax

from metarl_jax.algorithms.base import Acting, Amount, Count, Recipe, Share, Size, Widths, long_lived, needs_discrete
from metarl_jax.algorithms.disco.agent import disco_policy
from metarl_jax.algorithms.disco.layers import State
from metarl_jax.algorithms.disco.loss import Goal, disco_loss
from metarl_jax.algorithms.disco.network import newborn, propose
from metarl_jax.algorithms.disco.reading import read
from metarl_jax.algorithms.disco.values import Moments, unseen
from metarl_jax.algorithms.disco.weights import DISCO_103
from metarl_jax.algorithms.disco.weights import read as read_weights
from metarl_jax.core.backprop import scheduled
from metarl_jax.core.environment import Environment
from metarl_jax.core.learner import Learner, inner_gradient
from metarl_jax.core.losses import reinforce
from metarl_jax.core.objective import final
from metarl_jax.core.policy import Policy
from metarl_jax.core.rollout import revalue
from metarl_jax.core.types import Agent, Array, Experience, Key, Tree
from metarl_jax.core.update import watch

SLOWNESS = 0.9  # share of the slow parameters that an update keeps


@dataclasses.dataclass(frozen=True, kw_only=True)
class Disco(Acting):
    """Learn each task from a random network, by the rule Disco103 that was meta-learned on 103 environments.

    φ is the rule's network, as published, and stays as it is: a meta-step only advances the lives of N agents in N
    tasks. The rule reads what an agent did and predicted and proposes what it should have predicted; the agent takes
    one step of Adam towards that after every rollout.

    Two details differ from the published code, which trains on every step except the first of an episode, and reads
    the first observation of the next episode where this reads the last of the one before: here every step counts, and
    a truncated episode bootstraps.

    Args:
        weights: path of the published file disco_103.npz, which is not part of this package; it must be named.
        checksum: SHA-256 of that file in hexadecimal; empty to accept other weights of the same shapes.
        adaptations: K, updates of an agent in a meta-step.
        inner_lr: step size of an agent's Adam.
        lifespan: meta-steps before an agent is reborn in another task.
        lambda_: trace decay of the returns.
        hidden: widths of the layers that an agent's heads share.
        width: of the agent's model, which predicts the consequences of actions.
    """

    name: ClassVar[str] = "disco"
    summary: ClassVar[str] = "the public rule Disco103, with weights that you name, teaches every task from scratch"
    rule_reads: ClassVar[str] = "rewards, ends, and outputs of the agent and its slow copy, of a rollout backwards"

    weights: str = ""
    checksum: str = DISCO_103
    adaptations: Size = 1
    tasks: Count = 1
    envs: Count = 64
    steps: Size = 28
    gamma: Share = 0.997
    lambda_: Share = 0.95
    inner_lr: Amount = 1e-2
    lifespan: Count = 500
    hidden: Widths = (512, 512)
    width: Count = 128

    def refuses(self, environment: Environment) -> str | None:
        return needs_discrete(environment)

    def recipe(self, environment: Environment) -> Recipe:
        if not self.weights:
            remedy = "name the file disco_103.npz of github.com/google-deepmind/disco_rl"
            raise ValueError(f"weights of disco is empty, and the rule has no weights of its own; {remedy}")
        rule = read_weights(self.weights, self.checksum)
        policy = disco_policy(environment, self.hidden, self.width)
        learner = disco_learner(policy, rule, self.gamma, self.lambda_, self.inner_lr)
        window = long_lived(self, environment, policy, learner, self.adaptations, self.lifespan)
        objective = scheduled(final(reinforce(policy, gamma=self.gamma)))
        return Recipe(window, watch(window), self.lifespan, objective)


class Taught(NamedTuple):
    """The state of an agent that the rule teaches."""

    optimiser: Tree
    slow: Tree  # parameters that follow the agent's
    memory: State  # of the rule, of the agent's lifetime
    moments: Moments  # of the agent's advantages


def disco_learner(
    policy: Policy, rule: Tree, gamma: Array | float, lambda_: Array | float, inner_lr: Array | float
) -> Learner:
    """Birth as a random network; adaptation by one step towards what the `rule` proposes."""
    optimiser = optax.chain(steady_adam(), optax.clip(1.0), optax.scale(-1.0))
    gradient = inner_gradient(disco_loss(policy))

    def birth(meta_params: Tree, key: Key) -> Agent:
        params = policy.init(key)
        return Agent(params, Taught(optimiser.init(params), params, newborn(), unseen()))

    def adapt(meta_params: Tree, agent: Agent, seen: Experience, key: Key) -> Agent:
        params, state = agent
        current, slow = (revalue(policy, each, seen) for each in (params, state.slow))
        reading, moments = read(seen, current, slow, state.moments, gamma, lambda_)
        targets, memory = propose(meta_params, state.memory, reading)
        goal = Goal(targets, current.next_prediction.policy, reading.worth.returns)
        updates, adam = optimiser.update(gradient(params, goal, seen), state.optimiser)
        follower = jax.tree.map(lambda old, new: SLOWNESS * old + (1.0 - SLOWNESS) * new, state.slow, params)
        params = jax.tree.map(lambda p, u: p + inner_lr * u, params, updates)
        return Agent(params, Taught(adam, follower, memory, moments))

    return Learner(lambda key: jax.tree.map(lambda x: jnp.asarray(x, float), rule), birth, adapt)


def steady_adam(first: float = 0.9, second: float = 0.999, eps: float = 1e-8) -> optax.GradientTransformation:
    """Adam whose denominator is a constant of the meta-gradient, which is finite even at a zero gradient."""

    def update(gradient: Tree, state: optax.ScaleByAdamState, params: Tree = None) -> tuple[Tree, Tree]:
        mean = optax.tree.update_moment(gradient, state.mu, first, 1)
        square = optax.tree.update_moment(jax.lax.stop_gradient(gradient), state.nu, second, 2)
        count = optax.safe_increment(state.count)
        unbiased = optax.tree.bias_correction(mean, first, count), optax.tree.bias_correction(square, second, count)
        updates = jax.tree.map(lambda m, v: m / (jnp.sqrt(v) + eps), *unbiased)
        return updates, optax.ScaleByAdamState(count=count, mu=mean, nu=square)

    return optax.GradientTransformation(optax.scale_by_adam().init, update)
