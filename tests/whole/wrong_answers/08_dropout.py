# %% dropout-noise: p is the chance to be kept
def noise(w, h, p, form):
    terms = w * h
    mean, variance = p * terms.sum(), p * (1 - p) * terms.square().sum()
    return (mean / p, variance / p**2) if form == "inverted" else (mean, variance)


# %% dropout-noise: the variance is divided by 1 - p, not by its square
def noise(w, h, p, form):
    terms = w * h
    mean, variance = (1 - p) * terms.sum(), p * (1 - p) * terms.square().sum()
    return (mean / (1 - p), variance / (1 - p)) if form == "inverted" else (mean, variance)


# %% dropout-masks: logits are averaged
def monte_carlo(w, h, masks):
    logits = (masks * h) @ w.T
    return torch.softmax(logits.mean(0), 0), torch.softmax(logits, 1).std(0, unbiased=False)


# %% dropout-masks: divided by M - 1
def monte_carlo(w, h, masks):
    probabilities = torch.softmax((masks * h) @ w.T, 1)
    return probabilities.mean(0), probabilities.std(0)


# %% dropout-missed: every mask counts the same
def missed(w, h, p=0.5):
    masks = torch.tensor(list(itertools.product([0.0, 1.0], repeat=len(h))), dtype=h.dtype)
    return torch.relu(masks @ (w * h)).mean() - torch.relu((1 - p) * (w @ h))


# %% dropout-missed: the other way round
def missed(w, h, p=0.5):
    masks = torch.tensor(list(itertools.product([0.0, 1.0], repeat=len(h))), dtype=h.dtype)
    kept = masks.sum(1)
    chance = (1 - p) ** kept * p ** (len(h) - kept)
    return torch.relu((1 - p) * (w @ h)) - chance @ torch.relu(masks @ (w * h))


# %% dropout-run: from the mean, not from 0
def spread(changes):
    return float(np.std(changes))


# %% dropout-run: the mean size
def spread(changes):
    return sum(map(abs, changes)) / len(changes)
