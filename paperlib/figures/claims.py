"""One picture of all claims by status."""

from __future__ import annotations

import re

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.patches import FancyBboxPatch, Patch

from paperlib.evidence import claims
from paperlib.figures.style import Drawing, use_style

# ---------------------------------------------------------------------------------------------------------
# The table of claims as a picture

GROUPS = {
    "it holds": {"exact": "#029e73", "rounding": "#5cc0a2", "implemented": "#a5dccb", "reproduced": "#00664a"},
    "it holds at small scale": {
        "supported (proxy)": "#56a5d8", "no effect": "#8fc4e6", "no effect (proxy)": "#c0dff2",
    },
    "it is wrong, or runs disagree": {
        "erratum": "#d55e00", "contradicted": "#de8f05", "contradicted (proxy)": "#f0b45c", "mixed": "#f6d8a8",
    },
    "it is open": {
        "undecided": "#a6a6a6", "not run yet": "#bdbdbd", "needs ImageNet": "#cfcfcf", "cited": "#dedede",
        "no measure": "#ededed", "not run": "#ffffff",
    },
}  # fmt: skip
"""What became of a claim, in four groups: the statuses of each with their shade."""

STATUS_COLOURS = {kind: colour for kinds in GROUPS.values() for kind, colour in kinds.items()}


def kind_of(status: str) -> str:
    """A status without the size of the effect: "no effect ≥ 0.5 (proxy)" is "no effect (proxy)"."""
    return re.sub(r" ≥ [^(]*?(?= \(|$)", "", status)


def fig_claims() -> Drawing:
    """The table of claims as a picture: a square per claim, a line per section, a hue per group of :data:`GROUPS`."""
    use_style()
    table = claims.rows()
    frame = pd.DataFrame([{"id": r.id, "section": r.section, "status": r.status} for r in table])
    kinds = frame["status"].map(kind_of)
    sections = list(dict.fromkeys(frame["section"]))
    figure, axes = plt.subplots(figsize=(8.6, 0.34 * len(sections) + 1.9))
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
    handles = []
    for group, shades in GROUPS.items():
        here = [k for k in shades if k in seen]
        handles.append(Patch(alpha=0, label=f"{group}: {kinds.isin(here).sum()}"))
        handles += [Patch(fc=shades[k], ec="#999999", lw=0.4, label=f"{k} ({(kinds == k).sum()})") for k in here]
        handles += [Patch(alpha=0, label=" ")] * (max(map(len, GROUPS.values())) - len(here))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(GROUPS), fontsize=9, handlelength=1.2)
    alt = f"The {len(frame)} rows of the table of claims by section, coloured by status: " + ", ".join(
        f"{(kinds == k).sum()} {k}" for k in seen
    )
    return Drawing(figure, frame, alt)
