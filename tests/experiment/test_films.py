"""Films of learners, and the pictures made of them."""

import io
import json
import pathlib

import jax
import numpy as np
import pytest
from PIL import Image

from metarl_jax.core.drawing import Disc, Film, Line, Polygon, Take, Text
from metarl_jax.core.evaluation import evaluate
from metarl_jax.experiment import animation, api
from metarl_jax.experiment.animation import Animation
from metarl_jax.experiment.cli import main
from metarl_jax.experiment.config import resolve
from metarl_jax.experiment.errors import UsageError
from metarl_jax.experiment.evaluation import sample_tasks
from metarl_jax.experiment.films import films, parsed


def newborn(algorithm, environment, **options):
    """A run before its first meta-step."""
    config = resolve(algorithm, environment, preset="tiny", hidden=(), **options)
    meta_params = config.world.learner.meta_init(jax.random.key(1))
    return api.Result(pathlib.Path("run"), config, 0, meta_params, {})


@pytest.fixture(scope="module")
def adapting():
    return newborn("maml", "navigation", env={"steps": 5}, adaptations=2, envs=2)


@pytest.fixture(scope="module")
def made(adapting):
    return films(adapting, tasks=2, seed=3)


def moving(steps=(4, 2)):
    """A film of episodes of so many steps, made by hand."""
    background = [Polygon([(0, 0), (1, 0), (1, 1)], "faint", filled=False), Text((0.5, 0.9), "up", 0.1)]
    takes = [
        Take(
            f"episode {number}",
            1.0,
            [[Line([(0, 0), (t / 9, 0.5)], "visited"), Disc((t / 9, 0.5), 0.1, "agent")] for t in range(count + 1)],
            [f"step {t}" for t in range(count + 1)],
        )
        for number, count in enumerate(steps)
    ]
    return Film("toy & co", {"goal": [1]}, (0.0, 0.0, 1.0, 1.0), background, takes)


def test_a_learner_that_adapts_is_filmed_before_and_after_every_adaptation(made):
    assert [film.title for film in made] == [f"maml in navigation, held-out task {n}" for n in (1, 2)]
    for film in made:
        assert [take.name for take in film.episodes] == [
            "before adaptation",
            "after 1 adaptation",
            "after 2 adaptations",
        ]
        assert all(len(take.frames) == len(take.captions) == 6 for take in film.episodes)
        assert film.episodes[0].captions[0] == "step 0, return 0.00"
    assert made[0].task != made[1].task
    data = made[0].to_json()
    assert json.loads(json.dumps(data, allow_nan=False)) == data


def test_a_film_shows_the_episodes_of_the_evaluation(adapting, made):
    task_key, life_key, *_ = jax.random.split(jax.random.key(3), 5)
    tasks = sample_tasks(adapting.config.environment, "test", 4, task_key)
    world, meta_params = adapting.config.world, adapting.meta_params
    curve = jax.jit(lambda tasks: evaluate(world, meta_params, tasks, life_key, 2))(tasks)
    earned = [[take.earned for take in film.episodes] for film in made]
    np.testing.assert_allclose(earned, np.asarray(curve.returns)[:2, :, 0], rtol=1e-4)


def test_a_learner_in_memory_is_filmed_over_the_episodes_of_a_trial_in_given_tasks():
    result = newborn("rl2", "dark_room", env={"radius": 1, "steps": 3, "episodes": 4}, width=4)
    one, other = films(result, tasks=[{"goal": [1, -1], "radius": 1}, {"goal": [0, 1], "radius": 1}])
    assert one.title == "rl2 in dark_room, task 1"
    assert (one.task, other.task["goal"]) == ({"goal": [1, -1], "radius": 1}, [0, 1])
    assert [(take.name, len(take.frames)) for take in one.episodes] == [(f"episode {n}", 4) for n in (1, 2, 3, 4)]
    agent = [frame[-1].centre for take in one.episodes for frame in take.frames]
    assert agent[::4] == [(0.0, 0.0)] * 4  # every episode starts in the middle
    assert len(set(agent)) > 1


@pytest.mark.parametrize(
    ("tasks", "said"),
    [
        ([{"goal": [9, 9]}], "'goal' of navigation is 9"),
        ([{}], "lacks 'goal'"),
        ([{"gaol": 1}], "did you mean 'goal'"),
        ([], "tasks is 0"),
        (0, "tasks is 0"),
    ],
)
def test_wrong_tasks_are_refused(adapting, tasks, said):
    with pytest.raises(UsageError, match=said):
        films(adapting, tasks=tasks)


def test_tasks_are_written_as_numbers_or_as_json():
    assert parsed("gravity=9.8,direction=-1") == {"gravity": 9.8, "direction": -1}
    assert parsed("right=[[0,1],[1,0]], size=2") == {"right": [[0, 1], [1, 0]], "size": 2}
    assert parsed('{"goal": [0.3, -0.2]}') == {"goal": [0.3, -0.2]}
    for text in ("goal", "goal=a", '{"goal": ', "[1]"):
        with pytest.raises(UsageError, match="name=value"):
            parsed(text)


def test_a_gif_shows_every_frame_of_the_longest_episode_and_then_pauses():
    image = Image.open(io.BytesIO(Animation([moving(), moving((1, 3))]).gif))
    assert image.n_frames == 5
    durations = []
    for index in range(image.n_frames):
        image.seek(index)
        durations.append(image.info["duration"])
    assert durations == [animation.SLOWEST] * 4 + [animation.PAUSE]


def test_a_single_episode_is_not_shown_twice():
    wide, narrow = (Image.open(io.BytesIO(Animation([moving(steps)]).gif)) for steps in ((1, 1), (1,)))
    assert wide.width == 2 * narrow.width


def test_a_notebook_shows_the_animation_with_its_title_escaped():
    shown = Animation([moving((1,))])
    assert repr(shown) == "Animation(toy & co)"
    assert shown._repr_html_().startswith('<img alt="toy &amp; co" src="data:image/gif;base64,R0lGOD')


def test_play_writes_a_new_gif_and_nothing_else(adapting, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(api, "load", lambda run: adapting)
    words = ["play", "run", "--gif", str(tmp_path / "film.gif"), "--seed", "3", "--tasks", "2"]
    assert main(words) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'film.gif'}\n"
    assert [path.name for path in tmp_path.iterdir()] == ["film.gif"]
    with Image.open(tmp_path / "film.gif") as image:
        assert image.n_frames == 6
    assert main(words) == 2
    assert "nothing is overwritten" in capsys.readouterr().err


def test_an_mp4_without_ffmpeg_is_refused_with_the_remedy(tmp_path, monkeypatch):
    from matplotlib.animation import FFMpegWriter

    monkeypatch.setattr(FFMpegWriter, "isAvailable", lambda: False)
    with pytest.raises(UsageError, match=r"needs ffmpeg.*--gif"):
        Animation([moving()]).save(tmp_path / "film.mp4")
    assert not any(tmp_path.iterdir())
