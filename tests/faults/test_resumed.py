"""A run that is stopped and resumed, once or many times, is the run that was never stopped, bit for bit."""

import pytest
from rule_files import needed
from shell_toy import toy  # noqa: F401

from faults.stored import same
from metarl_jax import algorithms
from metarl_jax.experiment import api
from metarl_jax.experiment.config import field_names

pytestmark = pytest.mark.fault(9)

OPTIONS = {"preset": "tiny", "log_every": 5, "checkpoint_every": 50, "evaluation_tasks": 0, "quiet": True}
STEPS = 100
EVOLVED = {"adaptations": 2, "steps": 4}
SHORTER = {  # lives that take minutes otherwise
    "drift": {**EVOLVED, "inner_epochs": 2},
    "learned_optimizer": {**EVOLVED, "sweeps": 2, "tasks": 4},
    "disco": {"envs": 2, "steps": 4, "tasks": 2},
    "algorithm_distillation": {"layers": 1},
    "decision_pretrained": {"layers": 1},
}


class Stop(Exception):
    pass


def stopping(every):
    """A listener that stops a run after each multiple of so many meta-steps."""

    def listen(line):
        if line["meta_step"] % every == 0 and line["meta_step"] < STEPS:
            raise Stop

    return listen


def in_parts(path, pair, size, **options):
    """A run of 100 meta-steps, stopped and saved after every `size`."""
    listener = stopping(size)
    go_on = lambda: api.train(*pair, out=path, meta_steps=STEPS, on_log=listener, **OPTIONS | options)  # noqa: E731
    stops = 0
    while True:
        try:
            go_on()
            return path, stops
        except Stop:
            stops += 1
            go_on = lambda: api.resume(path, quiet=True, on_log=listener)  # noqa: E731


def check(folder, pair, tally, **options):
    whole, stops = in_parts(folder / "1x100", pair, STEPS, **options)
    assert stops == 0
    parts = [in_parts(folder / f"{STEPS // size}x{size}", pair, size, **options) for size in (50, 10)]
    assert [stops for _, stops in parts] == [1, 9]
    tally(rounds=2, lost=sum(not same(path, whole) for path, _ in parts))


def test_the_toy_in_parts_is_the_toy_in_one_go(tmp_path, tally):
    check(tmp_path, ("toy", "bandit"), tally)


def test_an_algorithm_in_parts_is_the_algorithm_in_one_go(tmp_path, tally):
    check(tmp_path, ("policy_gradient", "bandit"), tally, tasks=4, hidden=())


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", algorithms.everything())
def test_every_algorithm_in_parts_is_itself_in_one_go(algorithm, tmp_path, tally):
    few = {"tasks": 8} if "tasks" in field_names(algorithms.everything()[algorithm]) else {}
    few |= SHORTER.get(algorithm, {}) | needed(algorithm)
    check(tmp_path, (algorithm, "bandit"), tally, **few)
