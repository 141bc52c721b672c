# %% depth-budget: every layer reads the inputs
def widest(inputs, layers, budget):
    n = 0
    while layers * (n + 1) * (9 * inputs + 1) <= budget:
        n += 1
    return n


# %% depth-budget: less than the budget
def widest(inputs, layers, budget):
    n = 0
    while (n + 1) * (9 * inputs + 1) + (layers - 1) * (n + 1) * (9 * (n + 1) + 1) < budget:
        n += 1
    return n


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


# %% depth-run: divided by the number of runs
def interval(arms, a, b, c):
    means = {arm: sum(errors) / len(errors) for arm, errors in arms.items()}
    squares = sum((error - means[arm]) ** 2 for arm, errors in arms.items() for error in errors)
    half = c * (squares / sum(map(len, arms.values())) * (1 / len(arms[a]) + 1 / len(arms[b]))) ** 0.5
    return means[b] - means[a] - half, means[b] - means[a] + half


# %% depth-run: as if there were one run an arm
def interval(arms, a, b, c):
    means = {arm: sum(errors) / len(errors) for arm, errors in arms.items()}
    squares = sum((error - means[arm]) ** 2 for arm, errors in arms.items() for error in errors)
    half = c * (2 * squares / (sum(map(len, arms.values())) - len(arms))) ** 0.5
    return means[b] - means[a] - half, means[b] - means[a] + half
