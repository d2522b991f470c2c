"""Ways to differentiate an adaptation and to move φ, each against its definition."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

import metarl_jax
from metarl_jax.algorithms import VARIANTS, make
from metarl_jax.algorithms.maml import ESTIMATORS, MAML, gradient_learner
from metarl_jax.core import backprop as backprop_module
from metarl_jax.core.backprop import Plan, credited_lives, live
from metarl_jax.algorithms.hindsight import credit_hindsight
from metarl_jax.core.lifetime import Lifetime, begin_lifetime, run_lifetime
from metarl_jax.core.losses import reinforce
from metarl_jax.core.meta import beginning, turn_of
from metarl_jax.core.objective import divergence, final, with_hindsight
from metarl_jax.core.policy import mlp_policy
from metarl_jax.core.trust_region import curvature, trust_region
from metarl_jax.core.types import Experience
from metarl_jax.envs import make as make_environment
from metarl_jax.experiment.config import resolve
from metarl_jax.experiment.errors import UsageError
from tests.test_core import record

ENVIRONMENT = make_environment("tabular", states=3, actions=2, steps=4, episodes=1)


def double(tree: Any) -> Any:
    return jax.tree.map(lambda x: x.astype(jnp.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree)


def close(a: Any, b: Any, rtol: float = 1e-6, atol: float = 1e-9) -> None:
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=rtol, atol=atol), a, b)


class Lives:
    """Three lives of an algorithm, lived in float32 and looked at in float64."""

    def __init__(self, tasks: int = 3, **options: Any) -> None:
        self.algorithm = MAML(hidden=(4,), envs=2, tasks=tasks, inner_lr=0.5, **options)
        self.lifetime = self.algorithm.lifetime(ENVIRONMENT)
        learner = self.lifetime.learner
        noise = lambda x, i: x + 0.3 * jax.random.normal(jax.random.key(i), x.shape)  # noqa: E731
        meta_params = learner.meta_init(jax.random.key(0))
        leaves, shape = jax.tree.flatten(meta_params)
        self.meta_params = jax.tree.unflatten(shape, [noise(x, i) for i, x in enumerate(leaves)])
        keys = jax.random.split(jax.random.key(1), tasks)
        self.lives = (jax.vmap(lambda k: ENVIRONMENT.sample_task(k, "train"))(keys), keys, None, keys)
        self.plan = Plan(self.lifetime, self.algorithm.judged(self.lifetime, jnp.ones(())), 1)
        self.past = jax.jit(lambda φ: credited_lives(self.plan, φ, self.lives)[1])(self.meta_params)

    def precise(self) -> Plan:
        birth = self.lifetime.learner.birth
        learner = self.lifetime.learner._replace(birth=lambda φ, key: double(birth(φ, key)))
        return self.plan._replace(lifetime=self.lifetime._replace(learner=learner))


# --- the trust region ---


@pytest.mark.parametrize("remat", [False, True])
def test_the_product_with_the_curvature_is_that_of_the_plain_hessian(remat: bool) -> None:
    """Of the mean divergence from the policies that acted, through two adaptations with learned rates, in float64."""
    some = Lives(adaptations=2, learned_rates=True, outer="trust_region", remat=remat)
    with jax.enable_x64(True):
        meta_params, past, plan = double(some.meta_params), double(some.past), some.precise()

        def adapted(meta_params: Any, past: Experience, *life: Any) -> Any:
            state = beginning(plan.lifetime, meta_params, life)
            return run_lifetime(plan.lifetime, None, meta_params, state, life[-1], past)[0].agent

        acted = jax.vmap(lambda past, *life: replayed(plan, adapted(meta_params, past, *life), past))(past, *some.lives)
        past = past._replace(distribution=past.distribution.at[:, -1].set(acted))

        def far(meta_params: Any) -> Any:
            def one(past: Experience, *life: Any) -> Any:
                return divergence(plan.lifetime.policy, adapted(meta_params, past, *life), turn_of(past, -1))

            return jnp.mean(jax.vmap(one)(past, *some.lives))

        direction = jax.tree.map(lambda x: jnp.cos(jnp.arange(x.size, dtype=x.dtype)).reshape(x.shape), meta_params)
        product = jax.jit(lambda φ, v: curvature(plan, φ, some.lives, past)(v))(meta_params, direction)
        # the inner gradient differentiates in reverse only, so the Hessian is reverse over differences
        slope = jax.jit(jax.grad(far))
        ahead, behind = (
            slope(jax.tree.map(lambda x, d, e=e: x + e * d, meta_params, direction)) for e in (1e-5, -1e-5)
        )
        close(product, jax.tree.map(lambda a, b: (a - b) / 2e-5, ahead, behind), rtol=1e-5, atol=1e-8)


def replayed(plan: Plan, agent: Any, past: Experience) -> Any:
    return plan.lifetime.policy.unroll(agent.params, (), turn_of(past, -1).timestep).distribution


def test_a_trust_region_step_stays_within_it_and_lowers_the_loss() -> None:
    some = Lives(outer="trust_region", divergence=1e-3)
    learner = some.algorithm.build(ENVIRONMENT)
    state = learner.init(jax.random.key(0))._replace(meta_params=some.meta_params)
    after, info = jax.jit(learner.step)(state, jax.random.key(1))
    assert 0 < info["divergence"] <= 1e-3
    assert info["step_share"] > 0
    assert not np.allclose(after.meta_params["params"]["actor"]["head"]["kernel"],
                           some.meta_params["params"]["actor"]["head"]["kernel"], atol=1e-6)  # fmt: skip
    still = trust_region(some.lifetime, lambda step: some.plan.objective, 3, size=1e-3, tries=0)
    close(jax.jit(still.step)(state, jax.random.key(1))[0].meta_params, some.meta_params)


def test_a_trust_region_without_curvature_steps_along_the_gradient() -> None:
    """Damping beyond every curvature leaves nothing else of H + damping."""
    some = Lives(outer="trust_region", divergence=1e-3, damping=1e6)
    plain = backprop_module.backprop(some.lifetime, lambda step: some.plan.objective, optax.sgd(1.0), 3)
    region = some.algorithm.build(ENVIRONMENT)

    def moved(learner: Any) -> np.ndarray:
        state = learner.init(jax.random.key(0))._replace(meta_params=some.meta_params)
        after, _ = jax.jit(learner.step)(state, jax.random.key(1))
        return ravel_pytree(after.meta_params)[0] - ravel_pytree(some.meta_params)[0]

    regional, descent = moved(region), moved(plain)
    cosine = regional @ descent / np.linalg.norm(regional) / np.linalg.norm(descent)
    assert cosine == pytest.approx(1.0, abs=1e-5)


# --- clipped surrogates with a penalty on the inner divergence ---


@pytest.mark.parametrize(("target", "factor"), [(1e3, 0.5), (1e-9, 2.0)])
def test_the_penalty_follows_its_target(target: float, factor: float) -> None:
    learner = make("promp", hidden=(4,), envs=2, tasks=4, divergence=target).build(ENVIRONMENT)
    state = learner.init(jax.random.key(0))
    after, info = jax.jit(learner.step)(state, jax.random.key(1))
    assert after.optimiser[1] == pytest.approx(factor * backprop_module.FIRST_PENALTY)
    assert info["penalty"] == after.optimiser[1]
    assert info["divergence"] > 0


def test_the_penalty_holds_on_to_the_policies_that_acted() -> None:
    """The heavier it is, the less the policies before adaptation change."""

    def far(weight: float) -> Any:
        learner = make("promp", hidden=(4,), envs=2, tasks=4, meta_lr=0.05).build(ENVIRONMENT)
        state = learner.init(jax.random.key(0))
        state = state._replace(optimiser=(state.optimiser[0], jnp.float32(weight)))
        return jax.jit(learner.step)(state, jax.random.key(1))[1]["divergence"]

    assert far(100.0) < 0.5 * far(0.0)


# --- estimators ---


def test_all_curvatures_have_one_gradient_and_each_its_hessian() -> None:
    """On one episode of three steps and the first step of another, in float64, against the sums of the definition."""
    with jax.enable_x64(True):
        policy = mlp_policy(ENVIRONMENT, ())
        zeros = double(policy.init(jax.random.key(0)))
        flat, unravel = jax.flatten_util.ravel_pytree(zeros)
        θ = flat + jnp.cos(jnp.arange(flat.size))
        seen = record([1.0, -2.0, 3.0, 0.5], [False, False, True, False], [False] * 4)
        observation = jnp.eye(3)[jnp.array([0, 2, 1, 0])][:, None]
        seen = double(seen._replace(
            action=jnp.array([[1], [0], [1], [1]]), timestep=seen.timestep._replace(observation=observation)
        ))  # fmt: skip

        def log_probs(θ: Any) -> Any:
            logits = policy.unroll(unravel(θ), (), seen.timestep).distribution
            return policy.distribution.log_prob(logits, seen.action)[:, 0]

        seen = seen._replace(log_prob=log_probs(θ)[:, None])
        returns = np.array([2.0, 1.0, 3.0, 0.5])
        g, bend = jax.jacobian(log_probs)(θ), jax.hessian(log_probs)(θ)
        for c in (None, 0.0, 0.5, 1.0):
            loss = reinforce(policy, gamma=1.0, baseline=False, normalise=False, curvature=c)
            total = lambda θ, loss=loss: -4 * loss(unravel(θ), seen)  # noqa: E731
            close(jax.grad(total)(θ), returns @ g)
            expected = np.einsum("t,tij->ij", returns, bend)
            if c is not None:
                expected = expected + np.einsum("t,ti,tj->ij", returns, g, g)
                for t, u in ((1, 0), (2, 0), (2, 1)):
                    cross = np.outer(g[t], g[u])
                    expected = expected + c ** (t - u) * returns[t] * (cross + cross.T)
            close(jax.hessian(total)(θ), expected, atol=1e-8)


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
        learner = gradient_learner(policy, inner, alpha, adapts=lambda path: "bias" in path)
        lifetime = Lifetime(environment, policy, learner, adaptations=1, envs=2, steps=1, quota=1)
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

        def lived(pair: tuple[int, ...]) -> Experience:
            first = seen(pair, logits, jnp.ones((1, 2)))
            after = adapted(logits, pair)
            last = seen((0, 1), after, jnp.asarray(softmax(after))[None])  # all that may follow, by its probability
            return jax.vmap(outer.credit)(jax.tree.map(lambda *x: jnp.stack(x), first, last))

        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.float64), policy.init(jax.random.key(0)))
        zeros["actor"]["head"]["bias"] = jnp.asarray(logits)
        task = environment.sample_task(jax.random.key(0), "train")

        @jax.jit
        @jax.grad
        def estimate(meta_params: Any, past: Experience) -> Any:
            def one(past: Experience) -> Any:
                state = begin_lifetime(lifetime, meta_params, task, jax.random.key(1))
                out = run_lifetime(
                    lifetime, objective.last, meta_params, state, jax.random.key(2), past, objective.before
                )
                return objective.reduce(out[1])

            return jnp.mean(jax.vmap(one)(past))

        total = np.zeros(2)
        for four in itertools.product(range(2), repeat=4):
            past = jax.tree.map(lambda *x: jnp.stack(x), lived(four[:2]), lived(four[2:]))
            slope = estimate({"params": zeros}, credit_hindsight(outer, past))
            total += softmax(logits)[list(four)].prod() * np.asarray(slope["params"]["actor"]["head"]["bias"])
        steps = np.eye(2) * 1e-5
        close(-total, [(exact(logits + d) - exact(logits - d)) / 2e-5 for d in steps], rtol=1e-6)


def test_truncated_differentiates_the_last_adaptations_only() -> None:
    """It is the gradient with φ held still in the earlier ones, but for the direct way through the parameters."""
    some = Lives(adaptations=3, estimator="truncated", depth=2)
    whole = Lives(adaptations=3)
    life = jax.tree.map(lambda x: x[0], (some.past, *some.lives))

    def slope(plan: Plan, meta_params: Any) -> Any:
        return jax.jit(jax.grad(lambda φ: live(plan, φ, life[1:], life[0])[0]))(meta_params)["params"]

    past = life[0]
    early = some.lifetime._replace(adaptations=1)
    agent = run_lifetime(early, None, some.meta_params, begin_lifetime(early, some.meta_params, *life[1:3]), life[-1],
                         jax.tree.map(lambda x: x[:2], past))[0].agent  # fmt: skip
    late = whole.plan._replace(lifetime=whole.lifetime._replace(adaptations=2))
    rest = jax.tree.map(lambda x: x[1:], past)
    expected = jax.grad(lambda φ: live(late, φ, life[1:], rest)[0])({"params": agent.params})["params"]
    close(slope(some.plan, some.meta_params), expected, rtol=1e-4, atol=1e-6)
    assert not np.allclose(
        slope(whole.plan, some.meta_params)["actor"]["head"]["bias"], expected["actor"]["head"]["bias"]
    )


def test_reptile_draws_to_where_agents_went() -> None:
    some = Lives(adaptations=2, estimator="reptile")
    life = jax.tree.map(lambda x: x[0], (some.past, *some.lives))
    slope = jax.grad(lambda φ: live(some.plan, φ, life[1:], life[0])[0])(some.meta_params)["params"]
    agent = live(some.plan, some.meta_params, life[1:], life[0])[1].agent
    close(slope, jax.tree.map(jnp.subtract, some.meta_params["params"], agent.params), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("decay", [0.5, 1.0])
def test_a_decay_shortens_every_further_step(decay: float) -> None:
    some, plain = Lives(inner_decay=decay).lifetime.learner, Lives().lifetime.learner
    seen, φ = jax.tree.map(lambda x: x[0, 0], Lives().past), Lives().meta_params
    once = some.adapt(φ, some.birth(φ, jax.random.key(0)), seen, jax.random.key(0))
    assert once.state == decay
    twice = some.adapt(φ, once, seen, jax.random.key(0)).params
    whole = plain.adapt(φ, once._replace(state=jnp.ones(())), seen, jax.random.key(0)).params
    step = jax.tree.map(jnp.subtract, whole, once.params)
    close(jax.tree.map(jnp.subtract, twice, once.params), jax.tree.map(lambda x: decay * x, step), 1e-4, 1e-6)


def test_several_sweeps_follow_the_clipped_surrogate() -> None:
    """PPO inside a lifetime: the second sweep starts where the first ended, on the same credit."""
    once, twice = Lives(inner_loss="ppo"), Lives(inner_loss="ppo", sweeps=2)
    seen = jax.tree.map(lambda x: x[0, 0], once.past)
    φ, key = once.meta_params, jax.random.key(0)
    learners = [lives.lifetime.learner for lives in (once, twice)]
    agents = [jax.jit(learner.adapt)(φ, learner.birth(φ, key), seen, key) for learner in learners]
    loss = once.algorithm._inner_loss(once.lifetime.policy)
    slope = jax.grad(loss.surrogate)(agents[0].params, loss.credited(seen))
    expected = jax.tree.map(lambda p, g: p - 0.5 * g, agents[0].params, slope)
    close(agents[1].params, expected, rtol=1e-4, atol=1e-5)


# --- names and contradictions ---


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_is_maml_with_its_options(name: str) -> None:
    algorithm = make(name, inner_lr=0.3)
    assert vars(algorithm) == vars(MAML(**VARIANTS[name].stands_for, inner_lr=0.3))
    assert (algorithm.name, algorithm.variant_of) == (name, "maml")
    config = resolve(name, "navigation")
    assert config.algorithm.name == name
    assert config == type(config).from_json(config.to_json())


CONTRADICTIONS = [
    ({"estimator": "evolution", "outer": "ppo"}, "choose outer=gradient"),
    ({"estimator": "reptile", "outer": "trust_region"}, "choose outer=gradient"),
    ({"estimator": "reptile", "learned_rates": True}, "learned_rates off"),
    ({"estimator": "reptile", "adapts": "head"}, "adapts=all"),
    ({"estimator": "e_maml", "objective": "mean"}, "objective=final"),
    ({"estimator": "e_maml", "adaptations": 0}, "adaptations=1"),
    ({"estimator": "truncated"}, "more adaptations"),
    ({"estimator": "dice", "inner_loss": "ppo"}, "another inner_loss"),
    ({"outer": "ppo", "minibatches": 3}, "for example 18"),
    ({"estimator": "lcv"}, "lvc"),
    ({"outer": "trustregion"}, "trust_region"),
    ({"divergence": 0.0}, "divergence of maml is 0.0"),
]


@pytest.mark.parametrize(("options", "remedy"), CONTRADICTIONS, ids=str)
def test_contradictory_options_are_refused_with_the_remedy(options: dict[str, Any], remedy: str) -> None:
    with pytest.raises(ValueError, match=remedy):
        make("maml", **options)
    with pytest.raises(UsageError, match=remedy):
        metarl_jax.build("maml", "navigation", **options)


CLASHES = [
    *({"estimator": name, "outer": outer} for name in ("evolution", "reptile") for outer in ("ppo", "trust_region")),
    *(
        {"estimator": name, "inner_loss": "ppo"}
        for name in ("naive", "e_maml", "dice", "control_variates", "loaded_dice")
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize("outer", ["gradient", "ppo", "trust_region"])
@pytest.mark.parametrize("inner_loss", ["reinforce", "actor_critic", "ppo"])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_every_combination_learns_or_says_why_not(estimator: str, inner_loss: str, outer: str) -> None:
    options = {"estimator": estimator, "inner_loss": inner_loss, "outer": outer, "adaptations": 2}
    refused = any(options | clash == options for clash in CLASHES)
    if refused:
        with pytest.raises(ValueError, match="choose"):
            make("maml", **options)
        return
    algorithm = make("maml", hidden=(4,), envs=2, tasks=2, pairs=2, **options)
    learner = algorithm.build(ENVIRONMENT)
    state = jax.jit(learner.init)(jax.random.key(0))
    after, info = jax.jit(learner.step)(state, jax.random.key(1))
    assert all(np.isfinite(value) for value in info.values())
    moved = [
        not np.array_equal(a, b)
        for a, b in zip(*map(jax.tree.leaves, (after.meta_params, state.meta_params)), strict=True)
    ]
    assert any(moved) or info["step_share"] == 0  # a trust region may refuse every step


def test_advantages_over_their_own_mean_are_refused_where_there_is_one() -> None:
    """Not where there are more, nor where a learned critic is what they are counted from."""
    environment = make_environment("bandit", pulls=1)
    with pytest.raises(ValueError, match="choose more envs"):
        make("maml", envs=1).build(environment)
    apart = {"normalise": False, "outer_normalise": False, "inner_loss": "actor_critic"}
    make("maml", envs=1, **apart).build(environment)
    make("maml", envs=2).build(environment)
