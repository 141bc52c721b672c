"""Figures and tables, drawn from the records. What notebooks use is imported at its first use."""

from paperlib.lazy import importing

__getattr__ = importing(
    __name__,
    {
        "claims": ("fig_claims", "one_verdict", "predict_words"),
        "figure1": ("UNIT_COLOURS", "UNIT_DASHES", "UNIT_NAMES", "fig1", "relu_parts", "relu_thresholds"),
        "figure2": ("CROSSING", "TOWER_COLOURS", "fig2"),
        "figures3_4": ("fig3", "fig3_of", "fig4", "kernels_by_seed"),
        "forests": ("forest", "forest_times"),
        "style": ("PALETTE", "SCALE_NAMES", "folded", "markdown_table", "scale_name", "show"),
        "tables": ("in_markdown", "table1", "table2"),
        "trainings": ("longer", "overfit", "overfit_by_rate", "stall", "training"),
    },
)
