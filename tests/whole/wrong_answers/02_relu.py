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


# %% relu-init: as if negative sums came out as zero
def matched_std(fan_in, a):
    return math.sqrt(2 / fan_in)


# %% relu-init: the variance in place of its root
def matched_std(fan_in, a):
    return 2 / ((1 + a**2) * fan_in)


# %% relu-experiment: the ratio of arithmetic means
def span(relu, tanh):
    return np.mean(tanh) / np.mean(relu), min(tanh) / max(relu), max(tanh) / min(relu)


# %% relu-experiment: seeds paired by their place in the lists
def span(relu, tanh):
    ratios = np.array(tanh) / np.array(relu)
    return np.exp(np.log(ratios).mean()), ratios.min(), ratios.max()
