"""Shared by the tests of the shell."""

import numpy as np
import pytest

from metarl_jax.experiment.results import Table


@pytest.fixture
def table():
    made = Table("maze", seeds=[0, 1], tasks=20, env_steps=1000, wall_seconds=2.5)
    for episode in (1, 2):
        made.add("rl2", f"episode={episode}", np.float32(episode), (episode - 0.5, episode + 0.5), bound=3)
        made.add("rl2", f"episode={episode},iqm", 0.5)
        made.add("random", f"episode={episode}", 0.25, (0.0, 0.5), published=0.2)
    made.add("rl2", "step=0", float("nan"), (float("nan"), 1.0), note="not reached")
    return made
