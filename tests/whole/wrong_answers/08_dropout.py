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


# %% dropout-count: a layer may be empty
def thinned_nets(units, layers):
    return 2 ** (units * layers)


# %% dropout-count: at least one unit in the whole net
def thinned_nets(units, layers):
    return 2 ** (units * layers) - 1


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


# %% dropout-run: the wrong way round
def overfitting(lines):
    epochs = [line for line in lines if line["kind"] == "epoch"]
    return next(line for line in lines if line["kind"] == "fit")["top1_error"] - epochs[-1]["test_error"]


# %% dropout-run: the running training error, measured with dropout
def overfitting(lines):
    last = [line for line in lines if line["kind"] == "epoch"][-1]
    return last["test_error"] - last["train_error"]
