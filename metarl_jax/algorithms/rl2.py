"""RL²: the memory of a policy is the learner (Duan et al. 2016, arXiv:1611.02779; Wang et al. 2016)."""

import dataclasses
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp

from metarl_jax.algorithms.base import (
    Amount,
    Count,
    Improved,
    MetaLearned,
    Recipe,
    Share,
    Size,
    Widths,
    improved,
    rollout_steps,
)
from metarl_jax.algorithms.privileged import numbers_of, with_task_in_view
from metarl_jax.core.backprop import Passes
from metarl_jax.core.checks import is_off
from metarl_jax.core.environment import Environment
from metarl_jax.core.evolution import negative_return
from metarl_jax.core.learner import frozen
from metarl_jax.core.life import World
from metarl_jax.core.losses import Loss, per_step, ppo
from metarl_jax.core.memories import make as make_memory
from metarl_jax.core.memories.attention import HEADS
from metarl_jax.core.memory import Memory
from metarl_jax.core.objective import Objective, growing
from metarl_jax.core.policy import Policy, memory_policy
from metarl_jax.core.types import Array, Experience
from metarl_jax.core.window import Window, fitting_chunk

FIXED = ("belief", "none")  # memories without parameters: all that is learned stands between them and the heads


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrialLearner(MetaLearned):
    """Options of policies that learn in their memory, by PPO over whole trials.

    Args:
        layers: memories upon each other.
        window: steps that attention looks back; 0 for the whole rollout.
        knows_task: see the hidden numbers of the task, the upper reference.
        across_episodes: let returns run on across the ends of episodes, so that what is found out in one is worth
            something in the next, and end a trial when the environment's quota of episodes is used up. Otherwise
            windows of `steps` count no episodes: right where every step is rewarded (CartPole), since a quota that
            early ends use up would leave little to learn from.
        expected_reward: learn from what an action pays on average instead of what was drawn, where the environment
            says so: the same gradient on average, with less noise. The policy still perceives what was drawn.
        curriculum: share of the annealing over which trials grow from a tenth to their whole length.
        width: units of the memory.
        hidden: widths of the layers between memory and heads; by default none, or two of `width` where the memory has
            nothing to learn (belief, none).
        lambda_: trace decay of the advantages.
        clip: how far the ratio to the acting policy may move the surrogate.
        entropy: weight of the entropy bonus.
        value_weight: weight of the critic's error.
        critic_scale: of the weights of the critic's head at birth, whose guesses are the first credit.
        epochs: how often a batch of trials is relived.
        minibatches: in how many parts.
    """

    tasks: Count = 256
    envs: Count = 1
    max_gradient_norm: Amount = 0.5
    layers: Count = 1
    window: Size = 0
    knows_task: bool = False
    across_episodes: bool = True
    expected_reward: bool = False
    curriculum: Share = 0.0
    width: Count = 64
    hidden: Widths = ()
    lambda_: Share = 0.95
    clip: Amount = 0.2
    entropy: Amount = 0.01
    value_weight: Amount = 0.5
    critic_scale: Amount = 0.01
    epochs: Count = 4
    minibatches: Count = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        if not is_off(self.curriculum) and self.anneal == 0:
            rule = "it is a share of the annealing: choose anneal=-1, or the meta-steps that it takes"
            raise ValueError(f"curriculum of {self.name} is {self.curriculum}; {rule}")

    def refuses(self, environment: Environment) -> str | None:
        if self.expected_reward and not _says_expected_reward(environment):
            return "it does not say what an action pays on average: leave expected_reward off"
        return None

    @property
    def passes(self) -> Passes:
        """How often a batch of trials is relived."""
        return Passes(self.epochs, self.minibatches)

    def paid(self, seen: Experience) -> Array:
        """The rewards that the outer loss counts, [T, E]."""
        return seen.expected_reward if self.expected_reward else seen.reward


@dataclasses.dataclass(frozen=True, kw_only=True)
class RL2(TrialLearner, Improved):
    """Learn a policy whose memory outlasts the episodes of a trial, by PPO over whole trials.

    φ = the policy's parameters; the agent never adapts, its memory does.

    Args:
        memory: what carries the trial: a GRU, an LSTM, a linear recurrence that is trained by an associative scan,
            attention with a cache, the exact posterior where the environment knows it (belief), or nothing (none): one
            memoryless policy for all tasks, the lower reference.
        critic_knows_task: let the critic, and it alone, see the hidden numbers of the task and read them through two
            layers of `width`. How lucky a task is then counts neither for nor against what was done in it: the
            gradient is the same on average, with less noise (Pinto et al. 2017, arXiv:1710.06542; unbiased since the
            critic sees the memory too, Baisero and Amato 2022, arXiv:2105.11674).
        separate: give the critic a memory of its own.
        lifespan: windows of `steps` that a trial lasts at most; gradients reach back to the start of a window.
    """

    name: ClassVar[str] = "rl2"
    summary: ClassVar[str] = "a policy that learns in its memory, across the episodes of a trial"

    memory: Literal["gru", "lstm", "linear", "attention", "belief", "none"] = "gru"
    critic_knows_task: bool = False
    separate: bool = False
    lifespan: Count = 1

    @property
    def passes(self) -> Passes:
        """How often a meta-step relives its trials; evolution lives each once."""
        return Passes() if self.estimator == "evolution" else super().passes

    def __post_init__(self) -> None:
        super().__post_init__()
        check_heads(self, self.memory)
        if not is_off(self.curriculum) and self.lifespan > 1:
            rule = "it lengthens trials in one window: choose lifespan=1"
            raise ValueError(f"curriculum of {self.name} is {self.curriculum}; {rule}")

    def refuses(self, environment: Environment) -> str | None:
        if self.memory == "belief" and environment.belief() is None:
            return "its posterior is not known: choose another memory"
        return super().refuses(environment)

    def recipe(self, environment: Environment) -> Recipe:
        shown = self.knows_task or self.critic_knows_task
        environment = with_task_in_view(environment) if shown else environment
        policy = self.policy(environment)
        world = trial_world(self, environment, policy)._replace(fresh=self.lifespan == 1)
        window = Window(world, 0, self.lifespan == 1, chunk=self.chunk or fitting_chunk(world))
        return improved(
            self,
            window,
            lambda remaining: trial_loss(self, world, remaining),
            negative_return(world, self.gamma, trial=self.across_episodes, reward=self.paid),
            shape=lambda objective, remaining: lengthening(self, world, objective, remaining),
            lifespan=self.lifespan,
        )

    def policy(self, environment: Environment, *, forgets: bool = False) -> Policy:
        """What acts in the world's environment; with its memory erased after each episode if it `forgets`."""
        told = numbers_of(environment) if self.critic_knows_task and not self.knows_task else 0
        belief = environment.belief() if self.memory == "belief" else None
        return memory_policy(
            environment,
            lambda inputs: belief or trial_memory(self, self.memory, environment, inputs),
            self.hidden or (self.width, self.width) * (self.memory in FIXED),
            forgets=forgets,
            separate=self.separate,
            told=told,
            critic_hidden=(self.width, self.width) if told else (),
            critic_scale=self.critic_scale,
        )


def trial_world(options: TrialLearner, environment: Environment, policy: Policy) -> World:
    """The world of agents that act with φ itself, for a trial of the environment."""
    steps, quota = rollout_steps(options, environment, environment.trial_episodes)
    quota = environment.trial_episodes if options.across_episodes else quota
    return World(environment, policy, frozen(policy.init), options.envs, steps, quota)


def trial_memory(options: TrialLearner, kind: str, environment: Environment, inputs: int) -> Memory:
    """The memory of a policy in that environment."""
    window = options.window or rollout_steps(options, environment, environment.trial_episodes)[0]
    return make_memory(kind, inputs, options.width, options.layers, window)


def trial_loss(options: TrialLearner, world: World, remaining: Array) -> Loss:
    """PPO over trials; `remaining` is the share of the annealing that lies ahead."""
    return ppo(
        world.policy,
        gamma=options.gamma,
        lambda_=options.lambda_,
        clip=options.clip,
        value_weight=options.value_weight,
        entropy=options.entropy * remaining,
        trial=options.across_episodes,
        reward=per_step(options.gamma, world.steps, options.paid),
    )


def lengthening(options: TrialLearner, world: World, objective: Objective, remaining: Array) -> Objective:
    """The objective under the curriculum: trials grow to their whole length over a share of the annealing."""
    if is_off(options.curriculum):
        return objective
    share = jnp.asarray(options.curriculum)
    progress = jnp.where(share > 0, (1.0 - remaining) / jnp.maximum(share, 1e-30), jnp.inf)
    return growing(objective, world.steps, progress)


def check_heads(options: TrialLearner, kind: str) -> None:
    """Raise ValueError unless the heads of an attention share its width evenly."""
    if kind == "attention" and options.width % HEADS:
        rule = f"attention has {HEADS} heads: choose {-(-options.width // HEADS) * HEADS}"
        raise ValueError(f"width of {options.name} is {options.width}; {rule}")


def _says_expected_reward(environment: Environment) -> bool:
    def one() -> object:
        key = jax.random.key(0)
        task = environment.draw_task(key, "train")
        action = jnp.zeros(environment.action_space.shape, environment.action_space.dtype)
        return environment.step(key, environment.reset(key, task)[1], action, task).info

    return "expected_reward" in jax.eval_shape(one)
