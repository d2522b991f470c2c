"""A controller for the car that knows the car and the road: a good controller, not a bound (1 a step)."""

import jax
import jax.numpy as jnp

from metarl_jax.core.types import Array, Key
from metarl_jax.envs.driving import NOMINAL, STEER, TIME_STEP, Driving, DrivingTask, State, curvature, grip_limit
from metarl_jax.oracles.play import play

BANDWIDTH = 3.0  # rad/s of the closed loop
CLOSEST = 0.98  # share of the grip limit that the controller uses


def steer(state: State, task: DrivingTask) -> Array:
    """The command for a car of physics `task`, [1].

    The offset obeys y'' = v^2 (driven - road curvature) for small headings. Feedback (driven - road) v^2 =
    -w^2 y - 2 w v heading puts both poles at w = `BANDWIDTH`; the road is read half a step ahead. Then the map
    from the command to the driven curvature is inverted: the tyres' tanh, the wheelbase's tangent, the lag over one
    step, the trim and the gain. Commands are clipped to their range.
    """
    road = curvature(state.road, state.distance + task.speed * TIME_STEP / 2.0)
    swing = 2.0 * BANDWIDTH * task.speed * jnp.sin(state.heading)
    wanted = road - (BANDWIDTH**2 * state.offset + swing) / task.speed**2
    limit = grip_limit(task)
    unsaturated = limit * jnp.arctanh(jnp.clip(wanted / limit, -CLOSEST, CLOSEST))
    wheels = jnp.arctan(task.wheelbase * unsaturated)
    aim = state.wheels + (wheels - state.wheels) / (1.0 - jnp.exp(-TIME_STEP / task.lag))
    return jnp.clip((aim - task.trim) / (task.gain * STEER), -1.0, 1.0)[None]


def nominal_task() -> DrivingTask:
    """The car in the middle of the training range."""
    return DrivingTask(**{name: jnp.asarray(value, float) for name, value in NOMINAL.items()})


def control_return(environment: Driving, believed: DrivingTask, key: Key, task: DrivingTask) -> Array:
    """The return of one episode of `task` under the controller for the car `believed`, [] float32."""
    return play(environment, lambda key, state, task: steer(state, believed), key, task).total


def reference_returns(environment: Driving, key: Key, task: DrivingTask) -> Array:
    """The return of the controller that knows car and road, in each episode of a trial, [episodes].

    A good controller, not a bound: a step pays at most 1.
    """
    keys = jax.random.split(key, environment.episodes)
    return jax.vmap(lambda key: control_return(environment, task, key, task))(keys)
