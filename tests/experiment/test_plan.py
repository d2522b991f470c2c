"""What a plan says is what the run then takes."""

import json

import pytest
from conftest import compilations
from shell_toy import SHORT, toy  # noqa: F401

import metarl_jax
from metarl_jax.experiment import api, checkpoint, memory
from metarl_jax.experiment import plan as plans
from metarl_jax.experiment.cli import main
from metarl_jax.experiment.errors import TooLarge

OPTIONS = {name: value for name, value in SHORT.items() if name != "quiet"} | {"meta_steps": 12}
FLAGS = [f"--{name.replace('_', '-')}={value}" for name, value in OPTIONS.items()]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(plans, "SECONDS", 0.05)


def test_a_plan_is_of_the_run_that_follows_and_compiles_its_program(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = metarl_jax.plan("toy", "bandit", **OPTIONS)
    assert not list(tmp_path.iterdir())
    before = compilations("chunk")
    run = api.train("toy", "bandit", out=tmp_path / "run", **SHORT, meta_steps=12)
    assert compilations("chunk") == before
    assert found.env_steps == run.cost[0]
    assert found.parameters == 3 * 2 + 0 * 4 + 2
    written = checkpoint.found(run.path / "checkpoints")[-1] / checkpoint.ARRAYS
    assert 0 < found.checkpoint_bytes <= written.stat().st_size < found.checkpoint_bytes + 2**12
    assert found.checkpoint_bytes < found.memory_bytes < found.free_bytes
    assert found.training_seconds == pytest.approx(found.compile_seconds + 12 * found.meta_step_seconds)
    assert found.env_steps_per_second == pytest.approx(7 / found.meta_step_seconds)


def test_a_plan_is_printed_as_lines_and_as_json(capsys):
    assert main(["plan", "toy", "bandit", *FLAGS]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "run          toy on bandit, 12 meta-steps of 8 tasks"
    assert [line.split()[0] for line in lines[-2:]] == ["speed", "training"]
    assert main(["plan", "toy", "bandit", *FLAGS, "--no-measure", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["env_steps"], found["tasks"], found["checkpoints"]) == (12 * 7, 8, 3)
    assert found["meta_step_seconds"] is None
    assert found["training_seconds"] is None


def test_a_plan_refuses_what_does_not_fit(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 100)
    with pytest.raises(TooLarge, match=r"tasks is 8: training needs .* of memory"):
        metarl_jax.plan("toy", "bandit", **OPTIONS)
