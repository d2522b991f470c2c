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
    evolves,
    improved,
    rollout_steps,
)
from metarl_jax.algorithms.privileged import numbers_of, with_task_in_view
from metarl_jax.core.backprop import Passes
from metarl_jax.core.checks import is_off
from metarl_jax.core.environment import Environment
from metarl_jax.core.evolution import negative_return
from metarl_jax.core.keys import key_of
from metarl_jax.core.learner import frozen
from metarl_jax.core.life import World
from metarl_jax.core.losses import Loss, per_step, ppo
from metarl_jax.core.memories import make as make_memory
from metarl_jax.core.memories.attention import HEADS
from metarl_jax.core.memory import Memory
from metarl_jax.core.objective import Objective, curriculum
from metarl_jax.core.policy import Policy, memory_policy
from metarl_jax.core.types import Array, Experience
from metarl_jax.core.window import Window, fitting_chunk

FIXED = ("belief", "none")  # memories without parameters


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrialLearner(MetaLearned):
    """Options of policies that adapt through their memory, trained by PPO over whole trials.

    Args:
        layers: layers of the memory.
        window: steps that attention looks back; 0 for the whole rollout.
        knows_task: observe the hidden task numbers, as an upper reference.
        across_episodes: let returns extend across the ends of episodes, so that exploration in one episode is rewarded
            in the next, and end a trial when the environment's quota of episodes is used up. Otherwise windows of
            `steps` have no quota. That is right where every step is rewarded (CartPole): early ends would use up a
            quota and leave little experience.
        expected_reward: learn from the expected reward of an action instead of the sampled one, where the environment
            provides it: the expected gradient is unchanged, with less noise. The policy still perceives samples.
        curriculum: share of the annealing over which the length of trials grows from a tenth to the full length.
        width: units of the memory.
        hidden: widths of the layers between memory and heads; by default none, or two of `width` for memories without
            parameters (belief, none).
        lambda_: trace decay of the advantages.
        clip: clipping range of the ratio to the behaviour policy.
        entropy: weight of the entropy bonus.
        value_weight: weight of the critic's error.
        critic_scale: initial scale of the critic's head, whose values enter the first advantages.
        epochs: passes over a batch of trials.
        minibatches: minibatches of tasks in each pass.
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
            rule = "it is a share of the annealing: choose anneal=-1, or a number of meta-steps"
            raise ValueError(f"curriculum of {self.name} is {self.curriculum}; {rule}")

    def refuses(self, environment: Environment) -> str | None:
        if self.expected_reward and not _gives_expected_reward(environment):
            return "it does not provide expected rewards: leave expected_reward off"
        return None

    @property
    def passes(self) -> Passes:
        """Passes over a batch of trials."""
        return Passes(self.epochs, self.minibatches)

    def paid(self, seen: Experience) -> Array:
        """The rewards that the outer loss counts, [T, E]."""
        return seen.expected_reward if self.expected_reward else seen.reward


@dataclasses.dataclass(frozen=True, kw_only=True)
class RL2(TrialLearner, Improved):
    """Learn a policy whose memory persists across the episodes of a trial, by PPO over whole trials.

    φ = the policy's parameters, which never adapt; the agent adapts through its memory.

    Args:
        memory: a GRU, an LSTM, a linear recurrence trained by an associative scan, attention with a cache, the exact
            posterior where the environment has one (belief), or none: one memoryless policy for all tasks, as a lower
            reference.
        critic_knows_task: let only the critic observe the hidden task numbers, through two layers of `width`. Its
            baseline then removes the variance between tasks: the expected gradient is unchanged, with less noise (Pinto
            et al. 2017, arXiv:1710.06542; unbiased because the critic also reads the memory, Baisero and Amato 2022,
            arXiv:2105.11674).
        separate: give the critic its own memory.
        lifespan: most windows of `steps` in a trial; gradients reach back to the start of a window.
    """

    name: ClassVar[str] = "rl2"
    summary: ClassVar[str] = "a policy that adapts through its memory, across the episodes of a trial"

    memory: Literal["gru", "lstm", "linear", "attention", "belief", "none"] = "gru"
    critic_knows_task: bool = False
    separate: bool = False
    lifespan: Count = 1

    @property
    def passes(self) -> Passes:
        """Passes of a meta-step over its trials; evolution lives each once."""
        return Passes() if evolves(self.estimator) else super().passes

    def __post_init__(self) -> None:
        super().__post_init__()
        check_heads(self, self.memory)
        if not is_off(self.curriculum) and self.lifespan > 1:
            rule = "it needs trials of one window: choose lifespan=1"
            raise ValueError(f"curriculum of {self.name} is {self.curriculum}; {rule}")

    def refuses(self, environment: Environment) -> str | None:
        if self.memory == "belief" and environment.belief() is None:
            return "its exact posterior is not known: choose another memory"
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
            shape=lambda objective, remaining: with_curriculum(self, world, objective, remaining),
            lifespan=self.lifespan,
        )

    def policy(self, environment: Environment, *, forgets: bool = False) -> Policy:
        """The acting policy; with `forgets` its memory is erased after each episode."""
        privileged = numbers_of(environment) if self.critic_knows_task and not self.knows_task else 0
        belief = environment.belief() if self.memory == "belief" else None
        return memory_policy(
            environment,
            lambda inputs: belief or trial_memory(self, self.memory, environment, inputs),
            self.hidden or (self.width, self.width) * (self.memory in FIXED),
            forgets=forgets,
            separate=self.separate,
            privileged=privileged,
            critic_hidden=(self.width, self.width) if privileged else (),
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
    """PPO over trials, given the remaining share of the annealing."""
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


def with_curriculum(options: TrialLearner, world: World, objective: Objective, remaining: Array) -> Objective:
    """The objective with a curriculum: the length of trials grows over a share of the annealing."""
    if is_off(options.curriculum):
        return objective
    share = jnp.asarray(options.curriculum)
    progress = jnp.where(share > 0, (1.0 - remaining) / jnp.maximum(share, 1e-30), jnp.inf)
    return curriculum(objective, world.steps, progress)


def check_heads(options: TrialLearner, kind: str) -> None:
    """Raise ValueError unless the heads of an attention share its width evenly."""
    if kind == "attention" and options.width % HEADS:
        rule = f"attention has {HEADS} heads: choose {-(-options.width // HEADS) * HEADS}"
        raise ValueError(f"width of {options.name} is {options.width}; {rule}")


def _gives_expected_reward(environment: Environment) -> bool:
    def one() -> object:
        key = key_of(0)
        task = environment.draw_task(key, "train")
        action = jnp.zeros(environment.action_space.shape, environment.action_space.dtype)
        return environment.step(key, environment.reset(key, task)[1], action, task).info

    return "expected_reward" in jax.eval_shape(one)
