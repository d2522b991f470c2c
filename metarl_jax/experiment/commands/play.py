"""metarl play: what shows an agent at work."""

from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional, UseAppendAction


def play(
    run: Positional[Path],
    *,
    gif: Path | None = None,
    mp4: Path | None = None,
    task: UseAppendAction[tuple[Annotated[str, tyro.conf.arg(metavar="NAME=VALUE,...")], ...]] = (),
    split: str | None = None,
    tasks: int | None = None,
    seed: int = 0,
) -> int:
    """Film a run: its agent before and after adaptation, side by side, in held-out tasks or in your own.

    metarl play RUN --gif film.gif
    metarl play RUN --task gravity=9.8,direction=-1,... --mp4 film.mp4

    Args:
        run: The run folder.
        gif: New GIF file.
        mp4: New MP4 file, which needs ffmpeg.
        task: A task of your own, as name=value,... or as a JSON object; repeat it for several.
        split: test: held-out tasks of the training distribution, the default; extrapolation: tasks outside it.
        tasks: Number of tasks of the split, one below the other; by default 1.
        seed: Seed of the tasks and episodes.
    """
    from metarl_jax.experiment import animation, api, films
    from metarl_jax.experiment.config import require
    from metarl_jax.experiment.evaluation import check_request

    file = gif or mp4
    require((gif is None) != (mp4 is None), "file", "not given" if file is None else "given twice", "--gif or --mp4")
    assert file is not None
    for flag, path in (("gif", gif), ("mp4", mp4)):
        require(path is None or path.suffix == f".{flag}", flag, str(path), f"named *.{flag}")
    animation.check_new(file)
    require(not (task and (split or tasks)), "task", "given with a split or a number of tasks", "given alone")
    given = [films.parsed(text) for text in task]
    chosen = split or "test"
    check_request(chosen, 1 if tasks is None else tasks, seed)
    result = api.load(run)
    print(result.play(split=chosen, tasks=given or tasks or 1, seed=seed).save(file))
    return 0
