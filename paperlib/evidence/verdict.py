"""What is said of one comparison: estimate, interval, outcome, and what would decide it.

The printed interval is the one that decides. Directions, sizes and "at least" are questions of a comparison; a proxy
and a bound decide a direction only.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Literal

from paperlib.evidence.metrics import METRICS
from paperlib.evidence.rows import Outcome, in_words
from paperlib.experiments.form import Comparison

ALPHA = 0.05  # Error rate of all tests of one experiment together
FACTOR = 1.5  # A size is reproduced within this factor of the paper's
FEWEST, FEWEST_POOLED, POOLED_DF = 5, 3, 20
"""Seeds per arm that a verdict needs; fewer are enough where the pool has ``POOLED_DF`` degrees of freedom."""
MOST_SEEDS = 100  # Beyond, their number depends on an estimate near zero, and is not told


def together(outcomes: Iterable[Outcome]) -> Outcome:
    """One outcome for several parts: any contradiction contradicts, support needs every part."""
    kinds = set(outcomes)
    if "contradicted" in kinds:
        return "contradicted"
    if "undecided" in kinds or not kinds:
        return "undecided"
    return kinds.pop() if len(kinds) == 1 else "mixed"


def plainly(outcome: Outcome, pair: object, times: bool) -> str:
    """An outcome where no claim asks: which of a ``pair`` is better, or on which side of zero one arm lies."""
    better = "faster" if times else "better"
    words = {"holds": f"first {better}", "contradicted": f"second {better}"}
    return (words if pair else {"holds": "above zero", "contradicted": "below zero"}).get(outcome, outcome)


def end(number: float) -> str:
    """An end of an interval; more digits where two would make it zero, as its sign decides."""
    digits = 2 if abs(number) >= 0.005 or not number else 1 - math.floor(math.log10(abs(number)) + 1)
    return f"{number:z.{digits}f}"


@dataclass(frozen=True)
class Verdict:
    """What the records say of one comparison.

    ``low`` and ``high`` are the simultaneous interval of ``estimate`` (a difference in the metric's units, or a ratio).
    ``bound`` is "lower" where a run of b was stopped before its threshold, "upper" where one of a was: then
    ``estimate`` is only a bound, without an interval; "both" where runs of both were, and nothing is bounded. ``n`` are
    the seeds that count, of a and of b; ``df`` the degrees of freedom of a pool, 0 without a pool.
    """

    comparison: Comparison
    experiment: str
    scale: str
    proxy: bool
    n_of: tuple[int, ...]
    estimate: float
    low: float = math.nan
    high: float = math.nan
    bound: Literal["", "lower", "upper", "both"] = ""
    df: int = 0
    outside: tuple[str, ...] = ()
    first_run: str = ""
    declared: str = ""

    @property
    def n(self) -> int:
        """Seeds of the arm with the fewest."""
        return min(self.n_of)

    @property
    def seeds(self) -> str:
        """The seeds of both arms, in words."""
        return " and ".join(map(str, self.n_of if len({*self.n_of}) > 1 else self.n_of[:1]))

    @property
    def ratio(self) -> bool:
        return self.comparison.transform == "log_ratio"

    @property
    def fewest(self) -> int:
        """Seeds an arm that a verdict needs here."""
        return FEWEST_POOLED if self.df >= POOLED_DF else FEWEST

    @property
    def outcome(self) -> Outcome:
        """What the interval says, or the bound; "undecided" with too few seeds."""
        if self.n < self.fewest:
            return "undecided"
        if self.bound:
            ends = {"lower": (self.estimate, math.inf), "upper": (0.0, self.estimate)}.get(self.bound)
            return outcome_of(self.comparison, *ends, proxy=self.proxy, bound=True) if ends else "undecided"
        return outcome_of(self.comparison, self.low, self.high, proxy=self.proxy)

    @property
    def status(self) -> str:
        """The outcome in words."""
        return in_words(self.outcome, self.proxy, f"{self.comparison.smallest_effect:g}")

    @property
    def word(self) -> str:
        """The status where a claim asks; else which of the two is better, as nobody said which would be."""
        return self.status if self.comparison.claim else plainly(self.outcome, self.comparison.b, self.ratio)

    @property
    def turned(self) -> Verdict:
        """The same difference with its arms exchanged."""
        c = replace(self.comparison, a=self.comparison.b, b=self.comparison.a)
        return replace(
            self, comparison=c, n_of=self.n_of[::-1], estimate=-self.estimate, low=-self.high, high=-self.low
        )

    # ------------------------------------------------------------------------------------- what would decide

    @property
    def half_width(self) -> float | None:
        """Half the interval's width; of a ratio the factor by which either end is off. None without an interval."""
        if math.isnan(self.low):
            return None
        return math.sqrt(self.high / self.low) if self.ratio else (self.high - self.low) / 2

    @property
    def seeds_to_decide(self) -> int | None:
        """Seeds in every arm with which an interval around this estimate would just decide; None if seeds cannot.

        Were the estimate the true effect, half of all repetitions would come out smaller: an even chance at most, since
        *no effect* takes both ends. Arms of unequal size count as their harmonic mean in each.
        """
        c = self.comparison
        if self.outcome != "undecided" or (self.proxy and c.question != "direction") or not self.half_width:
            return None
        scaled: Callable[[float], float] = math.log if self.ratio else float
        needed = distance_to_decide(c, self.estimate)
        if not needed > 0:
            return None
        n = math.ceil(statistics.harmonic_mean(self.n_of) * (scaled(self.half_width) / needed) ** 2)
        return max(n, self.fewest if self.n < self.fewest else self.n + 1)

    # ------------------------------------------------------------------------------------- text

    @property
    def unit(self) -> str:
        """With a space before it; empty for what has none."""
        unit = "times" if self.ratio else METRICS[self.comparison.metric].difference
        return f" {unit}" if unit else ""

    @property
    def has_value(self) -> bool:
        """Whether there is an estimate or a bound."""
        return self.bound != "both" and not math.isnan(self.estimate)

    @property
    def value(self) -> str:
        """Estimate and interval with the unit, or the bound."""
        c = self.comparison
        if self.bound == "both":
            return f"neither {c.a} nor {c.b} reached the threshold with all seeds, so nothing bounds their ratio"
        if not self.has_value:
            return "no value yet"
        if self.bound:
            return f"{'>' if self.bound == 'lower' else '<'} {self.estimate:.2f}{self.unit} (bound)"
        interval = "" if math.isnan(self.low) else f" ({end(self.low)} to {end(self.high)})"
        return f"{self.estimate:z.2f}{self.unit}{interval}"

    @property
    def text(self) -> str:
        """The result in a few words: the value, and the runs that do not count."""
        return "; ".join([self.value, *self.outside])

    def limits(self, paper: float | None = None) -> str:
        """What the interval leaves possible, in a sentence: "undecided" is not "no difference".

        ``paper`` is an effect of the paper's, of which it says whether the interval excludes it. Empty without an
        interval.
        """
        c, heading = self.comparison, METRICS[self.comparison.metric].heading
        if math.isnan(self.low):
            return ""
        if not c.b or self.ratio:
            what = f"*{c.b}* takes between {{}} times as long as *{c.a}*" if c.b else f"The {heading} is between {{}}"
            told = what.format(f"{end(self.low)} and {end(self.high)}" + ("" if c.b else self.unit))
        else:
            more, less = f"{end(self.high)}{self.unit} more", f"{end(-self.low)}{self.unit} less"
            sides = f"at most {more} {heading} than *{c.a}*, and at most {less}"
            if not self.low < 0 < self.high:
                near, far, word = (self.low, self.high, "more") if self.low >= 0 else (-self.high, -self.low, "less")
                sides = f"at least {end(near)} and at most {end(far)}{self.unit} {word} {heading} than *{c.a}*"
            told = f"*{c.b}* has {sides}"
        if paper is None:
            return f"{told}."
        word = "does not exclude" if self.low <= paper <= self.high else "excludes"
        return f"{told}. That {word} the paper's {paper:g}."

    @property
    def outlook(self) -> str:
        """Of an undecided comparison with an interval: its half-width, and the seeds that may decide it."""
        if self.outcome != "undecided" or self.half_width is None:
            return ""
        half = f"×/÷ {self.half_width:.2f}" if self.ratio else f"± {self.half_width:.2f}{self.unit}"
        if self.proxy and self.comparison.question != "direction":
            return f"{half}; a proxy cannot decide a size"
        more = self.seeds_to_decide
        about = f"about {more}" if more is None or more <= MOST_SEEDS else f"more than {MOST_SEEDS}"
        return half if more is None else f"{half}; {about} seeds in every arm for an even chance, at most, to decide it"

    def sentence(self, around: str) -> str:
        """The text in a sentence, ``around``, with {} for the value; where there is no value, the text alone."""
        return "; ".join([around.format(self.value) if self.has_value else self.value, *self.outside])


def outcome_of(c: Comparison, low: float, high: float, *, proxy: bool = False, bound: bool = False) -> Outcome:
    """What an interval (or a bound, with one end open) says of a comparison.

    A proxy can decide a direction, never a size; nor can a bound.
    """
    if math.isnan(low) or math.isnan(high):
        return "undecided"
    if c.question != "direction" and proxy:
        return "undecided"
    if c.question == "size":
        least, most = c.target / FACTOR, c.target * FACTOR
        if bound:
            return "undecided"
        if least <= low and high <= most:
            return "holds"
        return "contradicted" if high < least or low > most else "undecided"
    null = c.target if c.question == "at least" else 1.0 if c.transform == "log_ratio" else 0.0
    if low > null or (c.question == "at least" and low == null):
        return "holds"
    if high < null:
        return "contradicted"
    if c.question == "direction":
        delta = c.smallest_effect
        if (1 / delta < low and high < delta) if c.transform == "log_ratio" else (-delta < low and high < delta):
            return "no effect"
    return "undecided"


def distance_to_decide(c: Comparison, estimate: float) -> float:
    """The half-width (of the logarithm, for ratios) below which an interval around ``estimate`` decides."""
    scaled: Callable[[float], float] = math.log if c.transform == "log_ratio" else float
    if math.isnan(estimate):
        return math.nan
    at = scaled(estimate)
    if c.question == "size":
        return min(abs(at - scaled(c.target / FACTOR)), abs(at - scaled(c.target * FACTOR)))
    if c.question == "at least":
        return abs(at - scaled(c.target))
    return max(abs(at), scaled(c.smallest_effect) - abs(at))
