"""The references of chains."""

import jax
import numpy as np

from metarl_jax.envs import make
from metarl_jax.oracles import chains, reference


def test_the_best_of_a_and_c_is_worth_what_theory_says() -> None:
    environment = make("random_abc")
    tasks = jax.vmap(lambda key: environment.draw_task(key, "train"))(jax.random.split(jax.random.key(0), 20_000))
    best = np.asarray(reference(environment)(jax.random.key(0), tasks))[:, 0]  # type: ignore[misc]
    assert abs(best.mean() - 19 / 48) < 4 * best.std() / np.sqrt(best.size)


def test_the_explorer_of_the_rooms_walks_to_the_nearest_unvisited_cell() -> None:
    """A room of 3 x 3 without its corner takes 8 steps; doors lead on, and an episode that ends begins at the start."""
    environment = make("empty_rooms", room=3, steps=100)
    first = chains.explorer_steps(environment)
    goals = environment.goals(farthest=False)
    clocks = sorted(first[goal] for goal in goals)
    assert len(set(clocks)) == len(goals) == 26
    assert clocks[:8] == list(range(1, 9))
    assert all(first[goal] >= chains.distances(environment)[goal] for goal in goals)
    assert clocks[-1] < 2 * len(goals)
    hurried = chains.explorer_steps(make("empty_rooms", room=3, steps=12))
    assert np.array_equal(hurried[first <= 12], first[first <= 12])
    assert max(hurried[goal] for goal in goals) > clocks[-1]
    assert chains.distances(environment, (0, 4))[0, 0] == chains.distances(environment)[0, 4]
