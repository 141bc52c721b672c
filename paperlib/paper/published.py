"""The published error rates against the authors' own run notes, one function for each claim."""

from __future__ import annotations

from paperlib.paper import facts
from paperlib.paper.geometry import difference_error
from paperlib.paper.outcome import Outcome, agreement, holds, worst


def _against_log(published: tuple[float | None, ...], logged: tuple[float | None, ...], source: str) -> Outcome:
    """Published error rates against noted ones, per cent to one decimal; a None is passed over."""
    pairs = [(p, q) for p, q in zip(published, logged, strict=True) if p is not None and q is not None]
    noted = " / ".join(f"{q:.6g}" for _, q in pairs)
    return Outcome(
        noted,
        worst(*(agreement(q, p, 0.1) for p, q in pairs)),
        f"Published {' / '.join(f'{p:.1f}' for p, _ in pairs)}; noted {noted} ({source}).",
    )


def _errors(log: facts.RunLog) -> tuple[float, float]:
    """The two error rates of a run note, per cent; LookupError if one is not noted."""
    if log.top1 is None or log.top5 is None:
        raise LookupError(f"the notes of #{log.net} do not hold both error rates")
    return log.top1, log.top5


def _gap(a: facts.RunLog, b: facts.RunLog) -> tuple[float, float]:
    """By how much the error rates of ``a`` are above those of ``b``, percentage points, without binary dust."""
    (a1, a5), (b1, b5) = _errors(a), _errors(b)
    return round(a1 - b1, 6), round(a5 - b5, 6)


def _row(table: tuple[facts.TableRow, ...], model: str) -> facts.TableRow:
    return next(row for row in table if row.model == model)


def table1_cnn() -> Outcome:
    """S0-b and S6-a: 37.5 / 17.0 on the test set of 2010."""
    row, log = _row(facts.TABLE1, "CNN"), facts.run_log("145-2010", views=10)
    return _against_log((row.test_top1, row.test_top5), (log.top1, log.top5), f"#{log.net}, one run")


def centre_view() -> Outcome:
    """S6-b: 39.0 / 18.3 without the ten views."""
    log, ten = facts.run_log("145-2010", views=1), facts.run_log("145-2010", views=10)
    outcome = _against_log(facts.CENTRE_VIEW, _errors(log), f"#{log.net}, centre view")
    top1, top5 = _gap(log, ten)
    gain = f" The ten views gain {top1:.2f} / {top5:.2f}."
    return Outcome(outcome.value, outcome.status, outcome.detail + gain)


def validation_against_test() -> Outcome:
    """S6-c: validation and test errors do not differ by more than 0.1 %."""
    val, test = facts.run_log("137-2010", facts.VAL10), facts.run_log("137-2010", facts.TEST10)
    top1, top5 = (abs(each) for each in _gap(val, test))
    bound = facts.VALIDATION_TEST_BOUND
    return Outcome(
        f"top-1 {top1:.2f}, top-5 {top5:.2f}",
        holds(top1 <= bound and top5 <= bound),
        f"The one net with both in its notes, #{val.net}, differs by {top1:.2f} in top-1 "
        f"({'within' if top1 <= bound else 'more than'} {bound}) and by {top5:.2f} in top-5 "
        f"({'within' if top5 <= bound else 'more than'} {bound}).",
    )


def table2_one() -> Outcome:
    """S6-d: 1 CNN, 40.7 / 18.2 on the validation set of 2012."""
    row, log = _row(facts.TABLE2, "1 CNN"), facts.run_log("145", views=10)
    return _against_log((row.val_top1, row.val_top5), (log.top1, log.top5), f"#{log.net}, one run")


def _submission(team: str, extra_data: bool) -> facts.Submission:
    return next(each for each in facts.CONTEST_2012 if (each.team, each.extra_data) == (team, extra_data))


def _ensemble(model: str, extra_data: bool) -> Outcome:
    entry = _submission("SuperVision", extra_data)
    return _against_log(
        (_row(facts.TABLE2, model).test_top5,), (entry.top5,), f"results page, nets {', '.join(entry.members)}"
    )


def table2_five() -> Outcome:
    """S6-e: 5 CNNs, test top-5 16.4."""
    return _ensemble("5 CNNs", extra_data=False)


def table2_pretrained() -> Outcome:
    """S6-f: 1 CNN*, 39.0 / 16.6 on the validation set of 2012."""
    row, log = _row(facts.TABLE2, "1 CNN*"), facts.run_log("146-2012-2011")
    return _against_log((row.val_top1, row.val_top5), (log.top1, log.top5), f"#{log.net}, one run")


def table2_seven() -> Outcome:
    """S6-g: 7 CNNs*, test top-5 15.3."""
    return _ensemble("7 CNNs*", extra_data=True)


def contest() -> Outcome:
    """S0-f and S6-h: the winner's 15.3 and the runner-up's 26.2 on the test set of 2012."""
    rows = (_row(facts.TABLE2, "7 CNNs*"), _row(facts.TABLE2, "SIFT + Fisher vectors"))
    entries = (_submission("SuperVision", True), _submission("ISI", False))
    return _against_log(tuple(row.test_top5 for row in rows), tuple(each.top5 for each in entries), "results page")


def _gain(claim: str) -> Outcome:
    """A stated gain against the difference of the two runs it comes from, with its standard error."""
    gain = next(each for each in facts.GAINS if each.claim == claim)
    good, bad = facts.run_log(gain.with_it), facts.run_log(gain.without)
    top1, top5 = _gap(bad, good)
    outcome = _against_log((gain.top1, gain.top5), (top1, top5), f"#{bad.net} minus #{good.net}, {good.data}")
    n = {f"ILSVRC-{year.year} {part}": getattr(year, part) for year in facts.ILSVRC for part in ("validation", "test")}
    error = difference_error(_errors(good)[0], _errors(bad)[0], n[good.data])
    return Outcome(
        outcome.value,
        outcome.status,
        f"{outcome.detail} One run each: {top1 / error:.1f} unpaired standard errors in top-1, "
        "before any spread between seeds.",
    )


def two_gpu_gain() -> Outcome:
    """S3.2-c: two GPUs lower the error rates by 1.7 / 1.2."""
    return _gain("S3.2-c")


def lrn_gain() -> Outcome:
    """S3.3-c: normalisation lowers the error rates by 1.4 / 1.2."""
    return _gain("S3.3-c")


def pooling_gain() -> Outcome:
    """S3.4-b: overlapping pooling lowers the error rates by 0.4 / 0.3."""
    return _gain("S3.4-b")
