"""Credit in hindsight."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from records import record
from trees import close

from metarl_jax.algorithms.hindsight import credit_hindsight, with_hindsight
from metarl_jax.core.learner import gradient_learner
from metarl_jax.core.life import World, unborn
from metarl_jax.core.losses import reinforce
from metarl_jax.core.objective import final
from metarl_jax.core.policy import mlp_policy
from metarl_jax.core.types import Experience, Record
from metarl_jax.core.window import Window, bound, judged
from metarl_jax.envs import make as make_environment


def test_the_credit_of_hindsight_makes_the_gradient_exact() -> None:
    """E-MAML on a bandit: the estimate, averaged over all that two tasks' agents may see, is the slope of E[R_1].

    J(φ) = E_{a, b ~ π_φ}[ V(φ + α ∇ mean of log π r) ]; both tasks have the same arms, and their histories differ.
    """
    with jax.enable_x64(True):
        means, alpha = np.array([0.9, 0.2]), 2.0
        environment = make_environment("bandit", arms=2, pulls=1)
        policy = mlp_policy(environment, ())
        how = {"gamma": 1.0, "baseline": False, "normalise": False}
        inner, outer = reinforce(policy, curvature=None, **how), reinforce(policy, **how)
        learner = gradient_learner(
            policy,
            policy.init,
            lambda meta_params, key: meta_params,
            lambda read: inner,
            optax.sgd(alpha),
            adapts=lambda path: "bias" in path,
        )
        window = Window(World(environment, policy, learner, envs=2, steps=1, quota=1), turns=1)
        objective = with_hindsight(final(outer), policy)
        logits = np.array([0.3, -0.4])

        def softmax(x: np.ndarray) -> np.ndarray:
            return np.exp(x) / np.exp(x).sum()

        def adapted(logits: np.ndarray, pair: tuple[int, ...]) -> np.ndarray:
            slope = sum((np.eye(2)[a] - softmax(logits)) * means[a] for a in pair) / 2
            return logits + alpha * slope

        def exact(logits: np.ndarray) -> float:
            pairs = itertools.product(range(2), repeat=2)
            return sum(softmax(logits)[list(p)].prod() * softmax(adapted(logits, p)) @ means for p in pairs)

        def seen(actions: Any, policy_logits: np.ndarray, weight: Any) -> Experience:
            one = record([0.0], [True], [False])
            wide = jax.tree.map(lambda x: jnp.broadcast_to(x, (1, 2, *x.shape[2:])).astype(x.dtype), one)
            wide = wide._replace(timestep=wide.timestep._replace(observation=jnp.ones((1, 2, 1))))
            log_prob = jnp.log(softmax(policy_logits))[jnp.array(actions)][None]
            reward = jnp.asarray(means)[jnp.array(actions)][None]
            return wide._replace(action=jnp.array([actions]), log_prob=log_prob, reward=reward, weight=weight)

        def lived(pair: tuple[int, ...]) -> Record:
            first = seen(pair, logits, jnp.ones((1, 2)))
            after = adapted(logits, pair)
            last = seen((0, 1), after, jnp.asarray(softmax(after))[None])  # all that may follow, by its probability
            both = jax.tree.map(lambda *x: jnp.stack(x), first, last)
            return Record(both, jax.vmap(outer.credit)(both))

        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.float64), policy.init(jax.random.key(0)))
        zeros["actor"]["head"]["bias"] = jnp.asarray(logits)
        task = environment.sample_task(jax.random.key(0), "train")

        @jax.jit
        @jax.grad
        def estimate(meta_params: Any, past: Record) -> Any:
            def one(past: Record) -> Any:
                life = bound(window, meta_params, unborn(task, jax.random.key(1)))
                return judged(window, objective, meta_params, life, past)[0]

            return jnp.mean(jax.vmap(one)(past))

        total = np.zeros(2)
        for four in itertools.product(range(2), repeat=4):
            past = jax.tree.map(lambda *x: jnp.stack(x), lived(four[:2]), lived(four[2:]))
            gradient = estimate(zeros, credit_hindsight(outer, past))
            total += softmax(logits)[list(four)].prod() * np.asarray(gradient["actor"]["head"]["bias"])
        steps = np.eye(2) * 1e-5
        close(-total, [(exact(logits + d) - exact(logits - d)) / 2e-5 for d in steps], rtol=1e-6)
