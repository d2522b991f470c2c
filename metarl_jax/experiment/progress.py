"""The progress of training and evaluation: a bar on a terminal and in a notebook, plain lines elsewhere, or nothing."""

import contextlib
import html
import math
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

from metarl_jax.experiment.metrics import Line
from metarl_jax.experiment.streams import console, say

if TYPE_CHECKING:
    from rich.console import Console

BOOKKEEPING = ("meta_step", "env_steps", "wall_seconds", "skipped_in_a_row")
SECONDS = 5.0  # between two plain lines


class Screen(Protocol):
    """Where progress is shown: what is under way, and how much of it is done."""

    def show(self, words: str, done: int, total: int) -> None: ...

    def close(self) -> None: ...


class Nothing:
    """No progress."""

    def show(self, words: str, done: int, total: int) -> None:
        pass

    def close(self) -> None:
        pass


class Lines:
    """Plain lines, the first and the last at once, the others every few seconds."""

    def __init__(self) -> None:
        self.last = -math.inf

    def show(self, words: str, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self.last >= SECONDS or done == total:
            self.last = now
            say(f"{done}/{total}  {words}")

    def close(self) -> None:
        pass


class Bar:
    """A bar on a terminal, which stays when it is complete."""

    def __init__(self, console: "Console") -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
        from rich.table import Column

        words = Column(ratio=1, no_wrap=True, overflow="ellipsis")
        width = 20 if console.width >= 100 else 8
        columns = (
            BarColumn(bar_width=width, table_column=Column(min_width=width)),
            MofNCompleteColumn(table_column=Column(no_wrap=True)),
            TextColumn("{task.description}", table_column=words, markup=False),
        )
        self.progress = Progress(*columns, console=console, expand=True)
        self.progress.start()
        self.task = self.progress.add_task("", total=None, visible=False)

    def show(self, words: str, done: int, total: int) -> None:
        self.progress.update(self.task, description=words, completed=done, total=total, visible=True)

    def close(self) -> None:
        self.progress.stop()


class Notebook:
    """A bar below the cell of a notebook, which needs no widgets."""

    def __init__(self) -> None:
        self.handle: Any = None

    def show(self, words: str, done: int, total: int) -> None:
        from IPython.display import HTML, display

        bar = HTML(f"<progress value='{done}' max='{total}'></progress> {done}/{total} &nbsp; {html.escape(words)}")
        if self.handle is None:
            self.handle = display(bar, display_id=True)
        else:
            self.handle.update(bar)

    def close(self) -> None:
        pass


class Forgiving:
    """A screen that is made when it is first needed, and dropped when it fails: what it shows is worth no run."""

    def __init__(self, make: Callable[[], Screen]) -> None:
        self._make = make
        self._screen: Screen | None = None

    def show(self, words: str, done: int, total: int) -> None:
        try:
            self._screen = self._screen or self._make()
            self._screen.show(words, done, total)
        except Exception:
            self.close()
            self._screen = Nothing()

    def close(self) -> None:
        if self._screen is not None:
            with contextlib.suppress(Exception):
                self._screen.close()


@contextlib.contextmanager
def screen(quiet: bool) -> Iterator[Screen]:
    """The screen of this process, on standard error; it is closed in any case."""
    shown = Nothing() if quiet else Forgiving(_screen)
    try:
        yield shown
    finally:
        shown.close()


def _screen() -> Screen:
    if sys.stderr is None:
        return Nothing()
    terminal = console(stderr=True)
    if terminal.is_jupyter:
        return Notebook()
    return Bar(terminal) if terminal.is_terminal else Lines()


class Training:
    """The progress of training, as a tracker."""

    def __init__(self, shown: Screen, start: int, total: int) -> None:
        self.screen, self.start, self.total = shown, start, total
        self.first: Line | None = None

    def begin(self, config: dict[str, Any]) -> None:
        self.screen.show("compiling", self.start, self.total)

    def log(self, line: Line) -> None:
        self.first = self.first or line  # the time before it was spent on compilation
        self.screen.show(summary(self.first, line, self.total), int(line["meta_step"]), self.total)

    def end(self) -> None:
        pass


def summary(first: Line, line: Line, total: int) -> str:
    """The training return, the time left, meta-steps and environment steps a second; rates are since the first line."""
    value = line.get("return")
    known = value is not None and math.isfinite(value)
    words = [f"training return {value:.4g}" if known else _other(line)]
    seconds = line["wall_seconds"] - first["wall_seconds"]
    if seconds <= 0:
        return ", ".join([*words, f"{short(line['env_steps'])} env steps"])
    rate, env_rate = ((line[name] - first[name]) / seconds for name in ("meta_step", "env_steps"))
    left = (total - line["meta_step"]) / rate
    spent = f"{duration(line['wall_seconds'])} in all" if left <= 0 else f"{duration(left)} left"
    return ", ".join([*words, spent, f"{rate:.3g} meta-steps/s", f"{short(env_rate)} env steps/s"])


def short(value: float) -> str:
    """A positive number with three digits and the prefix of its unit."""
    for power, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= power:
            return f"{value / power:.3g}{prefix}"
    return f"{value:.3g}"


def duration(seconds: float) -> str:
    """A time in seconds, minutes or hours, rounded."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _other(line: Line) -> str:
    """The first diagnostic, where no episode has ended."""
    for name, value in line.items():
        if name not in BOOKKEEPING and value is not None and math.isfinite(value):
            return f"{name.replace('_', ' ')} {value:.4g}"
    return f"meta-step {line['meta_step']}"
