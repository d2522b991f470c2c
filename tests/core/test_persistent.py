"""Evolution over long lives: what is unbiased, what a life keeps, and what its members share."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.stats
from conftest import compiled
from linear import Linear, held

from metarl_jax.algorithms import make
from metarl_jax.core.meta import MetaLearner, MetaState
from metarl_jax.core.persistent import noise_of, persistent
from metarl_jax.core.update import chain
from metarl_jax.envs import make as make_environment

ENVIRONMENT = make_environment("tabular", states=3, actions=2, steps=3, episodes=2)
SMALL: dict[str, dict[str, Any]] = {
    "meta_gradient": {"hidden": (4,), "adaptations": 1, "steps": 4},
    "rl2": {"width": 4, "steps": 4},
}


def learner_of(life: Linear, noise: Any, tasks: int = 1, mesh: Any = None, **options: Any) -> MetaLearner:
    options = {"pairs": 2, "sigma": 0.1, **options}
    return life.learner(persistent(life.window(), life.objective(), held, noise=noise, **options), tasks, mesh)


def gradients(life: Linear, noise: Any, replicas: int) -> Any:
    """The mean gradient over a whole life under one φ, of that many lives, [R, 2]."""
    learner = learner_of(life, noise)

    def one(key: Any) -> Any:
        def step(state: MetaState, key: Any) -> Any:
            state = learner.step(state, key)[0]
            return state, state.memory.gradient

        birth, key = jax.random.split(key)
        return jnp.mean(jax.lax.scan(step, learner.init(birth), jax.random.split(key, life.windows))[1], axis=0)

    return np.asarray(jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(1), replicas)), np.float64)


def chance(found: Any, expected: Any) -> float:
    """How likely the mean of unbiased estimates is as far off as this one (t-tests of both coordinates)."""
    return 2 * min(scipy.stats.ttest_1samp(found, np.asarray(expected)).pvalue)


@pytest.mark.parametrize(
    ("noise", "bears", "unbiased"),
    [
        ("es", False, False),
        ("pes", True, True),
        ("nres", True, True),
    ],
)
def test_persistent_noise_is_unbiased_and_fresh_noise_is_not(noise: str, bears: bool, unbiased: bool) -> None:
    """Of the meta-gradient of whole lives, those included whose agents are born as φ."""
    life = Linear(bears=bears)
    p = chance(gradients(life, noise, 10_000), life.exact())
    assert p > 1e-3 if unbiased else p < 1e-9


def test_fresh_noise_has_the_gradient_of_the_window() -> None:
    """A life of one window is the whole of it."""
    life = Linear(windows=1)
    assert chance(gradients(life, "es", 5000), life.exact()) > 1e-3


@pytest.mark.parametrize("noise", ["pes", "nres"])
def test_noise_is_reset_at_rebirth(noise: Any) -> None:
    """Lives of all spans share a batch; what each is credited with is what it used since its own birth."""
    life = Linear(windows=(2, 4))
    learner = learner_of(life, noise, tasks=6)
    step, state = jax.jit(learner.step), jax.jit(learner.init)(jax.random.key(0))
    state = state._replace(lives=state.lives._replace(age=jnp.zeros(6, jnp.int32)))
    shape, float32 = (2, 2), jnp.dtype(jnp.float32)
    used: list[Any] = [[] for _ in range(6)]
    reborn = 0
    for key in jax.random.split(jax.random.key(1), 7):
        before, state = state, step(state, key)[0]
        assert state.lives.age.shape == (6,)  # of all members
        for i, over in enumerate(np.asarray(before.lives.age >= before.spans)):
            used[i], reborn = [] if over else used[i], reborn + over
            now = jax.tree.map(lambda x, i=i: x[i], state.lives)
            then = now._replace(age=now.age - life.turns, noise=jnp.zeros(shape))
            used[i].append(noise_of(noise, then, shape, float32)[0])
            if noise == "pes":
                np.testing.assert_allclose(now.noise, sum(used[i]), rtol=1e-5, atol=1e-6)
            else:
                np.testing.assert_array_equal(used[i][-1], used[i][0])
    assert reborn >= 6
    draws = np.stack([each[-1] for each in used])
    assert len(np.unique(draws)) == draws.size  # no two lives share noise


@pytest.mark.parametrize("noise", ["pes", "nres"])
def test_members_differ_only_by_their_noise(noise: str) -> None:
    """Task, keys and age are common: what they do by chance is the same, and without noise everything is."""

    def lived(sigma: Any) -> Any:
        learner = learner_of(Linear(), noise, sigma=sigma)
        return after(learner, learner.init(jax.random.key(0)), 2)[0].lives

    lives = jax.jit(jax.vmap(lived))(jnp.array([1e-9, 1.0]))
    still, moved = lives.agent.state
    np.testing.assert_allclose(still, jnp.broadcast_to(still[:, :1], still.shape), rtol=1e-6)
    assert still.shape == (1, 4, 2)  # tasks, members
    assert len(np.unique(np.round(moved, 4))) == moved.size
    np.testing.assert_allclose(moved[:, :2] + moved[:, 2:], 2 * still[:, :2], rtol=1e-5)  # antithetic
    chosen = lives.seen.action  # by a policy that does not adapt
    np.testing.assert_array_equal(chosen, jnp.broadcast_to(chosen[:, :, :1], chosen.shape))


def after(learner: MetaLearner, state: MetaState, steps: int) -> Any:
    """State and diagnostics after some meta-steps."""
    return jax.lax.scan(learner.step, state, jax.random.split(jax.random.key(1), steps))


def test_devices_share_lives_with_all_their_members() -> None:
    mesh = jax.make_mesh((2,), ("tasks",), axis_types=(jax.sharding.AxisType.Auto,))
    found = []
    for devices in (None, mesh):
        learner = learner_of(Linear(windows=(2, 3)), "pes", tasks=4, mesh=devices)
        run = jax.jit(lambda learner=learner: after(learner, learner.init(jax.random.key(0)), 4))
        state, info = run()
        found.append(jax.device_get((state.memory, state.lives.noise, info)))
    jax.tree.map(lambda one, two: np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6), *found)


@pytest.mark.parametrize("name", ["rl2", pytest.param("meta_gradient", marks=pytest.mark.slow)])
def test_a_step_keeps_the_shapes_of_the_state(name: str) -> None:
    """So that it compiles once, and a run resumes from its checkpoint; also of agents that act with φ itself."""
    how: dict[str, Any] = {"tasks": 2, "envs": 4, "pairs": 2, "sigma": 2.0, "estimator": "pes", "lifespan": 3}
    learner = make(name, **SMALL[name], **how).build(ENVIRONMENT)
    step, state = jax.jit(learner.step), jax.jit(learner.init)(jax.random.key(0))
    first, info = step(state, jax.random.key(1))
    assert compiled(lambda: step(first, jax.random.key(2))) == 0
    assert jax.tree.map(jnp.shape, first) == jax.tree.map(jnp.shape, state)
    assert all(np.isfinite(x) for name, x in info.items() if not name.startswith("return"))
    moved = optax.tree.norm(optax.tree.sub(first.meta_params, state.meta_params))
    assert 0 < moved < 1


def test_lives_of_members_compose() -> None:
    """Two windows of one turn are one window of two, where the noise is kept."""
    found = []
    for turns, windows in ((1, 4), (2, 2)):
        learner = learner_of(Linear(turns, windows), "nres")
        run = jax.jit(lambda n=2 // turns, learner=learner: after(learner, learner.init(jax.random.key(0)), n)[0])
        state = run()
        found.append((state.lives.agent.state, state.lives.seen.action, state.lives.age))
    jax.tree.map(lambda one, two: np.testing.assert_allclose(one, two, rtol=1e-6), *found)


def test_the_lives_of_members_are_counted() -> None:
    """2 M lives of two turns in each task, and what those that are born see at first."""
    learner = learner_of(Linear(turns=2, windows=4), "pes", tasks=4)
    assert learner.env_steps == 4 * 4 * 2 + 4 * 1  # of 4 tasks and 4 members, and one birth


def test_what_makes_no_sense_is_refused() -> None:
    life = Linear(windows=1)
    with pytest.raises(ValueError, match="noise is pes, and lives begin with every window"):
        persistent(life.window(), life.objective(), held, noise="pes")
    update = persistent(Linear().window(), life.objective(), held)
    with pytest.raises(ValueError, match="cannot be chained"):
        chain(update, update)
    with pytest.raises(ValueError, match=r"estimator of q_learning is pes; .*choose estimator=evolution"):
        make("q_learning", estimator="pes")
    with pytest.raises(ValueError, match=r"estimator of meta_gradient is nres; .*lifespan"):
        make("meta_gradient", estimator="nres", lifespan=1)
