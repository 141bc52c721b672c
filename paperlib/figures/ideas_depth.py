"""Section 7 in pictures: the net without each of its layers, what that costs, and errors by arm."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from torch import Tensor, nn

from paperlib.figures import forests, labels
from paperlib.figures.style import PALETTE, Drawing, bars, nothing_yet, scale_name, subplots
from paperlib.nets import sizes, table
from paperlib.recipe import ModelRecipe

CONVOLUTIONS = ("conv1", "conv2", "conv3", "conv4", "conv5", "conv6")
LAYERS = (*CONVOLUTIONS, "fc6")


def pieces(values: Tensor) -> int:
    """Of how many straight pieces a function is, by its values at equal distances."""
    return 1 + int((values.diff().diff().abs() > 1e-9).sum())


def stacked(function: Callable[[Tensor], Tensor], times: int) -> Drawing:
    """A function on [0, 1], put on top of itself again and again, with the number of its straight pieces."""
    x = torch.linspace(0, 1, 2**10 + 1, dtype=torch.float64)
    figure, panels = subplots(1, times, figsize=(2.9 * times, 2.3), sharey=True, squeeze=False)
    values, rows = x, []
    for layers, axes in enumerate(panels[0], 1):
        values = function(values)
        axes.plot(x.numpy(), values.numpy(), lw=1.8)
        axes.set(title=f"{layers} on top: {pieces(values)} pieces" if layers > 1 else f"one: {pieces(values)} pieces",
                 xlabel="x", yticks=(0, 1))  # fmt: skip
        rows.append({"layers": layers, "pieces": pieces(values)})
    told = ", ".join(f"{row['layers']}: {row['pieces']}" for row in rows)
    caption = f"Straight pieces by the number of layers: {told}."
    return Drawing(figure, pd.DataFrame(rows), f"A function of one number put on top of itself. {caption}", caption)


def draw_net(axes: Axes, model: ModelRecipe, whole: ModelRecipe) -> list[dict[str, object]]:
    """The convolutions of a net as boxes: as high as the root of their side, as wide as that of their maps; and fc6.

    fc6 is as high as the root of its inputs. Orange are layers with other parameters than in the ``whole`` net.
    """
    here, before = (table.summary(m, sizes.FULL_SIZES) for m in (model, whole))
    rows: list[dict[str, object]] = []
    for x, name in enumerate(LAYERS):
        if name not in here.index:
            if name in before.index:
                axes.plot(x, 0, "x", color=PALETTE[3], ms=10, mew=2)
            continue
        parameters = int(here["parameters"][name])
        changed = name not in before.index or parameters != before["parameters"][name]
        if name == "fc6":
            inputs = parameters // int(str(here.loc[name, "output"])) - 1
            width, height, text = 0.25, 0.0055 * inputs**0.5, f"{inputs:,} in"
        else:
            side, _, maps = (int(n) for n in str(here.loc[name, "output"]).split("x"))
            width, height, text = 0.035 * maps**0.5, 0.11 * side**0.5, f"{side}²×{maps}"
        colour = PALETTE[1] if changed else PALETTE[0]
        axes.add_patch(Rectangle((x - width / 2, -height / 2), width, height, color=colour, alpha=0.75, lw=0))
        axes.text(x, -0.55, text, ha="center", va="top", fontsize=8)
        rows.append({"layer": name, "parameters": parameters, "changed": changed})
    axes.set(xlim=(-0.6, 6.6), ylim=(-0.8, 0.55), xticks=range(7), yticks=[])
    axes.set_xticklabels([name[-1] for name in CONVOLUTIONS] + ["fc6"], fontsize=8)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    return rows


def nets_without(models: dict[str, ModelRecipe]) -> Drawing:
    """Small copies of Figure 2: of each net its convolutions and fc6; orange, other parameters; a cross, removed.

    The first of ``models`` is the whole net.
    """
    whole = next(iter(models.values()))
    everything = int(table.summary(whole, sizes.FULL_SIZES)["parameters"]["sum"])
    lines = -(-len(models) // 2)
    figure, panels = subplots(lines, 2, figsize=(9.2, 1.35 * lines))
    rows, totals = [], {}
    for axes, (name, model) in zip(panels.flat, models.items(), strict=False):
        totals[name] = int(table.summary(model, sizes.FULL_SIZES)["parameters"]["sum"])
        change = f" ({100 * (totals[name] / everything - 1):+.1f} %)" if totals[name] != everything else ""
        axes.set_title(f"{name}: {totals[name] / 1e6:.1f} M parameters{change}", fontsize=9)
        rows += [{"net": name, **row} for row in draw_net(axes, model, whole)]
    for axes in panels.flat[len(models) :]:
        axes.axis("off")
    frame = pd.DataFrame(rows)
    unchanged = [name for name, part in frame.groupby("net", sort=False) if not part["changed"].any()][1:]
    more = [name for name, total in totals.items() if total > everything]
    alt = "The convolutions of each net and fc6 as boxes; parameters in all: " + "; ".join(
        f"{n} {t:,}" for n, t in totals.items()
    )
    caption = "Orange: a layer whose parameters change"
    caption += f"; there is none in “{'” and “'.join(map(str, unchanged))}”. " if unchanged else ". "
    caption += f"More parameters than the whole net: {', '.join(more) or 'none'}."
    return Drawing(figure, frame, f"{alt}.", caption)


def costs(models: dict[str, ModelRecipe]) -> Drawing:
    """Change of parameters and of multiplications in each net, in per cent of the first, the whole net."""
    sums = {name: table.summary(model, sizes.FULL_SIZES).loc["sum"] for name, model in models.items()}
    whole = next(iter(sums.values()))
    frame = pd.DataFrame({
        words: {name: 100 * (each[column] / whole[column] - 1) for name, each in list(sums.items())[1:]}
        for column, words in (("parameters", "parameters"), ("macs", "multiplications"))
    })  # fmt: skip
    figure, axes = subplots(figsize=(7.6, 3.2))
    bars(axes, frame, xlabel="", ylabel="change (% of the whole net)")
    axes.axhline(0, color="#555555", lw=0.8)
    axes.margins(y=0.2)  # room for the legend
    alt = "Change against the whole net in parameters and multiplications: " + "; ".join(
        f"{row.Index} {row.parameters:+.1f} % and {row.multiplications:+.1f} %" for row in frame.itertuples()
    )
    least = str(frame["multiplications"].idxmin())
    caption = f"The net “{least}” saves most work, {-frame['multiplications'].min():.0f} %."
    return Drawing(figure, frame.round(4), f"{alt}.", caption)


def growth(model: ModelRecipe) -> dict[str, int]:
    """Side, in pixels, of what one unit sees after each layer, up to the last convolution: by windows and strides."""
    with torch.device("meta"):
        layers = table.make(model, sizes.FULL_SIZES).named_modules()
    windows = [(name, layer) for name, layer in layers if isinstance(layer, nn.Conv2d | nn.MaxPool2d)]
    last = max(i for i, (_, layer) in enumerate(windows) if isinstance(layer, nn.Conv2d))
    seen, apart, found = 1, 1, {}
    for name, layer in windows[: last + 1]:
        size, stride = (each[0] if isinstance(each, tuple) else each for each in (layer.kernel_size, layer.stride))
        seen += (size - 1) * apart
        apart *= stride
        found[name] = seen
    return found


def seen_by_one_unit(model: ModelRecipe) -> int:
    """Side, in pixels, of what one unit of the last convolution sees."""
    return list(growth(model).values())[-1]


def fields(photo: Tensor, models: dict[str, ModelRecipe], drawn: Sequence[str]) -> Drawing:
    """What one unit of the last convolution sees of a photograph (3, 224, 224), layer by layer, in some nets.

    The first of ``models`` is the whole net; only those of ``drawn`` have a panel.
    """
    figure, panels = subplots(1, len(drawn), figsize=(2.9 * len(drawn), 2.7))
    grown = {name: growth(model) for name, model in models.items()}
    for axes, name in zip(panels, drawn, strict=True):
        axes.imshow(photo.permute(1, 2, 0).numpy(), alpha=0.55)
        for layer, side in grown[name].items():
            pool = layer.startswith("pool")
            look: dict[str, Any] = {"color": "#444444", "ls": ":"}
            if not pool:
                look = {"color": PALETTE[CONVOLUTIONS.index(layer)], "lw": 2.2}
            axes.add_patch(Rectangle((112 - side / 2, 112 - side / 2), side, side, fill=False, label=f"{layer} {side}",
                                     **look))  # fmt: skip
        axes.set_title(f"{name}: {list(grown[name].values())[-1]} pixels", fontsize=9)
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=7, reverse=True, handlelength=1.2)
        axes.axis("off")
    rows = [{"net": name, "layer": k, "side": side} for name, each in grown.items() for k, side in each.items()]
    whole, *others = (list(each.values())[-1] for each in grown.values())
    less = " or ".join(str(side) for side in dict.fromkeys(others))
    told = "; ".join(f"{name} {', '.join(f'{k} {side}' for k, side in grown[name].items())}" for name in drawn)
    caption = (
        f"One unit of the last convolution sees {whole} pixels a side, and {less} when one of its layers is missing."
    )
    return Drawing(figure, pd.DataFrame(rows), f"Nested squares on a photograph, side in pixels: {told}.", caption)


IDEAS = (
    "size: conv 10000 v. mlp 10000", "size-long: conv 10000 v. conv 640", "order: baseline v. tanh",
    "towers: baseline v. one tower", "lrn: baseline v. no lrn", "lrn: baseline v. no competition",
    "pool: baseline v. 2x2", "augment: baseline v. neither", "dropout: baseline v. no dropout", "net: baseline",
    "ensemble: five nets", "depth: baseline v. half as wide", "depth: baseline v. no conv1",
    "depth: baseline v. no conv2", "depth: baseline v. no conv3", "depth: baseline v. no conv4",
    "depth: baseline v. no conv5",
)  # fmt: skip
"""The comparisons of errors that show the ideas of the series, without their controls."""
GAPS = ("overfit-pool: baseline v. 2x2", "overfit: baseline v. no augmentation", "overfit: baseline v. no dropout")
"""The same of the gap, test error minus training error."""
PLACES = {"tanh": "3.1"}
"""Arm -> the section of its idea, where its experiment has another."""
WORDS = {
    "size-long: conv 10000 v. conv 640": "640 images in place of 10,000 (four times the updates)",
    "size: conv 10000 v. mlp 10000": "fully connected in place of convolutional", "order: baseline v. tanh": "tanh",
    "net: baseline": "one view in place of ten", "ensemble: five nets": "one net in place of five",
}  # fmt: skip
"""What a line names, where the arms alone say too little."""


def key_of(row: Any) -> str:
    """ "experiment: a v. b", as :data:`IDEAS` has it."""
    return f"{row.experiment}: {row.a}" + f" v. {row.b}" * bool(row.b)


def of_ideas() -> tuple[pd.DataFrame, pd.DataFrame]:
    """The recorded comparisons of errors: those of :data:`IDEAS` and :data:`GAPS`, by section, and all others.

    All scales of an idea follow each other, the largest first. An estimate is that of what the label names minus the
    baseline.
    """
    frame = forests.lines()
    keys_of = {"overfit": GAPS, "train_error": ()}
    keys = pd.Series([key_of(row) for row in frame.itertuples()], index=frame.index, dtype=object)
    listed = pd.Series(
        [key in keys_of.get(metric, IDEAS) for key, metric in zip(keys, frame["metric"], strict=True)],
        index=frame.index, dtype=bool,
    )  # fmt: skip
    shown, others = frame[listed], frame[~listed]
    shown = shown.assign(
        place=[(IDEAS + GAPS).index(key) for key in keys[listed]],
        section=[PLACES.get(str(row.b), str(row.section)) for row in shown.itertuples()],
        label=[WORDS.get(key) or labels.plain(row) for key, row in zip(keys[listed], shown.itertuples(), strict=True)],
    )
    return shown.sort_values("place", kind="stable").drop(columns="place"), others


def series() -> Drawing:
    """A line for each idea of the series, by section: what the error changes by without it, at each scale."""
    frame, _ = of_ideas()
    if frame.empty:
        return nothing_yet("comparison of errors", ["section", "label", "estimate"])
    gap = frame["metric"] == "overfit"
    parts = {"points of error": frame[~gap], "640 images: points of gap, test − training": frame[gap]}
    heights = [part["label"].nunique() + part["section"].nunique() + 2 for part in parts.values()]
    figure, panels = subplots(2, 1, figsize=(7.8, 0.2 * sum(heights) + 1), height_ratios=heights)
    for axes, (unit, part) in zip(panels, parts.items(), strict=True):
        names: list[str] = []
        for section, of_section in part.groupby("section", sort=False):
            names.append(f"{section} {labels.SECTIONS[str(section)]}")
            for label, of_idea in of_section.groupby("label", sort=False):
                for k, row in enumerate(of_idea.to_dict("records")):
                    y = len(names) + 0.36 * (k - (len(of_idea) - 1) / 2)
                    colour, mark = forests.MARKS[row["scale"]]
                    axes.plot([row["low"], row["high"]], [y, y], color=colour, lw=1.6)
                    fill = "white" if row["low"] < 0 < row["high"] or row["outcome"] == "undecided" else colour
                    axes.plot(row["estimate"], y, mark, color=colour, ms=4.5, mfc=fill)
                names.append(str(label).replace(" (640 images)", ""))
        axes.set_yticks(range(len(names)), names, fontsize=8.5)
        for tick in axes.get_yticklabels():
            tick.set_fontweight("bold" if tick.get_text().split()[0] in labels.SECTIONS else "normal")
        axes.axvline(0, color="#555555", lw=0.8)
        axes.set(ylim=(len(names) - 0.3, -0.7))
        axes.set_xlabel(f"{unit}, more than the baseline has", loc="right")
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="y", visible=False)
    scales = [scale for scale in forests.MARKS if scale in {*frame["scale"]}]
    handles = [Line2D([], [], color=colour, marker=mark, ms=4.5, label=scale_name(scale))
               for scale in scales for colour, mark in (forests.MARKS[scale],)]  # fmt: skip
    handles.append(Line2D([], [], color="#777777", marker="o", ms=4.5, mfc="white", label="hollow: undecided"))
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=8.5)
    told = []
    for scale in scales:
        of_scale = frame[~gap & (frame["scale"] == scale)]
        decided = of_scale[of_scale["outcome"] != "undecided"]  # not so with too few seeds, whatever the interval
        more, less = int((decided["low"] > 0).sum()), int((decided["high"] < 0).sum())
        told.append(f"{scale_name(scale)}: of {len(of_scale)} differences of error {more + less} are decided, {more} "
                    f"times more error than the baseline, {less} times less")  # fmt: skip
    words = "; ".join(f"{row.section} {row.label} {row.estimate:.1f} ({row.scale})" for row in frame.itertuples())
    return Drawing(figure, frame.round(4), f"Differences from the baseline by section: {words}.", f"{'. '.join(told)}.")
