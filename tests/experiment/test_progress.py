"""Progress: a bar on a terminal and in a notebook, plain lines elsewhere."""

import io
import re

import pytest
from rich.console import Console

from metarl_jax.experiment import progress

CONTROL = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


def line(step, seconds, **found):
    return {"meta_step": step, "env_steps": 100 * step, "wall_seconds": seconds, **found}


def tell(screen):
    """The progress of a run of 500 meta-steps that compiles for 10 s and then takes 2 meta-steps a second."""
    training = progress.Training(screen, 0, 500)
    training.begin({})
    training.log(line(10, 10.0, loss=1.0, **{"return": 0.25}))
    training.log(line(20, 15.0, loss=1.0, **{"return": 0.5}))
    training.log(line(500, 255.0, loss=1.0, **{"return": 0.75}))
    training.end()
    screen.close()


def test_plain_lines_are_the_first_the_last_and_one_every_few_seconds(capsys, monkeypatch):
    clock = iter([0.0, 1.0, 5.0, 6.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    tell(progress.Lines())
    assert capsys.readouterr().err.splitlines() == [
        "0/500  compiling",
        "20/500  training return 0.5, 4 min left, 2 meta-steps/s, 200 env steps/s",
        "500/500  training return 0.75, 4 min in all, 2 meta-steps/s, 200 env steps/s",
    ]


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_the_bar_stays_with_its_count_and_the_time_left(width):
    file = io.StringIO()
    console = Console(file=file, width=width, force_terminal=True, legacy_windows=False)
    bar = progress.Bar(console)
    training = progress.Training(bar, 0, 500)
    training.log(line(10, 10.0, **{"return": 0.25}))
    training.log(line(20, 15.0, **{"return": 0.5}))
    bar.progress.refresh()
    shown = CONTROL.sub("", file.getvalue()).splitlines()[-1]
    bar.close()
    assert "20/500" in shown
    assert "training return 0.5"[: width - 25] in shown
    assert len(shown) <= width
    assert ("4 min left" in shown) == (width >= 60)
    assert file.getvalue().rstrip("\n").splitlines()[-1].strip()  # not wiped at the end


def test_rates_and_the_time_left_are_known_from_the_second_line_on():
    first = line(10, 10.0, loss=1.0)
    assert progress.summary(first, first, 500) == "loss 1, 1k env steps"
    nothing = line(20, 15.0, **{"return": float("nan")})
    assert progress.summary(first, nothing, 500).startswith("meta-step 20, 4 min left")


def test_a_notebook_has_one_bar_that_is_updated(monkeypatch):
    display = pytest.importorskip("IPython.display")
    shown = []

    class Handle:
        def update(self, html):
            shown.append(html.data)

    monkeypatch.setattr(display, "display", lambda html, display_id: shown.append(html.data) or Handle())
    tell(progress.Notebook())
    assert len(shown) == 4
    assert shown[0].startswith("<progress value='0' max='500'></progress> 0/500")
    assert "training return 0.75" in shown[-1]


def test_a_screen_is_closed_whatever_happens(monkeypatch):
    closed = []
    monkeypatch.setattr(progress.Nothing, "close", lambda self: closed.append(True))
    with pytest.raises(KeyError), progress.screen(quiet=True):
        raise KeyError
    assert closed == [True]
