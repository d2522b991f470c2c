"""Algorithm Distillation and Decision-Pretrained Transformers: worlds, teachers, refusals, and learning in context."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from samples import draw

from metarl_jax.algorithms import make
from metarl_jax.core.batching import Devices
from metarl_jax.core.evaluation import evaluate
from metarl_jax.core.imitation import cross_entropy, histories
from metarl_jax.core.life import unborn
from metarl_jax.core.update import Lives, Now
from metarl_jax.envs import make as make_environment
from metarl_jax.experiment.config import resolve

BOTH = ("algorithm_distillation", "decision_pretrained")
ARMS = make_environment("two_arm", pulls=40)


@pytest.mark.parametrize("name", BOTH)
def test_the_student_is_judged_in_a_world_of_its_own(name: str) -> None:
    """It acts with φ and never adapts, in contexts as long as a trial; the source adapts and has no memory."""
    config = resolve(name, "dark_room", width=8, hidden=(4,))
    recipe, world = config.recipe, config.world
    assert config.world is recipe.judge
    assert world.learner.shared
    assert world.policy.has_memory
    assert not recipe.window.world.policy.has_memory
    assert not recipe.window.world.learner.shared
    assert (recipe.turns, recipe.reports) == (0, (0, 1))
    assert recipe.window.turns > 0
    assert recipe.window.turns % config.algorithm.stride == 0
    assert any(200 in leaf.shape for leaf in jax.tree.leaves(world.policy.initial_memory((1,))))


def test_the_evaluation_is_of_the_student() -> None:
    """A student that always pulls the first arm earns its mean."""
    world = make("algorithm_distillation", width=4, layers=1, steps=10).recipe(ARMS).world
    params = world.learner.meta_init(jax.random.key(0))
    head = params["actor"]["head"]
    params["actor"]["head"] = {"kernel": 0.0 * head["kernel"], "bias": jnp.array([100.0, 0.0])}
    tasks = draw(ARMS, 4, "test")
    curve = jax.jit(lambda φ: evaluate(world, φ, tasks, jax.random.key(2), 0, expected=True))(params)
    np.testing.assert_allclose(curve.returns[:, 0, 0], 40 * tasks.mean[:, 0], rtol=1e-5)


@pytest.mark.parametrize("source", ["random", "q_learning"])
def test_the_teacher_answers_at_the_places_of_the_source(source: str) -> None:
    environment = make_environment("tabular", states=3, actions=2, steps=3, episodes=3)
    algorithm = make("decision_pretrained", width=4, hidden=(), envs=2, tasks=3, minibatches=1, source=source)
    window, keys = algorithm.recipe(environment).window, jax.random.split(jax.random.key(1), 3)
    lives = Lives(jax.vmap(lambda key: unborn(environment.sample_task(key, "train"), key))(keys))
    update = histories(window, algorithm.teacher(environment))
    past = jax.jit(lambda: update.improve({}, (), lives, Now(jnp.int32(0), keys[0], Devices()))[-1].past)()
    expert = environment.expert()
    for life, time, env in np.ndindex(3, 9, 2):
        task = jax.tree.map(lambda x, i=life: x[i], lives.start.task)
        place = past.seen.timestep.observation[life, 0, time, env]
        expected = expert(task, place, jnp.int32(time % 3))
        np.testing.assert_allclose(past.credit.target[life, 0, time, env], expected)


@pytest.mark.parametrize(
    ("name", "options", "rule"),
    [
        ("decision_pretrained", {"stride": 2}, "stride of decision_pretrained is 2"),
        ("algorithm_distillation", {"width": 6}, "width of algorithm_distillation is 6"),
        ("algorithm_distillation", {"tasks": 6, "minibatches": 4}, "tasks of algorithm_distillation is 6"),
    ],
)
def test_options_that_contradict_each_other_are_refused(name: str, options: dict[str, Any], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        make(name, **options)


def test_environments_without_finite_actions_or_an_expert_are_refused() -> None:
    with pytest.raises(ValueError, match="finitely many actions"):
        make("algorithm_distillation").build(make_environment("navigation"))
    with pytest.raises(ValueError, match="best actions are not known"):
        make("decision_pretrained").build(make_environment("cartpole"))


@pytest.mark.parametrize(
    ("name", "options", "rule"),
    [
        ("algorithm_distillation", {"steps": 40}, "a history of one rollout"),
        ("algorithm_distillation", {"rollouts": 1}, "a history of one rollout"),
        ("decision_pretrained", {"steps": 5, "stride": 2, "source": "q_learning"}, "the time in an episode"),
        ("decision_pretrained", {"lifespan": 2}, "the time in an episode"),
    ],
)
def test_histories_that_say_too_little_are_refused(name: str, options: dict[str, Any], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        make(name, **options).build(ARMS)


def test_a_trial_of_one_episode_is_read_in_tenths() -> None:
    """As a stream that continues; episodes of a longer trial are opened one by one."""
    stream, apart = (
        make("algorithm_distillation", stride=3).recipe(environment).window
        for environment in (ARMS, make_environment("gridnavi"))
    )
    assert (stream.world.steps, stream.turns, stream.world.fresh) == (4, 27, False)
    assert (apart.world.steps, apart.turns, apart.world.fresh) == (15, 9, True)


@pytest.mark.slow
def test_contexts_may_begin_anywhere_in_a_life() -> None:
    """Lives of several histories continue from one meta-step to the next."""
    learner = make(
        "algorithm_distillation", width=4, hidden=(4,), layers=1, tasks=4, minibatches=1, steps=10, stride=1, lifespan=3
    )
    learner = learner.build(ARMS)
    state, step = jax.jit(learner.init)(jax.random.key(0)), jax.jit(learner.step)
    for key in jax.random.split(jax.random.key(1), 2):
        before, (state, info) = state, step(state, key)
        lived = state.lives.age - jnp.where(before.lives.age >= before.spans, 0, before.lives.age)
        np.testing.assert_array_equal(lived, learner.window.turns)
        assert np.isfinite(info["loss"])


@pytest.mark.learning
@pytest.mark.parametrize("name", BOTH)
def test_a_student_predicts_its_teacher_better_than_any_constant_and_learns_in_context(name: str) -> None:
    common = {"width": 16, "layers": 1, "hidden": (), "tasks": 64, "stride": 1}
    algorithm = make(name, **common, inner_lr=0.1, meta_lr=3e-3)
    learner, recipe = algorithm.build(ARMS), algorithm.recipe(ARMS)
    state, step = learner.init(jax.random.key(0)), jax.jit(learner.step)
    for key in jax.random.split(jax.random.key(1), 60):
        state, _ = step(state, key)
    keys = jax.random.split(jax.random.key(2), 64)
    lives = Lives(jax.vmap(lambda key: unborn(ARMS.sample_task(key, "test"), key))(keys))
    update = histories(recipe.window, algorithm.teacher(ARMS), algorithm.stride)
    past = jax.jit(lambda: update.improve({}, (), lives, Now(jnp.int32(0), keys[0], Devices()))[-1].past)()
    one = jax.tree.map(lambda x: jnp.moveaxis(x[:, 0], 0, 1).reshape(x.shape[2], -1, *x.shape[4:]), past)
    loss = cross_entropy(recipe.world.policy).surrogate(state.meta_params, one.seen, one.credit)
    share = jnp.mean(one.credit.target, axis=(0, 1))
    assert loss < -jnp.sum(share * jnp.log(share)) - 0.05
    returns = jax.jit(lambda φ: evaluate(recipe.world, φ, lives.start.task, keys[0], 0, expected=True).returns)
    assert returns(state.meta_params).mean() > 40 * 0.5 + 2.0
