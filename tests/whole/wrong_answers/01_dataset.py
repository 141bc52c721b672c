# %% dataset-origin: the corner of a pixel, not its centre
def origin(x, y, width, height, size=256):
    shorter = min(width, height)
    w, h = round(width * size / shorter), round(height * size / shorter)
    left, top = (w - size) // 2, (h - size) // 2
    return (left + x) * width / w, (top + y) * height / h


# %% dataset-origin: one scale for both sides, though the longer one was rounded
def origin(x, y, width, height, size=256):
    scale = min(width, height) / size
    left, top = (int(width / scale) - size) // 2, (int(height / scale) - size) // 2
    return (left + x + 0.5) * (1 if width < height else scale), (top + y + 0.5) * scale


# %% dataset-rank: tied classes take the place in their middle
def reciprocal_rank(scores, label):
    higher = sum(s > scores[label] for s in scores)
    equal = sum(s == scores[label] for s in scores)
    return 1 / (higher + (equal + 1) / 2)


# %% dataset-rank: the label is always the first of the tied ones
def reciprocal_rank(scores, label):
    return 1 / (1 + sum(s > scores[label] for s in scores))


# %% dataset-mean: a mean of means, whatever the length of a batch
def running_mean(batches):
    return torch.stack([batch.float().mean(0) for batch in batches]).mean(0)


# %% dataset-mean: sums of uint8 overflow
def running_mean(batches):
    total, n = 0, 0
    for batch in batches:
        for image in batch:
            total = total + image
            n += 1
    return total.float() / n


# %% dataset-experiment: the error of the first epoch
def test_errors(arm, seeds):
    runs = {(a, seed): lines for a, seed, lines in evidence.records_of("size", "sample")}
    return [training.of_kind(runs[arm, seed], "epoch")[0]["test_error"] for seed in seeds]


# %% dataset-experiment: one number for all seeds
def test_errors(arm, seeds):
    runs = {(a, seed): lines for a, seed, lines in evidence.records_of("size", "sample")}
    return [sum(training.of_kind(runs[arm, seed], "epoch")[-1]["test_error"] for seed in seeds) / len(seeds)]
