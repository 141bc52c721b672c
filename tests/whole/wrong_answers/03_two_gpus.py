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


# %% gpus-experiment: an error in place of a difference
def gap(seed):
    runs = {(arm, s): lines for arm, s, lines in evidence.records_of("towers", "sample")}
    return training.of_kind(runs["one tower", seed], "epoch")[-1]["test_error"]


# %% gpus-experiment: one seed for all
def gap(seed):
    runs = {(arm, s): lines for arm, s, lines in evidence.records_of("towers", "sample")}
    errors = [training.of_kind(runs[arm, 200], "epoch")[-1]["test_error"] for arm in ("one tower", "baseline")]
    return errors[0] - errors[1]
