"""Hyper-parameters that an agent tunes: of a context, judged by a critic of their own, or by the agent it becomes."""

import dataclasses
import functools
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from lives import begun, living, turned
from trees import close, double

from metarl_jax.algorithms import make
from metarl_jax.algorithms.meta_gradient.context import context_of, legal, raw
from metarl_jax.algorithms.meta_gradient.meta_gradient import TUNED
from metarl_jax.algorithms.meta_gradient.tuned import OPTIONS, first
from metarl_jax.core.environment import Box, Discrete, Episodic
from metarl_jax.core.learner import inner_optimiser
from metarl_jax.core.losses import actor_critic, per_step
from metarl_jax.core.types import Record, Step
from metarl_jax.core.window import judged, target
from metarl_jax.envs import make as make_environment

ENVIRONMENT = make_environment("tabular", states=3, actions=2, steps=3, episodes=2)
OPTIONS_SMALL: dict[str, Any] = {"hidden": (4,), "steps": 4, "lifespan": 3, "envs": 2, "max_gradient_norm": 0.0}


def recipe_of(**options: Any) -> Any:
    return make("meta_gradient", **{**OPTIONS_SMALL, **options}).recipe(ENVIRONMENT)


def newborn(recipe: Any, meta_params: Any = None) -> tuple[Any, Any]:
    """φ, and a life at age 0 of the window's world."""
    world = recipe.window.world
    meta_params = world.learner.meta_init(jax.random.key(1)) if meta_params is None else meta_params
    return meta_params, begun(
        world, meta_params, ENVIRONMENT.sample_task(jax.random.key(2), "train"), jax.random.key(3)
    )


@pytest.mark.parametrize("kind", ["none", "observation", "reward"])
def test_hyper_parameters_start_at_their_initial_values(kind: Any) -> None:
    options = make("meta_gradient")
    context = context_of(kind, ENVIRONMENT, first(options), TUNED, 2)
    _, life = newborn(recipe_of())
    hyper = legal(context.read(context.init(jax.random.key(0)), life.seen, jnp.ones(2)))
    for name, value in hyper.items():
        np.testing.assert_allclose(value, getattr(options, OPTIONS[name]), rtol=1e-6)
        assert jnp.shape(value) == ((4, 2) if kind == "observation" and name != "rate" else ())


def test_a_context_of_observations_reads_where_each_number_is_used() -> None:
    """The discount of a step is that of the observation it leads to; the weight of a step is that of its own."""
    start = {name: raw(name, 0.5) for name in TUNED}
    context = context_of("observation", ENVIRONMENT, start, ("gamma", "entropy"), 0)
    params = jax.tree.map(lambda x: x + 0.3, context.init(jax.random.key(0)))
    _, life = newborn(recipe_of())
    seen, moved = life.seen, life.seen._replace(next_observation=life.seen.next_observation + 1.0)
    before, after = (context.read(params, x, ()) for x in (seen, moved))
    assert np.all(before["gamma"] != after["gamma"])
    np.testing.assert_array_equal(before["entropy"], after["entropy"])
    np.testing.assert_array_equal(before["lambda"], start["lambda"])


def test_recent_rewards_are_remembered_in_order() -> None:
    recipe = recipe_of(context="reward", history=3)
    φ, life = newborn(recipe)
    means = [float(jnp.mean(life.seen.reward))]
    for _ in range(3):
        life = turned(recipe.window.world, φ, life)
        means.append(float(jnp.mean(life.seen.reward)))
    np.testing.assert_allclose(life.agent.state[1], means[:3], rtol=1e-5)
    life = turned(recipe.window.world, φ, life)
    np.testing.assert_allclose(life.agent.state[1], means[1:], rtol=1e-5)


def test_a_discount_for_each_step_is_the_number_where_all_are_alike() -> None:
    recipe = recipe_of()
    policy, (_, life) = recipe.window.world.policy, newborn(recipe)
    ones = jnp.ones_like(life.seen.reward)
    number = {"gamma": 0.9, "lambda_": 0.7, "value_weight": 0.3, "entropy": 0.2}
    each = {name: x * ones for name, x in number.items()}
    losses = [actor_critic(policy, **options)(life.agent.params, life.seen) for options in (number, each)]
    np.testing.assert_allclose(*losses, rtol=1e-5)


def with_noise(params: Any, part: str) -> Any:
    return {**params, part: jax.tree.map(lambda x: x + 0.5, params[part])}


@pytest.mark.parametrize("part", ["critic", "prediction"])
def test_each_critic_serves_one_loss(part: str) -> None:
    """The inner loss adapts by the prediction, the outer loss by the critic, which learns at the outer discount."""
    recipe = recipe_of(outer_critic=True, gamma=0.5, outer_gamma=0.9)
    φ, life = newborn(recipe)
    world, loss = recipe.window.world, recipe.objective(0).loss
    moved = life._replace(agent=life.agent._replace(params=with_noise(life.agent.params, part)))
    lives = [turned(world, φ, x) for x in (life, moved)]
    actors = [x.agent.params["actor"]["head"]["kernel"] for x in lives]
    assert np.allclose(*actors, atol=1e-7) == (part == "critic")
    recorded = [world.policy.unroll(x.agent.params, (), life.seen.timestep).value for x in (life, moved)]
    advantages = [loss.credited(life.seen._replace(value=value)).advantage for value in recorded]
    assert np.allclose(*advantages) == (part == "prediction")


def test_the_outer_critic_descends_its_own_error_alone() -> None:
    recipe = recipe_of(outer_critic=True, gamma=0.5, outer_gamma=0.9, inner_lr=0.2)
    φ, life = newborn(recipe)
    policy, params = recipe.window.world.policy, life.agent.params
    loss = actor_critic(policy, gamma=0.9, lambda_=0.95, value_weight=1.0, entropy=0.0, reward=per_step(0.9, 4))
    slope = jax.jit(jax.grad(loss))(params, life.seen)["critic"]
    expected = jax.tree.map(lambda x, g: x - 0.2 * g, params["critic"], slope)
    close(turned(recipe.window.world, φ, life).agent.params["critic"], expected, rtol=1e-4, atol=1e-6)
    tuned = jax.tree.map(lambda x: x + 1.0, φ)  # no hyper-parameter reaches it
    close(turned(recipe.window.world, tuned, life).agent.params["critic"], expected, rtol=1e-4, atol=1e-6)


BOOTSTRAPPED: dict[str, Any] = {"target": "bootstrapped", "context": "reward", "history": 2}


@functools.cache
def bootstrapped(steps: int = 1, optimiser: str = "sgd") -> tuple[Any, Any, Any, Any]:
    """Window, objective, φ away from its start, and a life that has entered the window."""
    recipe = recipe_of(**BOOTSTRAPPED, bootstrap_steps=steps, inner_optimiser=optimiser)
    φ, life = newborn(recipe)
    return recipe.window, recipe.objective(0), jax.tree.map(lambda x: x + 0.1, φ), life


def targeted(window: Any, objective: Any, φ: Any, life: Any) -> Any:
    return jax.jit(lambda φ, life: target(window, objective, φ, life))(φ, life)


def recorded(window: Any, objective: Any, φ: Any, life: Any) -> Record:
    seen = living(window, φ, life).seen
    return Record(seen, jax.jit(jax.vmap(objective.loss.credited))(seen))


def test_the_bootstrapped_meta_gradient_equals_central_differences() -> None:
    """In float64, where nothing but φ moves: the target is data."""
    window, objective, φ, life = bootstrapped(optimiser="adam")
    past = recorded(window, objective, φ, life)
    past = past._replace(target=jax.tree.map(lambda x: x + 0.3, life.agent.params))
    with jax.enable_x64(True):
        φ, past = double(φ), double(past)
        life = life._replace(agent=double(life.agent))
        distance = jax.jit(jax.value_and_grad(lambda φ: judged(window, objective, φ, life, past)[0]))
        slope = distance(φ)[1]
        direction = jax.tree.map(lambda x: jnp.cos(jnp.arange(x.size, dtype=x.dtype)).reshape(x.shape), φ)
        ahead, behind = (distance(jax.tree.map(lambda x, d, e=e: x + e * d, φ, direction))[0] for e in (1e-5, -1e-5))
        pairs = zip(jax.tree.leaves(direction), jax.tree.leaves(slope), strict=True)
        along = sum(jnp.vdot(d, g) for d, g in pairs)
        np.testing.assert_allclose(along, (ahead - behind) / 2e-5, rtol=1e-5)
        assert abs(along) > 1e-8


@pytest.mark.parametrize("steps", [1, 3])
def test_a_target_is_the_rules_further_updates_and_one_of_the_outer_loss(steps: int) -> None:
    window, objective, φ, life = bootstrapped(steps)
    for _ in range(steps - 1):
        life = turned(window.world, φ, life)
    policy, recent = window.world.policy, jnp.append(life.agent.state[1][1:], jnp.mean(life.seen.reward))
    context = context_of("reward", ENVIRONMENT, first(make("meta_gradient")), TUNED, 2)
    rate = legal(context.read(φ, life.seen, recent))["rate"]
    loss = actor_critic(policy, value_weight=0.0, entropy=0.0, reward=per_step(0.99, 4))
    slope = jax.jit(jax.grad(loss))(life.agent.params, life.seen)
    expected = jax.tree.map(lambda x, g: x - rate * g, life.agent.params, slope)
    close(targeted(window, objective, φ, bootstrapped(steps)[3]), expected, rtol=1e-4, atol=1e-6)


def test_no_gradient_enters_the_target() -> None:
    window, objective, φ, life = bootstrapped(3)
    past = recorded(window, objective, φ, life)
    past = past._replace(target=targeted(window, objective, φ, living(window, φ, life).end))
    lived, relived = (
        jax.jit(jax.grad(lambda φ, x=x: judged(window, objective, φ, life, x)[0]))(φ) for x in (None, past)
    )
    close(lived, relived, rtol=1e-4, atol=1e-7)
    assert any(np.any(leaf) for leaf in jax.tree.leaves(lived))


def test_an_agent_that_is_its_own_target_is_at_distance_0() -> None:
    window, objective, φ, life = bootstrapped()
    past = recorded(window, objective, φ, life)
    past = past._replace(target=living(window, φ, life).end.agent.params)
    value, slope = jax.jit(jax.value_and_grad(lambda φ: judged(window, objective, φ, life, past)[0]))(φ)
    np.testing.assert_allclose(value, 0.0, atol=1e-7)
    close(slope, jax.tree.map(jnp.zeros_like, φ), rtol=0.0, atol=1e-7)


@pytest.mark.parametrize("optimiser", ["sgd", "rmsprop", "adam"])
def test_inner_optimisers_are_twice_differentiable_at_a_zero_gradient(optimiser: Any) -> None:
    """Against central differences, of a step from 0 along a gradient that is 0."""

    def after(slope: Any) -> Any:
        rule = inner_optimiser(optimiser, 0.1)
        return rule.update(slope, rule.init(jnp.zeros(2)), jnp.zeros(2))[0][0]

    with jax.enable_x64(True):
        zero, small = jnp.zeros(2), jnp.array([1e-7, 0.0])
        by_hand = (after(small) - after(-small)) / 2e-7
        np.testing.assert_allclose(jax.jit(jax.grad(after))(zero)[0], by_hand, rtol=1e-3)
        assert np.all(np.isfinite(jax.jit(jax.hessian(after))(zero)))
        assert by_hand < 0


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"target": "bootstrapped", "estimator": "evolution"}, "evolution.*bootstrapped"),
        ({"target": "bootstrapped", "objective": "mean"}, "mean.*bootstrapped"),
        ({"bootstrap_steps": 2}, "bootstrap_steps.*return"),
        ({"outer_critic": True, "estimator": "evolution"}, "evolution.*outer_critic"),
        ({"history": 3, "context": "observation"}, "history.*observation"),
        ({"context": "reward", "tunes": ()}, "context.*tunes"),
        ({"outer_entropy": 0.1, "target": "bootstrapped"}, "outer_entropy.*target"),
        ({"outer_entropy": 0.1, "estimator": "evolution"}, "outer_entropy.*estimator"),
    ],
)
def test_contradictions_are_refused_by_name(options: Any, names: str) -> None:
    with pytest.raises(ValueError, match=names):
        make("meta_gradient", **options)


class NoisyTask(NamedTuple):
    """There is one task."""

    nothing: Any


class NoisyState(NamedTuple):
    """The position, and the last action."""

    place: Any
    action: Any


@dataclasses.dataclass(frozen=True)
class NoisyChain(Episodic):
    """Ten states in a row: leaving an even one pays noise, leaving an odd one what was chosen in the one before.

    After the illustrative example of Xu et al. 2018, §3: returns should flow into states that pay a signal, and be cut
    before those that pay noise.
    """

    name: ClassVar[str] = "noisy_chain"
    summary: ClassVar[str] = "ten states, half of which pay noise"
    reference: ClassVar[str | None] = None
    Task: ClassVar[type] = NoisyTask

    steps: int = 10
    episodes: int = 1

    @property
    def observation_space(self) -> Box:
        return Box(0.0, 1.0, (10,))

    @property
    def action_space(self) -> Discrete:
        return Discrete(2)

    def reset(self, key: Any, task: NoisyTask) -> Any:
        state = NoisyState(jnp.int32(0), jnp.int32(0))
        return jax.nn.one_hot(0, 10), state

    def step(self, key: Any, state: NoisyState, action: Any, task: NoisyTask) -> Step:
        reward = jnp.where(state.place % 2 == 0, 3.0 * jax.random.normal(key), 2.0 * state.action - 1.0)
        after = NoisyState(state.place + 1, action)
        return Step(jax.nn.one_hot(after.place, 10), after, reward, after.place >= 10, jnp.array(False), {})

    def draw_task(self, key: Any, split: Any) -> NoisyTask:
        return NoisyTask(jnp.zeros(()))


@pytest.mark.learning
def test_a_discount_that_depends_on_the_state_finds_the_noisy_states() -> None:
    """Xu et al. 2018, §3: returns are cut before the states that pay noise, not before those that pay for a choice."""
    options = {"hidden": (), "steps": 10, "envs": 8, "tasks": 32, "chunk": 32, "adaptations": 1, "lifespan": 3}
    options |= {"gamma": 0.7, "lambda_": 0.99, "outer_gamma": 1.0, "outer_lambda": 1.0, "meta_lr": 0.01}
    options |= {"inner_lr": 100.0, "value_weight": 0.05, "entropy": 1e-3}
    meta = make("meta_gradient", context="observation", tunes=("gamma",), **options).build(NoisyChain())

    @jax.jit
    def learned(key: Any) -> Any:
        return jax.lax.scan(meta.step, meta.init(key), jax.random.split(key, 150))[0].meta_params

    context = context_of("observation", NoisyChain(), first(make("meta_gradient", gamma=0.7)), ("gamma",), 0)
    _, life = newborn(recipe_of())
    seen = life.seen._replace(
        timestep=life.seen.timestep._replace(observation=jnp.eye(10)[:, None]), next_observation=jnp.eye(10)[:, None]
    )
    gamma = legal(context.read(learned(jax.random.key(0)), seen, ()))["gamma"][:, 0]
    assert np.min(gamma[1::2]) > 0.9  # odd states pay for the last choice
    assert np.max(gamma[2::2]) < 0.4  # even ones pay noise; nothing leads to the first
