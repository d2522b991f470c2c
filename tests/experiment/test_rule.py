"""Learned rules: a run saves its φ, and fresh agents learn by it elsewhere as if they had been given it directly."""

import dataclasses
import json
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from laws.test_laws import ENVIRONMENT, SMALL
from rule_files import needed

import metarl_jax
from experiment.test_training import assert_same_run, interrupt_after
from metarl_jax.algorithms import ALGORITHMS, make
from metarl_jax.algorithms.base import Algorithm, Count, Positive, Recipe
from metarl_jax.core.environment import Discrete
from metarl_jax.core.learner import gradient_learner
from metarl_jax.core.life import World, run
from metarl_jax.core.losses import reinforce
from metarl_jax.core.policy import mlp_policy
from metarl_jax.core.update import Update, chain, watch
from metarl_jax.core.window import Window
from metarl_jax.envs import make as make_environment
from metarl_jax.experiment import rule_file, training
from metarl_jax.experiment.cli import main
from metarl_jax.experiment.config import resolve
from metarl_jax.experiment.errors import Interrupted, UsageError
from metarl_jax.experiment.rule import check_overrides, is_rule
from metarl_jax.experiment.run_folder import RunFolder, create, open_run

SHORT: dict[str, Any] = {"evaluation_tasks": 0, "quiet": True, "log_every": 2, "checkpoint_every": 2}
FLAGS = ["--evaluation-tasks", "0", "--quiet", "--log-every", "2", "--meta-steps", "2"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Walk(Algorithm):
    """REINFORCE whose step sizes, one for each action, walk at random."""

    name: ClassVar[str] = "walk"
    summary: ClassVar[str] = "a walk of step sizes"
    rule_reads: ClassVar[str] = "the action"

    tasks: Count = 4
    lifespan: Count = 50
    stride: Positive = 0.1
    gamma: Positive = 0.9

    def recipe(self, environment: Any) -> Recipe:
        assert isinstance(environment.action_space, Discrete)
        policy = mlp_policy(environment, ())
        learner = gradient_learner(
            policy,
            meta_init=lambda key: {"rates": jax.random.uniform(key, (environment.action_space.n,))},
            birth=lambda meta_params, key: policy.init(key),
            loss=lambda read: reinforce(policy, gamma=self.gamma, baseline=False),
            scale=lambda meta_params, updates: jax.tree.map(lambda x: meta_params["rates"] * x, updates),
            optimiser=optax.sgd(1.0),
        )
        window = Window(World(environment, policy, learner, envs=2, steps=4, fresh=False), turns=1, newborn=False)

        def walk(meta_params: Any, memory: Any, lives: Any, now: Any) -> Any:
            step = self.stride * jax.random.normal(now.key, meta_params["rates"].shape)
            return {"rates": meta_params["rates"] + step}, memory, {}, lives

        return Recipe(window, chain(watch(window), Update(lambda meta_params: (), walk, windows=0)), self.lifespan)


@pytest.fixture(scope="module", autouse=True)
def walk():
    ALGORITHMS[Walk.name] = Walk
    yield
    del ALGORITHMS[Walk.name]


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """A run that has learned a rule in a bandit."""
    return metarl_jax.train(
        "walk", "bandit", gamma=0.5, meta_steps=4, out=tmp_path_factory.mktemp("walk") / "run", **SHORT
    )


@pytest.fixture(scope="module")
def applied(learned, tmp_path_factory):
    """A run of fresh agents that learn by it in longer bandits."""
    out = tmp_path_factory.mktemp("applied") / "run"
    return metarl_jax.train(rule=learned.path, environment="bandit", pulls=7, seed=3, meta_steps=6, out=out, **SHORT)


def test_a_run_saves_its_rule_with_a_card(learned):
    rule = metarl_jax.load_rule(learned.path)
    np.testing.assert_array_equal(rule.leaves["rates"], learned.meta_params["rates"])
    assert rule == metarl_jax.load_rule(learned.path / "rule")
    card = rule.card
    assert (card["algorithm"]["name"], card["algorithm"]["gamma"], card["environment"]["name"]) == (
        "walk",
        0.5,
        "bandit",
    )
    assert (card["reads"], card["leaves"]) == ("the action", {"rates": {"shape": [5], "dtype": "float32"}})
    assert (card["training"]["meta_steps"], card["training"]["env_steps"]) == (4, learned.metrics["env_steps"][-1])
    assert {"seed", "preset", "wall_seconds", "device", "versions", "date"} <= set(card["training"])
    assert {"format", "licence", "sha256"} <= set(card)


def test_a_rule_is_written_again_as_it_was(learned):
    before = metarl_jax.load_rule(learned.path)
    (learned.path / "rule" / "card.json").unlink()
    metarl_jax.resume(learned.path, quiet=True)
    assert metarl_jax.load_rule(learned.path) == before


def test_a_longer_run_replaces_its_rule(learned, tmp_path):
    metarl_jax.train("walk", "bandit", gamma=0.5, meta_steps=2, out=tmp_path / "run", **SHORT)
    before = metarl_jax.load_rule(tmp_path / "run")
    metarl_jax.resume(tmp_path / "run", meta_steps=4, quiet=True)
    after = metarl_jax.load_rule(tmp_path / "run")
    assert before != after
    assert after.card["sha256"] == metarl_jax.load_rule(learned.path).card["sha256"]


def test_phi_stays_as_it_is_and_the_run_holds_a_copy(learned, applied):
    np.testing.assert_array_equal(applied.meta_params["rates"], learned.meta_params["rates"])
    assert metarl_jax.load_rule(applied.path) == metarl_jax.load_rule(learned.path)
    assert applied.config.algorithm.gamma == 0.5  # the rule brings the options of its algorithm
    assert applied.config.environment.pulls == 7
    assert metarl_jax.load(applied.path).config == applied.config


def test_agents_live_as_if_they_had_been_given_phi_directly(learned, applied):
    """The lives of the run are those of `run` in a world of the plain algorithm, with φ as an argument."""
    config, keys = applied.config, training.run_keys(3)
    world = config.algorithm.recipe(config.environment).window.world
    learner = config.learner()
    born = learner.init(keys.birth).lives
    _, state = training.restore(RunFolder(applied.path), learner, keys)
    lived = jax.vmap(lambda life: run(world, learned.meta_params, life, 6)[0])(born)
    for a, b in zip(jax.tree.leaves(state.lives.agent.params), jax.tree.leaves(lived.agent.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    moved = [
        np.any(a != b) for a, b in zip(*map(jax.tree.leaves, (born.agent.params, lived.agent.params)), strict=True)
    ]
    assert any(moved)
    still = jax.vmap(lambda life: run(world, {"rates": jnp.zeros(5)}, life, 6)[0])(born)  # as φ decides
    kernels = [jax.tree.leaves(lives.agent.params)[-1] for lives in (lived, still)]
    assert np.any(np.abs(kernels[0] - kernels[1]) > 1e-3)


def test_a_run_with_a_rule_goes_on_as_if_it_had_not_been_interrupted(learned, applied, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt_after(patch, 2)
        with pytest.raises(Interrupted):
            metarl_jax.train(
                "walk", "bandit", rule=learned.path, pulls=7, seed=3, meta_steps=6, out=tmp_path / "run", **SHORT
            )
    assert_same_run(metarl_jax.resume(tmp_path / "run", quiet=True), applied)


def test_a_rule_that_was_exchanged_is_refused(learned, tmp_path):
    where = {"rule": learned.path, "environment": "bandit", "pulls": 7}
    run = metarl_jax.train(**where, meta_steps=2, out=tmp_path / "run", **SHORT)
    metarl_jax.train("walk", "bandit", gamma=0.5, meta_steps=2, out=tmp_path / "other", **SHORT)
    rule_file.write(metarl_jax.load_rule(tmp_path / "other"), run.path / "rule")
    for again in (metarl_jax.resume, metarl_jax.load):
        with pytest.raises(UsageError, match="was exchanged since the run began"):
            again(run.path)


def test_an_agent_with_a_rule_lives_in_a_given_task(applied):
    adapted = metarl_jax.adapt(applied, {"mean": [0.0, 0.0, 0.0, 0.0, 1.0]}, adaptations=2)
    assert adapted.returns.shape == (3, 1)
    assert np.all((adapted.returns >= 0) & (adapted.returns <= 7))


def test_wrong_sizes_are_refused_by_name(learned, tmp_path):
    words = r"rates is float32 \[5\] in the rule and float32 \[3\] here; it reads the action, with the sizes of bandit"
    for apply in (metarl_jax.train, metarl_jax.build):
        with pytest.raises(UsageError, match=words):
            apply(
                rule=learned.path,
                environment="bandit",
                arms=3,
                **({"out": tmp_path / "run"} if apply is metarl_jax.train else {}),
            )
    assert not (tmp_path / "run").exists()


def test_leaves_of_another_algorithm_are_refused_by_name(learned):
    rule = metarl_jax.load_rule(learned.path)
    algorithm = make("meta_gradient", hidden=(4,))
    with pytest.raises(UsageError, match=r"entropy is missing in the rule and float32 \[\] here"):
        rule.fit(algorithm.recipe(make_environment("bandit")), algorithm)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("maml", "bandit"), "learned by walk, not by maml; leave maml out"),
        (("bandit",), "learned by walk, not by bandit"),
        ((None, None), "no environment was named"),
        ((None, "bandti"), "did you mean 'bandit'"),
    ],
)
def test_names_that_contradict_the_rule_are_refused(learned, names, words):
    with pytest.raises(UsageError, match=words):
        metarl_jax.train(*names, rule=learned.path)


def test_without_a_rule_both_names_are_needed():
    with pytest.raises(UsageError, match="no algorithm was named"):
        metarl_jax.train(environment="bandit")
    with pytest.raises(UsageError, match="no environment was named"):
        metarl_jax.build("maml")


def test_an_option_that_matters_only_while_phi_is_learned_is_refused(learned, tmp_path):
    where = {"rule": learned.path, "environment": "bandit", "meta_steps": 2, "out": tmp_path / "run"}
    rule = metarl_jax.load_rule(learned.path)
    with pytest.raises(UsageError, match=r"stride is 0.2; it must be left at 0.1 .* matters only while φ is learned"):
        metarl_jax.train(**where, stride=0.2, gamma=0.9, **SHORT)
    assert not (tmp_path / "run").exists()
    check_overrides(resolve(None, "bandit", rule=rule, gamma=0.9, tasks=2))


def test_build_takes_a_rule(learned):
    learner = metarl_jax.build(rule=metarl_jax.load_rule(learned.path), environment="bandit")
    state = jax.eval_shape(learner.step, jax.eval_shape(learner.init, jax.random.key(0)), jax.random.key(1))[0]
    assert state.memory == ()
    np.testing.assert_array_equal(learner.window.world.learner.meta_init(None)["rates"], learned.meta_params["rates"])


def test_runs_without_a_rule_are_refused(learned, tmp_path):
    """One whose φ is the agent, one that has not ended, and a folder that is neither run nor rule."""
    for name, algorithm in (("agent", "maml"), ("begun", "walk")):
        create(resolve(algorithm, "bandit"), tmp_path / name)
    with pytest.raises(UsageError, match="the φ of maml is the agent itself"):
        metarl_jax.load_rule(tmp_path / "agent")
    with pytest.raises(UsageError, match="has no rule yet: it is written at the end; finish it with `metarl resume"):
        metarl_jax.load_rule(tmp_path / "begun")
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        metarl_jax.load_rule(tmp_path / "nowhere")


def test_the_module_of_a_user_is_run_only_if_the_user_names_it(learned):
    rule = metarl_jax.load_rule(learned.path)
    theirs = dataclasses.replace(rule, card={**rule.card, "algorithm": {"name": "some_module:walk"}})
    with pytest.raises(UsageError, match="learned by some_module:walk; name it"):
        metarl_jax.build(rule=theirs, environment="bandit")
    with pytest.raises(UsageError, match="there is no module 'some_module'"):
        metarl_jax.build("some_module:walk", "bandit", rule=theirs)


def test_every_command_line_means_the_same_run(learned, tmp_path, capsys):
    lines = ("--rule {} bandit", "--rule={} bandit", "bandit --rule {}", "walk bandit --rule {}")
    configs = []
    for number, line in enumerate(lines):
        out = tmp_path / str(number)
        assert main(["train", *line.format(learned.path).split(), "--out", str(out), *FLAGS]) == 0
        configs.append(open_run(out)[1])
    assert all(config == configs[0] for config in configs)
    assert configs[0].rule == metarl_jax.load_rule(learned.path)
    assert capsys.readouterr().out.split() == [str(tmp_path / str(number)) for number in range(len(lines))]


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("--help", 0, "--rule"),
        ("--rule {} bandit --help", 0, "by which fresh agents learn"),
        ("--rule {}", 2, "ENVIRONMENT"),
        ("--rule nowhere bandit", 2, "nowhere/card.json cannot be read"),
        ("--rule {} maml bandit", 2, "learned by walk, not by maml"),
        ("--rule {} bandit --env.arms 3", 2, "rates is float32 [5] in the rule"),
        ("--rule {} bandit --stride 0.2", 2, "matters only while φ is learned"),
        ("bandit --gamma 0.9", 2, "'environment'"),
    ],
)
def test_the_command_says_what_it_needs(learned, line, code, said, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "1000")
    try:
        found = main(["train", *line.format(learned.path).split()])
    except SystemExit as exit:
        found = exit.code
    printed = capsys.readouterr()
    assert found == code
    assert said in printed.out + printed.err


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_an_algorithm_says_what_its_rule_reads_where_agents_are_born_without_phi(algorithm):
    recipe = make(algorithm, **SMALL[algorithm]).recipe(ENVIRONMENT)
    assert is_rule(recipe) == bool(ALGORITHMS[algorithm].rule_reads)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", [name for name, kind in ALGORITHMS.items() if kind.rule_reads])
def test_every_rule_is_learned_and_applied(algorithm, tmp_path):
    options = SHORT | {"preset": "tiny", "meta_steps": 2, "evaluation_tasks": 3, "from_scratch": True}
    metarl_jax.train(algorithm, "catch", out=tmp_path / "run", **options, **needed(algorithm))
    again = metarl_jax.train(rule=tmp_path / "run", environment="catch", seed=1, out=tmp_path / "again", **options)
    assert np.isfinite(again.metrics["return"][-1])
    table = json.loads((again.path / "evaluation.json").read_text())
    assert {algorithm, "policy_gradient", "random"} <= {row["row"] for row in table["rows"]}
    for name, leaf in metarl_jax.load_rule(tmp_path / "run").leaves.items():
        np.testing.assert_array_equal(leaf, metarl_jax.load_rule(tmp_path / "again").leaves[name])
