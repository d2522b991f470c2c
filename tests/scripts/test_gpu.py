"""The command for a few minutes of a GPU: every part of it is one that there is, and it runs on a CPU."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from metarl_jax.experiment.reproduction.scripts import table_scripts

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def gpu():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import gpu
        import speed

        assert set(gpu.TASKS) <= set(speed.WORKLOADS)
        return gpu
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))


def test_the_parts_are_all_workloads_twice_six_memories_and_three_tables(gpu):
    assert set(gpu.TABLES) <= set(table_scripts(ROOT / "scripts"))
    assert gpu.DRY_PULLS // max(gpu.LENGTHS) >= 4  # minibatches
    for dry in (True, False):
        names = [part.name for part in gpu.parts(dry)]
        assert len(names) == len(set(names)) == 2 * len(gpu.TASKS) + 6 + 3


def test_what_fails_or_takes_too_long_is_named_and_the_rest_goes_on(gpu, tmp_path, monkeypatch):
    parts = [
        gpu.Part("fails", ["-c", "import sys; sys.exit('why')"]),
        gpu.Part("sleeps", ["-c", "import time; time.sleep(60)"]),
        gpu.Part("works", ["-c", "import os; print(os.environ['SAID'])"], (("SAID", '{"a": 1}'),)),
    ]
    monkeypatch.setattr(gpu, "DESCRIBE", "print('a GPU')")
    monkeypatch.setattr(gpu, "SHARE", 30)
    assert gpu.run(parts, 1, tmp_path / "gpu.json", {"dry": True}) == 1
    assert gpu.run(parts[2:], 0, tmp_path / "late.json", {}) == 1
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert (found["device"], found["dry"]) == ("a GPU", True)
    fails, sleeps, works = found["parts"]
    assert (fails["code"], fails["error"].strip()) == (1, "why")
    assert (sleeps["code"], sleeps["error"]) == (None, "took more than 2 s")
    assert (works["code"], works["result"]) == (0, {"a": 1})
    assert json.loads((tmp_path / "late.json").read_text())["parts"][0]["error"] == "no time"


@pytest.mark.slow
def test_the_dry_form_runs(tmp_path):
    out = tmp_path / "gpu.json"
    environment = os.environ | {"PYTHON": sys.executable}
    command = [str(ROOT / "scripts" / "gpu.sh"), "--dry", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=2500)
    assert done.returncode == 0, done.stdout + done.stderr
    assert all("result" in part for part in json.loads(out.read_text())["parts"])
