# %% augment-seen: mirrors are forgotten
def views_with(row, column, side, crop):
    def starts(place):
        return min(place, side - crop) - max(0, place - crop + 1) + 1

    return starts(row) * starts(column)


# %% augment-seen: the far edge is forgotten
def views_with(row, column, side, crop):
    return 2 * min(row + 1, side - crop + 1) * min(column + 1, side - crop + 1)


# %% augment-mirror: top and bottom
def mirrored(images, flags):
    return torch.where(flags[:, None, None, None], images.flip(-2), images)


# %% augment-mirror: all or none
def mirrored(images, flags):
    return images.flip(-1) if flags.any() else images


# %% augment-ten: the centre is the middle of the image
def corners(side, crop):
    last, middle = side - crop, side // 2
    return [(0, 0), (0, last), (middle, middle), (last, 0), (last, last)]


# %% augment-ten: column before row
def corners(side, crop):
    last, middle = side - crop, (side - crop) // 2
    return [(0, 0), (last, 0), (middle, middle), (0, last), (last, last)]


# %% augment-run: the best epoch
def last_error(lines):
    return min(line["test_error"] for line in lines if line["kind"] == "epoch")


# %% augment-run: lines of other kinds as well
def last_error(lines):
    return [line for line in lines if "test_error" in line][-1]["test_error"]


# %% augment-colour: rows in place of columns
def shift(alphas, vectors, spreads):
    return (alphas * spreads) @ vectors


# %% augment-colour: without the spreads
def shift(alphas, vectors, spreads):
    return vectors @ alphas


# %% augment-average: the mean of the logits first
def average(logits):
    return logits.mean(0).softmax(0)


# %% augment-average: logits, not probabilities
def average(logits):
    return logits.mean(0)
