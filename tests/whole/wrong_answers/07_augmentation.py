# %% augment-seen: mirrors are forgotten
def views_with(row, column, side, crop):
    def starts(place):
        return min(place, side - crop) - max(0, place - crop + 1) + 1

    return starts(row) * starts(column)


# %% augment-seen: the far edge is forgotten
def views_with(row, column, side, crop):
    return 2 * min(row + 1, side - crop + 1) * min(column + 1, side - crop + 1)


# %% augment-run: the best epoch
def last_error(lines):
    return min(line["test_error"] for line in lines if line["kind"] == "epoch")


# %% augment-run: lines of other kinds as well
def last_error(lines):
    return [line for line in lines if "test_error" in line][-1]["test_error"]


# %% augment-colour: rows in place of columns
def shift(alphas, vectors, eigenvalues):
    return (alphas * eigenvalues.sqrt()) @ vectors


# %% augment-colour: variances, not standard deviations
def shift(alphas, vectors, eigenvalues):
    return vectors @ (alphas * eigenvalues)


# %% augment-average: a view that is not sure enough
def disagree(views):
    return torch.tensor([[3.0, 0.0]] + [[0.0, 2.0]] * (views - 1))


# %% augment-average: most views are sure of the same class
def disagree(views):
    return torch.tensor([[0.0, 2.0]] + [[9.0, 0.0]] * (views - 1))
