"""The memories by name. A new one is a file and a line here."""

from collections.abc import Callable

from metarl_jax.core.memories.attention import attention
from metarl_jax.core.memories.gated import gru, lstm
from metarl_jax.core.memories.linear import linear
from metarl_jax.core.memory import Memory, nothing, stack

MEMORIES = ("gru", "lstm", "linear", "attention", "none")


def make(name: str, inputs: int, width: int, layers: int = 1, window: int = 1) -> Memory:
    """The memory of that name: `layers` of it upon each other; `window` is how far attention looks back."""
    if name == "none":
        return nothing()
    kinds: dict[str, Callable[[int], Memory]] = {
        "gru": lambda inputs: gru(inputs, width),
        "lstm": lambda inputs: lstm(inputs, width),
        "linear": lambda inputs: linear(inputs, width),
        "attention": lambda inputs: attention(inputs, width, window),
    }
    return stack([kinds[name](width if layer else inputs) for layer in range(layers)])
