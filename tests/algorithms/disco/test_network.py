"""The rule against itself in plain NumPy, over two updates and the ends of episodes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from records import experience
from rule_files import tensors
from trees import double

from algorithms.disco.plain import Happened, Outputs, Plain
from metarl_jax.algorithms.disco.agent import Heads
from metarl_jax.algorithms.disco.network import newborn, propose
from metarl_jax.algorithms.disco.reading import read
from metarl_jax.algorithms.disco.values import unseen
from metarl_jax.algorithms.disco.weights import LAYERS

STEPS, ENVS, ACTIONS, GAMMA, LAMBDA = 5, 2, 3, 0.9, 0.8


def outputs(generator: Any) -> Heads:
    sizes = (ACTIONS,), (600,), (ACTIONS, 600), (ACTIONS, ACTIONS), (ACTIONS, 601)
    return Heads(*(generator.normal(size=(STEPS, ENVS, *size)) for size in sizes))


def log_prob(logits: Any, action: Any) -> Any:
    return np.take_along_axis(jax.nn.log_softmax(logits), action[..., None], -1)[..., 0]


def test_targets_and_memory_are_those_of_the_published_rule() -> None:
    generator, given = np.random.default_rng(1), tensors(seed=2)
    plain = Plain(given)
    rule = {
        group: {
            layer: {"w": given[f"{name}/w"].reshape(shape[-2:]), "b": given[f"{name}/b"]}
            for layer, (name, shape) in layers.items()
        }
        for group, layers in LAYERS.items()
    }
    terminated, truncated = np.zeros((2, STEPS, ENVS), bool)
    terminated[1, 0], terminated[4, 1], truncated[2, 1] = True, True, True
    with jax.enable_x64(True):
        rule, memory, moments = double((jax.tree.map(jnp.asarray, rule), newborn(), unseen()))
        for _ in range(2):
            now, after, slow_now, slow_after = (outputs(generator) for _ in range(4))
            behaviour = generator.normal(size=(STEPS, ENVS, ACTIONS))
            action, reward = generator.integers(ACTIONS, size=(STEPS, ENVS)), 3 * generator.normal(size=(STEPS, ENVS))
            seen = experience(
                np.zeros((STEPS, ENVS, 1)), action, reward, terminated, log_prob=log_prob(behaviour, action)
            )
            seen = seen._replace(terminated=jnp.asarray(terminated), truncated=jnp.asarray(truncated))
            seen = seen._replace(distribution=jnp.asarray(behaviour))
            agent, slow = (
                seen._replace(
                    prediction=jax.tree.map(jnp.asarray, one), next_prediction=jax.tree.map(jnp.asarray, other)
                )
                for one, other in ((now, after), (slow_now, slow_after))
            )
            reading, moments = read(seen, agent, slow, moments, GAMMA, LAMBDA)
            targets, memory = propose(rule, memory, reading)

            at = lambda heads, t, e: Outputs(*(x[t, e] for x in heads))  # noqa: E731
            expected = plain(
                [
                    [
                        Happened(
                            *(at(heads, t, e) for heads in (now, after, slow_now, slow_after)),
                            behaviour[t, e],
                            action[t, e],
                            reward[t, e],
                            terminated[t, e],
                            truncated[t, e],
                        )
                        for t in range(STEPS)
                    ]
                    for e in range(ENVS)
                ],
                GAMMA,
                LAMBDA,
            )
            for e in range(ENVS):
                for t in range(STEPS):
                    for found, target in zip(targets, expected[e][t], strict=True):
                        np.testing.assert_allclose(found[t, e], target, rtol=1e-6, atol=1e-8)
            np.testing.assert_allclose(memory[0], plain.hidden, rtol=1e-6, atol=1e-9)
            np.testing.assert_allclose(memory[1], plain.cell, rtol=1e-6, atol=1e-9)
