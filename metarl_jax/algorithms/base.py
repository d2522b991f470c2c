"""Shared parts of the algorithms: their recipe, groups of options with legal ranges, and the outer Adam.

An algorithm is a frozen dataclass of options and one function of an environment, `recipe`, that returns a world, an
objective and an update over the core.
"""

import dataclasses
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from metarl_jax.core.backprop import Passes, backprop
from metarl_jax.core.checks import Between, Prefixed, check_options
from metarl_jax.core.contract import check_environment
from metarl_jax.core.diagnostics import Clipped
from metarl_jax.core.environment import Discrete, Environment, check_split_has_tasks, masked
from metarl_jax.core.evolution import evolution
from metarl_jax.core.learner import Learner
from metarl_jax.core.life import World
from metarl_jax.core.losses import Loss, Scalar, actor_critic, per_step
from metarl_jax.core.meta import MetaLearner, Span, meta_learner
from metarl_jax.core.objective import OBJECTIVES, Objective, Schedule
from metarl_jax.core.persistent import persistent
from metarl_jax.core.policy import Policy
from metarl_jax.core.strategies import strategy
from metarl_jax.core.types import Array, Key, Tree
from metarl_jax.core.update import Update, check_parts, watch
from metarl_jax.core.window import Window, fitting_chunk

Count = Annotated[int, Between(1)]
Size = Annotated[int, Between(0)]
Share = Annotated[float, Between(0, 1)]
Amount = Annotated[float, Between(0)]
Rate = Annotated[float, Between(0, 100)]  # of an Adam, by which each number of φ moves in a step
Positive = Annotated[float, Between(1e-8)]
Widths = Annotated[tuple[int, ...], Between(1)]
Annealing = Annotated[int, Between(-1, 2**31 - 1)]
EVOSAX = "evosax:"
Strategy = Annotated[str, Prefixed(EVOSAX)]
Gradient = Literal["backprop", "evolution", "pes", "nres"] | Strategy  # how that of φ is estimated


class Recipe(NamedTuple):
    """An algorithm in an environment: everything that `meta_learner` needs."""

    window: Window
    update: Update
    lifespan: Span = 1  # windows
    objective: Schedule | None = None  # what the update minimises, for diagnostics
    judge: World | None = None  # of held-out trials, where it is not the window's

    @property
    def world(self) -> World:
        """The world of held-out trials."""
        return self.judge or self.window.world

    @property
    def turns(self) -> int:
        """Adaptations of an agent in a held-out task."""
        return 0 if self.world.learner.shared else self.window.turns

    @property
    def reports(self) -> tuple[int, int]:
        """The reports of a held-out evaluation: (number after the first, adaptations between two)."""
        turns = self.turns
        if self.window.newborn or not turns:
            return turns, 1
        longest = self.lifespan[1] if isinstance(self.lifespan, tuple) else self.lifespan
        return 10, max(1, longest * turns // 10)

    def applied(self, meta_params: Tree) -> "Recipe":
        """The same lives with φ fixed, in JAX's default float: agents are born, adapt and die; nothing improves φ."""

        def given(key: Key) -> Tree:
            return jax.tree.map(lambda x: jnp.asarray(x, float) if x.dtype == jnp.float32 else x, meta_params)

        world = self.window.world
        world = world._replace(learner=world.learner._replace(meta_init=given))
        window = self.window._replace(world=world)
        return self._replace(window=window, update=watch(window))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Algorithm:
    """An algorithm: its options, and its recipe in an environment.

    Float options may be traced arrays, so that `jax.vmap` over them compiles once; a traced number has the same meaning
    as a Python number. All other options are static.

    Args:
        tasks: N, tasks in a meta-step.
        broken: what becomes of an episode of training in which the environment returns NaN or inf: the meta-step is
            skipped as a whole (skip), or goes on without that episode (mask).
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    variant_of: ClassVar[str | None] = None  # the algorithm that this is a variant of
    stands_for: ClassVar[Mapping[str, Any]] = MappingProxyType({})  # the options that the variant fixes
    rule_reads: ClassVar[str] = ""  # the input of φ, where φ is a rule that newborn agents learn by

    tasks: Count = 20
    broken: Literal["skip", "mask"] = "skip"

    def __post_init__(self) -> None:
        check_options(self.name, self)
        check_parts(self.name, self.tasks, self.passes.minibatches)

    @property
    def passes(self) -> Passes:
        """How often a meta-step relives its lives."""
        return Passes()

    def refuses(self, environment: Environment) -> str | None:
        """Why this algorithm cannot learn the environment, with the remedy; None where it can."""
        return None

    def recipe(self, environment: Environment) -> Recipe:
        """The algorithm in that environment."""
        raise NotImplementedError

    def training(self, environment: Environment) -> Environment:
        """The environment as training meets it; an evaluation is never masked."""
        return masked(environment) if self.broken == "mask" else environment

    def build(self, environment: Environment, mesh: Mesh | None = None, recipe: Recipe | None = None) -> MetaLearner:
        """The meta-learner of this algorithm in that environment, as pure functions; `recipe` is by default its own.

        Raises:
            ValueError: the algorithm cannot work in this environment, or there are no tasks to train on.
        """
        reason = self.refuses(environment)
        if reason:
            raise ValueError(f"{self.name} cannot learn {environment.name}: {reason}")
        check_environment(environment)
        check_split_has_tasks(environment, "train")
        recipe = recipe or self.recipe(self.training(environment))
        return meta_learner(recipe.window, recipe.update, self.tasks, lifespan=recipe.lifespan, mesh=mesh)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Acting(Algorithm):
    """Options of the rollouts.

    Args:
        envs: E, parallel environments of an agent.
        steps: T, steps of a rollout in each; 0 for a whole episode, or a whole trial for policies with memory.
        gamma: discount of the rewards.
        chunk: tasks differentiated together; 0 for the fastest number measured on this kind of device.
    """

    envs: Count = 10
    steps: Size = 0
    gamma: Share = 0.99
    chunk: Size = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class MetaLearned(Acting):
    """Options of the outer Adam.

    Args:
        meta_lr: step size of the outer Adam.
        anneal: meta-steps over which step size and entropy bonus fall to zero; 0 keeps them constant, and -1 stands
            for the whole run.
        max_gradient_norm: largest norm of the meta-gradient, to which larger ones are scaled down; 0 for no limit.
    """

    meta_lr: Rate = 1e-3
    anneal: Annealing = 0
    max_gradient_norm: Amount = 1.0

    def remaining(self, step: Array) -> Array:
        """The remaining share of the annealing: 1 at first, 0 at the end."""
        return jnp.clip(1.0 - jnp.asarray(step, float) / self.anneal, 0.0, 1.0) if self.anneal > 0 else jnp.ones(())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Population:
    """Options of evolution.

    Args:
        pairs: antithetic pairs in a population of evolution strategies.
        sigma: standard deviation of that population.
    """

    pairs: Count = 16
    sigma: Positive = 0.05


@dataclasses.dataclass(frozen=True, kw_only=True)
class Improved(MetaLearned, Population):
    """Options of algorithms that backpropagation or evolution can improve.

    Args:
        estimator: the gradient of φ, by backpropagation through the lifetime or by evolution strategies (evolution);
            without their truncation where lives outlast a meta-step, by persistent noise (pes) or noise that is reused
            (nres); or a strategy of the package evosax by its name there, such as evosax:Open_ES.
    """

    estimator: Gradient = "backprop"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.estimator in ("pes", "nres") and getattr(self, "lifespan", 1) == 1:
            rule = "lives begin with every window, where it is evolution: choose estimator=evolution"
            rule += ", or lifespan=2 or more" if hasattr(self, "lifespan") else ""
            raise ValueError(f"estimator of {self.name} is {self.estimator}; {rule}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Adapting:
    """Options of agents that adapt.

    Args:
        adaptations: K, adaptations of an agent in a window.
        objective: the outer loss of a window: its final loss, or the mean of all.
    """

    adaptations: Size = 1
    objective: Literal["final", "mean"] = "final"


def adam(
    options: MetaLearned, eps: float = 1e-5, rates: Mapping[str, Array | float] = MappingProxyType({})
) -> optax.GradientTransformation:
    """Adam on φ with a clipped meta-gradient and a step size that is annealed over meta-steps.

    Branches of φ that `rates` names have a step size of their own.
    """

    def at(lr: Array | float) -> optax.GradientTransformation:
        return optax.adam(lambda step: lr * options.remaining(step // options.passes.updates), eps=eps)

    def branches(meta_params: Tree) -> dict[str, str]:
        return {name: name if name in rates else "" for name in meta_params}

    stepping = at(options.meta_lr)
    if rates:
        stepping = optax.partition({"": stepping, **{name: at(lr) for name, lr in rates.items()}}, branches)
    return optax.chain(clipped(options.max_gradient_norm), stepping)


def improved(
    options: Improved,
    window: Window,
    loss: Callable[[Array], Loss],
    fitness: Loss,
    *,
    shape: Callable[[Objective, Array], Objective] = lambda objective, remaining: objective,
    eps: float = 1e-5,
    rates: Mapping[str, Array | float] = MappingProxyType({}),
    lifespan: Span = 1,
) -> Recipe:
    """The recipe of an algorithm whose `estimator` option selects the update.

    Args:
        options: those of the algorithm.
        window: the window that a meta-step lives.
        loss: the outer loss, given the remaining share of the annealing.
        fitness: the outer loss of evolution, which needs no gradient.
        shape: modifies the objective, given that share.
        eps: epsilon of Adam; gradients far below it hardly change φ.
        rates: step sizes of Adam for the branches of φ that do not have `meta_lr`.
        lifespan: windows in a life.
    """
    evolved = evolves(options.estimator)
    reduce = OBJECTIVES[options.objective if isinstance(options, Adapting) else "final"]

    def objective(step: Array) -> Objective:
        remaining = options.remaining(step)
        return shape(reduce(fitness if evolved else loss(remaining)), remaining)

    optimiser = adam(options, eps, rates)
    if evolved:
        update = evolving(options.estimator, options, window, objective, optimiser)
    else:
        update = backprop(window, objective, optimiser, options.passes)
    return Recipe(window, update, lifespan, objective)


def evolves(estimator: str) -> bool:
    """Whether an estimator needs no derivative."""
    return estimator in ("evolution", "pes", "nres") or estimator.startswith(EVOSAX)


def evolving(
    estimator: str, options: Population, window: Window, objective: Schedule, optimiser: optax.GradientTransformation
) -> Update:
    """The update of an estimator that needs no derivative."""
    how: dict[str, Any] = {"pairs": options.pairs, "sigma": options.sigma}
    if estimator.startswith(EVOSAX):
        return strategy(estimator.removeprefix(EVOSAX), window, objective, optimiser, **how)
    if estimator == "evolution":
        return evolution(window, objective, optimiser, **how)
    return persistent(window, objective, optimiser, noise=estimator, **how)  # type: ignore[arg-type]


def rollout_steps(options: Acting, environment: Environment, episodes: int = 1) -> tuple[int, int | None]:
    """T and the quota of episodes: whole episodes if `steps` is 0, otherwise a window of that length."""
    return (options.steps, None) if options.steps else (environment.horizon * episodes, episodes)


def long_lived(
    options: Acting, environment: Environment, policy: Policy, learner: Learner, turns: int, lifespan: Span
) -> Window:
    """The window of K = `turns` adaptations of agents that live for `lifespan` windows, in scenes that go on."""
    steps, _ = rollout_steps(options, environment)
    world = World(environment, policy, learner, options.envs, steps, fresh=False)
    return Window(world, turns, lifespan in (1, (1, 1)), chunk=options.chunk or fitting_chunk(world))


def actor_loss(policy: Policy, gamma: Scalar, lambda_: Scalar, steps: int, **options: Any) -> Loss:
    """The outer loss of agents whose critic and entropy belong to their inner loss: an actor-critic's first term."""
    alone: dict[str, Any] = {"value_weight": 0.0, "entropy": 0.0, "reward": per_step(gamma, steps)}
    return actor_critic(policy, gamma=gamma, lambda_=lambda_, **alone | options)


def clipped(longest: Array | float) -> optax.GradientTransformation:
    """Scale gradients down to a norm of at most `longest`; 0, traced or not, stands for no limit."""

    def scale(gradient: Any, state: Clipped, params: Any = None) -> tuple[Any, Clipped]:
        share = longest / jnp.maximum(optax.tree.norm(gradient), 1e-30)
        share = jnp.where(jnp.asarray(longest, float) > 0, jnp.minimum(share, 1.0), 1.0)
        return jax.tree.map(lambda x: x * share.astype(x.dtype), gradient), Clipped(jnp.asarray(share < 1.0, float))

    return optax.GradientTransformation(lambda params: Clipped(jnp.asarray(0.0, float)), scale)


def needs_discrete(environment: Environment) -> str | None:
    """The refusal of algorithms that need finitely many actions."""
    if isinstance(environment.action_space, Discrete):
        return None
    return "it needs finitely many actions, and these are vectors; choose maml, rl2 or meta_gradient"
