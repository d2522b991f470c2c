"""The page in a browser: no error, nothing loaded, and a player that moves by mouse and by keyboard."""

import pytest

from experiment.report import chromium
from experiment.report.conftest import EVIL, STEPS
from metarl_jax.experiment.report.report import report_page

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(chromium.FOUND is None, reason="no Chromium was found"),
]
AGENT = "document.querySelector('.player svg circle').getAttribute('cx')"
CAPTION = "document.querySelector('.player .caption').textContent"


@pytest.fixture
def page(judge, tmp_path):
    path = tmp_path / "report.html"
    path.write_text(report_page([judge(), judge(EVIL, meta_steps=9)]))
    with chromium.browser(tmp_path / "profile", width=390) as page:
        page.open(path)
        yield page
        assert page.evaluate("document.querySelectorAll('img').length") == 0
    assert page.troubles() == []
    assert page.requests() == [path.absolute().as_uri()]


def click(page, label):
    page.evaluate(f"document.querySelector('.player [aria-label=\"{label}\"]').click()")


def test_the_player_steps_plays_and_changes_episode_and_task(page):
    assert page.evaluate("document.querySelectorAll('.player svg').length") == 2
    assert (page.evaluate(AGENT), page.evaluate(CAPTION)) == ("0", "episode 1: 0")
    click(page, "one step forward")
    assert (page.evaluate(AGENT), page.evaluate(CAPTION)) == ("1", "episode 1: 1")
    click(page, "one step back")
    assert page.evaluate(AGENT) == "0"
    page.evaluate("document.querySelectorAll('.player [role=group] button')[1].click()")
    assert page.evaluate(CAPTION) == "episode 2: 0"
    click(page, "play")
    page.evaluate("new Promise(done => setTimeout(done, 2500))")
    assert page.evaluate(CAPTION) == f"episode 2: {STEPS - 1}"
    assert page.evaluate("document.querySelector('.player [aria-label=pause]')") is None  # it stopped at the end
    page.evaluate(
        "(s => { s.value = 1; s.dispatchEvent(new Event('change')); })(document.querySelector('.player select'))"
    )
    assert page.evaluate(CAPTION) == "episode 1: 0"


def test_the_player_moves_by_its_slider_and_by_keys(page):
    page.evaluate(
        "(s => { s.value = 2; s.dispatchEvent(new Event('input')); })(document.querySelector('.player input'))"
    )
    assert page.evaluate(AGENT) == "2"
    page.evaluate("document.querySelector('.player').focus()")
    for key, found in (("ArrowRight", "episode 1: 3"), ("Home", "episode 1: 0"), ("PageDown", "episode 2: 0")):
        page.press(key)
        assert page.evaluate(CAPTION) == found


def test_the_page_fits_a_telephone_and_its_colours_follow_the_theme(page):
    page.call("Emulation.setDeviceMetricsOverride", width=390, height=844, deviceScaleFactor=1, mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    grounds = []
    for theme in ("light", "dark"):
        page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}])
        grounds.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert grounds == ["rgb(255, 255, 255)", "rgb(20, 23, 28)"]
