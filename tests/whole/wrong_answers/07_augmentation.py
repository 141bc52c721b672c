# %% augment-seen: mirrors are forgotten
def views_with(row, column, side, crop):
    def starts(place):
        return min(place, side - crop) - max(0, place - crop + 1) + 1

    return starts(row) * starts(column)


# %% augment-seen: the far edge is forgotten
def views_with(row, column, side, crop):
    return 2 * min(row + 1, side - crop + 1) * min(column + 1, side - crop + 1)


# %% augment-run: the first two versions only
def same_class(views):
    best = views.argmax(2)
    return 100 * (best[0] == best[min(1, len(best) - 1)]).double().mean().item()


# %% augment-run: how often versions agree with the first
def same_class(views):
    best = views.argmax(2)
    return 100 * (best == best[0]).double().mean().item()


# %% augment-colour: variances, not standard deviations
def noise(images, alphas):
    eigenvalues, vectors = torch.linalg.eigh(torch.cov(images.double().transpose(0, 1).flatten(1)))
    return vectors.flip(1) @ (alphas.double() * eigenvalues.flip(0))


# %% augment-colour: the largest component alone, without signs
def noise(images, alphas):
    eigenvalues, vectors = torch.linalg.eigh(torch.cov(images.double().transpose(0, 1).flatten(1)))
    i = alphas.abs().argmax()
    return alphas[i] * eigenvalues.clamp(min=0).sqrt().flip(0)[i] * vectors.flip(1)[:, i].abs()


# %% augment-average: a view that is not sure enough
def disagree(views):
    return torch.tensor([[3.0, 0.0]] + [[0.0, 2.0]] * (views - 1))


# %% augment-average: most views are sure of the same class
def disagree(views):
    return torch.tensor([[0.0, 2.0]] + [[9.0, 0.0]] * (views - 1))
