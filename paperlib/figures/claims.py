"""One picture of all claims by status."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.patches import Patch

from paperlib.evidence import claims
from paperlib.figures.style import Drawing, use_style

# ---------------------------------------------------------------------------------------------------------
# The table of claims as a picture

GROUPS = {
    "it holds": {"exact": "#029e73", "rounding": "#5cc0a2", "reproduced": "#00664a"},
    "it holds at small scale": {
        "supported (proxy)": "#56a5d8", "no effect": "#8fc4e6", "no effect (proxy)": "#c0dff2",
    },
    "it does not hold as printed": {
        "erratum": "#d55e00", "imprecise": "#e9a27c", "contradicted": "#de8f05", "contradicted (proxy)": "#f0b45c",
        "mixed": "#f6d8a8",
    },
    "it is a procedure": {"implemented": "#dcb8d4"},
    "it is open": {
        "undecided": "#8f8f8f", "not run yet": "#c4c4c4", "needs ImageNet": "#d6d6d6", "cited": "#e4e4e4",
        "no measure": "#eeeeee", "not run": "#f6f6f6",
    },
}  # fmt: skip
"""What became of a claim, in five groups: the statuses of each with their shade.

That a procedure is implemented says nothing on whether it is a good one, or what the authors ran.
"""
LETTERS = {
    "undecided": "?",
    "not run yet": "p",
    "needs ImageNet": "I",
    "cited": "c",
    "no measure": "m",
    "not run": "x",
}
"""What tells apart the greys of what is open, after the claim's letter."""

STATUS_COLOURS = {kind: colour for kinds in GROUPS.values() for kind, colour in kinds.items()}


def fig_claims() -> Drawing:
    """The table of claims as a picture: a square per claim, a line per section, a hue per group of :data:`GROUPS`."""
    use_style()
    table = claims.rows()
    frame = pd.DataFrame([{"id": r.id, "section": r.section, "status": r.status} for r in table])
    words = list(STATUS_COLOURS)
    squares = frame.assign(
        word=[words.index(r.word) for r in table],
        label=[f"{r.id.split('-')[1]} {LETTERS.get(r.word, '')}".strip() for r in table],
        place=frame.groupby("section").cumcount(),
        line=frame["section"].where(frame["section"] == "abstract", "section " + frame["section"]),
    )
    lines = squares["line"].unique()
    grid, labels = (squares.pivot(index="line", columns="place", values=v).reindex(lines) for v in ("word", "label"))
    figure, axes = plt.subplots(figsize=(9.6, 0.34 * len(lines) + 1.9))
    sns.heatmap(
        grid, annot=labels, fmt="", cmap=list(STATUS_COLOURS.values()), vmin=-0.5, vmax=len(words) - 0.5, cbar=False,
        linewidths=1.5, linecolor="white", annot_kws={"fontsize": 8}, ax=axes,
    )  # fmt: skip
    axes.set(xlabel="", ylabel="", xticks=[])
    axes.grid(False)
    axes.tick_params(length=0)
    counts = {word: sum(r.word == word for r in table) for word in STATUS_COLOURS}
    handles = []
    for group, shades in GROUPS.items():
        here = [word for word in shades if counts[word]]
        handles.append(Patch(alpha=0, label=f"{group}: {sum(counts[word] for word in here)}"))
        handles += [
            Patch(
                fc=shades[word], ec="#999999", lw=0.4, label=f"{LETTERS.get(word, '')} {word} ({counts[word]})".strip()
            )
            for word in here
        ]
        handles += [Patch(alpha=0, label=" ")] * (max(map(len, GROUPS.values())) - len(here))
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=len(GROUPS),
        fontsize=8.5,
        handlelength=1.2,
        columnspacing=1.0,
    )
    counted = ", ".join(f"{n} {word}" for word, n in counts.items() if n)
    return Drawing(
        figure, frame, f"The {len(frame)} rows of the table of claims by section, coloured by status: {counted}"
    )
