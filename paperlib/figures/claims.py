"""One picture of all claims by status."""

from __future__ import annotations

import re

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.patches import FancyBboxPatch, Patch

from paperlib.evidence import claims
from paperlib.figures.style import PALETTE, Drawing, use_style

# ---------------------------------------------------------------------------------------------------------
# The table of claims as a picture

STATUS_COLOURS = {
    "exact": PALETTE[2], "rounding": "#8fd0a8", "implemented": "#d9a9d0", "reproduced": PALETTE[0],
    "supported (proxy)": "#7fb8dd", "contradicted": PALETTE[3], "contradicted (proxy)": "#eba57f",
    "erratum": PALETTE[1], "no effect": PALETTE[8], "no effect (proxy)": "#b9d8f2", "mixed": "#c9b8e8",
    "undecided": "#b0b0b0", "cited": "#ead7c0", "needs ImageNet": "#e4efe4", "no measure": "#f5efb8",
    "not run yet": "#dddddd", "not run": "#ffffff",
}  # fmt: skip


def kind_of(status: str) -> str:
    """A status without the size of the effect: "no effect ≥ 0.5 (proxy)" is "no effect (proxy)"."""
    return re.sub(r" ≥ [^(]*?(?= \(|$)", "", status)


def fig_claims() -> Drawing:
    """The table of claims as a picture: a square per claim, a line per section, coloured by status."""
    use_style()
    table = claims.rows()
    frame = pd.DataFrame([{"id": r.id, "section": r.section, "status": r.status} for r in table])
    kinds = frame["status"].map(kind_of)
    sections = list(dict.fromkeys(frame["section"]))
    figure, axes = plt.subplots(figsize=(8.6, 0.34 * len(sections) + 1.1))
    for y, section in enumerate(sections):
        for x, (claim_id, kind) in enumerate(
            zip(frame["id"][frame["section"] == section], kinds[frame["section"] == section], strict=True)
        ):
            axes.add_patch(
                FancyBboxPatch(
                    (x + 0.06, y + 0.1), 0.88, 0.8, boxstyle="round,pad=0,rounding_size=0.12",
                    facecolor=STATUS_COLOURS[kind], edgecolor="#999999", lw=0.4,
                )
            )  # fmt: skip
            axes.text(
                x + 0.5,
                y + 0.52,
                claim_id.split("-")[1],
                ha="center",
                va="center",
                fontsize=8,
                color="white" if kind == "reproduced" else "#222222",
            )
    widest = int(frame.groupby("section").size().max())
    axes.set(xlim=(0, widest), ylim=(len(sections), 0), yticks=np.arange(len(sections)) + 0.5, xticks=[])
    axes.set_yticklabels([s if s == "abstract" else f"section {s}" for s in sections])
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    seen = [k for k in STATUS_COLOURS if (kinds == k).any()]
    handles = [
        Patch(facecolor=STATUS_COLOURS[k], edgecolor="#999999", lw=0.4, label=f"{k} ({(kinds == k).sum()})")
        for k in seen
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, fontsize=9)
    alt = f"The {len(frame)} rows of the table of claims by section, coloured by status: " + ", ".join(
        f"{(kinds == k).sum()} {k}" for k in seen
    )
    return Drawing(figure, frame, alt)
