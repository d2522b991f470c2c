"""The laws that hold for every algorithm, on an environment small enough to see through."""

import functools
from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import trees
from conftest import compiled
from rule_files import needed
from trees import double

from metarl_jax.algorithms import ALGORITHMS, make
from metarl_jax.core.backprop import backprop
from metarl_jax.core.evolution import evolution
from metarl_jax.core.life import Life, begin, draws, run
from metarl_jax.core.memories import KINDS
from metarl_jax.core.memories import make as make_memory
from metarl_jax.core.meta import MetaLearner, meta_learner
from metarl_jax.core.policy import memory_policy, mlp_policy
from metarl_jax.core.rollout import opening, replay, rollout
from metarl_jax.core.types import Record
from metarl_jax.core.window import Window, bound, entered, live
from metarl_jax.envs import make as make_environment

ENVIRONMENT = make_environment("tabular", states=3, actions=2, steps=3, episodes=2)
SMALL: dict[str, dict[str, Any]] = {
    "policy_gradient": {"hidden": (4,), "epochs": 2, "lifespan": 3},
    "maml": {"hidden": (4,), "adaptations": 2, "learned_rates": True},
    "q_learning": {"hidden": (4,), "adaptations": 2, "sweeps": 2},
    "rl2": {"width": 4, "epochs": 2, "minibatches": 2},
    "varibad": {
        "width": 4,
        "hidden": (4,),
        "latent": 2,
        "decoder": (4,),
        "trials": 4,
        "epochs": 2,
        "minibatches": 2,
    },
    "meta_gradient": {"hidden": (4,), "steps": 4, "lifespan": 3, "max_gradient_norm": 0.0},
    "intrinsic_reward": {"hidden": (4,), "adaptations": 2, "steps": 4, "lifespan": 3},
    "learned_optimizer": {
        "estimator": "backprop",
        "hidden": (4,),
        "adaptations": 2,
        "sweeps": 2,
        "steps": 4,
        "lifespan": 3,
        "width": 3,
        "momenta": (0.9, 0.5),
    },
    "algorithm_distillation": {"width": 4, "layers": 1, "hidden": (4,), "stride": 2, "minibatches": 2},
    "decision_pretrained": {"width": 4, "layers": 1, "hidden": (4,), "minibatches": 2},
    "learned_rule": {
        "hidden": (4,),
        "width": 4,
        "predictions": 3,
        "adaptations": 2,
        "steps": 4,
        "lifespan": (2, 4),
    },
    "drift": {"hidden": (4,), "width": 4, "steps": 4, "adaptations": 2, "inner_epochs": 2, "estimator": "backprop"},
    "disco": {"hidden": (4,), "width": 4, "steps": 4, "lifespan": 3, **needed("disco")},
}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, options) for name, options in SMALL.items()},
    "maml-context": ("maml", {**SMALL["maml"], "adapts": "context", "context": 2, "inner_loss": "actor_critic"}),
    "maml-dice-ppo": ("maml", {"hidden": (4,), "estimator": "dice", "outer": "ppo", "epochs": 2}),
    # The default damping is so small beside float32 that rounding moves the step: laws compare steps more closely.
    "maml-hindsight-trust-region": (
        "maml",
        {"hidden": (4,), "estimator": "e_maml", "outer": "trust_region", "damping": 0.01},
    ),
    "maml-head": ("maml", {"hidden": (4,), "adapts": "head"}),
    "meta_gradient-observation": (
        "meta_gradient",
        {**SMALL["meta_gradient"], "context": "observation", "outer_critic": True, "inner_optimiser": "rmsprop"},
    ),
    "meta_gradient-reward": (
        "meta_gradient",
        {**SMALL["meta_gradient"], "context": "reward", "history": 2, "inner_optimiser": "adam"},
    ),
    "intrinsic_reward-history": (
        "intrinsic_reward",
        {**SMALL["intrinsic_reward"], "reads": "history", "width": 3, "task_reward": 0.0},
    ),
    "intrinsic_reward-lifetime": (
        "intrinsic_reward",
        {**SMALL["intrinsic_reward"], "reads": "history", "width": 3, "judged_by": "lifetime"},
    ),
}
# φ reads the lives of a source, which are no function of φ: see tests/core/test_imitation.py.
SUPERVISED = ("algorithm_distillation", "decision_pretrained")
# XLA rounds the last bit of their updates differently in a program of one turn and in a loop.
ROUNDED = ("disco", "intrinsic_reward")
# Not those that have nothing to learn, nor those that learn φ by two objectives (tests/algorithms/test_varibad.py).
META_LEARNED = [name for name in VARIANTS if name not in ("policy_gradient", "varibad", "disco", *SUPERVISED)]
# Nor those that regress on targets which are data: see tests/algorithms/test_intrinsic_reward.py.
DIFFERENTIATED = [name for name in META_LEARNED if name != "intrinsic_reward-lifetime"]
LIVED = [name for name in VARIANTS if name not in SUPERVISED]
# Under the laws only with the slow tests: those that share most of what they do with another, or compile for long.
OCCASIONAL = (
    "maml-context",
    "maml-dice-ppo",
    "maml-head",
    "meta_gradient-observation",
    "meta_gradient-reward",
    "maml-hindsight-trust-region",
    "intrinsic_reward-history",
    "intrinsic_reward-lifetime",
    "learned_optimizer",
    "learned_rule",
    "drift",
    "disco",
    "decision_pretrained",
)


def each(names: Iterable[str], always: str = "") -> list[Any]:
    """The variants as parameters, the occasional ones slow, but for one that is `always` tested."""
    rare = set(OCCASIONAL) - {always}
    return [pytest.param(name, marks=[pytest.mark.slow] * (name in rare)) for name in names]


def test_every_algorithm_is_under_the_laws() -> None:
    assert set(SMALL) == set(ALGORITHMS)


@functools.cache
def learner(variant: str, **more: Any) -> MetaLearner:
    name, options = VARIANTS[variant]
    return make(name, **{"tasks": 4, "envs": 2, **options, **more}).build(ENVIRONMENT)


@functools.cache
def compiled_step(variant: str) -> Any:
    return jax.jit(learner(variant).step)


@functools.cache
def first_state(variant: str) -> Any:
    return jax.jit(learner(variant).init)(jax.random.key(0))


class One(NamedTuple):
    """One recorded life: its loss and its meta-gradient, lived and relived, as compiled functions."""

    meta_params: Any
    window: Window
    start: Life  # before the window, φ's agent unbound
    total: Any  # φ -> (loss, record)
    live: Any  # φ -> ((loss, record), gradient)
    relive: Any  # φ, record -> ((loss, record), gradient)
    exact: Any  # the same in float64
    past: Any


@functools.cache
def life(variant: str) -> One:
    """The loss of the agent after every turn, summed, of a life that begins with the window."""
    name, options = VARIANTS[variant]
    recipe = make(name, **{"envs": 2, **options}).recipe(ENVIRONMENT)
    window, objective = recipe.window._replace(newborn=True), recipe.objective(jnp.int32(0))
    world = window.world
    meta_params = spread(world.learner.meta_init(jax.random.key(1)))
    task = ENVIRONMENT.sample_task(jax.random.key(2), "train")
    start = begin(world, meta_params, task, jax.random.key(3))

    def total(window: Window, meta_params: Any, past: Any = None) -> Any:
        newborn = entered(window, meta_params, start) if past is None else bound(window, meta_params, start)
        lived = live(window, meta_params, newborn, past, with_agents=True)
        record = Record(lived.seen, jax.vmap(objective.loss.credited)(lived.seen))
        agents = jax.tree.map(lambda xs, x: jnp.concatenate([xs, x[None]]), lived.agents, lived.end.agent)
        return jnp.sum(jax.vmap(objective.last, (None, 0, 0))(meta_params, agents, record)), lived.seen

    def compiled(window: Window) -> Any:
        return jax.jit(jax.value_and_grad(functools.partial(total, window), has_aux=True))

    birth = world.learner.birth
    learner = world.learner._replace(birth=lambda φ, key: double(birth(φ, key)))
    precise, both = compiled(window._replace(world=world._replace(learner=learner))), compiled(window)
    past = both(meta_params)[0][1]
    return One(meta_params, window, start, functools.partial(total, window), both, both, precise, past)


def spread(meta_params: Any) -> Any:
    """Parameters away from their initial zeros, so that no gradient vanishes by symmetry."""
    leaves, treedef = jax.tree.flatten(meta_params)
    keys = jax.random.split(jax.random.key(9), max(1, len(leaves)))
    noisy = [leaf + 0.3 * jax.random.normal(k, jnp.shape(leaf)) for k, leaf in zip(keys, leaves, strict=False)]
    return jax.tree.unflatten(treedef, noisy)


close = functools.partial(trees.close, rtol=2e-4, atol=2e-6)  # in single precision


@pytest.mark.parametrize("variant", each(LIVED))
def test_a_relived_life_is_the_life_that_was_lived(variant: str) -> None:
    one = life(variant)
    (lived, _), lived_slope = one.live(one.meta_params)
    (relived, _), relived_slope = one.relive(one.meta_params, one.past)
    close(relived, lived)
    close(relived_slope, lived_slope)


@pytest.mark.parametrize(
    "steps", [pytest.param(3, marks=pytest.mark.slow), 8], ids=["one-episode", "over-episode-ends"]
)
@pytest.mark.parametrize(
    "kind", ["memoryless", *(f"{how}-{name}" for name in KINDS for how in ("keeping", "forgetting"))]
)
def test_replayed_actions_have_a_log_ratio_of_zero(kind: str, steps: int) -> None:
    """Attention looks back three steps: over the end of an episode, and past the start of the record."""
    how, _, memory = kind.partition("-")
    remember = lambda inputs: make_memory(memory, inputs, 4, window=3)  # noqa: E731
    policy = (
        memory_policy(ENVIRONMENT, remember, forgets=how == "forgetting")
        if memory
        else mlp_policy(ENVIRONMENT, (4,), critic=True)
    )
    params = spread(policy.init(jax.random.key(0)))
    task = ENVIRONMENT.sample_task(jax.random.key(1), "train")
    scene = opening(ENVIRONMENT, policy, task, jax.random.key(2), 2)

    @jax.jit
    def replayed(scene: Any, key: Any) -> Any:
        scene, seen = rollout(ENVIRONMENT, policy, params, task, scene, key, steps)
        return scene, seen, replay(policy, params, seen)

    for key in jax.random.split(jax.random.key(3)):  # the second rollout starts in the middle of an episode
        scene, seen, output = replayed(scene, key)
        log_prob = policy.distribution.log_prob(output.distribution, seen.action)
        np.testing.assert_allclose(log_prob - seen.log_prob, 0.0, atol=1e-5)
        np.testing.assert_allclose(output.value, seen.value, atol=1e-5)


@pytest.mark.parametrize("variant", each(META_LEARNED))
def test_the_meta_gradient_reaches_every_leaf(variant: str) -> None:
    one = life(variant)
    slope = one.live(one.meta_params)[1]
    dead = [
        jax.tree_util.keystr(path)
        for path, leaf in jax.tree_util.tree_leaves_with_path(slope)
        if not np.all(np.isfinite(leaf)) or not np.any(leaf)
    ]
    assert dead == []


@pytest.mark.parametrize("variant", each([*META_LEARNED, "varibad"]))
def test_no_leaf_is_dead(variant: str) -> None:
    """What is within the objective's reach is reached, once a first step has moved heads that start at zero."""
    state, _ = compiled_step(variant)(first_state(variant), jax.random.key(5))
    _, info = compiled_step(variant)(state, jax.random.key(6))
    assert info["dead_leaves"] == 0


@pytest.mark.parametrize("variant", each(DIFFERENTIATED, always="learned_rule"))
def test_the_meta_gradient_equals_central_differences(variant: str) -> None:
    """Of a recorded life in float64, along random directions, where nothing but φ moves."""
    one = life(variant)
    with jax.enable_x64(True):
        meta_params, past = double(one.meta_params), double(one.past)
        slope = one.exact(meta_params, past)[1]
        for seed in range(3):
            direction = double(spread(jax.tree.map(lambda x, s=seed: jnp.zeros_like(x) + 0.1 * s, meta_params)))
            moved = [jax.tree.map(lambda x, d, e=e: x + e * d, meta_params, direction) for e in (1e-5, -1e-5)]
            ahead, behind = (one.exact(φ, past)[0][0] for φ in moved)
            along = sum(jnp.vdot(d, g) for d, g in zip(*map(jax.tree.leaves, (direction, slope)), strict=True))
            np.testing.assert_allclose(along, (ahead - behind) / 2e-5, rtol=1e-5, atol=1e-9)


def test_without_adaptation_the_meta_gradient_is_a_policy_gradient() -> None:
    recipe = make("maml", hidden=(4,), adaptations=0, envs=2).recipe(ENVIRONMENT)
    world, loss = recipe.window.world, recipe.objective(jnp.int32(0)).loss
    meta_params = world.learner.meta_init(jax.random.key(0))
    task = ENVIRONMENT.sample_task(jax.random.key(1), "train")

    def total(meta_params: Any) -> Any:
        life, _ = run(world, meta_params, begin(world, meta_params, task, jax.random.key(2)), 0)
        return loss(life.agent.params, life.seen), life.seen

    gradient, seen = jax.jit(jax.grad(total, has_aux=True))(meta_params)
    credit = loss.credited(seen)

    def surrogate(params: Any) -> Any:
        output = world.policy.unroll(params, (), seen.timestep)
        return -jnp.mean(world.policy.distribution.log_prob(output.distribution, seen.action) * credit.advantage)

    close(gradient["params"], jax.jit(jax.grad(surrogate))(meta_params["params"]))


# Compiled in a hurry, loops of two and of five turns round the history's last bit differently.
HISTORIES = ("intrinsic_reward-history", "intrinsic_reward-lifetime")
WHOLE = [pytest.param(name, marks=pytest.mark.learning) for name in HISTORIES]


@pytest.mark.parametrize("variant", [*each(name for name in LIVED if name not in HISTORIES), *WHOLE])
def test_lives_compose(variant: str) -> None:
    """Turn by turn, or 2 + 3 turns, or 5 at once: the same life, and the same observed, bit for bit."""
    one = life(variant)
    world, φ = one.window.world, one.meta_params

    def observe(φ: Any, life: Life) -> Any:
        return life.age, jnp.sum(life.seen.reward), jax.random.uniform(draws(life).observe)

    @functools.partial(jax.jit, static_argnums=1)
    def lived(life: Life, turns: int) -> Any:
        return run(world, φ, life, turns, observe)

    @jax.jit
    def in_one_program(life: Life) -> Any:
        two, early = run(world, φ, life, 2, observe)
        five, late = run(world, φ, two, 3, observe)
        whole = run(world, φ, life, 5, observe)
        return (five, jax.tree.map(lambda *x: jnp.concatenate(x), early, late)), whole

    parts, whole = in_one_program(one.start)
    jax.tree.map(same, parts, whole)
    stepwise = one.start
    for _ in range(5):
        stepwise, _ = lived(stepwise, 1)
    assert stepwise.age == 5
    jax.tree.map(alike if variant in ROUNDED else same, stepwise, whole[0])


def alike(a: Any, b: Any) -> None:
    exact = not jnp.issubdtype(a.dtype, jnp.floating)
    same(a, b) if exact else close(a, b, rtol=1e-5, atol=1e-6)


def same(a: Any, b: Any) -> None:
    a, b = (jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x for x in (a, b))
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "variant", ["meta_gradient", *(pytest.param(v, marks=pytest.mark.slow) for v in ("maml", "rl2"))]
)
def test_lives_of_all_spans_share_a_batch(variant: str) -> None:
    """Spans are data: lives end at ages of their own, and every one of them at its own."""
    name, options = VARIANTS[variant]
    recipe = make(name, **{"tasks": 8, "envs": 2, **options}).recipe(ENVIRONMENT)
    window = recipe.window._replace(newborn=False, world=recipe.window.world._replace(fresh=False, quota=None))
    learner = meta_learner(window, backprop(window, recipe.objective, optax.sgd(0.0)), 8, lifespan=(2, 5))
    step, state = jax.jit(learner.step), learner.init(jax.random.key(0))
    spans, ended = set(), 0
    for key in jax.random.split(jax.random.key(1), 12):
        before, state = state, step(state, key)[0]
        reborn = np.asarray(before.lives.age >= before.spans)
        aged = np.where(reborn, 0, before.lives.age) + max(1, window.turns)
        np.testing.assert_array_equal(state.lives.age, aged)
        spans |= set(np.asarray(state.spans // max(1, window.turns)).tolist())
        ended += reborn.sum()
    assert spans == {2, 3, 4, 5}
    assert ended > 12


@functools.cache
def divided(variant: str, devices: int = 1, chunk: int = 0) -> Any:
    """State and diagnostics after a step in mazes, whose trials differ in length, of eight tasks that are shared."""
    name, options = VARIANTS[variant]
    # Steps and environments enough that someone finds an exit: where nobody does, the gradient is rounding.
    enough = {"envs": 6, "steps": 12} if "lifespan" in options else {"envs": 2}
    algorithm = make(name, **{"hidden": (4,), **options, **enough, "tasks": 8, "chunk": chunk})
    learner = algorithm.build(make_environment("maze", size=3, steps=12, episodes=2), tasks_over(devices))
    state = jax.jit(learner.init)(jax.random.key(0))
    state, info = jax.jit(learner.step)(state, jax.random.key(4))
    return jax.device_get((state.meta_params, info))


def tasks_over(devices: int) -> Any:
    axis = (jax.sharding.AxisType.Auto,)
    return jax.make_mesh((devices,), ("tasks",), axis_types=axis) if devices > 1 else None


USUAL = ("maml", "rl2", "meta_gradient")  # to be divided: the others take the same paths


@pytest.mark.parametrize(
    ("variant", "devices", "chunk"),
    [
        *(
            pytest.param(name, 4, 1, marks=[pytest.mark.slow] * (name not in USUAL))
            for name in VARIANTS
            if name != "decision_pretrained"  # which knows no best actions in mazes
        ),
        ("maml", 1, 3),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in (("rl2", 1, 3), ("maml", 2, 0), ("rl2", 2, 0))),
    ],
)
def test_a_step_is_the_same_however_its_tasks_are_divided(variant: str, devices: int, chunk: int) -> None:
    """Over devices, and there in chunks, one of them with a remainder: φ and what is logged agree to rounding."""
    (params, info), (others, other) = divided(variant), divided(variant, devices, chunk)
    info, other = ({k: v for k, v in x.items() if k != "gradient_variance"} for x in (info, other))  # of the chunks
    close(other, info, rtol=1e-3, atol=1e-5)
    close(others, params, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("variant", each(VARIANTS))
def test_a_step_is_pure_and_compiles_once(variant: str) -> None:
    step, state = compiled_step(variant), first_state(variant)
    first, info = step(state, jax.random.key(5))
    again, _ = step(state, jax.random.key(5))
    assert compiled(lambda: step(first, jax.random.key(6))) == 0
    jax.tree.map(np.testing.assert_array_equal, first.meta_params, again.meta_params)
    assert all(np.isfinite(value) for value in info.values())


@pytest.mark.parametrize("variant", each(name for name in SMALL if name in LIVED))
def test_no_key_is_used_twice(variant: str) -> None:
    """Of one life: the checker does not see through the batches of keys that vmap makes."""
    with jax.debug_key_reuse(True):
        jax.jit(lambda φ: life(variant).total(φ)[0]).trace(life(variant).meta_params)


@pytest.mark.parametrize(
    "variant", [pytest.param(v, marks=pytest.mark.slow if v != "q_learning" else []) for v in SMALL]
)
def test_jit_changes_nothing(variant: str) -> None:
    state, key = first_state(variant), jax.random.key(8)
    close(learner(variant).step(state, key)[0].meta_params, compiled_step(variant)(state, key)[0].meta_params)


@pytest.mark.parametrize("variant", each(META_LEARNED))
def test_the_meta_gradient_is_finite_where_the_inner_gradient_is_zero(variant: str) -> None:
    one = life(variant)
    silent = one.past._replace(
        reward=jnp.zeros_like(one.past.reward),
        value=jnp.zeros_like(one.past.value),
        next_value=jnp.zeros_like(one.past.next_value),
        weight=jnp.zeros_like(one.past.weight),
    )
    slope = one.relive(one.meta_params, silent)[1]
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(slope))


@pytest.mark.parametrize("variant", each(["maml-head", "rl2"]))
def test_evolution_climbs_where_backprop_does(variant: str) -> None:
    """Where the return is smooth in φ and φ is far from its best, both estimators look the same way."""
    environment = make_environment("navigation", steps=3)
    name, options = VARIANTS[variant]
    options = {**options, "tasks": 256, "max_gradient_norm": 0.0}
    # At λ = γ = 1 an untrained critic is a baseline and no more.
    unbiased = {"lambda_": 1.0, "gamma": 1.0, "entropy": 0.0, "value_weight": 0.0, "epochs": 1, "minibatches": 1}
    options |= unbiased if name == "rl2" else {"envs": 8, "adaptations": 0}
    both = [make(name, **options, **more) for more in ({}, {"estimator": "evolution"})]
    recipes = [algorithm.recipe(environment) for algorithm in both]
    start = spread(recipes[0].window.world.learner.meta_init(jax.random.key(0)))

    def descent(meta: MetaLearner) -> Any:
        state = meta.init(jax.random.key(0))._replace(meta_params=start)
        moved = [jax.jit(meta.step)(state, key)[0].meta_params for key in jax.random.split(jax.random.key(1), 4)]
        return np.mean([flat(m) - flat(start) for m in moved], axis=0)

    def flat(tree: Any) -> Any:
        actor = {k: v for k, v in tree.get("params", tree).items() if k != "critic"}
        return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(actor)])

    window, exact, fitness = recipes[0].window, *(recipe.objective for recipe in recipes)
    climbing = evolution(window, fitness, optax.sgd(1.0), pairs=512, sigma=0.1)
    slopes = [
        descent(meta_learner(window, backprop(window, exact, optax.sgd(1.0)), 8192)),
        descent(meta_learner(window, climbing, 256)),
    ]
    cosine = slopes[0] @ slopes[1] / np.linalg.norm(slopes[0]) / np.linalg.norm(slopes[1])
    assert cosine > 0.6
