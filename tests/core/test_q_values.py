"""Q-values: the targets with traces against a loop, and the policy that acts by them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from records import record

from metarl_jax.core.q_values import boltzmann_policy, q_learning
from metarl_jax.core.types import Experience
from metarl_jax.envs import make as make_environment

ENVIRONMENT = make_environment("tabular", states=3, actions=2, steps=3)
POLICY = boltzmann_policy(ENVIRONMENT, (4,), 0.5)
GAMMA = 0.9
ENDS = [False, False, True, False, False, False, False]
CUTS = [False, False, False, False, True, False, False]  # truncations


def walked() -> Experience:
    """Seven steps over a termination and a truncation; within an episode what follows is what is seen next."""
    generator = np.random.default_rng(0)
    q, after = generator.normal(size=(2, 7, 1, 2))
    goes_on = ~(np.array(ENDS) | np.array(CUTS))
    after[:-1][goes_on[:-1]] = q[1:][goes_on[:-1]]
    seen = record(generator.normal(size=7), ENDS, CUTS)
    action = jnp.asarray([[0], [1], [1], [0], [0], [1], [0]])
    return seen._replace(action=action, prediction=jnp.asarray(q), next_prediction=jnp.asarray(after))


@pytest.mark.parametrize("cut", [True, False], ids=["watkins", "peng"])
@pytest.mark.parametrize("lambda_", [0.0, 0.7, 1.0])
def test_targets_are_those_of_a_direct_loop(lambda_: float, cut: bool) -> None:
    seen = walked()
    q, after = np.asarray(seen.prediction)[:, 0], np.asarray(seen.next_prediction)[:, 0]
    expected = np.zeros(7)
    for t in reversed(range(7)):
        future = after[t].max()
        if t < 6 and not (ENDS[t] or CUTS[t]):
            greedy = q[t + 1].argmax() == int(seen.action[t + 1, 0])
            trace = lambda_ if greedy or not cut else 0.0
            future = (1 - trace) * future + trace * expected[t + 1]
        expected[t] = float(seen.reward[t, 0]) + (0.0 if ENDS[t] else GAMMA * future)
    found = q_learning(POLICY, gamma=GAMMA, lambda_=lambda_, cut=cut).credit(seen).target[:, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_traces_of_0_are_those_of_one_step_also_where_0_is_traced() -> None:
    seen = walked()
    plain = q_learning(POLICY, gamma=GAMMA).credit(seen).target
    traced = jax.jit(lambda lambda_: q_learning(POLICY, gamma=GAMMA, lambda_=lambda_).credit(seen).target)(0.0)
    np.testing.assert_allclose(traced, plain, rtol=1e-6)


def test_the_loss_moves_the_q_value_of_the_action_towards_its_target() -> None:
    seen = walked()
    params = POLICY.init(jax.random.key(0))
    timestep = seen.timestep._replace(observation=jnp.eye(3)[jnp.arange(7) % 3][:, None])
    seen = seen._replace(timestep=timestep)
    loss = q_learning(POLICY, gamma=GAMMA)
    q = POLICY.unroll(params, (), timestep).prediction
    chosen = jnp.take_along_axis(q, seen.action[..., None], axis=-1)[..., 0]
    expected = 0.5 * jnp.mean((chosen - loss.credit(seen).target) ** 2)
    np.testing.assert_allclose(loss(params, seen), expected, rtol=1e-6)
    np.testing.assert_allclose(POLICY.unroll(params, (), timestep).distribution, q / 0.5, rtol=1e-6)
