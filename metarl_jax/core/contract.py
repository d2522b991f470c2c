"""What an environment must be and return, checked from shapes alone, before anything is compiled."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.core.checks import check_least
from metarl_jax.core.environment import Box, Discrete, Environment
from metarl_jax.core.keys import key_of
from metarl_jax.core.once import once
from metarl_jax.core.types import Step, Tree


@once
def check_environment(environment: Environment) -> None:
    """Raise ValueError where an environment contradicts itself or the core: the field, what it is, and the remedy."""
    name = type(environment).__name__
    for count in ("horizon", "trial_episodes"):
        check_least(f"{count} of {name}", getattr(environment, count), 1)
    _check_spaces(name, environment)
    key = jax.eval_shape(lambda: key_of(0))
    task = jax.eval_shape(lambda key: environment.draw_task(key, "train"), key)
    _check_task(name, environment, task)
    observation, state = jax.eval_shape(environment.reset, key, task)
    _check_observation(f"reset of {name}", environment, observation)
    space = environment.action_space
    step = jax.eval_shape(environment.step, key, state, jax.ShapeDtypeStruct(space.shape, space.dtype), task)
    _require(isinstance(step, Step), f"step of {name} returns {type(step).__name__}", "return a Step")
    _check_observation(f"step of {name}", environment, step.observation)
    _check_scalars(f"step of {name}", step)
    before, after = _forms(state), _forms(step.state)
    same = "return a state of the same fields, shapes and dtypes from both"
    _require(before == after, f"the state of {name} is {before} after reset and {after} after step", same)


def _require(holds: bool, fault: str, remedy: str) -> None:
    if not holds:
        raise ValueError(f"{fault}; {remedy}")


def _check_spaces(name: str, environment: Environment) -> None:
    seen, space = environment.observation_space, environment.action_space
    vector = "it must be that of a vector, such as (4,): flatten it"
    _require(isinstance(seen, Box), f"observation_space of {name} is {seen!r}", "it must be a Box")
    _require(len(seen.shape) == 1, f"observation_space of {name} has the shape {seen.shape}", vector)
    if isinstance(space, Discrete):
        return check_least(f"n of the action_space of {name}", space.n, 1)
    _require(isinstance(space, Box), f"action_space of {name} is {space!r}", "it must be Discrete or a Box")
    _require(len(space.shape) == 1, f"action_space of {name} has the shape {space.shape}", vector)
    bounded = bool(np.all(np.isfinite([space.low, space.high])) and np.all(np.less(space.low, space.high)))
    finite = "give finite bounds, low < high: policies act in units of them"
    _require(bounded, f"action_space of {name} reaches from {space.low} to {space.high}", finite)


def _check_task(name: str, environment: Environment, task: Any) -> None:
    kind = environment.Task
    _require(isinstance(task, kind), f"draw_task of {name} returns {type(task).__name__}", f"return a {kind.__name__}")
    fields = {field for field, value in task._asdict().items() if value is not None}
    stated = type(environment).limits is not Environment.limits  # read only where a user gives a task
    missing = sorted(fields - set(environment.limits)) if stated else []
    _require(not missing, f"limits of {name} lack {', '.join(missing)}", "give the legal range of every task number")


def _check_observation(where: str, environment: Environment, observation: Any) -> None:
    declared = environment.observation_space.shape
    fault = f"the observation of {where} has the shape {observation.shape}, and observation_space says {declared}"
    _require(observation.shape == declared, fault, "make them agree")
    floating = jnp.issubdtype(observation.dtype, jnp.floating)
    _require(floating, f"the observation of {where} is {observation.dtype}", "return floats: jnp.float32(observation)")


def _check_scalars(where: str, step: Step) -> None:
    for field, kind, called in (
        ("reward", jnp.floating, "float: jnp.float32(reward)"),
        ("terminated", jnp.bool_, "bool: jnp.bool_(terminated)"),
        ("truncated", jnp.bool_, "bool: jnp.bool_(truncated)"),
    ):
        value = jax.eval_shape(jnp.asarray, getattr(step, field))
        right = value.shape == () and jnp.issubdtype(value.dtype, kind)
        _require(right, f"{field} of {where} is {value.dtype} of the shape {value.shape}", f"return one {called}")


def _forms(tree: Tree) -> Any:
    """The fields of a state, with the shape and dtype of each."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): f"{x.dtype}{list(x.shape)}" for path, x in leaves}
