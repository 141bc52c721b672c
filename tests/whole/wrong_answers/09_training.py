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


# %% training-days: the forward pass only
def days(macs, images, epochs, speed):
    return 2 * macs * images * epochs / speed / 86_400


# %% training-days: a multiplication with addition is one operation
def days(macs, images, epochs, speed):
    return 3 * macs * images * epochs / speed / 86_400


# %% training-run: the first step that is not below
def first_below(lines, loss):
    steps = [line["step"] for line in lines if line["kind"] == "window" and line["train_loss"] <= loss]
    return min(steps, default=math.inf)


# %% training-run: lines of other kinds as well
def first_below(lines, loss):
    return min((line["step"] for line in lines if line.get("train_loss", math.inf) < loss), default=math.inf)
