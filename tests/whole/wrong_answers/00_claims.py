# %% claims-verdict: one spread around the mean of all runs, as if the arms were one
def verdict(a, b, c, smallest):
    runs = [*a, *b]
    middle, difference = sum(runs) / len(runs), sum(b) / len(b) - sum(a) / len(a)
    variance = sum((x - middle) ** 2 for x in runs) / (len(runs) - 1)
    half = c * (variance * (1 / len(a) + 1 / len(b))) ** 0.5
    low, high = difference - half, difference + half
    if low > 0 or high < 0:
        return "holds" if low > 0 else "contradicted", low, high
    return "no effect" if -smallest < low and high < smallest else "undecided", low, high


# %% claims-verdict: what is small is no effect, whatever its sign
def verdict(a, b, c, smallest):
    means = [sum(each) / len(each) for each in (a, b)]
    squares = sum((x - mean) ** 2 for each, mean in zip((a, b), means, strict=True) for x in each)
    half = c * (squares / (len(a) + len(b) - 2) * (1 / len(a) + 1 / len(b))) ** 0.5
    low, high = means[1] - means[0] - half, means[1] - means[0] + half
    if -smallest < low and high < smallest:
        return "no effect", low, high
    return "holds" if low > 0 else "contradicted" if high < 0 else "undecided", low, high


# %% claims-seeds: as if the width fell with the runs and not with their root
def seeds(half, n_a, n_b, wanted):
    allowed = wanted / half * (1 / n_a + 1 / n_b)
    left = allowed - 1 / n_a
    return math.ceil(2 / allowed), math.ceil(1 / left) if left > 0 else None


# %% claims-seeds: a negative number of runs
def seeds(half, n_a, n_b, wanted):
    allowed = (wanted / half) ** 2 * (1 / n_a + 1 / n_b)
    return math.ceil(2 / allowed), math.ceil(1 / (allowed - 1 / n_a))
