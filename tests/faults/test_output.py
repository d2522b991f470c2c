"""Fault 17: output that fails, or has another encoding, ends no run."""

import io
import subprocess
import sys

import pytest
from shell_toy import SHORT, toy  # noqa: F401

from faults.processes import command, ran, surroundings, training
from metarl_jax.experiment import api, streams
from metarl_jax.experiment.cli import main

pytestmark = pytest.mark.fault(17)
TOY = ("toy", "bandit")
LOUD = SHORT | {"quiet": False}


class Broken(io.StringIO):
    """A stream that takes nothing."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def write(self, text):
        raise self.error

    def flush(self):
        raise self.error


ERRORS = [BrokenPipeError(32, "Broken pipe"), OSError(28, "No space left on device"), ValueError("closed file")]


@pytest.mark.parametrize("error", [*ERRORS, None], ids=repr)
def test_a_run_outlives_its_progress(error, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stderr", None if error is None else Broken(error))
    assert api.train(*TOY, meta_steps=8, out=tmp_path / "run", **LOUD).step == 8


def test_a_bar_that_fails_is_dropped(tmp_path, monkeypatch):
    terminal = Broken(ERRORS[0])
    terminal.isatty = lambda: True
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", terminal)
    assert api.train(*TOY, meta_steps=8, out=tmp_path / "run", **LOUD).step == 8


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_a_command_outlives_its_standard_error(error, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stderr", Broken(error))
    assert main(training(tmp_path / "run", 8)) == 0
    assert main(["evaluate", "nowhere"]) == 2


def test_a_reader_that_has_seen_enough_is_no_error(monkeypatch):
    monkeypatch.setattr(sys, "stdout", Broken(ERRORS[0]))
    assert main(["list"]) == 0


def test_a_table_that_cannot_be_written_is_an_error_of_one_sentence(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdout", Broken(ERRORS[1]))
    assert main(["list"]) == 1
    assert capsys.readouterr().err == "metarl: [Errno 28] No space left on device\n"


def test_every_character_can_be_printed(monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    with streams.standard():
        print("φ of é\udcff")
    assert written.getvalue() == b"\\u03c6 of \\xe9\\udcff\n"


def test_help_in_ascii():
    words = [sys.executable, "-m", "metarl_jax", "--help"]
    done = subprocess.run(words, capture_output=True, env=surroundings(PYTHONIOENCODING="ascii", LANG="C"))
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.slow
@pytest.mark.parametrize("redirection", ["2>&1 | head -1", "2>/dev/full", "2>&-", ">&-", "<&- >&- 2>&-", ">/dev/full"])
def test_a_process_outlives_its_output(redirection, tmp_path, tally):
    run = tmp_path / "run"
    words = ["bash", "-c", f'"$@" {redirection}; exit ${{PIPESTATUS[0]}}', "bash", *command(training(run, 200))]
    done = subprocess.run(words, env=surroundings(), capture_output=True, text=True)
    assert done.returncode == (redirection == ">/dev/full")
    assert "Traceback" not in done.stderr
    assert api.load(run).step == 200
    tally(1, 0)


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-16"])
def test_commands_in_other_encodings(encoding, tmp_path, tally):
    run = tmp_path / "a run of é"
    environment = surroundings(PYTHONIOENCODING=encoding, LANG="C", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    flags = ["--preset", "tiny", "--meta-steps", "2", "--evaluation-tasks", "4", "--hidden", "4", "--tasks", "4"]
    for words in (["train", "maml", "bandit", f"--out={run}", *flags], ["evaluate", str(run), "--tasks=2"], ["list"]):
        code, _, complaint = ran(words, environment, encoding=encoding)
        assert code == 0
        assert "Traceback" not in complaint
    tally(3, 0)
