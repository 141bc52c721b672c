"""One picture of all claims by status."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.patches import Patch

from paperlib.evidence import claims
from paperlib.figures.style import PALETTE, Drawing, use_style

STATUS_COLOURS = {
    "exact": PALETTE[2], "rounding": "#8fd0a8", "implemented": "#d9a9d0", "reproduced": PALETTE[0],
    "supported (proxy)": "#7fb8dd", "contradicted": PALETTE[3], "contradicted (proxy)": "#eba57f",
    "erratum": PALETTE[1], "no effect": PALETTE[8], "no effect (proxy)": "#b9d8f2", "mixed": "#c9b8e8",
    "undecided": "#b0b0b0", "cited": "#ead7c0", "needs ImageNet": "#e4efe4", "no measure": "#f5efb8",
    "not run yet": "#d5d5d5", "not run": "#f2f2f2",
}  # fmt: skip


def fig_claims() -> Drawing:
    """The table of claims as a picture: a square per claim, a line per section, coloured by status."""
    use_style()
    table = claims.rows()
    frame = pd.DataFrame([{"id": r.id, "section": r.section, "status": r.status} for r in table])
    words = list(STATUS_COLOURS)
    squares = frame.assign(
        word=[words.index(r.word) for r in table],
        label=frame["id"].str.split("-").str[1],
        place=frame.groupby("section").cumcount(),
        line=frame["section"].where(frame["section"] == "abstract", "section " + frame["section"]),
    )
    lines = squares["line"].unique()
    grid, labels = (squares.pivot(index="line", columns="place", values=v).reindex(lines) for v in ("word", "label"))
    figure, axes = plt.subplots(figsize=(8.6, 0.34 * len(lines) + 1.1))
    sns.heatmap(
        grid, annot=labels, fmt="", cmap=list(STATUS_COLOURS.values()), vmin=-0.5, vmax=len(words) - 0.5, cbar=False,
        linewidths=1.5, linecolor="white", annot_kws={"fontsize": 8}, ax=axes,
    )  # fmt: skip
    axes.set(xlabel="", ylabel="", xticks=[])
    axes.grid(False)
    axes.tick_params(length=0)
    counts = {word: n for word in STATUS_COLOURS if (n := sum(r.word == word for r in table))}
    handles = [
        Patch(facecolor=STATUS_COLOURS[word], edgecolor="#999999", lw=0.4, label=f"{word} ({n})")
        for word, n in counts.items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, fontsize=9)
    counted = ", ".join(f"{n} {word}" for word, n in counts.items())
    return Drawing(
        figure, frame, f"The {len(frame)} rows of the table of claims by section, coloured by status: {counted}"
    )
