"""Constructors that remember what they made."""

import numpy as np

from metarl_jax.core.once import once


def test_the_same_arguments_give_the_same_result_unless_they_cannot_be_hashed() -> None:
    made = once(lambda *arguments, **options: [arguments, options])
    assert made(1, name="a") is made(1, name="a")
    assert made(1, name="a") is not made(1, name="b")
    array = np.zeros(2)
    assert made(array) is not made(array)
