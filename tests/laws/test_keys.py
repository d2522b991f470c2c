"""No key is used twice in a whole meta-step or in an environment, by JAX's checker of keys.

The checker has to be told what vmap makes of keys.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import jax
import pytest
from jax import lax
from jax.errors import KeyReuseError
from jax.experimental.key_reuse import _core as checker

from laws.test_laws import VARIANTS, learner
from metarl_jax import envs
from metarl_jax.core.keys import key_of
from metarl_jax.core.types import SPLITS, Array, Key

# vmap batches a scan over keys by transposing them, and a loop that ends earlier in one lane by selecting among them.
# To the checker these are unknown: it holds their results for used. Here they use what they are given, and make it
# anew; of two keys the one that takes the other's place, since a life that goes on has one key before and after.
MOVED = checker.KeyReuseSignature(checker.Sink(0), checker.Source(0))
CHOSEN = checker.KeyReuseSignature(checker.Sink(2), checker.Source(0))
# A record that is relived in epochs is the same lives with the same keys each time.
RELIVED = ("rl2", "varibad", "algorithm_distillation", "decision_pretrained")
LIVED = [variant for variant in VARIANTS if variant not in RELIVED]
QUICK = ("maml", "maze", "reacher")


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The checker knows what becomes of keys that are transposed or selected."""
    for primitive, signature in ((lax.transpose_p, MOVED), (lax.select_n_p, CHOSEN)):
        monkeypatch.setitem(checker.key_reuse_signatures, primitive, signature)
    checker.jaxpr_type_signature.cache_clear()
    yield
    checker.jaxpr_type_signature.cache_clear()


def check(function: Any, *arguments: Any) -> None:
    """Raise a KeyReuseError if the program of a function uses a key twice."""
    checker.check_key_reuse_jaxpr(jax.make_jaxpr(function)(*arguments).jaxpr)


def draws(key: Key) -> Array:
    """Three numbers, each from a key of its own."""
    return lax.scan(lambda carry, key: (carry, jax.random.uniform(key)), 0, jax.random.split(key, 3))[1]


@pytest.mark.xfail(raises=KeyReuseError, strict=True, reason="the checker does not know the transposition of keys")
def test_the_checker_understands_a_scan_over_keys_under_vmap() -> None:
    """Once it does, MOVED is superfluous."""
    check(draws, key_of(0))
    check(jax.vmap(draws), jax.random.split(key_of(0), 4))


def test_a_key_that_is_used_twice_is_found_under_vmap(told: None) -> None:
    keys = jax.random.split(key_of(0), 4)
    check(jax.vmap(draws), keys)
    for twice in (
        lambda key: (draws(key), jax.random.uniform(key)),
        lambda key: lax.scan(lambda carry, _: (carry, jax.random.uniform(key)), 0, length=3)[1],
        lambda key: lax.scan(lambda c, k: (c, (jax.random.uniform(k), draws(k))), 0, jax.random.split(key, 3))[1],
    ):
        with pytest.raises(KeyReuseError):
            check(jax.vmap(twice), keys)


def each(names: Iterable[str]) -> list[Any]:
    """The names as parameters, all but the quick ones slow."""
    return [pytest.param(name, marks=[pytest.mark.slow] * (name not in QUICK)) for name in names]


@pytest.mark.parametrize("variant", each(LIVED))
def test_no_key_is_used_twice_in_a_meta_step(variant: str, told: None) -> None:
    meta = learner(variant)
    check(meta.init, key_of(0))
    check(meta.step, jax.eval_shape(meta.init, key_of(0)), key_of(1))


@pytest.mark.parametrize("name", each(envs.everything()))
def test_no_key_is_used_twice_in_an_environment(name: str) -> None:
    environment, key, space = envs.make(name), key_of(0), envs.make(name).action_space
    for split in SPLITS:
        check(lambda key, split=split: environment.sample_task(key, split), key)
    task = jax.eval_shape(lambda: environment.sample_task(key, "train"))
    check(environment.reset, key, task)
    state = jax.eval_shape(environment.reset, key, task)[1]
    check(environment.step, key, state, jax.ShapeDtypeStruct(space.shape, space.dtype), task)
