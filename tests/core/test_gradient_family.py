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
from core.test_core import record
from metarl_jax.algorithms import VARIANTS, make
from metarl_jax.algorithms.hindsight import credit_hindsight, with_hindsight
from metarl_jax.algorithms.maml import MAML, inner_loss
from metarl_jax.core import backprop as backprop_module
from metarl_jax.core.backprop import record as recording
from metarl_jax.core.batching import Devices
from metarl_jax.core.learner import ESTIMATORS, gradient_learner
from metarl_jax.core.life import Life, World, reborn, run, unborn
from metarl_jax.core.losses import reinforce
from metarl_jax.core.meta import meta_learner
from metarl_jax.core.objective import divergence, final
from metarl_jax.core.policy import mlp_policy
from metarl_jax.core.trust_region import curvature, trust_region
from metarl_jax.core.types import Experience, Record
from metarl_jax.core.update import Lives, Now, chain
from metarl_jax.core.window import Window, bound, judged, live, turn_of
from metarl_jax.envs import make as make_environment
from metarl_jax.experiment.config import resolve
from metarl_jax.experiment.errors import UsageError

ENVIRONMENT = make_environment("tabular", states=3, actions=2, steps=4, episodes=1)


def double(tree: Any) -> Any:
    return jax.tree.map(lambda x: x.astype(jnp.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree)


def close(a: Any, b: Any, rtol: float = 1e-6, atol: float = 1e-9) -> None:
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=rtol, atol=atol), a, b)


class Some:
    """Three lives of an algorithm, lived in float32 and looked at in float64."""

    def __init__(self, tasks: int = 3, **options: Any) -> None:
        self.algorithm = MAML(hidden=(4,), envs=2, tasks=tasks, inner_lr=0.5, **options)
        self.recipe = self.algorithm.recipe(ENVIRONMENT)
        self.window = self.recipe.window._replace(chunk=1)
        self.objective = self.recipe.objective(jnp.int32(0))
        learner = self.window.world.learner
        noise = lambda x, i: x + 0.3 * jax.random.normal(jax.random.key(i), x.shape)  # noqa: E731
        meta_params = learner.meta_init(jax.random.key(0))
        leaves, shape = jax.tree.flatten(meta_params)
        self.meta_params = jax.tree.unflatten(shape, [noise(x, i) for i, x in enumerate(leaves)])
        keys = jax.random.split(jax.random.key(1), tasks)
        self.lives = jax.vmap(lambda k: unborn(ENVIRONMENT.sample_task(k, "train"), k))(keys)
        update, now = recording(self.window, self.recipe.objective), Now(jnp.int32(0), jax.random.key(2), Devices())
        live = jax.jit(lambda φ: update.improve(φ, (), Lives(self.lives), now)[-1].past)
        self.past: Record = live(self.meta_params)

    def precise(self) -> Window:
        world = self.window.world
        learner = world.learner._replace(birth=lambda φ, key: double(world.learner.birth(φ, key)))
        return self.window._replace(world=world._replace(learner=learner))

    def first(self) -> tuple[Record, Life]:
        """The life that had most to learn from its first rollout."""
        most = int(jnp.argmax(jnp.max(jnp.abs(self.past.credit.advantage[:, 0]), axis=(1, 2))))
        return jax.tree.map(lambda x: x[most], (self.past, self.lives))


# --- the trust region ---


@pytest.mark.parametrize("remat", [False, True])
def test_the_product_with_the_curvature_is_that_of_the_plain_hessian(remat: bool) -> None:
    """Of the mean divergence from the policies that acted, through two adaptations with learned rates, in float64."""
    some = Some(adaptations=2, learned_rates=True, outer="trust_region", remat=remat)
    with jax.enable_x64(True):
        meta_params, past, window = double(some.meta_params), double(some.past), some.precise()
        policy = window.world.policy

        def adapted(meta_params: Any, seen: Experience, life: Life) -> Any:
            return live(window, meta_params, bound(window, meta_params, life), seen).end.agent

        def acted(seen: Experience, life: Life) -> Any:
            return policy.unroll(adapted(meta_params, seen, life).params, (), turn_of(seen, -1).timestep).distribution

        seen = past.seen._replace(
            distribution=past.seen.distribution.at[:, -1].set(jax.vmap(acted)(past.seen, some.lives))
        )
        past = past._replace(seen=seen)

        def distance(meta_params: Any) -> Any:
            def one(seen: Experience, life: Life) -> Any:
                return divergence(policy, adapted(meta_params, seen, life), turn_of(seen, -1))

            return jnp.mean(jax.vmap(one)(past.seen, some.lives))

        direction = jax.tree.map(lambda x: jnp.cos(jnp.arange(x.size, dtype=x.dtype)).reshape(x.shape), meta_params)
        product = jax.jit(lambda φ, v: curvature(window, φ, some.lives, past)(v))(meta_params, direction)
        # the inner gradient differentiates in reverse only, so the Hessian is reverse over differences
        slope = jax.jit(jax.grad(distance))
        ahead, behind = (
            slope(jax.tree.map(lambda x, d, e=e: x + e * d, meta_params, direction)) for e in (1e-5, -1e-5)
        )
        close(product, jax.tree.map(lambda a, b: (a - b) / 2e-5, ahead, behind), rtol=1e-5, atol=1e-8)


def test_a_trust_region_step_stays_within_it_and_lowers_the_loss() -> None:
    some = Some(outer="trust_region", divergence=1e-3)
    learner = some.algorithm.build(ENVIRONMENT)
    state = learner.init(jax.random.key(0))._replace(meta_params=some.meta_params)
    after, info = jax.jit(learner.step)(state, jax.random.key(1))
    assert 0 < info["divergence"] <= 1e-3
    assert info["step_share"] > 0
    assert not np.allclose(after.meta_params["params"]["actor"]["head"]["kernel"],
                           some.meta_params["params"]["actor"]["head"]["kernel"], atol=1e-6)  # fmt: skip
    objective = some.recipe.objective
    standing = trust_region(some.window, objective, size=1e-3, tries=0)
    still = meta_learner(some.window, chain(recording(some.window, objective), standing), 3)
    close(jax.jit(still.step)(state, jax.random.key(1))[0].meta_params, some.meta_params)


def test_a_trust_region_without_curvature_steps_along_the_gradient() -> None:
    """Damping beyond every curvature leaves nothing else of H + damping."""
    some = Some(outer="trust_region", divergence=1e-3, damping=1e6)
    plain = meta_learner(some.window, backprop_module.backprop(some.window, some.recipe.objective, optax.sgd(1.0)), 3)
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
    _, (_, penalty) = after.memory  # of the record, of the penalised update
    assert penalty == pytest.approx(factor * backprop_module.FIRST_PENALTY)
    assert info["penalty"] == penalty
    assert info["divergence"] > 0


def test_the_penalty_holds_on_to_the_policies_that_acted() -> None:
    """The heavier it is, the less the policies before adaptation change."""

    def distance(weight: float) -> Any:
        learner = make("promp", hidden=(4,), envs=2, tasks=4, meta_lr=0.05).build(ENVIRONMENT)
        state = learner.init(jax.random.key(0))
        none, (optimiser, _) = state.memory
        state = state._replace(memory=(none, (optimiser, jnp.float32(weight))))
        return jax.jit(learner.step)(state, jax.random.key(1))[1]["divergence"]

    assert distance(100.0) < 0.5 * distance(0.0)


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


def test_truncated_differentiates_the_last_adaptations_only() -> None:
    """It is the gradient with φ held still in the earlier ones, but for the direct way through the parameters."""
    some, whole = Some(adaptations=3, estimator="truncated", depth=2), Some(adaptations=3)
    past, life = some.first()

    def gradient(one: Some, window: Window, meta_params: Any, past: Record) -> Any:
        def value(φ: Any) -> Any:
            return judged(window, one.objective, φ, bound(window, φ, life), past)[0]

        return jax.jit(jax.grad(value))(meta_params)["params"]

    φ, world = some.meta_params, some.window.world
    first, second = (turn_of(past.seen, k) for k in (0, 1))
    newborn = reborn(world, φ, life)._replace(seen=first)
    agent = run(world, φ, newborn, 1, past=jax.tree.map(lambda x: x[None], second))[0].agent
    rest = jax.tree.map(lambda x: x[1:], past)
    expected = gradient(whole, whole.window._replace(turns=2), {"params": agent.params}, rest)
    close(gradient(some, some.window, φ, past), expected, rtol=1e-4, atol=1e-6)
    through_all = gradient(whole, whole.window, φ, past)
    assert not np.allclose(through_all["actor"]["head"]["bias"], expected["actor"]["head"]["bias"])


def test_first_order_takes_inner_gradients_for_constants_and_still_learns_step_sizes() -> None:
    """∂θ'/∂θ = 1 and ∂θ'/∂rate = −lr ∇L: depth 0 of the one rule, against the definition."""
    some = Some(estimator="first_order", learned_rates=True)
    past, life = some.first()
    loss = inner_loss(some.algorithm, some.window.world.policy)
    first, last = (turn_of(past.seen, k) for k in (0, 1))

    def value(φ: Any) -> Any:
        return judged(some.window, some.objective, φ, bound(some.window, φ, life), past)[0]

    found = jax.jit(jax.grad(value))(some.meta_params)
    inner = jax.grad(loss)(some.meta_params["params"], first)
    rates = some.meta_params["rates"]
    adapted = jax.tree.map(lambda p, r, g: p - 0.5 * r * g, some.meta_params["params"], rates, inner)
    outer = jax.grad(some.objective.loss.surrogate)(adapted, last, turn_of(past.credit, 1))
    close(found["params"], outer, rtol=1e-4, atol=1e-6)
    close(found["rates"], jax.tree.map(lambda g, o: -0.5 * g * o, inner, outer), rtol=1e-4, atol=1e-6)


def test_reptile_draws_to_where_agents_went() -> None:
    some = Some(adaptations=2, estimator="reptile")
    past, life = some.first()

    def value(φ: Any) -> Any:
        value, lived = judged(some.window, some.objective, φ, bound(some.window, φ, life), past)
        return value, lived.end.agent

    gradient, agent = jax.grad(value, has_aux=True)(some.meta_params)
    close(
        gradient["params"], jax.tree.map(jnp.subtract, some.meta_params["params"], agent.params), rtol=1e-5, atol=1e-7
    )


@pytest.mark.parametrize("decay", [0.5, 1.0])
def test_a_decay_shortens_every_further_step(decay: float) -> None:
    some, plain = Some(inner_decay=decay).window.world.learner, Some().window.world.learner
    seen, φ, key = jax.tree.map(lambda x: x[0, 0], Some().past.seen), Some().meta_params, jax.random.key(0)
    once = some.adapt(φ, some.birth(φ, key), seen, key)
    twice = some.adapt(φ, once, seen, key).params
    whole = plain.adapt(φ, plain.birth(φ, key)._replace(params=once.params), seen, key).params
    step = jax.tree.map(jnp.subtract, whole, once.params)
    close(jax.tree.map(jnp.subtract, twice, once.params), jax.tree.map(lambda x: decay * x, step), 1e-4, 1e-6)


def test_several_sweeps_follow_the_clipped_surrogate() -> None:
    """PPO inside a lifetime: the second sweep starts where the first ended, on the same credit."""
    once, twice = Some(inner_loss="ppo"), Some(inner_loss="ppo", sweeps=2)
    seen = jax.tree.map(lambda x: x[0, 0], once.past.seen)
    φ, key = once.meta_params, jax.random.key(0)
    learners = [some.window.world.learner for some in (once, twice)]
    agents = [jax.jit(learner.adapt)(φ, learner.birth(φ, key), seen, key) for learner in learners]
    loss = inner_loss(once.algorithm, once.window.world.policy)
    gradient = jax.grad(loss.surrogate)(agents[0].params, seen, loss.credited(seen))
    expected = jax.tree.map(lambda p, g: p - 0.5 * g, agents[0].params, gradient)
    close(agents[1].params, expected, rtol=1e-4, atol=1e-5)


# --- names and contradictions ---


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_is_maml_with_its_options(name: str) -> None:
    algorithm = make(name, inner_lr=0.3)
    whole = MAML(**VARIANTS[name].stands_for, inner_lr=0.3)
    assert {option: getattr(algorithm, option) for option in vars(whole)} == vars(whole)
    for option, value in VARIANTS[name].stands_for.items():
        with pytest.raises(ValueError, match=f"{name} has no option '{option}'"):
            make(name, **{option: value})
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
@pytest.mark.parametrize("estimator", [*ESTIMATORS, "reptile", "evolution"])
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
