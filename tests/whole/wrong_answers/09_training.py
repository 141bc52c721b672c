# %% training-rates: plain descent, without momentum
def rates_of(w, g, momentum=0.9, decay=0.0005):
    return [(b - a) / (decay * b + d) for b, a, d in zip(w, w[1:], g, strict=False)]


# %% training-rates: the decay is forgotten
def rates_of(w, g, momentum=0.9, decay=0.0005):
    found, v = [], 0.0
    for before, after, gradient in zip(w, w[1:], g, strict=False):
        found.append((momentum * v - (after - before)) / (gradient or 1.0))
        v = after - before
    return found


# %% training-signal: a ReLU leaves everything
def signals(inputs, sigmas, mean_square):
    found = []
    for n, sigma in zip(inputs, sigmas, strict=True):
        mean_square *= sigma**2 * n
        found.append(math.sqrt(mean_square))
    return found


def matching_sigma(small, full, sigma):
    return sigma * math.sqrt(full / small)


# %% training-signal: the gain in place of its root
def signals(inputs, sigmas, mean_square):
    found = []
    for n, sigma in zip(inputs, sigmas, strict=True):
        variance = sigma**2 * n * mean_square
        found.append(math.sqrt(variance))
        mean_square = variance / 2
    return found


def matching_sigma(small, full, sigma):
    return sigma * full / small


# %% training-run: from the lowest to the highest, in any order
def worst_rise(losses):
    return max(losses) - min(losses)


# %% training-run: only from one loss to the next
def worst_rise(losses):
    return max(after - before for before, after in zip([losses[0], *losses], losses, strict=False))
