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
def plain(inner, x):
    return inner(x)


def residual(inner, x):
    return inner(inner(x))


# %% depth-residual: the block only passes its input on
def plain(inner, x):
    return inner(x)


def residual(inner, x):
    return x


# %% depth-run: the best epoch
def last_error(lines):
    return min(line["test_error"] for line in lines if line["kind"] == "epoch")


# %% depth-run: lines of other kinds as well
def last_error(lines):
    return [line for line in lines if "test_error" in line][-1]["test_error"]
