"""All figures and tables: drawing them from the records into files."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt

from paperlib import files
from paperlib.data import known
from paperlib.errors import PaperlibError
from paperlib.evidence import weights
from paperlib.figures import figures3_4
from paperlib.figures.claims import fig_claims
from paperlib.figures.figure1 import fig1, relu_parts
from paperlib.figures.figure2 import fig2
from paperlib.figures.figures3_4 import fig3, fig4, kernels_by_seed
from paperlib.figures.forests import forest, forest_times
from paperlib.figures.style import Drawing, png
from paperlib.figures.tables import Table, table1, table2
from paperlib.figures.trainings import overfit, stall, training
from paperlib.training.processes import one_thread

logger = logging.getLogger(__name__)

FIGURES = files.ROOT / "figures"
BUILD = files.ROOT / "build" / "figures"


TABLES: dict[str, Callable[[], Table]] = {"table1": table1, "table2": table2}
DRAWINGS: dict[str, Callable[[], Drawing]] = {
    "fig1": fig1,
    "fig2": fig2,
    "fig3": fig3,
    "kernels": kernels_by_seed,
    "fig4": fig4,
    "relu_parts": relu_parts,
    "overfit": overfit,
    "stall": stall,
    "training": training,
    "forest": forest,
    "forest_times": forest_times,
    "claims": fig_claims,
}


def draw(names: list[str] | None = None, folder: Path | None = None) -> list[Path]:
    """Draw figures and tables (all of them by default) into ``folder``; gives the paths written.

    A figure is NAME.png and a table NAME.md; the numbers of both are in NAME.csv.
    """
    known = [*DRAWINGS, *TABLES]
    unknown = [n for n in names or [] if n not in known]
    if unknown:
        raise PaperlibError(f"there is no figure {unknown[0]!r}; the figures are {', '.join(known)}")
    folder = folder or FIGURES
    # the sample's nets give a second thread too little to do: where both begin on one core they take seconds to part
    with into_files(), one_thread():
        return [path for name in names or known for path in write(name, folder)]


def draw_of(checkpoint: Path, folder: Path = BUILD) -> list[Path]:
    """Figures 3 and 4 of one net, into ``folder``; Figure 4 shows images of its data set, which may not be public.

    A net of grey images or without towers has no Figure 3. One whose data set is too large for the memory has no
    Figure 4. Raises :class:`PaperlibError` where neither can be drawn.
    """
    found = weights.checkpoint(checkpoint)
    with into_files():
        paths = save(figures3_4.fig3_of(found), "fig3", folder) if figures3_4.has_towers_of_colour(found) else []
        if paths and found.scale not in known.TRAIN_IMAGES:
            logger.warning("Figure 4 would hold all training images in memory, and so is left out")
            return paths
        return paths + save(figures3_4.fig4_of(found), "fig4", folder)


@contextmanager
def into_files() -> Iterator[None]:
    """While it lasts, matplotlib draws into files by its defaults, whatever the user has set."""
    before = mpl.get_backend(auto_select=False)  # a notebook's own, or none yet
    mpl.use("Agg")
    try:
        with mpl.rc_context():
            mpl.rcdefaults()
            yield
    finally:
        if before:
            mpl.use(before)


def write(name: str, folder: Path) -> list[Path]:
    """Draw one figure or table and write it and its numbers."""
    return save(DRAWINGS[name]() if name in DRAWINGS else TABLES[name](), name, folder)


def save(drawn: Drawing | Table, name: str, folder: Path) -> list[Path]:
    """Write a figure or table and its numbers as NAME.png or NAME.md, and NAME.csv."""
    if isinstance(drawn, Drawing):
        suffix, content = ".png", png(drawn.figure)
        plt.close(drawn.figure)
    else:
        suffix, content = ".md", drawn.markdown().encode()
    folder.mkdir(parents=True, exist_ok=True)
    numbers = drawn.data.to_csv(index=False, lineterminator="\n").encode()
    written = []
    for path, inside in ((folder / (name + suffix), content), (folder / f"{name}.csv", numbers)):
        files.write_whole(path, inside)
        written.append(path)
    return written
