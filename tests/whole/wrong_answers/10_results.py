# %% results-difference: one net's error rate for both
def difference_error(a, b, n):
    return 100 * (2 * a / 100 * (1 - a / 100) / n) ** 0.5


# %% results-difference: standard errors are added
def difference_error(a, b, n):
    return 100 * sum((p / 100 * (1 - p / 100) / n) ** 0.5 for p in (a, b))


# %% results-weights: of several the smallest weight
def best_weight(p, q, labels, steps=10):
    def wrong(k):
        return int(((k / steps * p + (1 - k / steps) * q).argmax(1) != labels).sum())

    return min(range(steps + 1), key=wrong) / steps


# %% results-weights: the weight of the other net
def best_weight(p, q, labels, steps=10):
    def wrong(k):
        return int(((k / steps * q + (1 - k / steps) * p).argmax(1) != labels).sum())

    return min(range(steps + 1), key=lambda k: (wrong(k), abs(2 * k - steps), k)) / steps


# %% results-chance: without the deal itself
def as_far(index):
    half = len(index) // 2

    def apart(first):
        return abs(2 * sum(index[i] for i in first) - sum(index)) / half

    deals = list(combinations(range(len(index)), half))
    return sum(apart(deal) > apart(range(half)) + 1e-9 for deal in deals) / len(deals)


# %% results-chance: in one direction only
def as_far(index):
    half = len(index) // 2

    def apart(first):
        return 2 * sum(index[i] for i in first) - sum(index)

    deals = list(combinations(range(len(index)), half))
    return sum(apart(deal) >= apart(range(half)) - 1e-9 for deal in deals) / len(deals)


# %% results-run: the wrong way round
def mcnemar(first, second):
    b, c = int((first & ~second).sum()), int((second & ~first).sum())
    return 100 * (c - b) / len(first), 100 * (b + c) ** 0.5 / len(first)


# %% results-run: as if each net had images of its own
def mcnemar(first, second):
    wrong = [1 - float(each.double().mean()) for each in (first, second)]
    return 100 * (wrong[1] - wrong[0]), 100 * (sum(p * (1 - p) for p in wrong) / len(first)) ** 0.5
