"""Small grids with objects to take and to avoid (Oh et al. 2020, Discovering RL algorithms, NeurIPS)."""

import dataclasses
from typing import Any, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.core.checks import check_choice, check_least
from metarl_jax.core.drawing import Drawing, Episode
from metarl_jax.core.environment import Box, Discrete, Episodic
from metarl_jax.core.types import Array, Key, Split, Step
from metarl_jax.envs.board import payer, walk_drawing
from metarl_jax.envs.grid import MOVES, cell, see, walk

Kinds = tuple[tuple[float, float, float], ...]  # for each object: reward, P(ends the episode), P(returns)
KINDS: dict[str, Kinds] = {
    "sparse": ((1.0, 1.0, 0.0), (-1.0, 1.0, 0.0)),
    "dense": ((1.0, 0.0, 0.05), (1.0, 0.0, 0.05), (-1.0, 0.5, 0.1), (-1.0, 0.0, 0.5)),
}
SIDES = {"sparse": 13, "dense": 11}
CLOCKS = {"sparse": 50, "dense": 100}
RICHER = 2.0  # factor of the rewards in the extrapolation split


class ObjectsTask(NamedTuple):
    """The places and the properties of the objects."""

    place: Array  # [n] int32 cells, counted row by row
    pay: Array  # [n]
    ends: Array  # [n] probability that taking it ends the episode
    returns: Array | None  # [n] probability a step that it returns; None if taking one ends the episode


class State(NamedTuple):
    """The position of the walker, and which objects are present."""

    place: Array  # [2] int32 row and column
    there: Array  # [n] bool
    time: Array  # [] int32 steps taken


@dataclasses.dataclass(frozen=True)
class Objects(Episodic):
    """Walk over a grid and collect objects with positive rewards; some objects return to their places.

    `sparse`: 13 x 13 cells, one object that pays 1 and one that costs 1, both end the episode, 50 steps. `dense`:
    11 x 11 cells, two objects that pay 1 and come back, two that cost 1. The walk starts in the centre. The
    observation holds row and column, each one-hot, and which objects are present. `side=0` and `steps=0` stand for the
    numbers of the density. The time limit truncates. The places of return and the 100 steps of `dense` are ours.

    Splits: `train` and `test` have the objects in different random cells, none in the centre; in `extrapolation` all
    rewards are also doubled.
    """

    name: ClassVar[str] = "objects"
    summary: ClassVar[str] = "learn which objects of a grid to take and which to avoid"
    reference: ClassVar[str | None] = "the best policy that knows the objects"
    Task: ClassVar[type] = ObjectsTask

    density: Literal["sparse", "dense"] = "sparse"
    side: int = 0
    steps: int = 0
    episodes: int = 4

    def __post_init__(self) -> None:
        check_choice("density", self.density, KINDS)
        check_least("steps", self.steps, 0)
        check_least("episodes", self.episodes, 1)
        if self.side != 0:
            check_least("side", self.side, 3)

    @property
    def width(self) -> int:
        """Rows and columns."""
        return self.side or SIDES[self.density]

    @property
    def kinds(self) -> Kinds:
        """The properties of the objects in train and test."""
        return KINDS[self.density]

    @property
    def horizon(self) -> int:
        return self.steps or CLOCKS[self.density]

    @property
    def limits(self) -> dict[str, tuple[float, float]]:
        return {"place": (0, self.width**2 - 1), "pay": (-4.0, 4.0), "ends": (0.0, 1.0), "returns": (0.0, 1.0)}

    @property
    def observation_space(self) -> Box:
        return Box(0.0, 1.0, (2 * self.width + len(self.kinds),))

    @property
    def action_space(self) -> Discrete:
        return Discrete(len(MOVES))

    @property
    def centre(self) -> int:
        """The cell in which an episode starts."""
        return (self.width // 2) * (self.width + 1)

    def reset(self, key: Key, task: ObjectsTask) -> tuple[Array, State]:
        start = cell(jnp.int32(self.centre), self.width)
        state = State(start, jnp.ones(len(self.kinds), bool), jnp.int32(0))
        return self.observe(state), state

    def step(self, key: Key, state: State, action: Array, task: ObjectsTask) -> Step:
        end_key, return_key = jax.random.split(key)
        place = walk(state.place, action, self.width)
        taken = state.there & (task.place == place[0] * self.width + place[1])
        there = state.there & ~taken
        if task.returns is not None:
            there |= ~state.there & (jax.random.uniform(return_key, taken.shape) < task.returns)
        state = State(place, there, state.time + 1)
        terminated = jax.random.uniform(end_key) < jnp.sum(jnp.where(taken, task.ends, 0.0))
        truncated = ~terminated & (state.time >= self.horizon)
        return Step(self.observe(state), state, jnp.sum(jnp.where(taken, task.pay, 0.0)), terminated, truncated, {})

    def observe(self, state: State) -> Array:
        """Row and column, one-hot, and which objects are there, [2 width + n] float32."""
        return jnp.concatenate([see(state.place, self.width), state.there.astype(float)])

    def draw_task(self, key: Key, split: Split) -> ObjectsTask:
        cells = jnp.asarray([index for index in range(self.width**2) if index != self.centre], jnp.int32)
        pay, ends, returns = jnp.asarray(self.kinds, float).T
        richer = RICHER if split == "extrapolation" else 1.0
        place = jax.random.permutation(key, cells)[: len(self.kinds)]
        return ObjectsTask(place, richer * pay, ends, returns if self.density == "dense" else None)

    def extrapolates(self, task: ObjectsTask) -> Array:
        return jnp.any(jnp.abs(task.pay) > 1.0)

    def draw(self, task: ObjectsTask, episode: Episode) -> Drawing:
        """Draw the grid, the visited cells, and the objects that are present with their rewards."""
        first, last = (0, 0), (self.width - 1, self.width - 1)
        objects = [payer(divmod(int(place), self.width), pay) for place, pay in zip(task.place, task.pay, strict=True)]
        things = [[shape for i in np.flatnonzero(there) for shape in objects[i]] for there in episode.state.there]
        return walk_drawing(episode.state.place, first, last, [], things.__getitem__)

    def checked(self, task: Any) -> ObjectsTask:
        checked: ObjectsTask = super().checked(task)
        if len({*checked.place.tolist(), self.centre}) <= len(self.kinds):
            rule = f"cells must differ from each other and from the centre, {self.centre}"
            raise ValueError(f"task number 'place' of objects is {checked.place.tolist()}; its {rule}")
        return checked
