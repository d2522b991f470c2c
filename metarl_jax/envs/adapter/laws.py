"""Distributions of task numbers, each written as a sentence: `gravity uniform 7 13 beyond 1.5 30`.

The same sentence serves Python, the command line and the configuration of a run:

    FIELD uniform LOW HIGH [beyond LEAST MOST]
    FIELD log_uniform LOW HIGH [beyond LEAST MOST]
    FIELD choice A B ... [beyond C D ...]
    FIELD frozen LEAST MOST                          drawn by the environment's reset, once a lifetime

The part before `beyond` is the law of train and test. Extrapolation draws from the part after it: between LEAST and
MOST but outside LOW ... HIGH, or among C D ... . Without `beyond` a range extends by half its width on either side
(half its width in logarithms if log-uniform), but a positive LOW at most to its half, and a LOW of 0 not at all. A
choice without `beyond` does not extrapolate, nor does a frozen field. Integer ranges include both ends.
"""

import functools
import math
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from metarl_jax.core.checks import check_choice
from metarl_jax.core.types import Array

KINDS = ("uniform", "log_uniform", "choice", "frozen")
GAP = 0.01  # an extrapolated number stays this share of the margin away from the training range


class Law(NamedTuple):
    """The distribution of one task number."""

    field: str
    kind: str  # one of KINDS
    values: tuple[float, ...]  # the ends of a range, or the choices; the legal range of a frozen field
    beyond: tuple[float, ...]  # the ends of the legal range, or the choices of extrapolation; may be empty

    @property
    def legal(self) -> tuple[float, float]:
        """The smallest and the largest legal number."""
        return min(*self.values, *self.beyond), max(*self.values, *self.beyond)

    @property
    def extends(self) -> bool:
        """Whether the law can extrapolate."""
        return bool(self.beyond) and (self.kind == "choice" or self.beyond != self.values)

    def inside(self, share: Array, dtype: Any) -> Array:
        """The quantile `share` in [0, 1) of the training law, elementwise."""
        if self.kind == "choice":
            return _among(self.values, share, dtype)
        low, high = self.values
        if jnp.issubdtype(dtype, jnp.integer):
            return (low + jnp.floor(share * (high - low + 1))).astype(dtype)
        scale, back = self._scale()
        drawn = back(scale(low) + share * (scale(high) - scale(low)))
        return jnp.clip(drawn, low, high).astype(dtype)

    def outside(self, share: Array, side: Array, dtype: Any) -> Array:
        """The extrapolated number at `share`, below or above the training range according to `side`, elementwise."""
        if self.kind == "choice":
            return _among(self.beyond, share, dtype)
        (low, high), (least, most) = self.values, self.beyond
        whole = jnp.issubdtype(dtype, jnp.integer)
        scale, back = (jnp.asarray, jnp.asarray) if whole else self._scale()
        below, above = scale(low) - scale(least), scale(most) - scale(high)
        distance = GAP + (1.0 - GAP) * share

        def away(margin: Array) -> Array:
            return 1 + jnp.floor(share * margin) if whole else margin * distance

        drawn = jnp.where(side * (below + above) < below, scale(low) - away(below), scale(high) + away(above))
        return jnp.clip(back(drawn), least, most).astype(dtype)

    def left_by(self, value: Array) -> Array:
        """Whether any entry of `value` lies outside the support of the training law, [] bool."""
        if self.kind == "frozen":
            return jnp.array(False)
        if self.kind == "choice":
            return jnp.any(jnp.all(value[..., None] != jnp.asarray(self.values, value.dtype), axis=-1))
        low, high = jnp.asarray(self.values, value.dtype)
        return jnp.any((value < low) | (value > high))

    def variety(self, shape: tuple[int, ...], dtype: Any) -> float:
        """A lower bound on the number of values of the training law."""
        if self.kind == "frozen":
            return 1.0
        if self.kind == "choice":
            return float(len(self.values) ** math.prod(shape))
        whole = jnp.issubdtype(dtype, jnp.integer)
        return float((self.values[1] - self.values[0] + 1) ** math.prod(shape)) if whole else math.inf

    def _scale(self) -> tuple[Any, Any]:
        """The map under which the law is uniform, and its inverse."""
        return (jnp.log, jnp.exp) if self.kind == "log_uniform" else (jnp.asarray, jnp.asarray)


@functools.cache
def read(sentence: str) -> Law:
    """The law that a sentence states.

    Raises:
        ValueError: it states none; the message names the wrong part and the correct form.
    """
    words = sentence.split()
    if len(words) < 2:
        raise ValueError(f"law {sentence!r} is too short; write {_form('FIELD', 'uniform')}")
    field, kind, *rest = words
    check_choice(f"law of {field!r}", kind, KINDS)
    cut = rest.index("beyond") if "beyond" in rest else len(rest)
    try:
        values, beyond = (tuple(map(float, part)) for part in (rest[:cut], rest[cut + 1 :]))
    except ValueError:
        raise ValueError(f"law {sentence!r} holds a word that is not a number; write {_form(field, kind)}") from None
    if not np.all(np.isfinite([*values, *beyond])):
        raise ValueError(f"law {sentence!r} holds a number that is not finite; task numbers must be finite")
    law = Law(field, kind, values, beyond)
    _check(sentence, law)
    return law if kind in ("choice", "frozen") or beyond else law._replace(beyond=_margins(law))


def _check(sentence: str, law: Law) -> None:
    if law.kind == "choice":
        fits = len(law.values) > 1 and not set(law.values) & set(law.beyond)
        rule = "two choices or more, and others beyond them"
    else:
        ends = len(law.values) == 2 and law.values[0] < law.values[1]
        margin = not law.beyond or (len(law.beyond) == 2 and _within(law.values, law.beyond))
        positive = law.kind != "log_uniform" or min(*law.values, *law.beyond, math.inf) > 0
        fits, rule = ends and margin and positive, "LEAST <= LOW < HIGH <= MOST, and above 0 if log-uniform"
    if not fits or (law.kind == "frozen" and law.beyond):
        raise ValueError(f"law {sentence!r} makes no sense; write {_form(law.field, law.kind)}: {rule}")


def _within(inner: tuple[float, ...], outer: tuple[float, ...]) -> bool:
    return outer[0] <= inner[0] and inner[1] <= outer[1]


def _form(field: str, kind: str) -> str:
    ends = {"choice": "A B ... [beyond C D ...]", "frozen": "LEAST MOST"}
    return f"'{field} {kind} {ends.get(kind, 'LOW HIGH [beyond LEAST MOST]')}'"


def _margins(law: Law) -> tuple[float, float]:
    """The default legal range of a law without `beyond`."""
    low, high = law.values
    if law.kind == "log_uniform":
        ratio = math.sqrt(high / low)
        return low / ratio, high * ratio
    margin = (high - low) / 2
    return (max(low - margin, low / 2) if low >= 0 else low - margin), high + margin


def _among(values: tuple[float, ...], share: Array, dtype: Any) -> Array:
    return jnp.asarray(values, dtype)[jnp.floor(share * len(values)).astype(jnp.int32)]
