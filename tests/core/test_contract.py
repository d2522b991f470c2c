"""What an environment must be: everything of the package passes, and each fault is named with its remedy."""

import dataclasses
from typing import Any, ClassVar

import jax.numpy as jnp
import pytest
from broken import Broken, Faulty

from metarl_jax.core.contract import check_environment
from metarl_jax.core.environment import Box, Discrete
from metarl_jax.core.types import Array, Key, Step
from metarl_jax.envs import ENVIRONMENTS, make


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_every_environment_keeps_the_contract(name: str) -> None:
    check_environment(make(name))


@dataclasses.dataclass(frozen=True)
class Wrong(Broken):
    """The same environment with one part replaced."""

    name: ClassVar[str] = "wrong"

    part: str = ""

    @property
    def observation_space(self) -> Box:
        shapes: dict[str, tuple[int, ...]] = {"matrix": (3, 3), "declared": (4,)}
        return Box(0.0, 1.0, shapes.get(self.part, (1,)))

    @property
    def action_space(self) -> Any:
        unbounded = {"unbounded": Box(-jnp.inf, jnp.inf, (2,)), "upside down": Box(1.0, -1.0, (2,))}
        return unbounded.get(self.part, Discrete(0 if self.part == "no action" else 2))

    @property
    def limits(self) -> dict[str, tuple[float, float]]:
        return {"pay": (0, 1)} if self.part == "limits" else super().limits

    @property
    def horizon(self) -> Any:
        return 2.5 if self.part == "horizon" else 2

    def reset(self, key: Key, task: Faulty) -> tuple[Array, Array]:
        observation, state = super().reset(key, task)
        return (jnp.int32(observation) if self.part == "whole" else observation), state

    def step(self, key: Key, state: Array, action: Array, task: Faulty) -> Any:
        step = super().step(key, state, jnp.max(jnp.atleast_1d(action)).astype(int), task)
        changes: dict[str, dict[str, Any]] = {
            "reward": {"reward": jnp.int32(1)},
            "reward of two": {"reward": jnp.ones(2)},
            "terminated": {"terminated": jnp.float32(0)},
            "state": {"state": jnp.float32(step.state)},
            "next": {"observation": jnp.ones(2)},
        }
        return tuple(step) if self.part == "tuple" else step._replace(**changes.get(self.part, {}))


FAULTS = [
    ("matrix", r"observation_space of Wrong has the shape \(3, 3\); it must be that of a vector, .* flatten it"),
    ("declared", r"observation of reset of Wrong has the shape \(1,\), and observation_space says \(4,\)"),
    ("next", r"observation of step of Wrong has the shape \(2,\), and observation_space says \(1,\)"),
    ("whole", "observation of reset of Wrong is int32; return floats"),
    ("unbounded", "action_space of Wrong reaches from -inf to inf; give finite bounds"),
    ("upside down", "action_space of Wrong reaches from 1.0 to -1.0; give finite bounds, low < high"),
    ("no action", "n of the action_space of Wrong is 0; it must be a whole number of at least 1"),
    ("reward", r"reward of step of Wrong is int32 of the shape \(\); return one float: jnp.float32\(reward\)"),
    ("reward of two", r"reward of step of Wrong is float32 of the shape \(2,\)"),
    ("terminated", r"terminated of step of Wrong is float32 .*; return one bool"),
    ("state", r"the state of Wrong is .*int32.* after reset and .*float32.* after step"),
    ("tuple", "step of Wrong returns tuple; return a Step"),
    ("limits", "limits of Wrong lack fault"),
    ("horizon", "horizon of Wrong is 2.5; it must be a whole number"),
]


@pytest.mark.parametrize(("part", "words"), FAULTS)
def test_a_fault_is_named_with_its_remedy(part: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check_environment(Wrong(part=part))


def test_a_step_in_the_right_form_passes() -> None:
    check_environment(Wrong())
    assert isinstance(Step(*range(6)), Step)
