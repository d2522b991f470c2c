"""Caching of constructors by their arguments, so that JAX finds the compiled programs of their results again."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

Made = TypeVar("Made")
KEPT = 32  # results of each constructor


def once(make: Callable[..., Made]) -> Callable[..., Made]:
    """Cache the latest results of `make` by its arguments; calls with unhashable arguments are not cached."""
    remembered = functools.lru_cache(maxsize=KEPT)(make)

    @functools.wraps(make)
    def made(*arguments: Any, **options: Any) -> Made:
        try:
            hash((arguments, tuple(options.values())))
        except TypeError:
            return make(*arguments, **options)
        return remembered(*arguments, **options)

    return made
