"""Figures that need no display and show themselves in a notebook."""

import io

from matplotlib.figure import Figure  # not pyplot, which would keep figures alive and look for a display


class Drawing(Figure):
    """A figure that a notebook shows as its picture."""

    def _repr_png_(self) -> bytes:
        return png(self)


def png(figure: Figure) -> bytes:
    """The figure as PNG."""
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=120)
    return picture.getvalue()
