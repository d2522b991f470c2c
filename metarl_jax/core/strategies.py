"""Strategies of evosax (Lange 2022, arXiv:2212.04180) as updates; the package is optional."""

import dataclasses
import importlib
import inspect
import sys
from typing import Any

import jax
import numpy as np
import optax

from metarl_jax.core.backprop import scheduled
from metarl_jax.core.checks import check_choice
from metarl_jax.core.evolution import fitness, lived_on
from metarl_jax.core.keys import key_of
from metarl_jax.core.objective import Objective, Schedule
from metarl_jax.core.types import Array, Tree
from metarl_jax.core.update import Lives, Now, Update
from metarl_jax.core.window import Info, Window

OURS = {"PersistentES": "pes", "NoiseReuseES": "nres"}  # that count windows for all lives together


def strategy(
    name: str,
    window: Window,
    objective: Schedule | Objective,
    optimiser: optax.GradientTransformation,
    *,
    pairs: int = 32,
    sigma: Array | float = 0.05,
) -> Update:
    """A strategy of evosax with φ for its mean: it asks for a population and is told the mean objective of each member.

    As in `evolution` all members live the same tasks with the same keys, and lives that outlast a meta-step continue
    with φ itself.

    Args:
        name: a distribution-based strategy, as evosax spells it: Open_ES, CMA_ES, SNES ...
        window: the window that a meta-step lives.
        objective: the objective of a window.
        optimiser: of strategies that take one; the others, such as CMA_ES, move φ by a rule of their own.
        pairs: half of the population.
        sigma: its first standard deviation.

    Raises:
        ValueError: evosax is not installed, or does not have this strategy, or it does not fit.
    """
    kind, schedule = strategy_class(name), scheduled(objective)

    def init(meta_params: Tree) -> Tree:
        es, params = made(kind, meta_params, optimiser, 2 * pairs, sigma)
        return es.init(key_of(0), meta_params, params)  # a constant: nothing is drawn before `ask`

    def improve(meta_params: Tree, memory: Tree, lives: Lives, now: Now) -> tuple[Tree, Tree, Info, Lives]:
        es, params = made(kind, meta_params, optimiser, 2 * pairs, sigma)
        ask_key, tell_key = jax.random.split(now.key)
        members, memory = es.ask(ask_key, memory, params)
        losses, info = fitness(window, schedule(now.step), members, lives, now)
        lives = lived_on(window, meta_params, lives)
        after, _ = es.tell(tell_key, members, losses, memory, params)
        # Its schedules give weak types, with which the next step would be another program.
        memory = jax.tree.map(lambda new, old: jax.lax.convert_element_type(new, old.dtype), after, memory)
        return es.get_mean(memory), memory, info, lives

    return Update(init, improve, windows=2 * pairs + (not window.newborn))


def strategy_class(name: str) -> Any:
    """The class of a strategy that can improve a mean by a population around it.

    Raises:
        ValueError: evosax is not installed, or does not have this strategy, or it does not fit.
    """
    try:
        known = importlib.import_module("evosax.algorithms").distribution_based_algorithms
    except ImportError as error:
        remedy = "install it (pip install 'metarl-jax[evosax]'), or choose estimator=evolution"
        raise ValueError(f"the strategy evosax:{name} needs the package evosax; {remedy}") from error
    if name in OURS:
        rule = f"it lets all lives begin together: choose estimator={OURS[name]}"
        raise ValueError(f"the strategy evosax:{name} does not fit; {rule}")
    check_choice("strategy of evosax", name, [name for name, kind in known.items() if _fits(kind)])
    return known[name]


def made(
    kind: Any, meta_params: Tree, optimiser: optax.GradientTransformation, size: int, sigma: Array | float
) -> tuple[Any, Any]:
    """A strategy for φ and its parameters, with our optimiser and standard deviation where it has them."""
    ours = {"optimizer": optimiser, "std_schedule": optax.constant_schedule(sigma)}
    taken = {name: value for name, value in ours.items() if name in inspect.signature(kind).parameters}
    like = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), meta_params)
    es = kind(population_size=size, solution=like, **taken)
    params = es.default_params
    return es, params.replace(std_init=sigma) if hasattr(params, "std_init") else params


def _fits(kind: Any) -> bool:
    """Whether a strategy is made from a population's size and a mean, and has a standard deviation."""
    parameters = inspect.signature(kind).parameters
    needed = {name for name, parameter in parameters.items() if parameter.default is parameter.empty}
    options = dataclasses.fields(sys.modules[kind.__module__].Params)
    deviation = "std_schedule" in parameters or "std_init" in {option.name for option in options}
    return needed <= {"population_size", "solution"} and deviation and kind.__name__ not in OURS
