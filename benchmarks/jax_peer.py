"""What peers in JAX share: the way into a checkout, gymnax before 1.0, the forms, one update of many, the stopwatch."""

import copy
import os
import pathlib
import resource
import sys
import time
import types
from collections.abc import Callable
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
from speed import median_seconds

from metarl_jax.experiment import devices

FORMS = ("usual", "devices")  # one device whose operations use all cores; one a core, each with its share of agents


def prepare(form: str) -> jax.sharding.Sharding | None:
    """Claim what that form uses, and say how the leading axis of its agents is divided; None if it is not."""
    if form != "devices":
        jax.config.update("jax_num_cpu_devices", 1)
    devices.prepare()
    jax.config.update("jax_enable_compilation_cache", False)  # the compile time of a first use
    if form != "devices":
        return None
    mesh = jax.make_mesh((jax.device_count(),), ("agents",), axis_types=(jax.sharding.AxisType.Auto,))
    return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("agents"))


def reach(folder: str | pathlib.Path) -> None:
    """Let top-level modules of that folder be imported: those of this folder would hide some of the same name."""
    here = str(pathlib.Path(__file__).parent)
    sys.path[:] = [str(folder), *(path for path in sys.path if os.path.abspath(path) != here)]


def module(name: str, **contents: Any) -> None:
    """Let `name` be imported as a module with these contents."""
    sys.modules[name] = types.ModuleType(name)
    vars(sys.modules[name]).update(contents)


def older(environment: Any) -> Any:
    """A gymnax environment whose `step` says in one number that an episode is over, as it did before gymnax 1.0."""

    class Older(type(environment)):
        """The same environment."""

        def step(self, key: Any, state: Any, action: Any, params: Any = None) -> tuple[Any, Any, Any, Any, dict]:
            observation, state, reward, terminated, truncated, _ = super().step(key, state, action, params)
            return observation, state, reward, terminated | truncated, {}

    copied = copy.copy(environment)
    copied.__class__ = Older
    return copied


def scanned(train: Callable[..., Any], *arguments: Any) -> Any:
    """What `train` returns when every scan that it calls gives back where it begins, and its body in place of a log.

    A whole training is a scan over updates. This is how one update of it is reached, together with a first state.
    """
    with mock.patch("jax.lax.scan", lambda body, first, *_: (first, body)):
        return train(*arguments)


def as_it_goes_on(step: Callable[[Any, Any], Any], state: Any) -> Any:
    """A first state in the types that `step` returns, as a scan makes it: a log may begin with whole numbers."""
    after, _ = jax.eval_shape(step, state, None)
    return jax.tree.map(lambda x, later: x.astype(later.dtype), state, after)


def timed(step: Callable[[Any, Any], Any], state: Any, env_steps: int, seconds: float) -> dict[str, Any]:
    """How fast that meta-step is, (state, key) -> state, anything; the fields are those of speed.py."""
    keys, state = jax.random.split(jax.random.key(1), 4), jax.tree.map(jnp.asarray, state)
    start = time.perf_counter()
    same = jax.tree.map(lambda x: x.sharding, state) if jax.device_count() > 1 else None
    compiled = jax.jit(step, out_shardings=(same, None)).lower(state, keys[0]).compile()
    compile_seconds = time.perf_counter() - start
    median, count = median_seconds(compiled, state, keys, seconds)
    return {
        "env_steps_per_second": env_steps / median,
        "meta_steps_per_second": 1 / median,
        "compile_seconds": compile_seconds,
        "peak_gibibytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "meta_steps_timed": count,
        "devices": jax.device_count(),
    }
