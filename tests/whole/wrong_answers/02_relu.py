# %% relu-slope: the inner derivative is forgotten
def scaled_tanh(x):
    return 1.7159 * torch.tanh(2 * x / 3)


def scaled_tanh_slope(x):
    return 1.7159 * (1 - torch.tanh(2 * x / 3) ** 2)


# %% relu-slope: the scale is within the tanh only
def scaled_tanh(x):
    return torch.tanh(1.7159 * 2 * x / 3)


def scaled_tanh_slope(x):
    return 1.7159 * 2 / 3 * (1 - scaled_tanh(x) ** 2)


# %% relu-settled: the first time, not the last
def settled(steps, errors, threshold):
    first = next((i for i, error in enumerate(errors) if error <= threshold), None)
    if first is None:
        return math.nan
    share = (errors[first - 1] - threshold) / (errors[first - 1] - errors[first])
    return steps[first - 1] + share * (steps[first] - steps[first - 1])


# %% relu-settled: the step after, without the line between
def settled(steps, errors, threshold):
    last = max(i for i, error in enumerate(errors) if error > threshold)
    return math.nan if last == len(errors) - 1 else steps[last + 1]


# %% relu-init: as if no output were zero
def matched_std(fan_in):
    return math.sqrt(1 / fan_in)


# %% relu-init: the variance in place of its root
def matched_std(fan_in):
    return 2 / fan_in


# %% relu-experiment: updates in place of epochs
def epochs_needed(arm, seed):
    runs = {(a, s): lines for a, s, lines in evidence.records_of("relu", "sample")}
    return evidence.updates_to(runs[arm, seed], 20.0)


# %% relu-experiment: the same for every arm
def epochs_needed(arm, seed):
    runs = {(a, s): lines for a, s, lines in evidence.records_of("relu", "sample")}
    return 2 * evidence.updates_to(runs["2012/relu", seed], 20.0) / 78
