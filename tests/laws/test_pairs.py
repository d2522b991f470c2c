"""Every algorithm in every environment, and by both estimators, through the public door."""

import json

import numpy as np
import pytest
from rule_files import needed

import metarl_jax
from metarl_jax.algorithms import ALGORITHMS, make
from metarl_jax.core.types import SPLITS
from metarl_jax.envs import ENVIRONMENTS
from metarl_jax.envs import make as make_environment
from metarl_jax.experiment.cli import main
from metarl_jax.experiment.errors import UsageError

pytestmark = pytest.mark.slow
SHORT = {"preset": "tiny", "meta_steps": 2, "log_every": 1, "evaluation_tasks": 0, "quiet": True}


def trains_or_says_why_not(algorithm, environment, path, **options):
    options |= needed(algorithm)
    reason = make(algorithm, **options).refuses(make_environment(environment))
    if reason is not None:
        with pytest.raises(UsageError, match=reason.split(";")[0]):
            metarl_jax.train(algorithm, environment, out=path, **options, **SHORT)
        return
    metrics = metarl_jax.train(algorithm, environment, out=path, **options, **SHORT).metrics
    assert list(metrics["meta_step"]) == [1, 2]
    returns = {name for name in metrics if name.startswith("return")}  # of episodes that ended, if any did
    assert all(np.all(np.isfinite(values)) for name, values in metrics.items() if name not in returns)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_trains_in_every_environment_or_is_refused(algorithm, environment, tmp_path):
    trains_or_says_why_not(algorithm, environment, tmp_path / "run")


@pytest.mark.parametrize("environment", ["bandit", "navigation"])
@pytest.mark.parametrize("algorithm", [name for name in ALGORITHMS if hasattr(make(name), "estimator")])
def test_every_algorithm_trains_by_evolution_or_is_refused(algorithm, environment, tmp_path):
    trains_or_says_why_not(algorithm, environment, tmp_path / "run", estimator="evolution")


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_a_memory_is_trained_and_evaluated_in_every_environment(environment, tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["train", "rl2", environment, "--preset", "tiny", "--from-scratch", "--out", str(run)]) == 0
    capsys.readouterr()
    for split in SPLITS[1:]:
        assert main(["evaluate", str(run), "--tasks", "8", "--split", split, "--json"]) == 0
        rows = json.loads(capsys.readouterr().out)["rows"]
        assert {"rl2", "rl2-greedy", "policy_gradient", "random", "reference"} <= {row["row"] for row in rows}
        assert all(np.isfinite(row["value"]) for row in rows)
