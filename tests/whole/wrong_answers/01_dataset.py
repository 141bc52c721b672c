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


# %% dataset-shuffle: another permutation for each image
def shuffle_pixels(images, seed):
    draw = torch.Generator().manual_seed(seed)
    flat = images.flatten(2)
    moved = [image[:, torch.randperm(flat.shape[-1], generator=draw)] for image in flat]
    return torch.stack(moved).reshape(images.shape)


# %% dataset-shuffle: rows change places, and not pixels
def shuffle_pixels(images, seed):
    return images[:, :, torch.randperm(images.shape[2], generator=torch.Generator().manual_seed(seed))]


# %% dataset-experiment: the error of the first epoch
def test_errors(arm, seeds):
    runs = {(a, seed): lines for a, seed, lines in evidence.records_of("size", "sample")}
    return [training.of_kind(runs[arm, seed], "epoch")[0]["test_error"] for seed in seeds]


# %% dataset-experiment: one number for all seeds
def test_errors(arm, seeds):
    runs = {(a, seed): lines for a, seed, lines in evidence.records_of("size", "sample")}
    return [sum(training.of_kind(runs[arm, seed], "epoch")[-1]["test_error"] for seed in seeds) / len(seeds)]
