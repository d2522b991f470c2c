"""Animations: the first and the last episode of each film side by side, as a GIF or an MP4."""

import base64
import dataclasses
import functools
import html
import io
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from metarl_jax.core.drawing import Colour, Disc, Film, Line, Polygon, Shape, Take
from metarl_jax.experiment.config import require
from metarl_jax.experiment.errors import UsageError
from metarl_jax.experiment.files import write_whole

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.figure import Figure
    from PIL.Image import Image

# The palette of Okabe and Ito, which the colour-blind can tell apart.
COLOURS: dict[Colour, str] = {
    "ink": "#222222",
    "faint": "#cfcfcf",
    "wall": "#444444",
    "agent": "#0072b2",
    "goal": "#009e73",
    "danger": "#d55e00",
    "reference": "#e69f00",
    "visited": "#a9d5f0",
}
DPI = 100
PANEL = 3.4  # inches, the width of a panel
TALLEST, FLATTEST = 3.8, 1.3  # inches, of a panel
HEADING = 0.6  # inches above each panel
LONGEST = 8000  # ms that an animation should last
FASTEST, SLOWEST = 50, 400  # ms a frame
PAUSE = 1500  # ms at the end
POINTS = 72  # an inch
SUFFIXES = (".gif", ".mp4")


@dataclasses.dataclass(frozen=True)
class Animation:
    """Films as a moving picture, which a notebook shows and `save` writes."""

    films: list[Film]

    @functools.cached_property
    def gif(self) -> bytes:
        """The GIF file."""
        stage, buffer = Stage(self.films), io.BytesIO()
        first, *rest = [stage.picture(index) for index in range(stage.frames)]
        pace = [stage.pace] * len(rest) + [PAUSE]
        first.save(buffer, "gif", save_all=True, append_images=rest, duration=pace, loop=0, disposal=1)
        return buffer.getvalue()

    @property
    def mp4(self) -> bytes:
        """The MP4 file.

        Raises:
            UsageError: ffmpeg is not installed.
        """
        from matplotlib.animation import FFMpegWriter

        check_ffmpeg()
        stage = Stage(self.films)
        writer = FFMpegWriter(fps=1000 // stage.pace)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "film.mp4"
            with writer.saving(stage.figure, str(path), DPI):
                for index in [*range(stage.frames), *[stage.frames - 1] * (PAUSE // stage.pace)]:
                    stage.show(index)
                    writer.grab_frame()
            return path.read_bytes()

    def save(self, path: str | Path) -> Path:
        """Write a new .gif or .mp4 file.

        Raises:
            UsageError: the file exists, its folder does not, or it has another suffix.
        """
        check_new(Path(path))
        write_whole(Path(path), self.gif if Path(path).suffix == ".gif" else self.mp4)
        return Path(path)

    def _repr_html_(self) -> str:
        data = base64.b64encode(self.gif).decode()
        words = html.escape("; ".join(film.title for film in self.films), quote=True)
        return f'<img alt="{words}" src="data:image/gif;base64,{data}">'

    def __repr__(self) -> str:
        return f"Animation({'; '.join(film.title for film in self.films)})"


class Stage:
    """A figure with a row for each film and a panel for its first and its last episode."""

    def __init__(self, films: list[Film]) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        pairs = [(film, ends(film)) for film in films]
        height = max(panel_height(film) for film in films) + HEADING
        columns = max(len(takes) for _, takes in pairs)
        self.figure = Figure((PANEL * columns, height * len(films)), dpi=DPI)
        self._canvas = FigureCanvasAgg(self.figure)
        self._panels = []
        for row, (film, takes) in enumerate(pairs):
            top = 1 - row / len(films)
            words: dict[str, Any] = {"ha": "center", "va": "top", "fontsize": 10, "color": COLOURS["ink"]}
            self.figure.text(0.5, top - 0.06 / (height * len(films)), film.title, **words)
            for column, take in enumerate(takes):
                share = (height - HEADING) / height / len(films)
                place = (column / columns + 0.01, top - 1 / len(films), 1 / columns - 0.02, share)
                self._panels.append(Panel(self.figure, place, film, take))

    @property
    def frames(self) -> int:
        """Frames of the longest episode; those of shorter ones stop at their end."""
        return max(len(panel.take.frames) for panel in self._panels)

    @property
    def pace(self) -> int:
        """Milliseconds a frame, in the steps of 10 that GIF knows."""
        return int(np.clip(LONGEST // self.frames, FASTEST, SLOWEST)) // 10 * 10

    def show(self, index: int) -> None:
        """Draw frame `index` of all episodes."""
        for panel in self._panels:
            panel.show(min(index, len(panel.take.frames) - 1))

    def picture(self, index: int) -> "Image":
        """Frame `index` as an image in the colours of a GIF."""
        from PIL import Image

        self.show(index)
        self._canvas.draw()
        image = Image.fromarray(np.asarray(self._canvas.buffer_rgba())).convert("RGB")
        return image.quantize(128, dither=Image.Dither.NONE)


class Panel:
    """The axes of one episode."""

    def __init__(self, figure: "Figure", place: tuple[float, float, float, float], film: Film, take: Take) -> None:
        self.take = take
        self._moving: list[Artist] = []
        self._axes = axes = figure.add_axes(place)
        left, low, right, high = film.bounds
        axes.set(xlim=(left, right), ylim=(low, high), aspect="equal")
        axes.set_axis_off()
        width, height = axes.get_position().size * figure.get_size_inches()
        self._scale = POINTS * float(min(width / (right - left), height / (high - low)))
        self._caption = axes.set_title("", fontsize=9, color=COLOURS["ink"])
        self._add(film.background)

    def show(self, index: int) -> None:
        """Replace the shapes of the last frame by those of this one."""
        for artist in self._moving:
            artist.remove()
        self._moving = self._add(self.take.frames[index])
        self._caption.set_text(f"{self.take.name}: {self.take.captions[index]}")

    def _add(self, shapes: Sequence[Shape]) -> list["Artist"]:
        return [self._axes.add_artist(drawn(shape, self._scale)) for shape in shapes]


def drawn(shape: Shape, scale: float) -> "Artist":
    """The shape as matplotlib draws it, on axes with `scale` points a unit; what is added last lies on top."""
    from matplotlib import lines, patches, text

    look: dict[str, Any] = {"color": COLOURS[shape.colour], "alpha": shape.opacity, "zorder": 2}
    if isinstance(shape, Line):
        xs, ys = np.asarray(shape.points).T
        ends: dict[str, Any] = {"solid_capstyle": "round", "solid_joinstyle": "round"}
        return lines.Line2D(xs, ys, linewidth=scale * shape.width, **ends, **look)
    if isinstance(shape, Disc | Polygon):
        look |= {"fill": shape.filled, "linewidth": 0 if shape.filled else 1}
        if isinstance(shape, Disc):
            return patches.Circle((float(shape.centre[0]), float(shape.centre[1])), shape.radius, **look)
        return patches.Polygon(np.asarray(shape.points), **look)
    middle: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": scale * shape.size}
    return text.Text(float(shape.at[0]), float(shape.at[1]), shape.text, **middle, **look)


def ends(film: Film) -> list[Take]:
    """The first and the last episode."""
    return film.episodes if len(film.episodes) < 2 else [film.episodes[0], film.episodes[-1]]


def panel_height(film: Film) -> float:
    """The height in inches at which the bounds of a film fill the width of a panel, within limits."""
    left, low, right, high = film.bounds
    height = float(np.clip(PANEL * (high - low) / (right - left), FLATTEST, TALLEST))
    return round(height * DPI / 2) * 2 / DPI  # an even number of pixels, which MP4 needs


def one_file(gif: Path | None, mp4: Path | None) -> Path:
    """The one file that is given of the two.

    Raises:
        UsageError: it is none or both, or it cannot be written.
    """
    if (gif is None) == (mp4 is None):
        raise UsageError("name one file for the film: --gif FILE.gif or --mp4 FILE.mp4")
    name, file = ("gif", gif) if gif is not None else ("mp4", mp4)
    assert file is not None
    require(file.suffix == f".{name}", name, str(file), f"named *.{name}")
    check_new(file)
    return file


def check_new(path: Path) -> None:
    """Raise a UsageError unless an animation can be written to the path; called before it is made."""
    require(path.suffix in SUFFIXES, "file", path, "named *.gif or *.mp4")
    require(path.absolute().parent.is_dir(), "file", path, "in an existing folder")
    if path.exists():
        raise UsageError(f"{path} exists, and nothing is overwritten: name another file")
    if path.suffix == ".mp4":
        check_ffmpeg()


def check_ffmpeg() -> None:
    """Raise a UsageError unless ffmpeg is installed."""
    from matplotlib.animation import FFMpegWriter

    if not FFMpegWriter.isAvailable():
        raise UsageError("an mp4 needs ffmpeg, which is not installed: install it, or write a GIF with --gif FILE.gif")
