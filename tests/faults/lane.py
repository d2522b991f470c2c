"""Two meta-steps of every algorithm, or a rollout in every environment, under settings of JAX that the shell names.

    JAX_ENABLE_X64=1 python tests/faults/lane.py algorithms [VARIANT ...]
    JAX_ENABLE_X64=1 python tests/faults/lane.py environments [NAME ...]

Prints a line of JSON each: the name, and what went wrong, or null. Two functions of others promote dtypes implicitly
and are exempt from strict promotion: flax's normalisation of a layer and optax's correction of moments. So are the
environments of gymnax.
"""

import json
import pathlib
import sys
from collections.abc import Callable
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from laws.test_laws import VARIANTS, learner

from metarl_jax import envs, oracles
from metarl_jax.algorithms import make
from metarl_jax.core.environment import Environment
from metarl_jax.core.keys import key_of
from metarl_jax.core.policy import mlp_policy
from metarl_jax.core.rollout import opening, rollout
from metarl_jax.core.types import Key


def lenient(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function of another package under the usual promotion."""

    def call(*arguments: Any, **options: Any) -> Any:
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            return function(*arguments, **options)

    return call


def exempt(replace: Callable[[Any, str, Any], None] = setattr) -> None:
    """Exempt functions of other packages from strict promotion."""
    for owner, name in ((nn.LayerNorm, "__call__"), (optax.tree, "bias_correction")):
        replace(owner, name, lenient(getattr(owner, name)))


def trains(variant: str) -> None:
    """Two compiled meta-steps, over the end of episodes, keep the types of the state, and everything is finite."""
    meta = learner(variant)
    state = jax.jit(meta.init)(key_of(0))
    step, before = jax.jit(meta.step), types(state)
    for seed in (1, 2):
        state, info = step(state, key_of(seed))
        check(types(state) == before, "the types of the state change")
    check(all(jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(info)), f"{info}")


def acts_whoever_made_it(name: str) -> None:
    (lenient(acts) if name in envs.ADAPTED else acts)(name)


def acts(name: str) -> None:
    """A compiled rollout in the environment, a traced meta-step, and its reference agent, where there is one."""
    try:
        environment = envs.make(name)
    except ValueError as error:
        check("unset JAX_ENABLE_X64" in str(error), str(error))
        return
    walks(environment)
    meta = make("rl2", width=4, tasks=4, envs=2).build(environment)
    state = jax.eval_shape(meta.init, key_of(0))
    check(types(jax.eval_shape(meta.step, state, key_of(1))[0]) == types(state), "the types of the state change")
    known = oracles.reference(environment)
    if known is not None:
        tasks = jax.eval_shape(
            jax.vmap(lambda key: environment.sample_task(key, "test")), jax.random.split(key_of(2), 3)
        )
        check(jax.eval_shape(known, key_of(3), tasks).dtype == jnp.result_type(float), "another float of the reference")


def walks(environment: Environment) -> None:
    """Rollouts in a few tasks, past the end of an episode or for a hundred steps, are finite."""
    policy, steps = mlp_policy(environment, (2,), critic=True), min(environment.horizon + 1, 100)

    @jax.jit
    @jax.vmap
    def walk(key: Key) -> Any:
        task, params = environment.sample_task(key, "train"), policy.init(key)
        return rollout(environment, policy, params, task, opening(environment, policy, task, key, 2), key, steps)[1]

    seen = jax.tree.leaves(walk(jax.random.split(key_of(4), 3)))
    check(
        all(jnp.all(jnp.isfinite(x)) for x in seen if jnp.issubdtype(x.dtype, jnp.inexact)), "a rollout is not finite"
    )


def types(state: Any) -> list[Any]:
    """Shape, dtype and weakness of every leaf. Floats must have JAX's default, and counts must be small."""
    leaves = jax.tree.leaves(jax.eval_shape(lambda: state))
    for leaf in leaves:
        real = jnp.issubdtype(leaf.dtype, jnp.floating)
        check(not real or leaf.dtype == jnp.result_type(float), f"{leaf.dtype} in the state")
        check(leaf.dtype != jnp.int64, "int64 in the state")
    return [(leaf.shape, leaf.dtype, leaf.weak_type) for leaf in leaves]


def check(holds: Any, fault: str) -> None:
    if not holds:
        raise AssertionError(fault)


WHAT: dict[str, tuple[Callable[[str], None], list[str]]] = {
    "algorithms": (trains, list(VARIANTS)),
    "environments": (acts_whoever_made_it, list(envs.everything())),
}


def main(what: str, *names: str) -> None:
    exempt()
    attempt, everything = WHAT[what]
    for name in names or everything:
        fault = None
        try:
            attempt(name)
        except Exception as error:
            fault = f"{type(error).__name__}: {error}"[:2000]
        print(json.dumps({"name": name, "fault": fault}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
