"""The memories by name. A new one needs a file and a line here."""

from collections.abc import Callable

from metarl_jax.core.memories.attention import attention
from metarl_jax.core.memories.gated import gru, lstm
from metarl_jax.core.memories.linear import linear
from metarl_jax.core.memories.paired import paired
from metarl_jax.core.memory import Memory, nothing, stack

KINDS: dict[str, Callable[[int, int, int], Memory]] = {  # inputs, width, window -> one layer
    "gru": lambda inputs, width, window: gru(inputs, width),
    "lstm": lambda inputs, width, window: lstm(inputs, width),
    "linear": lambda inputs, width, window: paired(linear(width), inputs),
    "attention": lambda inputs, width, window: paired(attention(width, window), inputs),
    "none": lambda inputs, width, window: nothing(),
}


def make(name: str, inputs: int, width: int, layers: int = 1, window: int = 1) -> Memory:
    """The memory of that name with `layers` stacked layers; attention looks back over `window` steps."""
    return stack([KINDS[name](width if layer else inputs, width, window) for layer in range(layers)])
