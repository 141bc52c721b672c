"""Forest plots of all declared comparisons, or of those of some sections: estimate, interval, and what it decides."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator

from paperlib.errors import PaperlibError
from paperlib.evidence import claims, decide
from paperlib.evidence.verdict import Verdict, end, plainly
from paperlib.experiments import declared
from paperlib.experiments.form import Comparison, Experiment
from paperlib.experiments.scales import SCALES
from paperlib.figures.labels import SECTION_OF, SECTION_OF_ARM, SECTIONS, SETTINGS, named
from paperlib.figures.style import PALETTE, Drawing, nothing_yet, scale_name, use_style

# ---------------------------------------------------------------------------------------------------------
# What is drawn, and where

ERRORS = {
    "test_error": "", "train_error": "training error", "overfit": "test − training",
    "ten_views_gain": "", "ensemble_gain": "",
}  # fmt: skip
"""Metrics in points of error -> how they are named where it is not the test error."""
SINGLES = {"ten_views_gain": "ten views v. one", "ensemble_gain": "average of five v. one"}
"""Metrics of one arm that are themselves a difference -> what is compared."""
MARKS = {
    "ilsvrc2012": ("#000000", "P"), "cifar10": (PALETTE[0], "o"), "tinyimagenet": (PALETTE[4], "^"),
    "photos": (PALETTE[2], "s"), "sample": (PALETTE[1], "D"),
}  # fmt: skip
"""Scale -> its colour and mark; the scales of one comparison are drawn in this order."""
COLUMNS = [
    "section", "setting", "experiment", "a", "b", "metric", "claims", "scale", "proxy", "n", "enough",
    "smallest_effect", "at_least", "estimate", "low", "high", "bound", "outcome",
]  # fmt: skip


def comparisons_of(experiment: Experiment, ratios: bool) -> dict[decide.Test, list[Comparison]]:
    """The different tests of an experiment, of times or of errors, each with all comparisons that ask about it.

    Directions come first: what is drawn of an equal test is its answer to them.
    """
    tests: dict[decide.Test, list[Comparison]] = {}
    for c in sorted(experiment.comparisons, key=lambda c: c.question != "direction"):
        if (c.transform == "log_ratio") if ratios else (c.transform == "difference" and c.metric in ERRORS):
            tests.setdefault(decide.test_of(c), []).append(c)
    return tests


def sections_of(name: str, asked: list[Comparison]) -> list[str]:
    """All sections to which a test belongs, those of its claims and its experiment's.

    The first is the one under which it is drawn: the experiment's where a claim of that section asks, or none does.
    """
    places = [place for c in asked if c.claim for place in claims.sections_of(claims.entry_of(c.claim))]
    own = SECTION_OF_ARM.get((name, asked[0].b), SECTION_OF[name])
    return list(dict.fromkeys([own, *places] if own in places or not places else [*places, own]))


def lines(
    *sections: str, ratios: bool = False, experiments: Sequence[str] = (), arms: Sequence[str] = ()
) -> pd.DataFrame:
    """A row a test and scale with a recorded verdict, of all or of some sections, experiments and ``arms`` compared.

    In the order of the paper, then of declaration; all scales of a comparison together, the largest first. Equal tests
    of one experiment are one row, with all the claims that they serve.
    """
    if unknown := [section for section in sections if section not in SECTIONS]:
        raise PaperlibError(f"no comparison is in section {unknown[0]!r}; the sections are {', '.join(SECTIONS)}")
    blocks, tests = {("", ""): 0}, dict[Any, int]()
    rows: dict[tuple[int, ...], tuple[Any, ...]] = {}
    for experiment in (each for each in declared.DECLARED if not experiments or each.name in experiments):
        verdicts = {v.comparison: v for v in decide.verdicts_of(experiment.name, experiment.scale)}
        for test, asked in comparisons_of(experiment, ratios).items():
            places = sections_of(experiment.name, asked)
            section = next((place for place in places if not sections or place in sections), "")
            wanted = not arms or {asked[0].a, asked[0].b} & {*arms}
            v = verdicts.get(asked[0]) if section and wanted else None
            if v and (v.has_value or v.bound or v.outside):
                block = SETTINGS.get(v.experiment, ""), ERRORS.get(v.comparison.metric, "")
                place = (
                    list(SECTIONS).index(section), blocks.setdefault(block, len(blocks)),
                    tests.setdefault((v.experiment, test), len(tests)), list(MARKS).index(v.scale),
                )  # fmt: skip
                rows[place] = (section, ", ".join(filter(None, block)), *row_of(v, asked))
    return pd.DataFrame([rows[place] for place in sorted(rows)], columns=COLUMNS)


def row_of(v: Verdict, asked: list[Comparison]) -> tuple[Any, ...]:
    """What is drawn and written of a verdict."""
    served = ", ".join(dict.fromkeys(other.claim for other in asked if other.claim))
    v = v if served else decide.baseline_first(v)
    c = v.comparison
    at_least = c.target if c.question == "at least" else math.nan
    return (
        v.experiment, c.a, c.b, c.metric, served, v.scale, v.proxy, v.n, v.n >= v.fewest, c.smallest_effect, at_least,
        v.estimate, v.low, v.high, v.bound, v.outcome,
    )  # fmt: skip


# ---------------------------------------------------------------------------------------------------------
# The axis of a kind of comparison


@dataclass(frozen=True)
class Kind:
    """Differences of errors, or ratios of times: ``null`` is no effect, an axis has ``least`` to ``most`` at most.

    What reaches beyond has an arrow at the edge; an estimate that does is written out.
    """

    what: str
    better: str
    unit: str
    null: float
    least: float
    most: float
    log: bool = False

    def zone(self, delta: float) -> tuple[float, float]:
        """The effects that are smaller than the smallest of interest."""
        return (1 / delta, delta) if self.log else (-delta, delta)

    def shown(self, frame: pd.DataFrame) -> tuple[float, float]:
        """The ends of the axis: all that is drawn, within ``least`` and ``most``."""
        ends = [end for delta in frame["smallest_effect"] for end in self.zone(delta)]
        ends += [end for column in ("estimate", "low", "high") for end in frame[column].dropna()]
        low, high = min(ends), max(ends)
        margin = (high / low) ** 0.04 if self.log else 0.04 * (high - low)
        low, high = (low / margin, high * margin) if self.log else (low - margin, high + margin)
        return max(low, self.least), min(high, self.most)


ERROR = Kind("errors", "the first is better", "points of error; positive: the first is better", 0.0, -6.0, 7.5)
TIME = Kind(
    "times", "the first is faster", "updates of the second / updates of the first; above 1: the first is faster",
    1.0, 0.2, 10.0, log=True,
)  # fmt: skip


def forest(*sections: str, experiments: Sequence[str] = (), arms: Sequence[str] = ()) -> Drawing:
    """All comparisons of errors, or those that belong to ``sections`` ("3.3"), one line per comparison and scale.

    Of ``experiments`` only these, and only comparisons of these ``arms``.
    """
    return drawn(ERROR, sections, experiments, arms)


def forest_times(*sections: str, experiments: Sequence[str] = ()) -> Drawing:
    """All comparisons of times to an error, or those that belong to ``sections``, of all experiments or of some."""
    return drawn(TIME, sections, experiments)


# ---------------------------------------------------------------------------------------------------------
# Drawing

MOST_LINES = 45  # More are drawn in two columns
LINE = 0.158  # Inches a line


def drawn(kind: Kind, sections: tuple[str, ...], experiments: Sequence[str] = (), arms: Sequence[str] = ()) -> Drawing:
    """The forest of one kind of comparison."""
    use_style()
    frame = lines(*sections, ratios=kind.log, experiments=experiments, arms=arms)
    where = f" in section{'s' * (len(sections) > 1)} {' and '.join(sections)}" if sections else ""
    if frame.empty:
        return nothing_yet(f"comparison of {kind.what}{where}", COLUMNS)
    columns = [Column(part, short=len(frame) > MOST_LINES) for part in in_columns(frame)]
    size = (9.2 if len(columns) > 1 else 7.6, LINE * max(column.height for column in columns) + 1.75)
    figure, panels = plt.subplots(1, len(columns), figsize=size, squeeze=False)
    for axes, column in zip(panels[0], columns, strict=True):
        draw_column(axes, column, kind, kind.shown(frame), max(c.height for c in columns))
    title = counts(frame, kind, where)
    if len(title) > (125 if len(columns) > 1 else 100):
        title = title.replace(": ", ":\n", 1)
    plain = "; where no claim asks, a line says which is better" * bool((frame["claims"] == "").any())
    figure.suptitle(f"{title}\n(simultaneous 95 % intervals decide{plain})", x=0.01, ha="left", fontsize=10.5)
    legend(figure, frame, kind)
    return Drawing(figure, frame.round(4), alt_text(frame, kind, where), conclusion(frame, kind))


def in_columns(frame: pd.DataFrame) -> list[pd.DataFrame]:
    """The whole frame, or where that would be too long its halves, divided between two sections."""
    if len(frame) <= MOST_LINES or frame["section"].nunique() == 1:
        return [frame]
    parts = [part for _, part in frame.groupby("section", sort=False)]
    heights = [Column(part).height for part in parts]
    cut = min(range(1, len(parts)), key=lambda k: max(sum(heights[:k]), sum(heights[k:])))
    return [pd.concat(parts[:cut]), pd.concat(parts[cut:])]


@dataclass
class Column:
    """The places of the lines, headings and labels of some rows, downwards from 0 in lines.

    In ``short`` labels the baseline, where it comes first, is left out.
    """

    frame: pd.DataFrame
    short: bool = False
    places: list[float] = field(default_factory=list)
    heads: list[tuple[float, str, str]] = field(default_factory=list)
    labels: list[tuple[float, str]] = field(default_factory=list)
    height: float = 0.0

    def __post_init__(self) -> None:
        for section, of_section in self.frame.groupby("section", sort=False):
            self.head(f"{section} {SECTIONS[str(section)]}", "bold")
            for setting, of_setting in of_section.groupby("setting", sort=False):
                if setting:
                    self.head(str(setting), "italic")
                for _, of_test in of_setting.groupby(["experiment", "a", "b", "metric"], sort=False):
                    self.test(of_test)
            self.height += 0.4

    def head(self, text: str, how: str) -> None:
        self.heads.append((self.height, text, how))
        self.height += 1.0

    def test(self, rows: pd.DataFrame) -> None:
        """One comparison, at all its scales."""
        places = [self.height + 0.85 * k for k in range(len(rows))]
        self.places += places
        self.labels.append((sum(places) / len(places), label(rows.iloc[0], self.short)))
        self.height = places[-1] + 1.05


def label(row: Any, short: bool = False) -> str:
    """ "a v. b", or what a metric of one arm compares."""
    a, b = named(row)
    if b:
        size = "" if math.isnan(row.at_least) else f" (≥ {row.at_least:g}?)"
        return (f"v. {b}" if short and a == "baseline" else f"{a} v. {b}") + size
    return f"{a}: {SINGLES[row.metric]}" if row.setting else SINGLES[row.metric]


def draw_column(axes: Axes, column: Column, kind: Kind, shown: tuple[float, float], height: float) -> None:
    """The lines of one column, their labels at the left, what they decide at the right."""
    if kind.log:
        axes.set_xscale("log")
        ticks = [tick for tick in (0.2, 0.5, 1, 2, 5, 10) if shown[0] <= tick <= shown[1]]
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
    else:
        axes.xaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10]))
    axes.set(xlim=shown, ylim=(height - 0.4, -0.7))
    for y, row in zip(column.places, column.frame.itertuples(), strict=True):
        draw_line(axes, y, row, kind, shown)
    axes.axvline(kind.null, color="#555555", lw=0.8, zorder=1)
    texts = sorted([*column.heads, *((y, text, "") for y, text in column.labels)])
    axes.set_yticks([y for y, *_ in texts], [text for _, text, _ in texts], fontsize=8)
    for tick, (y, _, how) in zip(axes.get_yticklabels(), texts, strict=True):
        tick.set(fontweight="bold" if how == "bold" else "normal", fontstyle="italic" if how == "italic" else "normal")
        if how == "bold" and y > 0:
            axes.axhline(y - 0.65, color="#bbbbbb", lw=0.6)
    axes.set_xlabel(kind.unit + ("\n“v. x”: baseline v. x" if column.short else ""), fontsize=9)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)


OUTCOME_COLOURS = {"holds": "#111111", "contradicted": PALETTE[3], "no effect": "#555555", "undecided": "#6b6b6b"}


def draw_line(axes: Axes, y: float, row: Any, kind: Kind, shown: tuple[float, float]) -> None:
    """One comparison at one scale: its zone without interest, interval, estimate (hollow with too few seeds), word."""
    colour, mark = MARKS[row.scale]
    axes.annotate(word(row, kind), (1.02, y), xycoords=("axes fraction", "data"), va="center", fontsize=8,
                  color=OUTCOME_COLOURS[row.outcome], annotation_clip=False)  # fmt: skip
    if math.isnan(row.estimate):
        text = "no bound: neither reached it" if row.bound else "no value: no run counts"
        axes.annotate(text, (kind.null, y), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8)
        return
    least, most = kind.zone(row.smallest_effect)
    axes.add_patch(Rectangle((least, y - 0.42), most - least, 0.84, color="#e2e2e2", lw=0, zorder=0.5))
    low, high = (row.estimate, row.estimate) if row.bound or math.isnan(row.low) else (row.low, row.high)
    axes.plot([max(low, shown[0]), min(high, shown[1])], [y, y], color=colour, lw=1.5 if row.enough else 0.8)
    for beyond, edge, arrow in ((low < shown[0], shown[0], "<"), (high > shown[1], shown[1], ">")):
        if beyond:
            axes.plot(edge, y, arrow, color=colour, ms=4.5, clip_on=False)
    mark = {"lower": ">", "upper": "<"}.get(row.bound, mark)
    if shown[0] <= row.estimate <= shown[1]:
        axes.plot(row.estimate, y, mark, color=colour, ms=4.5, mfc=colour if row.enough else "white", zorder=3)
    else:
        right = row.estimate > shown[1]  # beyond the axis: in numbers, at its edge
        text = f"{row.estimate:.1f}" + ("" if math.isnan(row.low) else f" ({row.low:.1f} to {row.high:.1f})")
        axes.annotate(text, (float(right), y), xycoords=("axes fraction", "data"), xytext=(-6 if right else 6, 0),
                      textcoords="offset points", ha="right" if right else "left", va="center", fontsize=8,
                      bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5})  # fmt: skip


def legend(figure: Figure, frame: pd.DataFrame, kind: Kind) -> None:
    """Scales with their seeds, and what else is drawn."""
    handles: list[Artist] = []
    for scale, (colour, mark) in MARKS.items():
        if (of_scale := frame[frame["scale"] == scale]).empty:
            continue
        few = not of_scale["enough"].any()
        seeds = "1 seed" if of_scale["n"].max() == 1 else f"{of_scale['n'].min()} or more seeds an arm"
        name = f"{scale_name(scale, bool(of_scale['proxy'].any()))}, {seeds}{': no interval' * few}"
        look: dict[str, Any] = {"lw": 0, "mfc": "white"} if few else {}
        handles.append(Line2D([], [], color=colour, marker=mark, ms=4.5, label=name, **look))
    handles.append(Patch(color="#e2e2e2", lw=0, label="less than the smallest effect of interest"))
    mixed = frame[~frame["enough"] & frame.groupby("scale")["enough"].transform("any")]
    if len(mixed):
        colour, mark = MARKS[mixed["scale"].iloc[0]]
        handles.append(Line2D([], [], color=colour, lw=0.8, marker=mark, ms=4.5, mfc="white", label="too few seeds"))
    if (frame["bound"] != "").any():
        handles.append(Line2D([], [], color="#555555", lw=0, marker=">", ms=4.5, label="lower (or upper) bound"))
    figure.legend(handles=handles, loc="outside lower center", ncols=2, fontsize=8.5)


# ---------------------------------------------------------------------------------------------------------
# In words


def word(row: Any, kind: Kind) -> str:
    """The outcome at the right of a line: of a claim where one asks, else which of the two is better."""
    if not row.enough:
        return f"{row.n} seed{'s' * (row.n != 1)}"
    return str(row.outcome if row.claims else plainly(row.outcome, row.b, kind.log))


def counts(frame: pd.DataFrame, kind: Kind, where: str) -> str:
    """How many comparisons came out in which way."""
    better = "faster" if kind.log else "better"
    said = {
        "holds": f"in {{}} the first is {better}", "contradicted": f"in {{}} the second is {better}",
        "no effect": "{} without an effect of interest", "undecided": "{} undecided", "few": "{} with too few seeds",
    }  # fmt: skip
    found = frame["outcome"].where(frame["enough"], "few").value_counts()
    parts = ", ".join(text.format(found[outcome]) for outcome, text in said.items() if outcome in found)
    return f"{len(frame)} comparison{'s' * (len(frame) != 1)} of {kind.what}{where}: {parts}"


MOST_TOLD, MOST_NAMED = 3, 5


def conclusion(frame: pd.DataFrame, kind: Kind) -> str:
    """The largest decided effects in words, those that a claim asks for first, and what is not decided."""
    rows = sorted(frame.itertuples(), key=lambda row: (not row.claims, -distance(row, kind)))
    decided = [row for row in rows if row.outcome in ("holds", "contradicted")]
    open_: list[Any] = [row for row in frame.itertuples() if row.outcome not in ("holds", "contradicted")]
    usual = frame["scale"].mode()[0]
    told = [effect(row, kind, row.scale != usual) for row in decided[: MOST_TOLD + (len(decided) == MOST_TOLD + 1)]]
    told += [f"{len(decided) - len(told)} more are decided"] if len(decided) > len(told) else []
    alone = [row for row in open_ if math.isnan(row.low) and not row.bound]
    if not decided and 0 < len(alone) < len(open_):
        told.append(f"none of the {len(open_) - len(alone)} comparisons with an interval is decided")
        told.append("without one: " + ", ".join(interval(row, kind, row.scale != usual) for row in alone))
    elif 0 < len(open_) <= MOST_NAMED:
        told.append("not decided: " + ", ".join(interval(row, kind, row.scale != usual) for row in open_))
    elif open_:
        told.append(f"{len(open_)} are not decided")
    text = "; ".join(told) + "."
    return text[0].upper() + text[1:]


def distance(row: Any, kind: Kind) -> float:
    """How far an effect is from none."""
    return 0.0 if math.isnan(row.estimate) else abs(math.log(row.estimate) if kind.log else row.estimate)


def interval(row: Any, kind: Kind, scale: bool) -> str:
    """ "no decay (0.01 points, -0.86 to 0.88)": what is not decided, with its number."""
    name = label(row, short=True).removeprefix("v. ")
    unit = "times" if kind.log else "points"
    number = "" if math.isnan(row.estimate) else f"{row.estimate:z.2f} {unit}"
    ends = word(row, kind) if math.isnan(row.low) else f"{end(row.low)} to {end(row.high)}"
    setting = "; ".join(filter(None, [SETTINGS.get(row.experiment, ""), SCALES[row.scale].title if scale else ""]))
    inside = "; ".join(filter(None, [setting, ", ".join(filter(None, [number, ends]))]))
    return f"{name} ({inside})" if inside else name


def effect(row: Any, kind: Kind, scale: bool) -> str:
    """ "no lrn costs 2.87 points (1.84 to 3.90)": a decided comparison as a sentence."""
    first = row.outcome == "holds"
    a, b = named(row)
    better, worse = (a, b) if first else (b, a)
    if kind.log:
        size, ends = (row.estimate, (row.low, row.high)) if first else (1 / row.estimate, (1 / row.high, 1 / row.low))
        said = f"{better} is {'more than ' if row.bound else ''}{size:.2f} times as fast as {worse}"
    else:
        size, ends = abs(row.estimate), (row.low, row.high) if first else (-row.high, -row.low)
        points, gap = f"{size:.2f} points", row.metric == "overfit"
        if not row.b:
            said = f"{SINGLES[row.metric]}: {points} {'less' if first else 'more'}"
        elif a == "baseline":
            verb = ("widens" if first else "narrows") + " the gap by" if gap else "costs" if first else "saves"
            said = f"{b} {verb} {points}"
        else:
            said = f"{worse} has {points} more {'of a gap' if gap else 'error'} than {better}"
    setting = ", ".join(filter(None, [SETTINGS.get(row.experiment, ""), SCALES[row.scale].title if scale else ""]))
    inside = "" if math.isnan(row.low) else f" ({end(ends[0])} to {end(ends[1])})"
    return said + inside + f", {setting}" * bool(setting)


def alt_text(frame: pd.DataFrame, kind: Kind, where: str) -> str:
    """The counts, then each comparison that is decided, with its estimate."""
    parts = [f"Forest plot. {counts(frame, kind, where)}"]
    better = "faster" if kind.log else "better"
    for outcome, which in (("holds", f"The first is {better}"), ("contradicted", f"The second is {better}")):
        found = [in_words(row) for row in frame[frame["outcome"] == outcome].itertuples()]
        parts += [f"{which}: {'; '.join(found)}"] if found else []
    return ". ".join(parts) + "."


def in_words(row: Any) -> str:
    """ "3.3 baseline v. no lrn (cifar10) 1.5"."""
    setting = f", {row.setting}" if row.setting else ""
    bound = {"lower": "> ", "upper": "< "}.get(row.bound, "")
    return f"{row.section} {label(row)}{setting} ({row.scale}) {bound}{row.estimate:.1f}"
