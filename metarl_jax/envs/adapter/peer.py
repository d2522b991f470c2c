"""The parameters, state and spaces of gymnax's environments, each computed once and cached."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.core.checks import nearest
from metarl_jax.core.environment import Box, Discrete
from metarl_jax.core.keys import key_of
from metarl_jax.core.types import Array, Tree
from metarl_jax.envs.adapter.families import UNBOUNDED, Family, Params
from metarl_jax.envs.adapter.laws import Law, read

DOWNLOADED = ("MNISTBandit-bsuite",)
STICKINESS = "stickiness"  # the task number with the probability of a sticky action


class Spaces(NamedTuple):
    """The observation and action spaces, which hold in all tasks."""

    observations: Box
    actions: Any  # Discrete | Box
    low: Any  # of the actions, elementwise
    high: Any
    raw: Any  # gymnax's observation space


@functools.cache
def peer_of(family: Family) -> tuple[Any, Params]:
    """gymnax's environment and its parameters, with the settings of the family."""
    if family.id in DOWNLOADED:
        raise ValueError(f"{family.id} downloads its data, which this package does not; choose another environment")
    with jax.ensure_compile_time_eval():  # its modules make arrays, too
        import gymnax

        known = gymnax.registered_envs
        if family.id not in known:
            raise ValueError(
                f"gymnax has no environment {family.id!r}; it has {', '.join(known)}{nearest(family.id, known)}"
            )
        environment, params = gymnax.make(family.id, **dict(family.options))
        return environment, params.replace(**dict(family.settings))


@functools.cache
def gymnax_laws(environment: Any) -> tuple[Law, ...]:
    """The laws of gymnax's own numbers."""
    return tuple(read(sentence) for sentence in environment.laws)


def all_laws(environment: Any) -> tuple[Law, ...]:
    """The laws of all task numbers except the permutation of controls."""
    if not environment.sticky:
        return gymnax_laws(environment)
    most = 2.0 * environment.sticky
    return (*gymnax_laws(environment), Law(STICKINESS, "uniform", (0.0, environment.sticky), (0.0, most)))


def in_state(environment: Any, law: Law) -> bool:
    """Whether the number is a field of the state; a field of both is a parameter, unless it is frozen."""
    return law.kind == "frozen" or not hasattr(peer_of(environment.family)[1], law.field)


@functools.cache
def frozen_fields(environment: Any) -> tuple[str, ...]:
    """The task numbers that are fields of gymnax's state."""
    return tuple(law.field for law in gymnax_laws(environment) if in_state(environment, law))


@functools.cache
def parameter_fields(environment: Any) -> tuple[str, ...]:
    """The task numbers that are parameters of gymnax."""
    return tuple(law.field for law in gymnax_laws(environment) if not in_state(environment, law))


@functools.cache
def like(environment: Any, law: Law) -> Any:
    """Shape and type of a task number."""
    if law.field == STICKINESS:
        return jax.ShapeDtypeStruct((), jnp.result_type(float))
    if in_state(environment, law):
        return getattr(state_like(environment), law.field)
    value = getattr(peer_of(environment.family)[1], law.field)
    return jax.ShapeDtypeStruct(np.shape(value), jnp.asarray(value).dtype)


@functools.cache
def state_like(environment: Any) -> Any:
    """The shapes and types of gymnax's state, wide enough for the results of both reset and step."""
    peer, params = peer_of(environment.family)
    key = key_of(0)

    def both() -> tuple[Any, Any]:
        fixed = jax.tree.map(jnp.asarray, params)
        first = peer.reset_env(key, fixed)[1]
        return first, peer.step_env(key, first, peer.action_space(fixed).sample(key), fixed)[1]

    def wider(first: Any, after: Any) -> Any:
        return jax.ShapeDtypeStruct(after.shape, jnp.promote_types(first.dtype, after.dtype))

    return jax.tree.map(wider, *jax.eval_shape(both))


def derived(environment: Any, chosen: dict[str, Any]) -> Params:
    """gymnax's parameters with the chosen ones and those derived from them."""
    usual = peer_of(environment.family)[1]
    params = usual.replace(max_steps_in_episode=environment.steps, **chosen)
    params = jax.tree.map(lambda value, old: jnp.asarray(value, jnp.asarray(old).dtype), params, usual)
    return params if environment.family.derive is None else environment.family.derive(params)


@functools.cache
def spaces(environment: Any) -> Spaces:
    """The spaces that hold in all tasks: the hull of gymnax's at both ends of the legal ranges."""
    peer = peer_of(environment.family)[0]
    with jax.ensure_compile_time_eval():
        corners = [derived(environment, {}), *(derived(environment, _ends(environment, end)) for end in (0, 1))]
        seen = [peer.observation_space(corner) for corner in corners]
        moves = [peer.action_space(corner) for corner in corners]
        raw = seen[0]
        size = raw.n if hasattr(raw, "n") else _size(jax.eval_shape(peer.reset_env, key_of(0), corners[0])[0])
        low, high = environment.family.bounds or ((0.0, 1.0) if hasattr(raw, "n") else _hull(seen))
        observations = Box(float(np.min(low)), float(np.max(high)), (size - len(environment.hidden),))
        if hasattr(moves[0], "n"):
            return Spaces(observations, Discrete(int(moves[0].n)), None, None, raw)
        low, high = _hull(moves)
        return Spaces(observations, Box(float(low.min()), float(high.max()), low.shape), low, high, raw)


def _ends(environment: Any, end: int) -> dict[str, Array]:
    """The parameters at the lower or upper end of their legal ranges."""
    laws = [law for law in gymnax_laws(environment) if law.field in parameter_fields(environment)]
    return {law.field: full(environment, law, law.legal[end]) for law in laws}


def full(environment: Any, law: Law, number: float) -> Array:
    """The task number with all its entries equal to `number`."""
    kind = like(environment, law)
    return jnp.full(kind.shape, number, kind.dtype)


def _hull(boxes: list[Any]) -> tuple[Any, Any]:
    """The least and the greatest bounds of gymnax's boxes, elementwise; unbounded if they have none."""
    if not all(hasattr(box, "low") for box in boxes):
        return UNBOUNDED
    low = np.min([np.broadcast_to(box.low, box.shape) for box in boxes], axis=0).astype(float)
    high = np.max([np.broadcast_to(box.high, box.shape) for box in boxes], axis=0).astype(float)
    most = np.finfo(np.float32).max  # how gymnax writes infinity
    return np.where(low <= -most, -np.inf, low), np.where(high >= most, np.inf, high)


def _size(tree: Tree) -> int:
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(tree))
