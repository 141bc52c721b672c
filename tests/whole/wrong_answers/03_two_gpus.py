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


# %% gpus-experiment: differences with unlike signs cancel
def less_apart(errors):
    towers, *halves = (errors[::2] - errors[1::2]).mean(1).abs().tolist()
    return 100 * sum((half < towers) + (half == towers) / 2 for half in halves) / len(halves)


# %% gpus-experiment: a tie counts nothing
def less_apart(errors):
    towers, *halves = (errors[::2] - errors[1::2]).abs().mean(1).tolist()
    return 100 * sum(half < towers for half in halves) / len(halves)
