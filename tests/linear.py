"""Lives whose meta-gradient is known: the agent moves linearly in φ, and its loss is quadratic.

    θ_{t+1} = decay θ_t + rotation φ,     L = ½ ‖θ − goal‖² in the end of every window

Noise on φ does not change the gradient of a quadratic, so an unbiased estimator has this gradient for its mean.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from probes import Line

from metarl_jax.core.evolution import negative_return
from metarl_jax.core.learner import Learner
from metarl_jax.core.life import World
from metarl_jax.core.meta import MetaLearner, Span, meta_learner
from metarl_jax.core.objective import Objective
from metarl_jax.core.policy import mlp_policy
from metarl_jax.core.types import Agent
from metarl_jax.core.update import Update
from metarl_jax.core.window import Window

START = jnp.array([0.5, -0.3])  # φ
GOAL = jnp.array([1.0, 0.5])
DECAY, ROTATION = 0.9, jnp.array([[0.3, 0.1], [-0.1, 0.2]])
# Keep φ, and remember the gradient.
held = optax.GradientTransformation(
    lambda params: jax.tree.map(jnp.zeros_like, params),
    lambda gradient, state, params=None: (jax.tree.map(jnp.zeros_like, gradient), gradient),
)


class Linear(NamedTuple):
    """Lives of `windows` windows of `turns` turns; with `bears` they are born as φ, otherwise at 0."""

    turns: int = 2
    windows: Span = 3
    bears: bool = False

    def window(self) -> Window:
        environment = Line(clock=2)
        policy = mlp_policy(environment, ())
        params = policy.init(jax.random.key(0))

        def adapt(φ: Any, agent: Agent, seen: Any, key: Any) -> Agent:
            return agent._replace(state=DECAY * agent.state + ROTATION @ φ)

        born = lambda φ, key: Agent(params, φ if self.bears else jnp.zeros(2))  # noqa: E731
        world = World(environment, policy, Learner(lambda key: START, born, adapt), envs=1, steps=1, fresh=False)
        return Window(world, self.turns, newborn=self.windows == 1)

    def objective(self) -> Objective:
        loss = negative_return(self.window().world, 1.0)
        return Objective(loss, lambda φ, agent, lived: 0.5 * jnp.sum((agent.state - GOAL) ** 2))

    def learner(self, update: Update, tasks: int = 1, mesh: Any = None) -> MetaLearner:
        return meta_learner(self.window(), update, tasks, lifespan=self.windows, mesh=mesh)

    def exact(self) -> jax.Array:
        """The gradient of the mean loss over the windows of a life."""

        def loss(φ: jax.Array) -> jax.Array:
            θ, losses = (φ if self.bears else jnp.zeros(2)), []
            for _ in range(self.windows):  # type: ignore[arg-type]
                for _ in range(self.turns):
                    θ = DECAY * θ + ROTATION @ φ
                losses.append(0.5 * jnp.sum((θ - GOAL) ** 2))
            return jnp.mean(jnp.array(losses))

        return jax.grad(loss)(START)
