# %% lrn-ratio: never in each other's window
def ratio(a, b, apart, n=5):
    return a / b * ((2 + 1e-4 * b**2) / (2 + 1e-4 * a**2)) ** 0.75


# %% lrn-ratio: a window of n maps to either side
def ratio(a, b, apart, n=5):
    if apart <= n:
        return a / b
    return a / b * ((2 + 1e-4 * b**2) / (2 + 1e-4 * a**2)) ** 0.75


# %% lrn-one: where the square's part is as large as k
def peak(k, alpha, beta):
    return (k / alpha) ** 0.5 if beta > 0.5 else float("inf")


# %% lrn-one: a peak for every beta
def peak(k, alpha, beta):
    return (k / (alpha * max(2 * beta - 1, 1e-9))) ** 0.5


# %% lrn-inhibition: the slope of the unit's own input
def inhibition(a, b, apart, n=5):
    bracket = 2 + 1e-4 * (a**2 + b**2)
    return bracket**-0.75 - 1.5e-4 * a * a * bracket**-1.75 if apart <= n // 2 else 0.0


# %% lrn-inhibition: the factor 2 of the square is forgotten
def inhibition(a, b, apart, n=5):
    return -0.75e-4 * a * b * (2 + 1e-4 * (a**2 + b**2)) ** -1.75 if apart <= n // 2 else 0.0


# %% lrn-run: silent units are counted, too
def felt(a, n, k, alpha, beta):
    b = nets.local_response_norm(a, n, k, alpha, beta)
    return 100 * (b < 0.9 * k**-beta * a).double().mean().item()


# %% lrn-run: compared with the input, not with what k alone leaves of it
def felt(a, n, k, alpha, beta):
    b = nets.local_response_norm(a, n, k, alpha, beta)
    return 100 * (b < 0.9 * a)[a > 0].double().mean().item()
