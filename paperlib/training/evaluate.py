"""Testing a net: probabilities over one or ten views, top-k errors, ensembles, features and neighbours.

Sections 4.1 (ten views), 6 (errors, averages of nets) and 6.1 (Figure 4) of the paper. Errors are in per
cent. A net gives logits; dropout is off while it is evaluated, and its mode is as before afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from paperlib.data.augment import Augmenter
from paperlib.data.images import Rows
from paperlib.errors import PaperlibError
from paperlib.nets.layers import ACTIVATIONS
from paperlib.training.processes import ALONE, Topology, rounds

# ---------------------------------------------------------------------------------------------------------
# Probabilities and errors (sections 4.1 and 6)


@torch.inference_mode()
def predict(net: nn.Module, augmenter: Augmenter, images: Tensor, views: int = 1, batch_size: int = 500) -> Tensor:
    """Class probabilities (N, classes) of uint8 images (N, C, side, side): softmax of the centre view, or of ten.

    ``batch_size`` views go through the net at a time. The ten views' *probabilities* are averaged, not their logits
    (section 4.1; ``layer.cu``:1804 of the 2012 source).
    """
    if views not in (1, 10):
        raise PaperlibError(f"a net is tested on 1 view (the centre) or on 10, not on {views}")
    batches = images.split(batch_size if views == 1 else max(1, batch_size // 10))
    with evaluating(net):
        if views == 1:
            return torch.cat([net(augmenter.test_batch(x)).softmax(1) for x in batches])
        return torch.cat([mean_over_views(net, augmenter.test_views(x)) for x in batches])


def errors(
    net: nn.Module, augmenter: Augmenter, images: Rows, labels: Tensor, views: int = 1,
    topology: Topology = ALONE, batch_size: int = 500,
) -> dict[str, float]:  # fmt: skip
    """``top1_error`` and ``top5_error`` (per cent, to four digits) in ``views`` views.

    Of several processes with the whole net each, every one tests its own images, none twice; all get the result. They
    meet after each batch of ``batch_size`` views, so that nobody waits for another for longer than that.
    """
    device = next(net.parameters()).device

    def wrong(rows: Tensor) -> list[float]:
        scores = predict(net, augmenter, images[rows].to(device), views, batch_size).cpu()
        return [top_k_error(scores, labels[rows], k) * len(rows) for k in (1, 5)]

    batches = torch.arange(len(images)).split(max(1, batch_size // views))
    totals = [0.0, 0.0]
    for rows in rounds(batches, topology.rank, topology.world):
        mine = wrong(rows) if rows is not None else [0.0, 0.0]
        totals = [total + more for total, more in zip(totals, topology.total(*mine), strict=True)]
    return {f"top{k}_error": round(total / len(images), 4) for k, total in zip((1, 5), totals, strict=True)}


@torch.inference_mode()
def error_in_training(
    net: nn.Module, augmenter: Augmenter, images: Rows, labels: Tensor, topology: Topology = ALONE,
    batch_size: int = 500,
) -> float:  # fmt: skip
    """Top-1 error (per cent, to four digits) on the centre view of a net that may be split into towers.

    As :func:`errors`, but the towers of a net test the same images together, and of equal logits the first class is
    the answer.
    """
    device = next(net.parameters()).device

    def wrong(rows: Tensor) -> int:
        logits = net(augmenter.test_batch(images[rows].to(device)))
        return int((logits.argmax(1).cpu() != labels[rows]).sum())

    total = 0.0
    with evaluating(net):
        for rows in rounds(torch.arange(len(images)).split(batch_size), topology.data_rank, topology.data):
            mine = wrong(rows) if rows is not None else 0
            total += topology.total(mine / topology.towers)[0]
    return round(100 * total / len(images), 4)


def mean_over_views(net: nn.Module, views: Tensor) -> Tensor:
    """Mean of the softmax outputs over views (V, B, C, H, W): (B, classes)."""
    probabilities = net(views.flatten(0, 1)).softmax(1)
    return probabilities.unflatten(0, views.shape[:2]).mean(0)


@contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """The net in evaluation mode (dropout off), and afterwards in the mode it was in."""
    training = net.training
    net.eval()
    try:
        yield
    finally:
        net.train(training)


def top_k_error(scores: Tensor, labels: Tensor, k: int) -> float:
    """Top-k error in per cent of scores (N, classes), probabilities or logits, for labels (N,); section 2.

    Classes with the very score of the label share what is left of the k places: k = 1 and three classes tied for
    the best are a third of a right answer (kMultiSoftmaxCost in ``layer_kernels.cu``). So the order of the classes
    never matters, and a net that gives all classes one score has the error of guessing.
    Raises :class:`PaperlibError` for a score that is not a number, or a k that is no number of classes.
    """
    if not 1 <= k <= scores.shape[1]:
        raise PaperlibError(f"a top-{k} error needs a k between 1 and the number of classes, {scores.shape[1]}")
    if scores.isnan().any():
        raise PaperlibError("some scores are not a number, so there is no error to compute: the net has diverged")
    of_label = scores.gather(1, labels[:, None])
    higher, equal = (scores > of_label).sum(1), (scores == of_label).sum(1)  # equal counts the label itself
    credit = ((k - higher) / equal.double()).clamp(0, 1)
    return 100 * (1 - credit.mean().item())


def ensemble(probabilities: Sequence[Tensor]) -> Tensor:
    """Mean of several nets' probabilities (N, classes); section 6.

    Raises :class:`PaperlibError` where the members do not fit together.
    """
    if not probabilities or len({p.shape for p in probabilities}) != 1:
        raise PaperlibError("an ensemble needs at least one net, and all of its nets the same images and classes")
    mean = sum(1 / len(probabilities) * p.double() for p in probabilities)
    assert isinstance(mean, Tensor)
    return mean.to(probabilities[0].dtype)


class Average(nn.Module):
    """Several nets as one: its softmax is the mean of theirs, so that views and features are read as of any net."""

    def __init__(self, nets: Sequence[nn.Module]) -> None:
        super().__init__()
        self.nets = nn.ModuleList(nets)

    def forward(self, x: Tensor) -> Tensor:
        """Logarithm of the mean probabilities: (B, classes)."""
        return torch.stack([net(x).log_softmax(1) for net in self.nets]).logsumexp(0) - math.log(len(self.nets))


# ---------------------------------------------------------------------------------------------------------
# Features and neighbours (section 6.1, Figure 4)

CHUNK = 2**22
"""So many distances, or numbers of the bank, are held in float64 at a time: 32 MB."""


@torch.inference_mode()
def features(net: nn.Module, augmenter: Augmenter, images: Tensor, layer: str = "fc7", batch_size: int = 500) -> Tensor:
    """Activities (N, D) of ``layer`` on the centre view, after its nonlinearity and before dropout.

    ``fc7`` is the paper's "last, 4096-dimensional hidden layer". ``layer`` names a module of the net; one with
    weights is read at the output of the nonlinearity that takes its output, any other at its own output.
    Raises :class:`PaperlibError` for an unknown name, or where no nonlinearity follows.
    """
    kept: list[Tensor] = []
    with evaluating(net), reading(net, layer, kept):
        for x in images.split(batch_size):
            seen = len(kept)
            net(augmenter.test_batch(x))
            if len(kept) != seen + 1:
                raise PaperlibError(f"no nonlinearity follows {layer!r} directly, so name the module to read instead")
    return torch.cat([activity.flatten(1) for activity in kept])


@contextmanager
def reading(net: nn.Module, layer: str, kept: list[Tensor]) -> Iterator[None]:
    """While it lasts, every forward pass of ``net`` appends the activities of ``layer`` to ``kept``."""
    modules = dict(net.named_modules())
    if not layer or layer not in modules:
        named = [name for name, m in modules.items() if isinstance(m, nn.Conv2d | nn.Linear)]
        raise PaperlibError(f"this net has no layer {layer!r}; its layers are {', '.join(named)}")
    nonlinearities: tuple[type[nn.Module], ...] = tuple(kind for kind in ACTIVATIONS.values() if isinstance(kind, type))
    output: list[Tensor] = []

    def after_layer(module: nn.Module, inputs: Any, out: Tensor) -> None:
        output[:] = [out]
        if not isinstance(module, nn.Conv2d | nn.Linear):
            kept.append(out.clone())

    def after_nonlinearity(module: nn.Module, inputs: Any, out: Tensor) -> None:
        if output and inputs[0] is output[0]:
            kept.append(out.clone())  # what comes next, dropout say, may work in place

    handles = [modules[layer].register_forward_hook(after_layer)]
    if isinstance(modules[layer], nn.Conv2d | nn.Linear):
        followers = [m for m in modules.values() if isinstance(m, nonlinearities)]
        handles += [m.register_forward_hook(after_nonlinearity) for m in followers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def squared_distances(query: Tensor, bank: Tensor) -> Tensor:
    """|q - b|² between rows of ``query`` (Q, D) and ``bank`` (N, D): float64 (Q, N), exact for whole numbers."""
    q, b = query.double(), bank.double()
    return (q.square().sum(1)[:, None] - 2 * q @ b.T + b.square().sum(1)).clamp(min=0)


def in_chunks(query: Tensor, bank: Tensor) -> Iterator[Tensor]:
    """:func:`squared_distances` for some queries at a time; images are flattened.

    The bank stays in its own type (bytes, for pixels): only a part of it is widened at a time.
    """
    query, bank = query.flatten(1), bank.flatten(1)
    parts = bank.split(max(1, CHUNK // bank.shape[1]))
    for chunk in query.split(max(1, CHUNK // len(bank))):
        yield torch.cat([squared_distances(chunk, part) for part in parts], 1)


def neighbours(query: Tensor, bank: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The ``k`` rows of ``bank`` (N, D) nearest to each row of ``query`` (Q, D): squared distances and indices (Q, k).

    Euclidean, nearest first, unnormalised (``findsimilar.py``); of equals, the one that comes first in the bank.
    """
    if not 1 <= k <= len(bank):
        raise PaperlibError(f"of {len(bank)} candidates there are 1 to {len(bank)} nearest neighbours, not {k}")
    found = [distances.sort(dim=1, stable=True) for distances in in_chunks(query, bank)]
    return torch.cat([each.values[:, :k] for each in found]), torch.cat([each.indices[:, :k] for each in found])


def label_agreement(indices: Tensor, bank_labels: Tensor, query_labels: Tensor) -> float:
    """How many of the neighbours ``indices`` (Q, k) have the label of their query, in per cent (S6.1-d)."""
    return 100 * (bank_labels[indices] == query_labels[:, None]).double().mean().item()


def pixel_rank_of_feature_neighbours(indices: Tensor, query_images: Tensor, bank_images: Tensor) -> Tensor:
    """Where the neighbours found in feature space stand when the bank is ordered by pixels: ranks (Q, k), 1 = nearest.

    ``indices`` (Q, k) of :func:`neighbours` of the features; images of any one shape. The paper finds that images
    with similar features are "generally not close in L2" in pixels (S6.1-e). Equals share the better rank.
    """
    ranks, done = [], 0
    for distances in in_chunks(query_images, bank_images):
        mine = distances.gather(1, indices[done : done + len(distances)])
        ordered = distances.sort(1).values
        ranks.append(torch.searchsorted(ordered, mine) + 1)
        done += len(distances)
    return torch.cat(ranks)
