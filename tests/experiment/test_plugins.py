"""Algorithms and environments of the user's own: the code of the pages, from Python and the command line."""

import json
import pathlib
import re
import sys

import pytest

import metarl_jax
from metarl_jax.experiment.cli import main
from metarl_jax.experiment.errors import UsageError
from metarl_jax.experiment.run_folder import open_run

PAGES = [pathlib.Path(__file__).parents[2] / "docs" / name for name in ("algorithms.md", "rules.md")]
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)
MORE = '''
import dataclasses
from typing import Annotated, ClassVar

from metarl_jax import Algorithm, Between
from metarl_jax.envs import Bandit


@dataclasses.dataclass(frozen=True)
class MyWorld(Bandit):
    """A bandit of fewer arms."""

    name: ClassVar[str] = "my_world"
    arms: int = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class MyRule(Algorithm):
    """A subclass with options of its own."""

    name: ClassVar[str] = "my_rule"
    summary: ClassVar[str] = "RL² again"
    width: Annotated[int, Between(1)] = 8

    def recipe(self, environment):
        return rl2(environment, width=self.width)


def without_defaults(environment, *, width: int):
    """An option without a default."""


def by_three(environment):
    """Minibatches that do not share the tasks of the preset evenly."""
    recipe = rl2(environment)
    loss = final(ppo(recipe.window.world.policy, trial=True))
    return recipe._replace(update=backprop(recipe.window, loss, optax.adam(1e-3), Passes(1, 3)))


NUMBER = 3
'''
TINY = ["--preset", "tiny", "--meta-steps", "2", "--log-every", "1", "--quiet"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with the module of the pages."""
    text = "\n".join(block for page in PAGES for block in BLOCK.findall(page.read_text())) + MORE
    (tmp_path / "my_module.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")  # restored afterwards, whatever commands add
    yield tmp_path
    sys.modules.pop("my_module", None)


@pytest.mark.parametrize(
    ("rule", "world", "options"),
    [
        ("rl2", "bandit", []),
        pytest.param("learned_reward", "my_module:MyWorld", [], marks=pytest.mark.slow),
        ("learned_discount", "my_module:MyWorld", ["--evolved"]),
    ],
)
def test_a_rule_of_the_page_trains_resumes_and_evaluates(rule, world, options, folder, capsys):
    assert main(["train", f"my_module:{rule}", world, "--evaluation-tasks", "4", *TINY, *options]) == 0
    run = capsys.readouterr().out.split()[-1]
    assert pathlib.Path(run).name == f"{rule}-{world.split(':')[-1].replace('MyWorld', 'my_world')}-0-1"
    assert main(["resume", run, "--meta-steps", "3", "--quiet"]) == 0
    assert main(["evaluate", run, "--tasks", "4", "--json"]) == 0
    assert rule in {row["row"] for row in json.loads(capsys.readouterr().out.split("\n", 1)[1])["rows"]}
    config = open_run(run)[1]
    assert config == type(config).from_json(config.to_json())


def test_the_keywords_of_a_function_are_its_options(folder):
    built = metarl_jax.build("my_module:learned_reward", "bandit", tasks=4, hidden=(4,), inner_lr=0.1)
    assert built.window.turns == 4
    with pytest.raises(UsageError, match="did you mean 'inner_lr'"):
        metarl_jax.build("my_module:learned_reward", "bandit", iner_lr=0.1)
    with pytest.raises(UsageError, match="width of my_rule is 0; it must be at least 1"):
        metarl_jax.build("my_module:MyRule", "bandit", width=0)


@pytest.mark.parametrize(
    ("algorithm", "environment", "words"),
    [
        ("my_modul:rl2", "bandit", "there is no module 'my_modul'"),
        ("my_module:rl3", "bandit", "did you mean 'rl2'"),
        ("my_module:NUMBER", "bandit", "it must be a function"),
        ("my_module:rl2", "my_module:MyWorl", "did you mean 'MyWorld'"),
        ("my_module:rl2", "my_module:rl2", "must be a subclass of Environment"),
        ("my_module:by_three", "bandit", "tasks must be a multiple of minibatches, for example 6"),
        ("my_module:without_defaults", "bandit", "'width' of without_defaults needs an annotation and a default"),
    ],
)
def test_a_missing_name_is_refused_by_name(algorithm, environment, words, folder, capsys):
    assert main(["train", algorithm, environment, *TINY]) == 2
    assert words in capsys.readouterr().err
    assert not (folder / "runs").exists()
