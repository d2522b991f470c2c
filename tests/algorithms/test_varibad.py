"""VariBAD: what its two objectives reach, its ELBO against sums written out, and that it infers what can be known."""

from typing import Any

import jax
import numpy as np
import optax
import pytest
from lives import rolled

from metarl_jax.algorithms import make
from metarl_jax.algorithms.belief import Trials, explain, inference, inferred
from metarl_jax.core.backprop import Passes, penalised, record
from metarl_jax.core.memories import gru
from metarl_jax.core.meta import meta_learner
from metarl_jax.core.policy import perception
from metarl_jax.core.update import chain
from metarl_jax.envs import make as make_environment

ENVIRONMENT = make_environment("gridnavi", steps=3, episodes=2)
OPTIONS: dict[str, Any] = {"tasks": 8, "width": 8, "hidden": (8,), "decoder": (8,), "trials": 8, "epochs": 1}


def trials_and_policy(**options: Any) -> tuple[Any, Any, Trials]:
    world = make("varibad", **OPTIONS, **options).recipe(ENVIRONMENT).window.world
    params = world.learner.meta_init(jax.random.key(0))
    task = ENVIRONMENT.sample_task(jax.random.key(1), "train")
    seen = rolled(ENVIRONMENT, world.policy, params, task, 4, 6)
    return world, params, Trials(seen.timestep, seen.action, seen.reward, seen.next_observation, seen.weight)


@pytest.mark.parametrize("states", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_policy_and_belief_have_separate_objectives(states: bool) -> None:
    """With one of the two step sizes at zero, only what the other objective is for moves."""

    def moved(**options: Any) -> dict[str, bool]:
        learner = make("varibad", **OPTIONS, **options, decodes_states=states).build(ENVIRONMENT)
        state = learner.init(jax.random.key(0))
        after = jax.jit(learner.step)(state, jax.random.key(1))[0].meta_params
        changed = jax.tree.map(lambda a, b: bool(np.any(a != b)), after, state.meta_params)
        return {name: any(jax.tree.leaves(changed[name])) for name in changed}

    assert moved(model_lr=0.0) == {"actor": True, "critic": True, "memory": False, "decoders": False}
    assert moved(meta_lr=0.0) == {"actor": False, "critic": False, "memory": True, "decoders": True}


def test_the_elbo_is_the_sum_that_defines_it() -> None:
    """Every belief at its mean, every step explained by it, written out in loops."""
    _, params, trials = trials_and_policy(decodes_states=True)
    told = perception(ENVIRONMENT)
    belief = inferred(gru(told.size, 8), 5)
    decoders = params["decoders"]
    model = inference(ENVIRONMENT, belief, (8,), states=True, divergence=0.3)
    memory = params["memory"]
    memory = {**memory, "posterior": jax.tree.map(lambda x: x * 1.0, memory["posterior"])}
    memory["posterior"]["bias"] = memory["posterior"]["bias"].at[5:].set(-40.0)  # no noise in what is drawn
    loss, _ = model.loss(memory, decoders, trials, jax.random.key(0), jax.random.split(jax.random.key(1), 4))

    said = belief.unroll(memory, belief.blank((4,)), told.features(trials.timestep), told.keep(trials.timestep))
    mean, log_variance = np.split(np.asarray(said, np.float64), 2, axis=-1)

    def layer(params: Any, x: Any) -> Any:
        hidden = np.maximum(x @ params["hidden_0"]["kernel"] + params["hidden_0"]["bias"], 0.0)
        return hidden @ params["head"]["kernel"] + params["head"]["bias"]

    total = 0.0
    for env in range(4):
        before = np.zeros(5), np.zeros(5)
        for t in range(6):
            now = mean[t, env], log_variance[t, env]
            ratio = np.exp(now[1] - before[1])
            kl = 0.5 * np.sum(ratio + (now[0] - before[0]) ** 2 / np.exp(before[1]) - 1 - now[1] + before[1])
            total += 0.3 * kl
            before = now
            for i in range(6):
                action = np.eye(5)[trials.action[i, env]]
                given = np.concatenate([now[0], trials.timestep.observation[i, env], action])
                after = np.asarray(trials.next_observation[i, env])
                total += 0.5 * (layer(decoders["reward"], np.append(given, after))[0] - trials.reward[i, env]) ** 2
                total += 0.5 * np.sum((layer(decoders["state"], given) - after) ** 2)
    np.testing.assert_allclose(loss, total / 24, rtol=1e-4)


def test_a_random_subset_of_beliefs_gives_an_unbiased_elbo() -> None:
    _, params, trials = trials_and_policy()
    told = perception(ENVIRONMENT)

    def loss(beliefs: int, key: Any) -> Any:
        model = inference(ENVIRONMENT, inferred(gru(told.size, 8), 5), (8,), beliefs=beliefs)
        time_key, noise_key = jax.random.split(key)
        return model.loss(params["memory"], params["decoders"], trials, time_key, jax.random.split(noise_key, 4))[0]

    keys = jax.random.split(jax.random.key(0), 2000)
    some, whole = (jax.jit(jax.vmap(lambda key, n=n: loss(n, key)))(keys) for n in (2, 0))
    np.testing.assert_allclose(some.mean(), whole.mean(), atol=4 * float(some.std()) / 2000**0.5)


@pytest.mark.learning
def test_a_belief_learns_where_the_goal_is() -> None:
    """After a trial in which the goal was met, the decoder says where a step pays; before, it cannot."""
    environment = make_environment("gridnavi", episodes=2)
    options = {"tasks": 64, "envs": 4, "updates": 20, "reward_model": "bernoulli", "kl_weight": 0.01, "beliefs": 10}
    learner = make("varibad", **options).build(environment)

    @jax.jit
    def train(state: Any, key: Any) -> Any:
        return jax.lax.scan(learner.step, state, jax.random.split(key, 100))

    _, info = train(learner.init(jax.random.key(0)), jax.random.key(1))
    unexplained = np.asarray(info["unexplained"])
    assert np.all(np.isfinite(unexplained))
    assert unexplained[-10:].mean() < 0.7 * unexplained[10:20].mean()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"estimator": "evolution"}, "has no option 'estimator'"),
        ({"lifespan": 2}, "has no option 'lifespan'"),
        ({"separate": True}, "has no option 'separate'"),
        ({"critic_knows_task": True}, "has no option 'critic_knows_task'"),
        ({"kept": 4}, "must hold"),
        ({"memory": "none"}, "choose one of gru"),
    ],
)
def test_contradictory_options_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make("varibad", **OPTIONS, **options)


def test_a_penalty_combines_with_the_elbo() -> None:
    """Updates chain: a penalised PPO, and then the decoders, on one record."""
    algorithm = make("varibad", **OPTIONS)
    recipe = algorithm.recipe(ENVIRONMENT)
    window, explaining = (
        recipe.window,
        explain(algorithm.model(ENVIRONMENT), optax.adam(1e-3), recipe.window.world, kept=8, trials=4, updates=2),
    )
    holding = penalised(window, recipe.objective, optax.adam(1e-3), Passes(), 0.1)
    learner = meta_learner(window, chain(record(window, recipe.objective), holding, explaining), 8)
    state = learner.init(jax.random.key(0))
    after, info = jax.jit(learner.step)(state, jax.random.key(1))
    assert {"penalty", "unexplained", "loss"} <= set(info)
    moved = jax.tree.map(lambda a, b: bool(np.any(a != b)), after.meta_params, state.meta_params)
    assert all(any(jax.tree.leaves(moved[name])) for name in ("actor", "critic", "memory", "decoders"))


def test_an_update_that_needs_a_record_is_refused_without_one() -> None:
    algorithm = make("varibad", **OPTIONS)
    recipe = algorithm.recipe(ENVIRONMENT)
    alone = penalised(recipe.window, recipe.objective, optax.adam(1e-3), Passes(), 0.1)
    learner = meta_learner(recipe.window, alone, 8)
    with pytest.raises(ValueError, match=r"put record\(...\) before it"):
        jax.eval_shape(learner.step, learner.init(jax.random.key(0)), jax.random.key(1))
