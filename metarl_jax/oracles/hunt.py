"""The search for a hidden goal on a grid: the best walk, a good walk, and an upper bound for all walks.

The goal is uniform over some cells; every episode starts in the same cell, and steps that end on the goal pay. Until
the goal is found, an agent learns only which cells do not hold it, and moves are deterministic, so a policy is one
fixed walk. Once the goal is found, it is optimal to stay there and to go straight there in every later episode. With
d(g) steps from the start to g, T steps an episode and E episodes, a walk that finds g at step t of episode e, both
counted from 1, is on the goal for

    w(g, e, t) = (T - t + 1) + (E - e) max(T - d(g) + 1, 0)

steps of the trial. The Bayes-optimal value is the maximum over walks of the mean of w over the goals. If at most
`paying` steps of an episode pay, both terms of w are clipped at that number.
"""

import dataclasses
import functools
import itertools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.core.types import Array, Key
from metarl_jax.envs.grid import MOVES, STAY, Place


class Search(NamedTuple):
    """A partial walk that has not found the goal."""

    left: frozenset[int]  # unvisited cells that may hold the goal
    cell: int  # the current cell
    walk: tuple[int, ...]  # the cells after each of its steps
    score: int  # the sum of w over the visited goals


@dataclasses.dataclass(frozen=True, eq=False)
class Hunt:
    """A search problem; cells are numbered in the order of `places`."""

    places: Sequence[Place]  # the cells of the board
    start: Place
    goals: Sequence[Place]  # the possible places of the goal
    steps: int
    episodes: int
    paying: int  # the largest number of paying steps of an episode

    @property
    def clock(self) -> int:
        """The steps of a trial."""
        return self.steps * self.episodes

    @functools.cached_property
    def root(self) -> Search:
        """The search before its first step."""
        goals = frozenset(self.places.index(goal) for goal in self.goals)
        return Search(goals, self.places.index(self.start), (), 0)

    @functools.cached_property
    def distance(self) -> np.ndarray:
        """The least positive number of steps from one cell to another, [C, C]."""
        places = np.array(self.places)
        return np.maximum(np.abs(places[:, None] - places).sum(axis=-1), 1)

    @functools.cached_property
    def known(self) -> np.ndarray:
        """The paying steps of an episode with a known goal, by its cell, [C]."""
        return np.clip(self.steps - self.distance[self.root.cell] + 1, 0, self.paying)

    @functools.cached_property
    def worth(self) -> np.ndarray:
        """w by cell and step of the trial, [C, E T]."""
        episode, time = np.divmod(np.arange(self.clock), self.steps)
        return np.minimum(self.steps - time, self.paying) + (self.episodes - 1 - episode) * self.known[:, None]

    @functools.cached_property
    def neighbours(self) -> list[list[int]]:
        """The cells one move away, by cell."""
        places = np.array(self.places)
        return [list(np.flatnonzero(np.abs(places - place).sum(axis=-1) == 1)) for place in places]


def best_walk(hunt: Hunt) -> tuple[int, ...]:
    """The Bayes-optimal walk, exactly.

    The scores are integers. Starting from the bound of the root, each target in turn is tried by a depth-first search
    that prunes only walks whose `bound` is below it, so the first target that some walk reaches is the maximum. The
    bound is admissible: each step of the trial finds at most one goal, and no sooner than that goal can be reached, so
    the finds of every walk are a matching of goals to steps, and the bound is the largest score of such a matching. A
    walk is also pruned if an earlier walk with at least its score reached the same cell with the same remaining goals
    at the same step.

    In the worst case exponential in the number of goals, with O(goals^2 steps) for each bound. Where the first target
    is reached, as on the published 5 x 5 grid, a few dozen bounds are enough.
    """
    target = bound(hunt, hunt.root)
    while (walk := walk_worth(hunt, target)) is None:
        target -= 1
    return walk


def walk_worth(hunt: Hunt, least: int) -> tuple[int, ...] | None:
    """A walk whose score is at least `least`, or None if there is none."""
    best: dict[tuple[frozenset[int], int, int], int] = {}
    stack = [hunt.root]
    while stack:
        search = stack.pop()
        state = (search.left, search.cell, len(search.walk))
        if best.get(state, -1) >= search.score or bound(hunt, search) < least:
            continue
        if is_over(hunt, search):
            return search.walk
        best[state] = search.score
        stack += successors(hunt, search)
    return None


def good_walk(hunt: Hunt, width: int) -> tuple[int, ...]:
    """A good walk by beam search, whose score is a lower bound of the optimum.

    Of the walks of one length, the `width` walks with the largest `bound` are extended. O(steps width) bounds.
    """
    beam = [hunt.root]
    while not is_over(hunt, beam[0]):
        reached: dict[tuple[frozenset[int], int], Search] = {}
        for ahead in itertools.chain.from_iterable(successors(hunt, search) for search in beam):
            state = (ahead.left, ahead.cell)
            if state not in reached or reached[state].score < ahead.score:
                reached[state] = ahead
        beam = sorted(reached.values(), key=lambda search: -bound(hunt, search))[:width]
    return beam[0].walk


def is_over(hunt: Hunt, search: Search) -> bool:
    """Whether every goal was visited or the trial has ended."""
    return not search.left or len(search.walk) == hunt.clock


def successors(hunt: Hunt, search: Search) -> list[Search]:
    """The extensions of a walk by one step, those that visit a new goal last.

    It stays in place only to try its first cell; any other pause would only delay later finds of the episode.
    """
    pause = [search.cell] if search.cell in search.left else []
    ahead = [step_to(hunt, search, cell) for cell in hunt.neighbours[search.cell] + pause]
    return sorted(ahead, key=lambda new: new.score)


def step_to(hunt: Hunt, search: Search, cell: int) -> Search:
    """The walk after one step to `cell`, back at the start if that ends the episode."""
    gain = int(hunt.worth[cell, len(search.walk)]) if cell in search.left else 0
    walk = (*search.walk, cell)
    ends = len(walk) % hunt.steps == 0
    return Search(search.left - {cell}, hunt.root.cell if ends else cell, walk, search.score + gain)


def bound(hunt: Hunt, search: Search) -> int:
    """An upper bound on the score of all extensions of this walk; see `best_walk`."""
    from scipy.optimize import linear_sum_assignment  # the import takes half a second

    left, now = sorted(search.left), len(search.walk)
    clock = np.arange(now, hunt.clock)
    this_episode = clock // hunt.steps == now // hunt.steps
    from_here = hunt.distance[search.cell, left][:, None] <= clock + 1 - now
    from_start = hunt.distance[hunt.root.cell, left][:, None] <= clock % hunt.steps + 1
    worth = hunt.worth[left, now:] * np.where(this_episode, from_here, from_start)
    return search.score + int(worth[linear_sum_assignment(worth, maximize=True)].sum())


def paying_steps(hunt: Hunt, walk: tuple[int, ...]) -> np.ndarray:
    """The mean number of paying steps of each episode for an agent that searches along `walk`, [E] float64."""
    first = {cell: clock for clock, cell in reversed(list(enumerate(walk)))}
    total = np.zeros(hunt.episodes)
    for cell in hunt.root.left & first.keys():
        episode, time = divmod(first[cell], hunt.steps)
        total[episode] += min(hunt.steps - time, hunt.paying)
        total[episode + 1 :] += hunt.known[cell]
    return total / len(hunt.goals)


def toward(key: Key, place: Array, target: Array) -> Array:
    """A uniformly random move among those toward the target; stay once there. [] int32."""
    moves, gap = jnp.asarray(MOVES, jnp.int32), target - place
    closer = jnp.sum(jnp.abs(gap - moves), axis=-1) < jnp.sum(jnp.abs(gap))
    closer = closer.at[STAY].set(~jnp.any(closer))
    return jnp.argmax(jnp.where(closer, jax.random.uniform(key, (len(MOVES),)), -1.0)).astype(jnp.int32)
