# %% gpus-depends: one layer down only
def depends_on(unit, maps, groups):
    inputs, outputs = maps[-2] // groups[-1], maps[-1] // groups[-1]
    return {unit // outputs * inputs + j for j in range(inputs)}


# %% gpus-depends: every map of every layer
def depends_on(unit, maps, groups):
    return set(range(maps[0]))


# %% gpus-batch: the gradients of the activations are forgotten
def largest_batch(card, inputs, activations, weights):
    return max(0, (card // 4 - 3 * weights) // (inputs + activations))


# %% gpus-batch: a share of an image counts as one
def largest_batch(card, inputs, activations, weights):
    return max(0, -(-(card // 4 - 3 * weights) // (inputs + 2 * activations)))


# %% gpus-divided: forward only
def numbers_sent(kernels, size, maps, side, batch):
    return batch * (maps // 2) * side**2, kernels * (size**2 * maps + 1)


# %% gpus-divided: biases are not sent
def numbers_sent(kernels, size, maps, side, batch):
    return 2 * batch * (maps // 2) * side**2, kernels * size**2 * maps


# %% gpus-experiment: the two towers are exchanged
def shared(first, second):
    gaps = [float(a) - float(b) for a, b in zip(first, second, strict=True)]
    return {i for i, gap in enumerate(gaps) if gap < -20}, {i for i, gap in enumerate(gaps) if gap > 20}


# %% gpus-experiment: lost classes, whatever the other tower does
def shared(first, second):
    return {i for i, error in enumerate(first) if error > 20}, {i for i, error in enumerate(second) if error > 20}
