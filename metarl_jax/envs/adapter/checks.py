"""Checks of adapted environments for mistakes that gymnax accepts without an error."""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.core.checks import nearest
from metarl_jax.core.environment import Discrete
from metarl_jax.core.keys import key_of
from metarl_jax.envs.adapter.families import POSITIVE
from metarl_jax.envs.adapter.laws import Law, read
from metarl_jax.envs.adapter.peer import all_laws, derived, full, in_state, like, peer_of, spaces, state_like

FEWEST = 40  # distinct tasks; with fewer, possibly none is held out
MOST_STICKY = 0.5  # so that extrapolation can double it
CLOCK = ("max_steps_in_episode", "time")  # our option is `steps`


def check_numbers(environment: Any) -> None:
    """Raise ValueError where numbers have 64 bits and gymnax's code of the environment mixes them with 32 bits."""
    if not jax.config.values["jax_enable_x64"]:
        return

    def twice() -> tuple[Any, Any]:
        task, space = environment.draw_task(key_of(0), "train"), environment.action_space
        before = environment.reset(key_of(1), task)[1]
        step = functools.partial(environment.step, action=jnp.zeros(space.shape, space.dtype), task=task)
        after = step(key_of(2), before).state
        return after, step(key_of(3), after).state

    try:
        jax.eval_shape(twice)
    except TypeError as error:
        raise ValueError(f"{environment.name} of gymnax does not compute in float64: unset JAX_ENABLE_X64") from error


def _fields(part: Any) -> list[str]:
    return [field.name for field in dataclasses.fields(part)]


def check_laws(environment: Any) -> None:
    """Raise ValueError unless every law is of a number of gymnax and stays in its legal range."""
    name, laws = environment.name, [read(sentence) for sentence in environment.laws]
    params, state = _fields(peer_of(environment.family)[1]), _fields(state_like(environment))
    for law in laws:
        known = [field for field in ([] if law.kind == "frozen" else params) + state if field not in CLOCK]
        if law.field in CLOCK:
            raise ValueError(f"{law.field!r} of {name} is the time limit, not a task number; set steps")
        if law.field not in known:
            raise ValueError(
                f"{name} has no number {law.field!r} to draw; it has {', '.join(known)}{nearest(law.field, known)}"
            )
        _check_type(environment, law)
        if law.field in POSITIVE and law.legal[0] <= 0:
            raise ValueError(f"law of {law.field!r} reaches {law.legal[0]:g}; it must stay above 0: raise LOW or LEAST")
        _check_independent(environment, law)
    if len({law.field for law in laws}) < len(laws):
        raise ValueError(f"two laws of {name} draw the same number; keep one: {', '.join(environment.laws)}")


def _check_type(environment: Any, law: Law) -> None:
    dtype, numbers = like(environment, law).dtype, (*law.values, *law.beyond)
    if dtype == jnp.bool_ and law.kind not in ("choice", "frozen"):
        raise ValueError(f"{law.field!r} of {environment.name} is a switch; write '{law.field} choice 0 1'")
    if not jnp.issubdtype(dtype, jnp.integer):
        return
    if law.kind == "log_uniform":
        raise ValueError(f"{law.field!r} of {environment.name} is an integer; write uniform, not log_uniform")
    if any(number != round(number) for number in numbers):
        rule = "write whole numbers, also after 'beyond'"
        raise ValueError(f"{law.field!r} of {environment.name} is an integer, but its law has {numbers}; {rule}")


def _check_independent(environment: Any, law: Law) -> None:
    if in_state(environment, law):
        return
    with jax.ensure_compile_time_eval():
        value = full(environment, law, law.legal[1])
        if not np.array_equal(getattr(derived(environment, {law.field: value}), law.field), value):
            raise ValueError(f"{law.field!r} of {environment.name} is derived from other numbers; draw those instead")


def check_options(environment: Any) -> None:
    """Raise ValueError unless the options fit the spaces."""
    if not 0.0 <= environment.sticky <= MOST_STICKY:
        rule = f"it must lie in [0, {MOST_STICKY:g}], because extrapolation doubles it"
        raise ValueError(f"sticky is {environment.sticky!r}; {rule}")
    space, size = spaces(environment).actions, spaces(environment).observations.shape[0] + len(environment.hidden)
    for option in ("permuted", "sticky"):
        if getattr(environment, option) and not isinstance(space, Discrete):
            raise ValueError(f"{option} has no meaning for {environment.name}, whose actions are vectors; leave it out")
    hidden = set(environment.hidden)
    if len(hidden) < len(environment.hidden) or not hidden < set(range(size)):
        rule = f"it must be some of the entries 0 ... {size - 1}, each once, and leave at least one visible"
        raise ValueError(f"hidden is {environment.hidden}; {rule}")


def check_variety(environment: Any) -> None:
    """Raise ValueError unless there are enough tasks to hold some out, and a law that extrapolates."""
    laws = all_laws(environment)
    kinds = [like(environment, law) for law in laws]
    variety = math.prod(law.variety(kind.shape, kind.dtype) for law, kind in zip(laws, kinds, strict=True))
    variety *= math.factorial(spaces(environment).actions.n) if environment.permuted else 1
    remedy = "give ranges (field: law), or sticky controls"
    if variety < FEWEST:
        raise ValueError(f"{environment.name} has {variety:g} tasks; a split needs at least {FEWEST}: {remedy}")
    if not any(law.extends for law in laws):
        raise ValueError(f"no number of {environment.name} extrapolates; write 'beyond', or {remedy}")
