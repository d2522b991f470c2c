"""What all algorithms share: the outer loop's options, their legal ranges, and how a meta-learner is put together."""

import dataclasses
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Literal, get_args, get_type_hints

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from metarl_jax.core.backprop import Companion, Epochs, backprop
from metarl_jax.core.environment import Discrete, Environment, check_choice, check_split_has_tasks
from metarl_jax.core.evolution import evolution, negative_return
from metarl_jax.core.lifetime import Lifetime
from metarl_jax.core.losses import Loss
from metarl_jax.core.meta import MetaLearner
from metarl_jax.core.objective import OBJECTIVES, Objective
from metarl_jax.core.types import Array

# What a number of an algorithm may be: (smallest, largest). Names mean the same in every algorithm.
RANGES: dict[str, tuple[float, float]] = {
    "tasks": (1, math.inf),
    "adaptations": (0, math.inf),
    "envs": (1, math.inf),
    "steps": (0, math.inf),
    "lifespan": (1, math.inf),
    "epochs": (1, math.inf),
    "minibatches": (1, math.inf),
    "sweeps": (1, math.inf),
    "hidden": (1, math.inf),
    "width": (1, math.inf),
    "layers": (1, math.inf),
    "window": (0, math.inf),
    "curriculum": (0, 1),
    "latent": (1, math.inf),
    "decoder": (1, math.inf),
    "beliefs": (0, math.inf),
    "kept": (1, math.inf),
    "trials": (1, math.inf),
    "updates": (1, math.inf),
    "model_lr": (0, math.inf),
    "kl_weight": (0, math.inf),
    "context": (1, math.inf),
    "pairs": (1, math.inf),
    "chunk": (0, math.inf),
    "anneal": (-1, 2**31 - 1),
    "meta_lr": (0, math.inf),
    "inner_lr": (0, math.inf),
    "inner_decay": (0, math.inf),
    "credit_decay": (0, 1),
    "depth": (1, math.inf),
    "divergence": (1e-12, math.inf),
    "damping": (0.0, math.inf),
    "spread": (1e-6, math.inf),
    "gamma": (0, 1),
    "lambda_": (0, 1),
    "outer_gamma": (0, 1),
    "outer_lambda": (0, 1),
    "clip": (0, math.inf),
    "entropy": (0, math.inf),
    "value_weight": (0, math.inf),
    "critic_scale": (0, math.inf),
    "max_gradient_norm": (0, math.inf),
    "sigma": (1e-8, math.inf),
    "temperature": (1e-8, math.inf),
    "reward_scale": (0, math.inf),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Algorithm:
    """A family of meta-learners: a frozen dataclass of hyper-parameters.

    A subclass answers four questions: what are the meta-parameters, how is an agent born, what does it remember, how
    does it adapt; all in `lifetime`. Float options may be traced arrays, so that `jax.vmap` over them compiles once; a
    traced number means what the same number in Python means. All other options are static.

    Args:
        estimator: how φ is improved, by backpropagation through the lifetime or by evolution strategies.
        objective: which of a lifetime's losses count, the last or their mean.
        tasks: N, tasks in a meta-step.
        adaptations: K, how often an agent adapts in a lifetime.
        envs: E, parallel environments of an agent.
        steps: T, steps of a rollout in each; 0 for one whole episode, or one whole trial of a policy with memory.
        gamma: discount of the rewards.
        meta_lr: step size of the outer Adam.
        anneal: meta-steps over which step size and entropy bonus fall to zero; 0 keeps them constant, and a run takes
            -1 for its whole length.
        max_gradient_norm: longest meta-gradient; longer ones are scaled down. 0 for no limit.
        chunk: tasks differentiated side by side; 0 for the fastest measured on this kind of device.
        pairs: antithetic pairs of a population, for evolution.
        sigma: standard deviation of the population, for evolution.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    variant_of: ClassVar[str | None] = None  # the algorithm of which this is the name for some options
    stands_for: ClassVar[Mapping[str, Any]] = MappingProxyType({})  # those options
    adam_eps: ClassVar[float] = 1e-5  # of the outer Adam: gradients far below it hardly move φ

    estimator: Literal["backprop", "evolution"] = "backprop"
    objective: Literal["final", "mean"] = "final"
    tasks: int = 20
    adaptations: int = 1
    envs: int = 10
    steps: int = 0
    gamma: float = 0.99
    meta_lr: float = 1e-3
    anneal: int = 0
    max_gradient_norm: float = 1.0
    chunk: int = 0
    pairs: int = 16
    sigma: float = 0.05

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for field in dataclasses.fields(self):
            check_option(self.name, field.name, getattr(self, field.name), hints[field.name])
        for option, value in self.stands_for.items():
            if getattr(self, option) != value:
                stands = f"{self.name} is the name of {self.variant_of} with {option}={value}"
                remedy = f"leave it out, or choose {self.variant_of}"
                raise ValueError(f"{option} of {self.name} is {getattr(self, option)}; {stands}: {remedy}")
        parts = self.relives().minibatches
        if self.tasks % parts:
            raise ValueError(
                f"tasks of {self.name} is {self.tasks} and minibatches {parts}; tasks must be a multiple of "
                f"minibatches, for example {max(1, self.tasks // parts) * parts}"
            )

    def refuses(self, environment: Environment) -> str | None:
        """Why this algorithm cannot work in that environment, and what would; None where it can."""
        return None

    def lifetime(self, environment: Environment) -> Lifetime:
        """The life that an agent of this algorithm leads in a task of `environment`."""
        raise NotImplementedError

    def loss(self, lifetime: Lifetime, entropy_share: Array) -> Loss:
        """The outer loss; `entropy_share` falls from 1 to 0 over `anneal` meta-steps."""
        raise NotImplementedError

    @property
    def lives(self) -> int:
        """Meta-steps that an agent lives through before it is reborn in another task."""
        return 1

    @property
    def schedule(self) -> tuple[int, int]:
        """How a held-out evaluation reports: (number of reports after the first, adaptations between them)."""
        return self.adaptations, 1

    def build(self, environment: Environment, mesh: Mesh | None = None) -> MetaLearner:
        """The meta-learner of this algorithm in that environment, as pure functions.

        Raises:
            ValueError: the algorithm cannot work in this environment, or there are no tasks to train on.
        """
        reason = self.refuses(environment)
        if reason:
            raise ValueError(f"{self.name} cannot learn {environment.name}: {reason}")
        check_split_has_tasks(environment, "train")
        lifetime = self.lifetime(environment)
        chunk = self.chunk or lifetime.default_chunk()
        if self.estimator == "evolution":
            return self.evolve(lifetime, chunk, mesh)
        return self.outer_loop(lifetime, chunk, mesh)

    def evolve(self, lifetime: Lifetime, chunk: int | None, mesh: Mesh | None) -> MetaLearner:
        """How φ is improved without gradients."""
        return evolution(
            lifetime,
            lambda step: self.judged(lifetime, self.remaining(step)),
            self.optimiser(),
            self.tasks,
            pairs=self.pairs,
            sigma=self.sigma,
            lifespan=self.lives,
            chunk=chunk,
            mesh=mesh,
        )

    def outer_loop(self, lifetime: Lifetime, chunk: int | None, mesh: Mesh | None) -> MetaLearner:
        """How φ is improved by gradients of lifetimes."""
        return backprop(
            lifetime,
            lambda step: self.judged(lifetime, self.remaining(step)),
            self.optimiser(),
            self.tasks,
            epochs=self.relives(),
            target=self.target,
            companion=self.companion(lifetime),
            lifespan=self.lives,
            chunk=chunk,
            mesh=mesh,
        )

    def judged(self, lifetime: Lifetime, remaining: Array) -> Objective:
        """What a lifetime is judged by; `remaining` is the share of the annealing that lies ahead."""
        evolved = self.estimator == "evolution"
        return OBJECTIVES[self.objective](self.fitness(lifetime) if evolved else self.loss(lifetime, remaining))

    def fitness(self, lifetime: Lifetime) -> Loss:
        """The outer loss of evolution, which needs no gradient."""
        return negative_return(lifetime, self.gamma)

    def companion(self, lifetime: Lifetime) -> Companion | None:
        """What else learns from the lives of a meta-step; None for nothing."""
        return None

    @property
    def target(self) -> float | None:
        """The divergence of policies before adaptation that a penalty aims at; None for no penalty."""
        return None

    def relives(self) -> Epochs:
        """How often the outer loop relives a batch of lifetimes; evolution looks at each once."""
        return Epochs() if self.estimator == "evolution" else self.passes

    @property
    def passes(self) -> Epochs:
        """The same of gradients."""
        return Epochs()

    def optimiser(self) -> optax.GradientTransformation:
        """Adam on φ, behind a limit on the length of the meta-gradient."""
        adam = optax.adam(lambda step: self.meta_lr * self.remaining(self._meta_steps(step)), eps=self.adam_eps)
        return optax.chain(shortened(self.max_gradient_norm), adam)

    def remaining(self, step: Array) -> Array:
        """The share of the annealing that lies ahead: 1 at first, 0 in the end."""
        return jnp.clip(1.0 - step / self.anneal, 0.0, 1.0) if self.anneal > 0 else jnp.ones(())

    def _meta_steps(self, updates: Array) -> Array:
        relives = self.relives()
        return updates // (relives.epochs * relives.minibatches)

    def rollout_steps(self, environment: Environment, episodes: int = 1) -> tuple[int, int | None]:
        """T and the quota of episodes: whole episodes where `steps` is 0, else a window of that length."""
        if self.steps == 0:
            return environment.horizon * episodes, episodes
        return self.steps, None


def shortened(longest: Array | float) -> optax.GradientTransformation:
    """Scale a longer gradient down to that length; 0 stands for no limit, also where it is traced."""

    def scale(gradient: Any, params: Any = None) -> Any:
        share = longest / jnp.maximum(optax.tree.norm(gradient), 1e-30)
        share = jnp.where(jnp.asarray(longest) > 0, jnp.minimum(share, 1.0), 1.0)
        return jax.tree.map(lambda x: x * share.astype(x.dtype), gradient)

    return optax.stateless(scale)


def is_off(value: Array | float) -> bool:
    """Whether an option is known to be 0, which some take for off; of a traced one nothing is known."""
    return isinstance(value, int | float) and value == 0


def check_option(owner: str, name: str, value: Any, hint: Any) -> None:
    """Raise ValueError unless an option has a legal value; traced floats are taken on trust, nothing else is traced."""
    if isinstance(value, jax.Array | np.ndarray | np.generic):
        if hint is not float or np.shape(value):
            rule = "one number" if hint is float else "static: only float options may be arrays"
            raise ValueError(f"{name} of {owner} is an array of shape {np.shape(value)}; it must be {rule}")
        if isinstance(value, jax.core.Tracer):
            return
        value = float(value)
    if get_args(hint) and all(isinstance(choice, str) for choice in get_args(hint)):
        check_choice(f"{name} of {owner}", value, get_args(hint))
    for number in value if isinstance(value, tuple) else (value,):
        if isinstance(number, bool) or not isinstance(number, int | float):
            continue
        low, high = RANGES.get(name, (-math.inf, math.inf))
        if math.isnan(number) or not low <= number <= high:
            bound = f"at least {low:g}" if math.isinf(high) else f"between {low:g} and {high:.10g}"
            raise ValueError(f"{name} of {owner} is {number}; it must be {bound}")


def needs_discrete(environment: Environment) -> str | None:
    """The refusal of algorithms that compare the values of finitely many actions."""
    if isinstance(environment.action_space, Discrete):
        return None
    return "it compares finitely many actions and these are vectors; maml, rl2 or meta_gradient take vectors"
