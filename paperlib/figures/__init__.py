"""Figures and tables, drawn from the records."""

from paperlib.figures.claims import fig_claims
from paperlib.figures.figure1 import UNIT_COLOURS, UNIT_DASHES, UNIT_NAMES, fig1, relu_parts
from paperlib.figures.figure2 import CROSSING, TOWER_COLOURS, fig2
from paperlib.figures.figures3_4 import fig3, fig3_of, fig4, kernels_by_seed
from paperlib.figures.forests import forest, forest_times
from paperlib.figures.style import PALETTE, SCALE_NAMES, folded, markdown_table, scale_name, show
from paperlib.figures.tables import table1, table2
from paperlib.figures.trainings import overfit, stall, training
