# %% architecture-side: rounds down always
def sides_for(positions, size, stride, pad, up):
    first = size + (positions - 1) * stride - 2 * pad
    return list(range(first, first + stride))


# %% architecture-side: zeros on one side only
def sides_for(positions, size, stride, pad, up):
    first = size + (positions - 1) * stride - pad - (stride - 1 if up else 0)
    return list(range(first, first + stride))


# %% architecture-count: groups are ignored
def cost(conv, side):
    weights = conv.out_channels * conv.in_channels * conv.kernel_size[0] * conv.kernel_size[1]
    biases = conv.out_channels if conv.bias is not None else 0
    return weights + biases, weights * side**2


# %% architecture-count: square kernels, always with a bias
def cost(conv, side):
    weights = conv.out_channels * (conv.in_channels // conv.groups) * conv.kernel_size[0] ** 2
    return weights + conv.out_channels, weights * side**2


# %% architecture-groups: each group's weights for every map
def without_groups(weight, groups):
    return weight.repeat(1, groups, 1, 1)


# %% architecture-groups: all kernels read the first maps
def without_groups(weight, groups):
    full = weight.new_zeros(len(weight), groups * weight.shape[1], *weight.shape[2:])
    full[:, : weight.shape[1]] = weight
    return full


# %% architecture-field: neighbours lie one pixel apart
def field(windows):
    return 1 + sum(size - 1 for size, _ in windows)


# %% architecture-field: this window's stride counts already
def field(windows):
    seen, apart = 1, 1
    for size, stride in windows:
        apart *= stride
        seen += (size - 1) * apart
    return seen
