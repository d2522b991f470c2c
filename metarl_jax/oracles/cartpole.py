"""Linear-quadratic control of a cart and pole with known (or nominal) physics."""

import functools

import jax
import jax.numpy as jnp

from metarl_jax.core.types import Array, Key
from metarl_jax.envs.cartpole import TRAINING, CartPole, CartPoleTask, State, advance
from metarl_jax.oracles.play import play

STATE_COST = (1.0, 1.0, 10.0, 1.0)  # position, velocity, angle, angular velocity
FORCE_COST = 0.01
ITERATIONS = 500  # of the Riccati recursion: 10 s of control, longer than the slowest transient of any task


def feedback(task: CartPoleTask) -> Array:
    """The gain k of the force u = -k x that minimises sum x'Q x + R u^2 for the linearised dynamics, [4].

    x <- A x + B u is the derivative of the environment's own step at rest. The Riccati recursion
    P <- Q + A'P (A - B k), k = (R + B'P B)^-1 B'P A is value iteration for that problem: P is the cost to go with
    one more step, and it converges because the system is controllable. O(ITERATIONS 4^3).
    """

    def move(numbers: Array, force: Array) -> Array:
        position, velocity, angle, angular_velocity = numbers
        return vector(advance(State(position, velocity, angle, angular_velocity, jnp.int32(0)), force, task))

    a, b = jax.jacobian(move, argnums=(0, 1))(jnp.zeros(4), jnp.asarray(0.0, float))  # [4, 4], [4]
    cost = jnp.diag(jnp.asarray(STATE_COST))

    def gain(p: Array) -> Array:
        return jnp.divide(b @ p @ a, FORCE_COST + b @ p @ b)

    def one_step_more(_: Array, p: Array) -> Array:
        return jnp.add(cost, a.T @ p @ (a - jnp.outer(b, gain(p))))

    return gain(jax.lax.fori_loop(0, ITERATIONS, one_step_more, cost))


def nominal_task() -> CartPoleTask:
    """The physics of Gymnasium's CartPole-v1."""
    physics = {name: jnp.asarray(low, float) for name, (low, _) in TRAINING["standard"].items()}
    return CartPoleTask(**physics, direction=jnp.asarray(1.0, float), mixing=None)


def bang_bang(gain: Array, state: State, direction: Array) -> Array:
    """The action in the direction of the linear controller's force, [] int32."""
    return (-direction * jnp.dot(gain, vector(state)) > 0).astype(jnp.int32)


def vector(state: State) -> Array:
    """The four numbers of the state, [4]."""
    return jnp.stack([state.position, state.velocity, state.angle, state.angular_velocity])


def control_return(environment: CartPole, believed: CartPoleTask, key: Key, task: CartPoleTask) -> Array:
    """The return of one episode of `task` under the controller for the physics `believed`, [] float32."""
    gain = feedback(believed)

    def act(key: Key, state: State, task: CartPoleTask) -> Array:
        return bang_bang(gain, state, believed.direction)

    return play(environment, act, key, task).total


def reference_returns(environment: CartPole, key: Key, task: CartPoleTask) -> Array:
    """The return of the controller that knows state and physics, in each episode of a trial, [episodes].

    A good controller, not a bound: the ceiling is `environment.steps`.
    """
    episode = functools.partial(control_return, environment, task)
    return jax.vmap(episode, in_axes=(0, None))(jax.random.split(key, environment.episodes), task)
