"""An exported agent in an environment that it was not trained in: Gymnasium's CartPole-v1."""

import json
import subprocess
import sys
from pathlib import Path

import gymnasium_life
import numpy as np
import pytest

import metarl_jax

OPTIONS = {"adaptations": 1, "tasks": 16, "envs": 10, "hidden": (32, 32), "inner_lr": 0.3, "meta_lr": 3e-3}
RUN = {"meta_steps": 100, "log_every": 20, "evaluation_tasks": 50, "from_scratch": False, "quiet": True}
PHYSICS = {"physics": "standard", "steps": 200, "episodes": 1}  # of CartPole-v1, its actions swapped in half the tasks


@pytest.mark.learning
def test_an_exported_agent_learns_to_balance_the_pole_of_gymnasium(tmp_path: Path) -> None:
    """One adaptation to ten episodes tells which action is which."""
    result = metarl_jax.train("maml", "cartpole", env=PHYSICS, out=tmp_path / "run", **OPTIONS, **RUN)
    command = [sys.executable, gymnasium_life.__file__, str(result.export(tmp_path / "export")), "20"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lived = json.loads(done.stdout)
    ages, returns = (np.array(x) for x in zip(*lived, strict=True))
    print(result.evaluate().table.to_markdown(), returns)
    assert (ages == 1).sum() >= 10
    assert returns[ages == 0].mean() < 60
    assert returns[ages == 1].mean() > 150
