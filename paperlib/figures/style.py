"""What all figures share: one style, the picture with its alt text, and a figure with the numbers drawn in it.

Libraries that take long to import are imported where they are used: notebooks import this module for its tables.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from paperlib.experiments.scales import SCALES

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PALETTE = (
    "#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc", "#ca9161", "#fbafe4", "#949494", "#ece133", "#56b4e9",
)  # fmt: skip
"""Ten colours that colour-blind readers tell apart: ``colorblind`` of seaborn."""
SCALE_NAMES = {scale.name: scale.label() for scale in SCALES.values()}


def scale_name(scale: str, proxy: bool = True) -> str:
    """The name of a scale, with the word proxy where it is one; Figure 1 alone has CIFAR-10 in the paper's own form."""
    return SCALES[scale].label(proxy)


STYLE: dict[Any, Any] = {
    "figure.dpi": 110, "savefig.dpi": 110, "figure.figsize": (7.2, 4.0), "figure.constrained_layout.use": True,
    "font.size": 10, "axes.titlesize": 10.5, "axes.titlelocation": "left", "axes.labelsize": 10,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": "#e4e4e4",
    "grid.linewidth": 0.7, "axes.axisbelow": True, "legend.frameon": False, "lines.linewidth": 1.6,
}  # fmt: skip


def use_style() -> None:
    """The look of all figures: colour-blind-safe, light grid, room for labels."""
    import matplotlib as mpl
    from cycler import cycler

    mpl.rcParams.update({**STYLE, "axes.prop_cycle": cycler(color=PALETTE)})


def subplots(*shape: int, **options: Any) -> tuple[Figure, Any]:
    """Pyplot's, in this style."""
    import matplotlib.pyplot as plt

    use_style()
    return plt.subplots(*shape, **options)


def show(figure: Figure, alt: str, caption: str = "") -> None:
    """Show a figure in a notebook and close it: below it the conclusion, and folded what can be seen in words."""
    import matplotlib.pyplot as plt
    from IPython.display import Markdown, display

    display(Picture(figure, alt))
    words = folded("This figure in words", html.escape(alt, quote=False))
    display(Markdown(f"**{caption}**\n\n{words}" if caption else words))
    plt.close(figure)


def folded(summary: str, text: str) -> str:
    """Markdown that opens on a click."""
    return f"<details><summary>{summary}</summary>\n\n{text}\n\n</details>"


class Picture:
    """A PNG for a notebook whose alt text travels with it."""

    def __init__(self, figure: Figure, alt: str) -> None:
        self.png, self.alt = png(figure), alt

    def _repr_mimebundle_(self, **_: object) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
        return {"image/png": base64.b64encode(self.png).decode(), "text/plain": self.alt}, {
            "image/png": {"alt": html.escape(self.alt)}
        }

    def __repr__(self) -> str:
        return self.alt


def png(figure: Figure) -> bytes:
    """The figure as PNG bytes, without dates or versions in it, so that equal drawings are equal files."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    buffer, canvas = io.BytesIO(), FigureCanvasAgg(figure)
    canvas.draw()  # lays out and draws in one go; savefig draws once for the layout, and once more
    Image.fromarray(np.asarray(canvas.buffer_rgba())).save(buffer, "png", dpi=(figure.dpi, figure.dpi))
    return buffer.getvalue()


@dataclass
class Drawing:
    """A figure, everything drawn in it as a tidy frame, its alt text, and its conclusion in a sentence.

    ``planned`` is what is not recorded yet, where there is nothing to draw.
    """

    figure: Figure
    data: pd.DataFrame
    alt: str
    caption: str = ""
    planned: str = ""

    def show(self, caption: str = "") -> None:
        """Show it in a notebook, with its own caption or another; a line where there is nothing to see yet."""
        if self.planned:
            import matplotlib.pyplot as plt
            from IPython.display import Markdown, display

            plt.close(self.figure)
            display(Markdown(f"*Planned, not run yet: {self.planned}.*"))
            return
        show(self.figure, self.alt, (len(self.data) and caption) or self.caption)


def bars(axes: Axes, frame: pd.DataFrame, legend: str = "medium", **labels: Any) -> None:
    """Bars of a frame: a group a row, a colour a column."""
    frame.plot.bar(ax=axes, rot=0, width=0.8, edgecolor="white")
    axes.set(**{"xlabel": "layer", **labels})
    axes.grid(axis="x", visible=False)
    axes.legend(fontsize=legend)


def markdown_table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown; cells are turned into text, bars escaped."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def nothing_yet(what: str, columns: list[str]) -> Drawing:
    """A sentence in place of a figure of which nothing is recorded; ``what`` is "run of experiment relu"."""
    import matplotlib.pyplot as plt
    import pandas as pd

    figure, axes = plt.subplots(figsize=(8.6, 0.5))
    alt = f"No {what} is recorded yet, so there is nothing to draw."
    axes.text(0, 0.5, alt, va="center")
    axes.axis("off")
    return Drawing(figure, pd.DataFrame(columns=columns), alt, "Nothing is recorded yet.", what)
