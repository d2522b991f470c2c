"""The algorithms, the environments, and the pairs that work together."""

from collections.abc import Mapping
from typing import Any

from metarl_jax.algorithms import ALGORITHMS, VARIANTS
from metarl_jax.core.environment import Environment
from metarl_jax.core.types import SPLITS
from metarl_jax.envs import ADAPTED, ENVIRONMENTS


def catalogue() -> dict[str, list[dict[str, Any]]]:
    """The algorithms, each with the environments that it accepts by default; variants; environments."""
    return {
        "algorithms": [
            {"name": name, "summary": kind.summary, "environments": _accepted(kind())}
            for name, kind in ALGORITHMS.items()
        ],
        "variants": [_variant(name) for name in VARIANTS],
        "environments": _described(ENVIRONMENTS),
        "adapted": _described(ADAPTED),
    }


def _variant(name: str) -> dict[str, Any]:
    kind, options = VARIANTS[name], dict(VARIANTS[name].stands_for)
    flags = [
        f"--{option.replace('_', '-')}" + ("" if value is True else f" {value}") for option, value in options.items()
    ]
    return {
        "name": name,
        "summary": " ".join([str(kind.variant_of), *flags]),
        "algorithm": kind.variant_of,
        "options": options,
    }


def _described(kinds: Mapping[str, type[Environment]]) -> list[dict[str, Any]]:
    return [
        {"name": name, "summary": kind.summary, "splits": list(SPLITS), "reference": kind.reference}
        for name, kind in kinds.items()
    ]


def _accepted(algorithm: Any) -> list[str]:
    return [name for name, kind in ENVIRONMENTS.items() if algorithm.refuses(kind()) is None]
