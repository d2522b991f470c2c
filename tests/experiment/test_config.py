"""Configurations: what is refused, in which words, and that JSON keeps everything."""

import dataclasses
import inspect
import json
from typing import ClassVar

import pytest
import shell_toy

import metarl_jax
from metarl_jax.algorithms import ALGORITHMS
from metarl_jax.core.window import UNROLLED
from metarl_jax.envs import ENVIRONMENTS
from metarl_jax.experiment.config import SHELL, RunConfig, algorithm_class, field_names, resolve
from metarl_jax.experiment.errors import UsageError
from metarl_jax.experiment.group import Group

BAD = [
    (("mamml", "maze"), {}, "'maml'"),
    (("maml", "maz"), {}, "'maze'"),
    (("maml", "maze"), {"preset": "tinny"}, "'tiny'"),
    (("maml", "maze"), {"inner_l": 0.1}, "'inner_lr'"),
    (("rl2", "cartpole"), {"learning_rate": 0.1}, "did you mean 'meta_lr'?"),
    (("maml", "maze"), {"lr": 0.1}, "did you mean 'meta_lr' or 'inner_lr'?"),
    (
        ("fomaml", "maze"),
        {"estimator": "lvc"},
        "fomaml has no option 'estimator': it stands for maml with estimator=first_order",
    ),
    (("maml", "maze"), {"env": {"siz": 3}}, "'size'"),
    (("maml", "maze"), {"inner_lr": "fast"}, "'fast'; it must be of type float"),
    (("maml", "maze"), {"learned_rates": 1}, "of type bool"),
    (("maml", "maze"), {"tasks": True}, "of type int"),
    (("maml", "maze"), {"tasks": 2.5}, "2.5; it must be of type int"),
    (("maml", "maze"), {"hidden": 64}, "a list of int"),
    (("maml", "maze"), {"hidden": [64, "x"]}, "of type int"),
    (("maml", "maze"), {"estimator": "evolutio"}, "'evolution'"),
    (("maml", "maze"), {"gamma": 1.5}, "1.5"),
    (("maml", "maze"), {"gamma": float("nan")}, "nan"),
    (("maml", "maze"), {"inner_lr": float("inf")}, "finite"),
    (("maml", "maze"), {"inner_lr": -0.1}, "-0.1"),
    (("maml", "maze"), {"tasks": 0}, "0"),
    (("maml", "maze"), {"size": 1}, "1"),
    (("maml", "maze"), {"meta_steps": 0}, "meta_steps is 0; it must be at least 1"),
    (("maml", "maze"), {"meta_steps": 2**31}, "meta_steps is 2147483648; it must be below 2147483648"),
    (("maml", "maze"), {"anneal": 2**31}, "anneal of maml is 2147483648; it must be between -1 and"),
    (("maml", "maze"), {"seed": -1}, "seed is -1"),
    (("maml", "maze"), {"checkpoint_minutes": 0.0}, "positive"),
    (("q_learning", "navigation"), {}, "q_learning cannot run on navigation"),
]


@pytest.mark.parametrize(("names", "options", "words"), BAD)
def test_bad_input_is_refused_with_the_value_and_the_remedy(names, options, words):
    with pytest.raises(UsageError) as caught:
        resolve(*names, **options)
    assert words in str(caught.value)
    assert caught.value.exit_code == 2


def test_json_round_trip_keeps_the_configuration_and_its_digest():
    config = resolve("maml", "maze", preset="tiny", seed=3, hidden=[8, 4], size=5, checkpoint_minutes=2)
    again = RunConfig.from_json(json.loads(json.dumps(config.to_json())))
    assert again == config
    assert again.digest() == config.digest()
    assert again.algorithm.hidden == (8, 4)
    assert isinstance(again.run.checkpoint_minutes, float)


def test_every_option_moves_the_digest():
    changes = ({}, {"seed": 1}, {"inner_lr": 0.2}, {"size": 5})
    assert len({resolve("maml", "maze", **change).digest() for change in changes}) == 4


def test_an_option_of_both_belongs_to_the_algorithm_unless_given_as_env():
    config = resolve("maml", "maze", steps=50, env={"steps": 60})
    assert (config.algorithm.steps, config.environment.steps) == (50, 60)


def test_options_named_like_arguments_are_options():
    with pytest.raises(UsageError, match="algorithm"):
        resolve("policy_gradient", "bandit", algorithm="reinforce")


@pytest.mark.parametrize("preset", ["tiny", "default"])
def test_every_pair_that_makes_sense_has_both_presets(preset):
    made = 0
    for algorithm, kind in ALGORITHMS.items():
        for environment, place in ENVIRONMENTS.items():
            if kind().refuses(place()) is None:
                made += resolve(algorithm, environment, preset=preset).preset == preset
    assert made > len(ENVIRONMENTS)


@pytest.mark.parametrize("algorithm", ["intrinsic_reward", "learned_rule"])
def test_tiny_runs_of_what_takes_long_to_compile_compile_a_life_once_and_a_turn_once(algorithm):
    window = resolve(algorithm, "bandit", preset="tiny").recipe.window
    assert window.newborn
    assert window.turns > UNROLLED


def test_no_option_of_an_algorithm_has_the_name_of_one_of_the_shell(monkeypatch):
    calls = (metarl_jax.train, metarl_jax.sweep, metarl_jax.plan)
    named = {name for call in calls for name in inspect.signature(call).parameters} | set(field_names(Group))
    assert named - {"algorithm", "options"} <= SHELL  # an option may be called `algorithm`, which is positional
    for name in ALGORITHMS:
        assert algorithm_class(name) is ALGORITHMS[name]
    monkeypatch.setitem(ALGORITHMS, "clashing", Clashing)
    with pytest.raises(UsageError, match="option 'rule' of clashing has the name of an option of every run; rename it"):
        resolve("clashing", "bandit")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clashing(shell_toy.Toy):
    name: ClassVar[str] = "clashing"
    rule: str = "ppo"
