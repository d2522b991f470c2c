"""The pages of docs/ hold what they promise: their code is run as it stands."""

import pathlib
import re
import sys
import types

import pytest
from envs import test_envs

from metarl_jax.envs import ENVIRONMENTS
from metarl_jax.oracles import REFERENCES

DOCS = pathlib.Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)
CONFORMANCE = [
    test
    for name, test in vars(test_envs).items()
    if name.startswith("test_") and test_envs.every_environment.mark in getattr(test, "pytestmark", [])
]


@pytest.fixture
def page(tmp_path, monkeypatch):
    """The module that the blocks of the page make up, and its last block."""
    monkeypatch.chdir(tmp_path)
    *definition, use = BLOCK.findall((DOCS / "environments.md").read_text())
    module = types.ModuleType("thermostat")
    monkeypatch.setitem(sys.modules, module.__name__, module)  # dataclasses look their module up
    try:
        for block in definition:
            exec(block, vars(module))
        yield module, use
    finally:
        ENVIRONMENTS.pop("thermostat", None)
        REFERENCES.pop(getattr(module, "Thermostat", None), None)


def test_the_environment_of_the_page_conforms(page, monkeypatch):
    module, _ = page
    monkeypatch.setitem(test_envs.VARIANTS, "thermostat", module.Thermostat())
    assert len(CONFORMANCE) > 10
    for test in CONFORMANCE:
        test("thermostat")


@pytest.mark.learning
def test_the_environment_of_the_page_trains(page, capsys):
    module, use = page
    exec(use, vars(module))
    printed = capsys.readouterr().out
    assert "reference" in printed
    assert "rl2-greedy" in printed
