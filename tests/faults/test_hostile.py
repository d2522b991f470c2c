"""Run folders from elsewhere: refused in under a second, nothing executed, memory bounded."""

import json
import os
import pathlib
import pickle
import random
import re
import sys
import time
import tracemalloc

import jax
import pytest
import safetensors.numpy
from shell_toy import Toy, toy  # noqa: F401

from faults.stored import content, copied, newest, trained
from metarl_jax.envs import make
from metarl_jax.experiment import api, checkpoint, cli, metrics, notebook, results, run_folder, sealed
from metarl_jax.experiment.errors import UnusableRun, UsageError
from metarl_jax.experiment.run_folder import RunFolder

pytestmark = pytest.mark.fault(13)

ROOT = pathlib.Path(__file__).parents[2]
EVIL = "<img src=x onerror=alert(1)>"
FILES = ("run.json", "metrics.jsonl", "checkpoints/step-00000022/manifest.json")
FILES += ("checkpoints/step-00000022/arrays.safetensors",)
LIKE = jax.eval_shape(Toy().build(make("bandit")).init, jax.random.key(0))


class Payload:
    def __reduce__(self):
        return os.mkdir, ("executed",)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("whole") / "run", meta_steps=22, keep=1).path


@pytest.fixture
def run(whole, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = copied(whole, tmp_path / "run")
    table = results.Table("toy", [0], 3, meta_step=22)
    table.add("toy", "episode=1", 1.0, (0.5, 1.5), by_seed=[1.0, 1.0], made={"tasks": 4})
    table.write(made / "evaluation.json")
    return made


def read(run, place):
    """What is read of a run from a file, or from the folder of its checkpoints; None if nothing is."""
    folder = RunFolder(run)
    if place == "metrics.jsonl":
        return metrics.read_metrics(folder.metrics) or None
    if place == "evaluation.json":
        return results.read_of(folder.evaluation, 22)
    if place == "run.json":
        return run_folder.open_run(run), run_folder.trained_on(folder), run_folder.diverged_at(folder)
    return run_folder.restore(folder, LIKE)


def complaint(run, place):
    """The error of reading that, which must be one of ours; None if it was read."""
    try:
        return None if read(run, place) is not None else "it is left out"
    except (UsageError, UnusableRun) as error:
        return str(error)


def refused(run, place):
    """Whether a run is refused, or what is damaged in it is left out, at once and without much memory."""
    tracemalloc.start()
    start = time.process_time()
    said = complaint(run, place)
    seconds, peak = time.process_time() - start, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert not os.path.exists("executed")
    return said is not None and len(said) < 2000 and seconds < 1 and peak < 2**25


def a_link_out(path):
    path.rename(path.parent.parent / "outside")
    path.symlink_to(path.parent.parent / "outside")


def a_device(path):
    path.unlink()
    path.symlink_to("/dev/zero")


def a_pipe(path):
    path.unlink()
    os.mkfifo(path)


def a_folder(path):
    path.unlink()
    path.mkdir()


def a_pickle(path):
    path.write_bytes(pickle.dumps(Payload()))


def a_huge_file(path):
    with path.open("r+b") as file:
        file.truncate(2**40)  # a hole, which takes no space


def deep_json(path):
    path.write_bytes(b"[" * 2**19)


def deep_lines(path):
    path.write_bytes(b'{"a":' * 2**18 + b"\n")


def a_huge_number(path):
    path.write_bytes(b"9" * 2**19 + b"\n")


def no_text(path):
    path.write_bytes(bytes(range(256)) * 100 + b"\n")


def an_empty_list(path):
    path.write_bytes(b"[]\n")


DISGUISES = [
    a_link_out,
    a_device,
    a_pipe,
    a_folder,
    a_pickle,
    a_huge_file,
    deep_json,
    deep_lines,
    a_huge_number,
    no_text,
    an_empty_list,
]


@pytest.mark.parametrize("disguise", DISGUISES)
@pytest.mark.parametrize("place", [*FILES, "evaluation.json"])
def test_another_thing_in_place_of_a_file_is_refused(run, place, disguise):
    disguise(run / place)
    assert refused(run, place)


def test_a_checkpoint_outside_is_not_followed(run):
    a_link_out(newest(run))
    assert refused(run, "checkpoints")


def forged(path, change):
    """Change a sealed file as a forger would, who knows how to seal it."""
    card = json.loads(path.read_bytes())
    del card["digest"]
    change(card)
    path.write_bytes(sealed.written(card))


VALUES = [None, [], {}, [[]], -1, 2**70, 1.5, "", "\x1b[2J", "../../..", "x" * 10**5, {"name": "x" * 10**5}]


SEALED = ["run.json", "checkpoints/step-00000022/manifest.json", "evaluation.json"]


def forgeries(card):
    """Every value in every field, in the fields of these, and in one more."""
    inner = [(part, name) for part in card if isinstance(card[part], dict) for name in card[part]]
    fields = [*((name,) for name in card), *inner, ("more",)]
    return [(field, value) for field in fields for value in VALUES]


def check_forgeries(run, place, most):
    """A value that means something may be used; any other ends in one sentence."""
    written = (run / place).read_bytes()
    cases = forgeries(json.loads(written))
    for field, value in random.Random(0).sample(cases, min(most, len(cases))):

        def change(card, field=field, value=value):
            for name in field[:-1]:
                card = card[name]
            card[field[-1]] = value

        forged(run / place, change)
        assert len(complaint(run, place) or "") < 10**6, field
        (run / place).write_bytes(written)


@pytest.mark.parametrize("place", SEALED)
def test_values_of_a_forger_end_in_one_sentence(run, place):
    check_forgeries(run, place, 40)


@pytest.mark.slow
@pytest.mark.parametrize("place", SEALED)
def test_all_values_of_a_forger_end_in_one_sentence(run, place):
    check_forgeries(run, place, 10**6)


HEADERS = {
    "endless": (2**62).to_bytes(8, "little"),
    "long": (2**27).to_bytes(8, "little"),
    "empty": (0).to_bytes(8, "little"),
}


@pytest.mark.parametrize("header", HEADERS)
def test_headers_of_a_forger_are_refused(run, header):
    arrays = newest(run) / checkpoint.ARRAYS
    tensors = HEADERS[header] + arrays.read_bytes()[8:]
    arrays.write_bytes(tensors)
    forged(newest(run) / checkpoint.MANIFEST, lambda card: card.update(sha256=sealed.sha256(tensors)))
    assert refused(run, "checkpoints")


@pytest.mark.parametrize(
    "leaves",
    [
        {},
        {"w": {"shape": [2**40], "dtype": "float32"}},
        {"w": {"shape": [2**27] * 8, "dtype": "float64"}},
        {"w": {"shape": [1] * 99, "dtype": "float32"}},
        {"../../w": {"shape": [3], "dtype": "object"}},
        {"w" * 10**5: {"shape": [3], "dtype": "float32"}},
        {"w": {"shape": [True], "dtype": "float32", "more": []}},
        {str(number): {"shape": [0], "dtype": "float32"} for number in range(5000)},
    ],
    ids=["none", "huge", "huger", "deep", "object", "long", "bool", "many"],
)
def test_leaves_of_a_forger_are_refused(run, leaves):
    tensors = safetensors.numpy.save({})
    (newest(run) / checkpoint.ARRAYS).write_bytes(tensors)
    changes = {"leaves": leaves, "sha256": sealed.sha256(tensors)}
    forged(newest(run) / checkpoint.MANIFEST, lambda card: card.update(changes))
    assert refused(run, "checkpoints")


def test_checkpoints_of_another_run_are_refused(run, tmp_path, caplog):
    """Of another seed, or of other options."""
    other = trained(tmp_path / "other", seed=1).path
    copied(newest(other), run / "checkpoints" / "step-00000023")
    (run / "checkpoints" / "step-00000023").rename(run / "checkpoints" / "step-00000030")
    copied(newest(other), tmp_path / "step-00000022")
    copied(newest(run), tmp_path / "kept")
    for path in newest(run), run / "checkpoints" / "step-00000022":
        copied(path, tmp_path / f"was-{path.name}")
    assert api.load(run).step == 22
    assert "step-00000030: it is of another run, with another configuration or seed" in caplog.text
    (run / "checkpoints").rename(tmp_path / "own")
    copied(other / "checkpoints", run / "checkpoints")
    before = content(run)
    assert cli.main(["resume", str(run)]) == 4
    assert content(run) == before


def test_code_beside_a_run_is_not_imported(run, monkeypatch):
    """A module that lies in the folder of the run that names it."""
    (run / "evil.py").write_text("import os; os.mkdir('executed')")
    forged(run / "run.json", lambda card: card["config"]["algorithm"].update(name="evil:Evil"))
    monkeypatch.chdir(run)
    monkeypatch.setattr(sys, "path", [*sys.path, ""])
    with pytest.raises(UsageError, match="evil"):
        api.load(run)
    assert not (run / "executed").exists()


def test_code_in_the_folder_of_the_command_is_imported(run, monkeypatch):
    """As SECURITY.md says: one's own modules lie beside one's runs."""
    beside = run.parent
    (beside / "neighbour.py").write_text("import os; os.mkdir('executed')")
    forged(run / "run.json", lambda card: card["config"]["algorithm"].update(name="neighbour:Mine"))
    monkeypatch.chdir(beside)
    monkeypatch.setattr(sys, "path", [*sys.path, ""])
    with pytest.raises(UsageError, match="neighbour has no 'Mine'"):
        api.load(run)
    assert (beside / "executed").exists()
    assert "or in the folder where `metarl` was started" in (ROOT / "SECURITY.md").read_text()


def test_lines_of_a_forger_are_left_out(run, caplog):
    file = RunFolder(run).metrics
    lines = [{"meta_step": "4"}, {"meta_step": 4, "return": "4"}, {"meta_step": 4, EVIL + "\n": 4.0}, {"return": 1.0}]
    file.write_text("".join(map(metrics._written, lines)))
    assert api.load(run).metrics == {}
    assert "4 lines are left out (1, 2, 3, 4)" in caplog.text


def test_names_are_escaped_wherever_they_become_html(run):
    table = results.Table(EVIL, [0], 3, device=EVIL, versions={EVIL: EVIL}, date=EVIL, meta_step=22)
    table.add(EVIL, f"episode={EVIL}", 1.0, note=EVIL)
    table.add(EVIL, "episode=1", 1.0, note=EVIL)
    table.write(run / "evaluation.json")
    forged(run / "run.json", lambda card: card.update(device=EVIL, versions={EVIL: EVIL}))
    found = results.read(run / "evaluation.json")
    assert not re.search("<img src=x", found._repr_html_())
    named = copied(run, run.with_name(EVIL.replace("/", "")))
    assert not re.search("<img src=x", notebook.result_html(api.load(named), found))
    assert run_folder.described(RunFolder(run))["device"] == EVIL
