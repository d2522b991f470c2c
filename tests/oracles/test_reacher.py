"""The plans of the arm."""

import jax
import jax.numpy as jnp
import numpy as np
from samples import draw

from metarl_jax.envs import make
from metarl_jax.envs import reacher as arm
from metarl_jax.oracles import reacher


def test_the_arm_stops_at_its_target() -> None:
    """Played by hand on the nominal body: the tip is at the target in the end, at rest."""
    environment, task = make("reacher"), reacher.nominal_task()
    _, state = environment.reset(jax.random.key(5), task)
    goal, step, drive = reacher.plans(state, task)[0], jax.jit(environment.step), jax.jit(reacher.drive)
    for _ in range(50):
        state = step(jax.random.key(0), state, drive(state, goal, task), task).state
    assert float(jnp.linalg.norm(arm.tip(state.angle, task) - arm.tip(state.target, task))) < 0.02
    assert float(jnp.abs(state.speed).max()) < 0.2


def test_all_plans_of_the_arm_reach_the_target() -> None:
    environment = make("reacher")
    task = jax.tree.map(lambda leaf: leaf[0], draw(environment, 1, "train"))
    _, state = environment.reset(jax.random.key(5), task)
    goals = reacher.plans(state, task)
    reached = jax.vmap(lambda goal: arm.tip(goal, task))(goals)
    np.testing.assert_allclose(reached, jnp.broadcast_to(arm.tip(state.target, task), (8, 2)), atol=1e-5)
    assert len(np.unique(np.round(goals, 4), axis=0)) == 8
