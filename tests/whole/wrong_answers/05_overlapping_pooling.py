# %% pool-back: only where the windows come out even
def sides(wanted, pools):
    for z, s in reversed(pools):
        wanted = (wanted - 1) * s + z
    return [wanted]


# %% pool-back: the pools in the wrong order
def sides(wanted, pools):
    found = [wanted]
    for z, s in pools:
        found = [(windows - 1) * s + z + over for windows in found for over in range(s)]
    return found


# %% pool-shared: the edge is forgotten
def windows_of(pixel, z, s):
    return -(-z // s)


# %% pool-shared: windows begin at every pixel
def windows_of(pixel, z, s):
    return sum(start <= pixel < start + z for start in range(pixel + 1))


# %% pool-gradient: the first of a tie gets all
def wins(x, z, s):
    x = x.clone().requires_grad_()
    torch.nn.functional.max_pool2d(x[None, None], z, s).sum().backward()
    return x.grad


# %% pool-gradient: the windows of a pixel, won or not
def wins(x, z, s):
    x = x.clone().requires_grad_()
    (z * z * torch.nn.functional.avg_pool2d(x[None, None], z, s)).sum().backward()
    return x.grad


# %% pool-experiment: the standard error of one mean
def right_sign(effect, sigma, n):
    return 0.5 * (1 + math.erf(abs(effect) / (sigma * n**-0.5) / 2**0.5))


# %% pool-experiment: the sign is forgotten
def right_sign(effect, sigma, n):
    return 0.5 * (1 + math.erf(effect / (sigma * (2 / n) ** 0.5) / 2**0.5))
