"""Figures and tables, drawn from the records. What notebooks use is imported at its first use."""

from typing import TYPE_CHECKING

from paperlib.lazy import importing

if TYPE_CHECKING:
    from paperlib.figures.claims import fig_claims
    from paperlib.figures.figure1 import UNIT_COLOURS, UNIT_DASHES, UNIT_NAMES, fig1, relu_parts
    from paperlib.figures.figure2 import CROSSING, TOWER_COLOURS, fig2
    from paperlib.figures.figures3_4 import fig3, fig3_of, fig4, kernels_by_seed
    from paperlib.figures.forests import forest, forest_times
    from paperlib.figures.style import PALETTE, SCALE_NAMES, folded, markdown_table, scale_name, show
    from paperlib.figures.tables import table1, table2
    from paperlib.figures.trainings import overfit, stall, training

__getattr__ = importing(
    __name__,
    {
        "claims": ("fig_claims",),
        "figure1": ("UNIT_COLOURS", "UNIT_DASHES", "UNIT_NAMES", "fig1", "relu_parts"),
        "figure2": ("CROSSING", "TOWER_COLOURS", "fig2"),
        "figures3_4": ("fig3", "fig3_of", "fig4", "kernels_by_seed"),
        "forests": ("forest", "forest_times"),
        "style": ("PALETTE", "SCALE_NAMES", "folded", "markdown_table", "scale_name", "show"),
        "tables": ("table1", "table2"),
        "trainings": ("overfit", "stall", "training"),
    },
)
__all__ = [
    "CROSSING",
    "PALETTE",
    "SCALE_NAMES",
    "TOWER_COLOURS",
    "UNIT_COLOURS",
    "UNIT_DASHES",
    "UNIT_NAMES",
    "fig1",
    "fig2",
    "fig3",
    "fig3_of",
    "fig4",
    "fig_claims",
    "folded",
    "forest",
    "forest_times",
    "kernels_by_seed",
    "markdown_table",
    "overfit",
    "relu_parts",
    "scale_name",
    "show",
    "stall",
    "table1",
    "table2",
    "training",
]
