"""metarl play: what shows an agent at work."""

from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional, UseAppendAction

Numbers = Annotated[str, tyro.conf.arg(metavar="NAME=VALUE,...")]


def play(
    run: Positional[Path],
    *,
    gif: Path | None = None,
    mp4: Path | None = None,
    task: UseAppendAction[tuple[Numbers, ...]] = (),
    split: str | None = None,
    tasks: int | None = None,
    seed: int = 0,
) -> int:
    """Film the agent of a run before and after adaptation, side by side.

    $ metarl play runs/maml-navigation-0-1 --gif film.gif
    $ metarl play runs/maml-navigation-0-1 --mp4 film.mp4 --split extrapolation --tasks 3

    Args:
        run: The run folder.
        gif: New GIF file.
        mp4: New MP4 file, which needs ffmpeg.
        task: A task of your own, as goal=[0.3,-0.2] or gravity=9.8,mass=1 or a JSON object; repeat it for several.
        split: test: held-out tasks of the training distribution, the default; extrapolation: tasks outside it.
        tasks: Number of tasks of the split, one below the other; 1 by default.
        seed: Seed of the tasks and episodes.
    """
    from metarl_jax.experiment import animation, api, films
    from metarl_jax.experiment.errors import UsageError
    from metarl_jax.experiment.evaluation import check_request

    file = animation.one_file(gif, mp4)
    given = [films.parsed(text) for text in task]
    if given and (split, tasks) != (None, None):
        raise UsageError("a task is given beside a split or a number of tasks; give it without --split and --tasks")
    chosen, count = split or "test", 1 if tasks is None else tasks
    check_request(chosen, count, seed)
    print(api.load(run).play(split=chosen, tasks=given or count, seed=seed).save(file))  # type: ignore[arg-type]
    return 0
