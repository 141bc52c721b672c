"""What the notebooks share: tables of claims and results, the source of a function, the live part.

Every table is computed from ``claims.toml``, ``paper.py`` and recorded runs, so that a notebook's words cannot
disagree with the evidence. What is trained live is shown and never counted.
"""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from IPython.display import Markdown, display

from paperlib.data.images import Dataset
from paperlib.errors import PaperlibError
from paperlib.evidence import claims, decide, metrics, store
from paperlib.evidence import rates as evidence_rates
from paperlib.evidence.metrics import METRICS
from paperlib.evidence.verdict import Verdict
from paperlib.experiments import declared, form, relu
from paperlib.experiments.scales import LARGEST_FIRST, SCALES
from paperlib.figures import style
from paperlib.figures.style import markdown_table, scale_name
from paperlib.training import loop, records


def setup(*experiments: str) -> None:
    """One thread, so that a notebook's numbers do not depend on the machine's cores; the style of all figures.

    Of the ``experiments`` that are a notebook's evidence it says what is recorded, and what is only planned.
    """
    torch.set_num_threads(1)
    style.use_style()
    if experiments:
        say(evidence_line(*experiments))


def evidence_line(*names: str) -> str:
    """At which scales the experiments have something recorded to compare (or records, where none are compared)."""
    there: dict[bool, dict[str, list[str]]] = {True: {}, False: {}}
    for scale in (each for each in LARGEST_FIRST if each != "ilsvrc2012"):  # nobody plans that here
        for name in names:
            if name in declared.names(scale):
                compared = declared.get(name, scale).comparisons
                found = bool(decide.verdicts_of(name, scale) if compared else store.records_of(name, scale))
                there[found].setdefault(SCALES[scale].title, []).append(name)
    told = [
        f"**{word}**: " + ", ".join(f"{scale} ({', '.join(each)})" for scale, each in there[found].items()) + "."
        for found, word in ((True, "Recorded evidence"), (False, "Planned, not run yet")) if there[found]
    ]  # fmt: skip
    return " ".join(told)


def say(text: str) -> None:
    """Show a sentence that was computed, as text of the notebook."""
    display(Markdown(text))


def fold(summary: str, text: str) -> None:
    """Show text that opens on a click: a long table, say."""
    say(style.folded(summary, text))


def answer(text: str) -> None:
    """Show the answer to the question before a figure, folded."""
    fold("Answer", text)


def source(thing: Any) -> None:
    """Print the source of a function or class of the library: what the notebook explains is what runs."""
    print(inspect.getsource(thing).rstrip())


def claim_table(*ids: str, more: Sequence[str] = ()) -> None:
    """What the paper claims, in our words; ``more`` are folded. What became of them is said at the end."""

    def table(ids: Sequence[str]) -> str:
        return markdown_table(("id", "the claim"), [(_in_one_line(r.id), r.claim) for r in map(claims.row, ids)])

    say(table(ids))
    if more:
        fold(f"{_count(len(more), 'more claim')} of this notebook", table(more))


def _in_one_line(claim_id: str) -> str:
    """An id in bold that JupyterLab does not break at its hyphen."""
    return f'<span style="white-space: nowrap">**{claim_id}**</span>'


def verdict_table(*ids: str) -> None:
    """What became of claims: status, result with scale and number of seeds, and the reason."""
    rows = []
    for r in map(claims.row, ids):
        proof = f" ({claims.evidence_of(r)})" if r.scale else ""
        proof += f". But: {r.caveat}" if r.caveat else ""
        rows.append((_in_one_line(r.id), f"**{r.said}**", (r.result or "–") + proof, how_of(r)))
    heads = ("id", "status", "result", "how, and what else is known")
    fold(f"Status, result and reason of {_count(len(rows), 'claim')}", markdown_table(heads, rows))


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'s' * (n != 1)}"


def how_of(r: claims.Row) -> str:
    """The reason, the command that would decide it, and when it was declared and first run."""
    since = f"Declared in commit {r.declared}, first run on {r.first_run}." if r.declared and r.first_run else ""
    parts = (r.reason, r.command and claims.command_of(r), since)
    return " ".join(part for part in parts if part)


IN_WORDS = {
    "exact": "Counting agrees with the paper.",
    "rounding": "Counting gives the paper's number if digits are cut off.",
    "erratum": "Counting gives another number than the paper's.",
    "imprecise": "It is true for one way of counting, or one of the years, and not for the other.",
    "implemented": "Our code does it, and tests compare it with an independent form. No run judges it.",
    "shown": "It is a statement about a formula, and tests hold it.",
    "cited": "We measured nothing here; the source is given.",
    "needs ImageNet": "Only a training on ImageNet could tell.",
    "not tested": "Nothing that we ran or counted can decide it; the table below says why.",
    "planned": "Nothing is recorded yet.",
    "holds": "The whole interval lies on the paper's side.",
    "contradicted": "The whole interval lies on the other side.",
    "no effect": "The whole interval is smaller than any effect of interest.",
    "undecided": "The interval allows more than one answer.",
    "mixed": "The parts of the claim, or the scales, do not agree.",
}  # fmt: skip
"""Status of a claim without runs, or outcome of one with runs -> what it means, in a sentence."""


def verdict_card(claim_id: str, take: str | dict[str, str], beside: str = "") -> None:
    """What the paper said, what we found, the number with its interval, and what to take away.

    ``take`` is a sentence, or one for each outcome (keys of :data:`IN_WORDS`; "otherwise" for all others). ``beside``
    names a comparison that decides no claim, "experiment: arms", whose number is shown for it.
    """
    r = claims.row(claim_id)
    outcome, status = r.outcome or r.status, r.said
    everywhere = decide.verdicts(*claims.ids_of(claims.entry_of(claim_id)))
    found = [v for v in everywhere if v.scale == r.scale]
    if beside:
        found = decide.verdicts_beside(*beside.split(": ", 1))[:1]
        outcome, status = (found[0].outcome, found[0].word) if found else ("planned", "planned")
    if status == "planned":
        say(f"{_in_one_line(claim_id)}: *planned, not run yet*. The paper says: {r.claim}")
        return
    but = f" But: {r.caveat}." if r.caveat and not beside else ""
    number = _numbers(found) if found else r.result if not r.tests else "held by tests"
    if outcome == "mixed":
        scales = dict.fromkeys(v.scale for v in everywhere)
        number = "; ".join(_numbers([v for v in everywhere if v.scale == scale]) for scale in scales)
    rows = [
        ("**We found**", f"**{status}**. {meaning(found, outcome)}{but}"),
        ("**The number**", number or "none"),
        ("**Take away**", take if isinstance(take, str) else take.get(outcome, take.get("otherwise", ""))),
    ]
    said = r.claim + (" (The number is of a comparison beside it.)" if beside else "")
    say(markdown_table((_in_one_line(r.id), "**The paper said:** " + said), rows))


def meaning(found: Sequence[Verdict], outcome: str) -> str:
    """A sentence on an outcome. Of comparisons that no claim asks for it says which is better."""
    if outcome in ("holds", "contradicted") and found and not found[0].comparison.claim:
        return f"The whole interval lies on one side: the {found[0].word}."
    return why(found) if outcome == "undecided" else IN_WORDS[outcome]


def why(found: Sequence[Verdict]) -> str:
    """Why a claim is undecided: seeds, a size that a proxy cannot decide, or the interval, of all parts or of some."""
    open_ = [v for v in found if v.outcome == "undecided"]
    sizes = [v for v in open_ if v.proxy and v.comparison.question != "direction"]
    if open_ and len(sizes) == len(open_):
        targets = dict.fromkeys(
            f"{v.comparison.target:g}" for v in sizes
            if not math.isnan(v.low) and not v.low <= v.comparison.target <= v.high
        )  # fmt: skip
        return "A proxy cannot decide a size." + (
            f" Here the interval excludes the paper's {', '.join(targets)}." if targets else ""
        )
    if open_ and all(v.n < v.fewest for v in open_):
        return "There are too few seeds."
    if len(open_) < len(found):
        return "Some parts are decided, and some are not." if open_ else "A declared part has no runs yet."
    return IN_WORDS["undecided"]


MOST_NUMBERS = 5  # On a card


def _numbers(found: Sequence[Verdict]) -> str:
    """Comparisons of a claim, undecided ones before others if there are many: value, outcome, scale and seeds."""
    ordered = sorted(found, key=lambda v: v.outcome != "undecided")
    unique = list({(v.experiment, decide.test_of(v.comparison)): v for v in reversed(ordered)}.values())[::-1]
    outcomes = {v.outcome for v in unique}
    chosen = sorted(unique[:MOST_NUMBERS], key=found.index)  # in the order of declaration
    told = [f"{claims.what_of(v)}: **{v.value}**" + f", {v.word}" * (len(outcomes) > 1) for v in chosen]
    told += [f"and {_count(len(unique) - MOST_NUMBERS, 'more comparison')}"] * (len(unique) > MOST_NUMBERS)
    seeds = dict.fromkeys(v.seeds for v in unique[:MOST_NUMBERS])
    return f"{'; '.join(told)} ({scale_name(found[0].scale, found[0].proxy)}, n = {' or '.join(seeds)})"


def provenance(*names: str) -> None:
    """When the experiments were declared, when and on what their recorded runs were made: a row a scale, folded.

    Below the table are the runs that were computed in parts, as on two machines.
    """
    rows, parts = [], list[str]()
    for name, scale in [(name, scale) for name in names for scale in SCALES if name in declared.names(scale)]:
        recorded = store.records_of(name, scale)
        runs = [lines for _, _, lines in recorded]
        firsts = [lines[0] for lines in runs]
        parts += [f"- {name}, {scale}: {each}" for each in records.in_parts(runs)]
        on = ("torch", "python", "cpu")
        made = sorted({", ".join(str(first["env"].get(key, "unknown")) for key in on) for first in firsts})
        days = sorted(first["started"][:10] for first in firsts)
        when = " to ".join(dict.fromkeys((days[0], days[-1]))) if days else "nothing recorded yet"
        commit = decide.declarations().get(f"{name}/{scale}", "–")
        of = declared.get(name, scale)
        shared = len(of.arms) > 1 and {arm for arm, *_ in recorded} == {of.control}
        count = f"0 (and {len(firsts)} of the shared {of.control})" if shared else len(firsts)
        rows.append((name, scale, commit, count, when, "; ".join(made) or "–"))
    heads = ("experiment", "scale", "declared in commit", "runs", "run on", "torch, Python, processor")
    table = "\n".join([markdown_table(heads, rows), *([""] if parts else []), *parts])
    fold("Where the numbers come from: declarations, dates and machines", table)


def scales_of(name: str, scale: str | None) -> list[str]:
    """The one scale that is asked for, or all at which recorded runs can be compared, the largest first.

    A baseline that other experiments share is not yet a comparison. Where there is none, all scales with records.
    """
    if scale is not None:
        return [scale]
    scales = [each for each in LARGEST_FIRST if name in declared.names(each)]
    compared = [each for each in scales if decide.verdicts_of(name, each)]
    return compared or [each for each in scales if store.records_of(name, each)] or scales[:1]


def result_table(name: str, scale: str | None = None, metric: str = "updates", named: bool = False) -> None:
    """The recorded runs of an experiment, one row per arm: rate, seeds, the metric (mean and each seed).

    Without a ``scale``, a table for each at which there are runs, the largest first; nothing where there are none, for
    :func:`setup` says what is planned. Times are shown in epochs. A
    censored run shows the time that it was given, with a ">"; a run that has no value (it never converged, say) shows
    "–", and its arm has no mean. ``named`` puts the metric into the summary, where an experiment has several tables.
    """
    for each in scales_of(name, scale):
        _result_table(name, each, metric, named)


def _result_table(name: str, scale: str, metric: str, named: bool) -> None:
    from paperlib.figures import figure1  # here: it imports all that draws

    experiment = declared.get(name, scale)
    frame = metrics.results(name, scale, metric, "steps")
    if frame.empty:
        return
    measure = METRICS[metric]
    heading = measure.heading
    if metric == "updates":
        if experiment.stop.threshold is None:
            raise PaperlibError(f"experiment {name} stops at no threshold, so it has no times: take another metric")
        heading += f" to {experiment.stop.threshold:g} % training error"
    head = f"{heading} ({measure.unit})" if measure.unit else heading
    per_epoch = {a: figure1.updates_per_epoch(lines) for a, _, lines in store.records_of(name, scale)}
    rows = []
    for arm in dict.fromkeys(frame["arm"]):
        shown, values, censored = [], [], ""
        for run in frame[frame["arm"] == arm].to_dict("records"):
            mark = ">" if metric == "updates" and run["status"] == "censored" else ""
            value = float(run["steps"] if mark else run[metric]) / (per_epoch[arm] if measure.in_epochs else 1)
            text = "–" if math.isnan(value) else f"{mark}{value:.2f}"
            shown.append("diverged" if run["status"] == "diverged" else text)
            values.append(value)
            censored = censored or mark
        mean = "–" if {"diverged", "–"} & {*shown} else f"{censored}{sum(values) / len(values):.2f}"
        rows.append((arm, f"{experiment.recipe(arm).optim.lr:g}", len(values), mean, ", ".join(shown)))
    fold(
        f"Recorded, {scale_name(scale, experiment.proxy)}, {experiment.title}: {_count(len(rows), 'arm')}"
        + f", {measure.heading}" * named,
        markdown_table(("arm", "learning rate", "seeds", f"mean {head}", "each seed"), rows),
    )


def ratio_table(name: str, scale: str | None = None) -> None:
    """The comparisons of an experiment: estimate with its interval, number of seeds, status, claim.

    Without a ``scale``, a table for each at which there are runs, the largest first.
    """
    for each in scales_of(name, scale):
        _ratio_table(name, each)


def how_to_read(found: Sequence[Verdict]) -> list[str]:
    """What the columns of a table of comparisons mean, for the columns that it has."""
    pairs = [v for v in found if v.comparison.b]
    ratio, points = ([v for v in pairs if v.ratio is each] for each in (True, False))
    words = ["the second arm divided by the first (above 1, the first is better)"] if ratio else []
    words += ["the second arm minus the first (above 0, the first is better)"] if points else []
    words += ["what is measured of the one arm (above 0, the direction holds)"] if len(pairs) < len(found) else []
    lines = [f"*estimate*: {'; '.join(words)}."]
    if any(v.comparison.question != "direction" and v.proxy for v in found):
        lines.append("A proxy can decide a direction, never a size.")
    if any(v.bound in ("lower", "upper") for v in found):
        lines.append("*bound*: the weakest of the seeds' bounds; it decides a direction, never a size.")
    lines.append(
        "All intervals of one experiment hold together with 95 % confidence; "
        "[notebook 00](00_claims.ipynb) works out one."
    )
    return lines


def _ratio_table(name: str, scale: str) -> None:
    rows, found = [], [decide.baseline_first(v) for v in decide.verdicts_of(name, scale)]
    for v in found:
        c = v.comparison
        question = {"direction": "which way?", "size": f"is it {c.target:g}?", "at least": f"at least {c.target:g}?"}
        status = f"**{v.word}**" + (f" ({v.outlook})" if v.outlook else "")
        rows.append((c.arms, metrics.words(c.metric), question[c.question], v.text, v.seeds, status, c.claim or "–"))
    if not rows:
        return
    heads = ("arms", "measure", "question", "estimate (interval)", "seeds", "verdict", "claim")
    proxy = declared.get(name, scale).proxy
    fold(
        f"Compared, {scale_name(scale, proxy)}, experiment {name}: {_count(len(rows), 'comparison')}",
        f"{markdown_table(heads, rows)}\n\n{' '.join(how_to_read(found))}",
    )


def rate_table(scale: str) -> None:
    """The recorded sweep of Figure 1: the score of each learning rate, the chosen one bold.

    The score is the last running training error (%), or the updates to the threshold of an arm that is tried until it
    gets there.
    """
    swept, chosen = evidence_rates.swept(scale), evidence_rates.chosen_rates(scale)
    if not swept:
        return
    rates = sorted({rate for scores in swept.values() for rate in scores})
    timed = {arm for arm in swept if relu.ARMS[arm].unit in relu.OVER_ITS_OWN_HORIZON[scale]}

    def cell(arm: str, rate: float) -> str:
        score = swept[arm].get(rate)
        if score is None:
            return ""
        if math.isnan(score):
            return "never" if arm in timed else "diverged"
        text = f"{score:.0f}" if arm in timed else f"{score:.2f}"
        return f"**{text}**" if rate == chosen[arm] else text

    epochs = declared.get("relu-rates", scale).stop.epochs
    what = [f"running training error (%) after {epochs} epochs"] if timed < {*swept} else []
    if timed:
        what.append(f"updates to {relu.UNIT_STOPS[scale].threshold:g} % training error ({', '.join(sorted(timed))})")
    heads = ("arm", *(f"{rate:g}" for rate in rates))
    fold(
        f"Sweep of learning rates, {SCALES[scale].label()}, one seed: {', or '.join(what)}",
        "Bold: the rate that was chosen; blank: not tried.\n\n"
        + markdown_table(heads, [(arm, *(cell(arm, rate) for rate in rates)) for arm in swept]),
    )


def live_scale(minutes: dict[str, float]) -> str:
    """The scale of a notebook's live part: ``PAPERLIB_SCALE``, "sample" by default.

    ``minutes`` gives the scales that the notebook has, with the time each takes on one core. Where that is more
    than five, ``PAPERLIB_YES=1`` must be set too: raises :class:`PaperlibError` with the estimate.
    """
    scale = os.environ.get("PAPERLIB_SCALE", "sample")
    if scale not in minutes:
        raise PaperlibError(f"this notebook has no scale {scale!r}; set PAPERLIB_SCALE to one of {', '.join(minutes)}")
    if minutes[scale] > 5 and os.environ.get("PAPERLIB_YES") != "1":
        raise PaperlibError(
            f"at scale {scale} the live part takes about {minutes[scale]:.0f} minutes on one core; "
            "set PAPERLIB_YES=1 to run it, or PAPERLIB_SCALE=sample"
        )
    return scale


LIVE_SEED = 0


def short_run(
    experiment: form.Experiment,
    arm: str,
    data: Dataset,
    changes: form.Changes | None = None,
    **stop: Any,
) -> loop.Trained:
    """Train a declared arm here and now, for less time than is declared: a look, and not evidence.

    ``stop`` are the fields of the stopping rule that differ (``epochs=2, window=13, train_images=5000``), ``changes``
    dotted fields of the recipe, if any. Returns the net as it ended and its record, which is
    written nowhere. The seed is 0, so that arms start as their recorded runs do. Raises :class:`PaperlibError` for an
    arm or a field of the recipe that is not there, TypeError for such a field of the stopping rule.
    """
    run = experiment.run(arm, LIVE_SEED, data.fingerprint)
    run = replace(run, recipe=run.recipe.but(**(changes or {})), stop=replace(run.stop, **stop))
    return loop.fit(run, data)


def explore(draw: Callable[..., style.Drawing], caption: str = "", **choices: Sequence[Any]) -> None:
    """Show ``draw()``, and below it a slider for each of its arguments in ``choices``: a move draws it anew.

    The figure with the default values is what a notebook stores, compares and prints. Controls need a live page and
    the package ipywidgets; ``PAPERLIB_CONTROLS=0`` leaves them away where notebooks are executed by a program.
    """
    draw().show(caption)
    if os.environ.get("PAPERLIB_CONTROLS") == "0":
        return
    try:
        import ipywidgets
    except ImportError:
        say("The controls of this figure need ipywidgets: `pip install ipywidgets`, then restart the kernel.")
        return
    defaults = {name: inspect.signature(draw).parameters[name].default for name in choices}
    sliders = {
        name: ipywidgets.SelectionSlider(
            options=values, value=defaults[name], description=name, continuous_update=False
        )
        for name, values in choices.items()
    }

    def redraw(**chosen: Any) -> None:
        if chosen != defaults:  # that one is above
            draw(**chosen).show()

    display(ipywidgets.VBox([*sliders.values(), ipywidgets.interactive_output(redraw, sliders)]))
