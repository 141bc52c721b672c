# %% depth-removed: the layer's own parameters go, the next one stays
def parameters_without(maps, i):
    every = [after * (9 * before + 1) for before, after in zip(maps, maps[1:], strict=False)]
    return sum(every) - every[i - 1]


# %% depth-removed: one bias in place of one for each map
def parameters_without(maps, i):
    left = maps[:i] + maps[i + 1 :]
    return sum(9 * after * before + 1 for before, after in zip(left, left[1:], strict=False))


# %% depth-holm: all times n
def holm(p):
    return [min(1.0, len(p) * value) for value in p]


# %% depth-holm: a larger p value may come out smaller
def holm(p):
    order = sorted(range(len(p)), key=lambda i: p[i])
    return [min(1.0, (len(p) - order.index(i)) * p[i]) for i in range(len(p))]


# %% depth-residual: the input is forgotten
def gradients(inner, x, layers):
    y = start = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    for _ in range(layers):
        y = inner(y)
    return (torch.autograd.grad(y, start)[0].item(),) * 2


# %% depth-residual: all layers have the slope of the first
def gradients(inner, x, layers):
    start = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    slope = torch.autograd.grad(inner(start), start)[0].item()
    return slope**layers, (1 + slope) ** layers


# %% depth-run: the last epoch of each, though one run is longer
def behind(lines, others):
    first, second = ([line for line in run if line["kind"] == "epoch"][-1]["test_error"] for run in (lines, others))
    return second - first


# %% depth-run: lines of other kinds as well
def behind(lines, others):
    errors, of_others = (
        {line["epoch"]: line["test_error"] for line in run if "epoch" in line} for run in (lines, others)
    )
    last = min(max(errors), max(of_others))
    return of_others[last] - errors[last]
