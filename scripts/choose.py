"""Write the tables of docs/choose.md anew from the JSON of benchmarks/results/.

    python scripts/choose.py

A table stands between `<!-- choose: NAME -->` and `<!-- end -->`: the learners that were measured in one setting, with
what they earned, what they lived for it, and how long that took.
"""

import pathlib
import re
import runpy
from typing import Any, NamedTuple

PAGE = pathlib.Path(__file__).parents[1] / "docs" / "choose.md"
TABLES = runpy.run_path(str(pathlib.Path(__file__).with_name("tables.py")))
BLOCK = re.compile(r"(<!-- choose: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
COST = re.compile(r"trained (\S+) env steps(?: on (.+?))?, (\d+) s a seed")
Cell = tuple[str, str, str]  # file, row, column


class Setting(NamedTuple):
    """Learners in one setting: what is measured, the cell of each by its command, and cells beside them."""

    measured: str
    learners: dict[str, Cell]
    beside: dict[str, Cell]


def of(file: str, column: str, rows: dict[str, str]) -> dict[str, Cell]:
    """Cells of one file and column by the words of their lines."""
    return {words: (file, row, column) for words, row in rows.items()}


SETTINGS = {
    "bandit": Setting(
        "reward of 10 pulls, 5 arms",
        {"`rl2`": ("bandits", "rl2-gru", "n=10,k=5"), "`maml`": ("maml_tables", "maml", "bandit_n=10,k=5")},
        {},
    ),
    "pulls": Setting(
        "regret of 100 pulls, two dependent arms",
        of("distillation", "regret", {"`rl2 --memory linear`": "rl2-two_arm", "`decision_pretrained`": "dpt-two_arm"})
        | of("distillation", "regret", {"`algorithm_distillation`": "ad-two_arm"}),
        of("distillation", "regret", {"its source, alone": "source-alone-two_arm"}),
    ),
    "grid": Setting(
        "return of four episodes",
        of(
            "gridnavi",
            "total",
            {
                "`rl2`": "rl2-gru",
                "`rl2 --memory attention`": "rl2-attention",
                "`varibad`": "varibad",
                "`rl2 --memory none`": "memoryless",
            },
        ),
        of("gridnavi", "total", {"one policy that sees the goal": "multitask"}),
    ),
    "room": Setting(
        "return of ten episodes, goals withheld",
        of(
            "distillation",
            "total",
            {
                "`rl2 --memory linear`": "rl2-dark_room",
                "`decision_pretrained`": "dpt-dark_room",
                "`algorithm_distillation`": "ad-dark_room",
            },
        ),
        of("distillation", "total", {"policy gradients, alone": "source-alone-dark_room"}),
    ),
    "process": Setting(
        "return of ten episodes",
        {
            "`rl2 --memory attention`": ("tabular", "rl2-attention", "n=10"),
            "`rl2 --memory linear`": ("tabular", "rl2-linear", "n=10"),
            "`maml`": ("maml_tables", "maml", "tabular_n=10"),
        },
        {},
    ),
    "maze": Setting(
        "steps to the exit / shortest path; attempt 10, or after three gradient steps",
        {
            "`rl2`": ("maze", "rl2-gru", "7x7,attempt=10"),
            "`rl2 --memory attention`": ("maze", "rl2-attention", "7x7,attempt=10"),
            "`meta_sgd`": ("maze", "meta_sgd", "7x7,step=3"),
            "`maml`": ("maze", "maml", "7x7,step=3"),
        },
        {"random walk": ("maze", "random", "7x7,attempt=10")},
    ),
    "plane": Setting(
        "return after three gradient steps",
        of(
            "navigation",
            "published,step=3",
            {
                "`meta_sgd`": "meta_sgd",
                "`maml`": "maml",
                "`fomaml`": "fomaml",
                "`anil`": "anil",
                "`es_maml`": "es_maml",
                "`maml_trpo`": "maml_trpo",
                "`promp`": "promp",
                "`cavia`": "cavia",
            },
        ),
        of("navigation", "published,step=3", {"from a pretrained policy": "pretrained"}),
    ),
    "pole": Setting(
        "return of a 200-step episode after three gradient steps",
        of("cartpole", "mild+flip,step=3", {"`meta_sgd`": "meta_sgd", "`maml`": "maml", "`promp`": "promp"}),
        of(
            "cartpole",
            "mild+flip,step=3",
            {"from scratch": "from-scratch", "`maml` without its steps": "maml-without-steps"},
        ),
    ),
    "pole_memory": Setting(
        "return of the first 500-step episode",
        of(
            "cartpole",
            "mild+flip,episode=1",
            {"`rl2`": "rl2-gru", "`rl2 --memory linear`": "rl2-linear", "`rl2 --memory attention`": "rl2-attention"},
        ),
        of("cartpole", "mild+flip,episode=1", {"controller that knows the physics": "reference"}),
    ),
    "corners": Setting(
        "return of a life after one gradient step",
        of(
            "corners",
            "return,step=1",
            {
                "`maml`": "lvc",
                "`maml --estimator naive`": "naive",
                "`maml --estimator dice`": "dice",
                "`e_maml`": "e_maml",
            },
        ),
        of("corners", "return,step=1", {"walk to the known corner": "reference"}),
    ),
}


def render(text: str) -> str:
    """The text with every table filled."""
    return BLOCK.sub(lambda block: block[1] + table(SETTINGS[block[2]]) + block[3], text)


def table(setting: Setting) -> str:
    """A learner a line; those beside them come last, without a cost."""
    lines = [[words, *measured(TABLES["find"](*cell))] for words, cell in (setting.learners | setting.beside).items()]
    return str(TABLES["markdown"](["learner", setting.measured, "bound", "environment steps", "seconds"], lines))


def measured(cell: dict[str, Any]) -> list[str]:
    """The value with its intervals, the best possible one, and the experience and seconds of the training."""
    cost = COST.search(cell.get("note") or "")
    steps, device, seconds = cost.groups() if cost else ("", "", "")
    experience = f"{float(steps) / 1e6:.3g} M" if steps else ""
    bound = TABLES["words"]({"value": cell.get("bound")})
    return [TABLES["words"](cell), bound, experience, seconds + " (H100)" * ("H100" in (device or ""))]


if __name__ == "__main__":
    PAGE.write_text(render(PAGE.read_text()))
