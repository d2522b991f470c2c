"""How runs and evaluations show themselves."""

import pytest
from shell_toy import SHORT, toy  # noqa: F401

from metarl_jax.experiment import api
from metarl_jax.experiment.drawing import Drawing
from metarl_jax.experiment.evaluation import Evaluation
from metarl_jax.experiment.run_folder import RunFolder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return api.train("toy", "bandit", meta_steps=8, out=tmp_path_factory.mktemp("runs") / "<run>", **SHORT)


def test_a_run_is_one_line(run):
    text = repr(run)
    assert text.startswith("<Result toy on bandit, seed 0, meta-step 8 of 8, 8 meta-parameters, 56 env steps in ")
    assert text.endswith("<run>>")
    assert len(text) < 300


def test_a_run_without_an_evaluation_shows_how_it_learned(run):
    page = run._repr_html_()
    assert "<p>toy on bandit" in page
    assert page.count("data:image/png;base64,") == 1
    assert "&lt;run&gt;" in page


def test_a_run_with_an_evaluation_shows_what_it_learned(run, table):
    table.meta_step = run.step
    table.write(RunFolder(run.path).evaluation)
    page = run._repr_html_()
    assert "<table>" in page
    assert "rl2 shows no clear change" in page or "rl2 adapts" in page
    assert page.count("data:image/png;base64,") == 1
    RunFolder(run.path).evaluation.unlink()


def test_an_evaluation_is_its_verdict(table):
    evaluation = Evaluation(table, {})
    assert repr(evaluation).startswith("<Evaluation maze: rl2 ")
    assert "<table>" in evaluation._repr_html_()


def test_figures_show_themselves(table):
    figure = Evaluation(table, {}).plot()
    assert isinstance(figure, Drawing)
    assert figure._repr_png_().startswith(b"\x89PNG\r\n\x1a\n")


def test_a_run_is_compared_with_others(run, monkeypatch):
    asked = []
    monkeypatch.setattr(api, "compare", lambda *runs, **how: asked.append((runs, how)))
    run.compare("runs/other", tasks=7)
    assert asked == [((run, "runs/other"), {"split": "test", "tasks": 7, "seed": 0})]
