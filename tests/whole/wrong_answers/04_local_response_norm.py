# %% lrn-ratio: never in each other's window
def ratio(a, b, apart, n=5):
    return a / b * ((2 + 1e-4 * b**2) / (2 + 1e-4 * a**2)) ** 0.75


# %% lrn-ratio: a window of n maps to either side
def ratio(a, b, apart, n=5):
    if apart <= n:
        return a / b
    return a / b * ((2 + 1e-4 * b**2) / (2 + 1e-4 * a**2)) ** 0.75


# %% lrn-one: where the square's part is as large as k
def peak(k, alpha, beta):
    return (k / alpha) ** 0.5 if beta > 0.5 else float("inf")


# %% lrn-one: a peak for every beta
def peak(k, alpha, beta):
    return (k / (alpha * max(2 * beta - 1, 1e-9))) ** 0.5


# %% lrn-half: the bracket, not the whole factor, is doubled
def half_at(n, k, alpha, beta):
    return (k / alpha / n) ** 0.5


# %% lrn-half: one map in the window
def half_at(n, k, alpha, beta):
    return (k * (2 ** (1 / beta) - 1) / alpha) ** 0.5


# %% lrn-experiment: shares in place of per cent
def mean_error(arm, seeds):
    runs = {(a, seed): lines for a, seed, lines in evidence.records_of("lrn-vgg", "sample")}
    return float(np.mean([training.of_kind(runs[arm, seed], "epoch")[-1]["test_error"] for seed in seeds])) / 100


# %% lrn-experiment: a sum in place of a mean
def mean_error(arm, seeds):
    runs = {(a, seed): lines for a, seed, lines in evidence.records_of("lrn-vgg", "sample")}
    return sum(training.of_kind(runs[arm, seed], "epoch")[-1]["test_error"] for seed in seeds)
