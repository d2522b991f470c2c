"""Make a thing once for each set of arguments: what JAX compiled for it is then found again."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

Made = TypeVar("Made")
KEPT = 32  # of each kind


def once(make: Callable[..., Made]) -> Callable[..., Made]:
    """`make`, which remembers the latest it has made by their arguments; those that cannot be hashed are made anew."""
    remembered = functools.lru_cache(maxsize=KEPT)(make)

    @functools.wraps(make)
    def made(*arguments: Any, **options: Any) -> Made:
        try:
            hash((arguments, tuple(options.values())))
        except TypeError:
            return make(*arguments, **options)
        return remembered(*arguments, **options)

    return made
