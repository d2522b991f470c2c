"""Two colours: the rules."""

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.envs import TwoColours
from metarl_jax.envs.two_colours import CELLS, SIDE, State, free_cell
from metarl_jax.envs.two_colours import published_task as two_boxes


def test_a_taken_box_pays_and_appears_elsewhere() -> None:
    environment, task = TwoColours(), two_boxes()
    _, state = environment.reset(jax.random.key(0), task)
    state = state._replace(place=jnp.array([2, 2]), boxes=jnp.array([2 * SIDE + 3, 2 * SIDE + 1]))
    right = environment.step(jax.random.key(1), state, jnp.int32(2), task)
    left = environment.step(jax.random.key(1), state, jnp.int32(4), task)
    stay = environment.step(jax.random.key(1), state, jnp.int32(0), task)
    np.testing.assert_allclose([right.reward, left.reward, stay.reward], [1.0, -1.0, -0.04], rtol=1e-6)
    assert right.state.boxes[0] not in (2 * SIDE + 3, 2 * SIDE + 1)
    assert right.state.boxes[1] == 2 * SIDE + 1
    swapped = TwoColours(swap=1).step(jax.random.key(1), state._replace(time=jnp.int32(1)), jnp.int32(2), task)
    assert float(swapped.reward) == -1.0


def test_a_box_reappears_uniformly_over_free_cells() -> None:
    cells = jax.vmap(lambda key: free_cell(key, jnp.int32(9), jnp.int32(4)))(
        jax.random.split(jax.random.key(0), 23_000)
    )
    counts = np.bincount(np.asarray(cells), minlength=CELLS)
    assert counts[9] == counts[4] == 0
    assert np.all(np.abs(counts[counts > 0] - 1_000) < 5 * np.sqrt(1_000))
    assert np.sum(counts > 0) == CELLS - 2


def test_the_boxes_exchange_their_worth_every_swap_steps() -> None:
    environment, boxes = TwoColours(swap=10, steps=50), jnp.array([7, 18], jnp.int32)
    for before, pay in ((0, 1.0), (9, 1.0), (10, -1.0), (19, -1.0), (20, 1.0)):
        state = State(jnp.array([1, 1], jnp.int32), boxes, jnp.int32(before))
        assert environment.step(jax.random.key(0), state, jnp.int32(2), two_boxes()).reward == pay
