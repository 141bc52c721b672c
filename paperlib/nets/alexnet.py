"""The net of section 3.5 (Figure 2) and its ablations."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace

from torch import nn

from paperlib.errors import PaperlibError
from paperlib.nets.layers import ACTIVATIONS, Dropout, GroupedLinear, MaxPool, PadToCeil, output_side
from paperlib.nets.lrn import LocalResponseNorm, SpatialResponseNorm
from paperlib.nets.sizes import widened
from paperlib.recipe import ModelRecipe, Sizes


def two_tower(model: ModelRecipe, sizes: Sizes) -> nn.Sequential:
    """Figure 2 in one process: images (B, C, crop, crop) to logits (B, classes).

    Where a layer reads its own tower only, it has two groups; the first half of its maps is the upper tower.
    """
    return alexnet(model, sizes, towers=2)


def one_tower(model: ModelRecipe, sizes: Sizes) -> nn.Sequential:
    """Footnote 2 (#145-half): half the kernels in conv1 to conv4; conv5 and the fully connected layers whole."""
    halved = (*(maps // 2 for maps in sizes.kernels[:4]), *sizes.kernels[4:])
    return alexnet(model, replace(sizes, kernels=halved), towers=1)


def ungrouped(model: ModelRecipe, sizes: Sizes) -> nn.Sequential:
    """All kernels, and every layer reads all maps: not in the paper, but what many ports train."""
    return alexnet(model, sizes, towers=1)


def alexnet(model: ModelRecipe, sizes: Sizes, towers: int) -> nn.Sequential:
    """The eight layers of section 3.5, first to last. Raises :class:`PaperlibError` where they do not fit together."""
    net = Assembly(model, sizes, towers)
    if model.norm1_before_relu:  # reading 1
        net.place(1, "norm", "pool", "act")
    else:
        net.place(1, "act", "norm", "pool")
    net.place(2, "act", "norm", "pool")
    net.place(3, "act")
    net.place(4, "act")
    net.place(5, "act", "pool")
    for number in range(6, 6 + model.extra_conv):  # section 6: a sixth convolution stands over the last pool
        net.place(number, "act")
    net.flatten()
    net.hidden(6)
    net.hidden(7)
    net.output(8)
    return nn.Sequential(net.layers)


CONV_OF_TOWERS = {"conv3": 3, "conv4": 4, "never": None}
"""``model.communication`` -> the convolution that reads both towers: the paper's, that of #132, and none (#150)."""


class Assembly:
    """Puts the layers of a net one after the other, and keeps the books of how many maps of which side there are.

    A removed convolution takes its nonlinearity and normalisation with it, but not its pool: the last maps keep their
    sides. What it did for the others falls to the next convolution that is left. Without conv1, that one stands in
    its place: it reads the image, with conv1's window, stride, padding and normalisation. Without conv3, it reads
    both towers.
    A removed hidden layer takes its dropout with it.
    """

    def __init__(self, model: ModelRecipe, sizes: Sizes, towers: int) -> None:
        check_alexnet(model, sizes, towers)
        self.model, self.sizes, self.towers = model, widened(sizes, model.width), towers
        left = [number for number in range(1, 6 + model.extra_conv) if f"conv{number}" not in model.removed]
        self.stands_at = {number: number for number in left[1:]} | ({1: left[0]} if left else {})
        self.reads_all = set(left[:1]) | readers_of_both_towers(model, left)
        self.layers: OrderedDict[str, nn.Module] = OrderedDict()
        self.maps, self.side = sizes.channels, sizes.crop
        self.stated_side = sizes.crop  # what the side would be with the paper's own pools and pads
        self.features = 0  # inputs of the next fully connected layer

    def place(self, place: int, *then: str) -> None:
        """The convolution that stands at ``place``, if one does, and in this order what follows it."""
        if place in self.stands_at:
            self.convolution(place, self.stands_at[place])
        for step in then:
            if step == "pool":
                self.pool(place)
            elif place not in self.stands_at:
                continue
            elif step == "norm":
                self.norm(place)
            else:
                self.add(f"act{place}" if place <= 5 else f"act_conv{place}", ACTIVATIONS[self.model.activation]())

    def add(self, name: str, layer: nn.Module) -> None:
        """The next layer."""
        assert name not in self.layers, name
        self.layers[name] = layer

    def convolution(self, place: int, number: int) -> None:
        """Maps of conv ``number``, geometry of ``place``."""
        sizes, i = self.sizes, place - 1
        kernel, stride, pad = (3, 1, 1) if place > 5 else (sizes.kernel_sizes[i], sizes.strides[i], sizes.pads[i])
        # Not padded, the last window hangs over the edge (224 -> 55, reading 19); a padded one does so by itself.
        ceil = pad == 0
        self.stated_side = output_side(self.stated_side, kernel, stride, pad, ceil)
        if self.model.pool == "2x2_as_run" and place in (2, 5):
            pad -= 1
        if ceil and (self.side - kernel) % stride:
            self.add(f"edge{place}", PadToCeil(kernel, stride))
        maps, groups = sizes.kernels[min(number, 5) - 1], 1 if number in self.reads_all else self.towers
        self.add(f"conv{number}", nn.Conv2d(self.maps, maps, kernel, stride, pad, groups=groups))
        self.maps, self.side = maps, output_side(self.side, kernel, stride, pad, ceil)

    def norm(self, place: int) -> None:
        """Section 3.3; after layer 2 also the spatial norm (reading 4), which run #148, without LRN, lacked too."""
        m = self.model
        if not m.lrn:
            return
        # a sum over all maps would let towers talk that never should
        across = m.lrn_across_towers and m.communication != "never"
        groups = 1 if across else self.towers
        self.add(f"norm{place}", LocalResponseNorm(m.lrn_n, m.lrn_k, m.lrn_alpha, m.lrn_beta, groups))
        if m.spatial_norm and place == 2:
            self.add("spatial_norm2", SpatialResponseNorm())

    def pool(self, place: int) -> None:
        """Section 3.4: z=3, s=2; or z=2, s=2, padded or rounded up where that gives the side of the paper's pool.

        As run in #147, the first pool gave one pixel more (55 -> 28, rounded up), and conv2 and conv5 had one pixel
        of padding less to come back to the paper's sides.
        """
        pad = self.sizes.pool_pads[(1, 2, 5).index(place)]
        self.stated_side = output_side(self.stated_side, 3, 2, pad)
        if self.model.pool == "overlapping":
            pool = MaxPool(z=3, s=2, pad=pad)
        else:
            pool = pool_2x2(self.side, self.stated_side + (self.model.pool == "2x2_as_run" and place == 1))
        self.add(f"pool{place}", pool)
        self.side = pool.output_side(self.side)

    def flatten(self) -> None:
        """Maps to a row of features; a tower's maps stay together."""
        self.add("flatten", nn.Flatten())
        self.features = self.maps * self.side**2

    def hidden(self, number: int) -> None:
        """A fully connected layer, its nonlinearity, and dropout on its output (section 4.2)."""
        if f"fc{number}" in self.model.removed:
            return
        if self.model.communication == "never" and self.towers > 1:
            self.add(f"fc{number}", GroupedLinear(self.features, self.sizes.fc, self.towers))
        else:
            self.add(f"fc{number}", nn.Linear(self.features, self.sizes.fc))
        self.add(f"act{number}", ACTIVATIONS[self.model.activation]())
        if self.model.dropout:
            self.add(f"drop{number}", Dropout(self.model.dropout, self.model.dropout_form))
        self.features = self.sizes.fc

    def output(self, number: int) -> None:
        """One logit a class, from both towers; the softmax of section 3.5 belongs to the loss."""
        self.add(f"fc{number}", nn.Linear(self.features, self.sizes.classes))


def readers_of_both_towers(model: ModelRecipe, left: list[int]) -> set[int]:
    """Numbers of the convolutions that read the maps of both towers.

    ``model.communication`` names the one; if it was removed, the next in ``left`` is it. Convolutions added after
    the fifth read both, as conv6 of #146 did. Where the towers never talk (#150) it is none, and the hidden layers
    too stay in their tower: they meet in the last layer alone. That is our reading of the run note's "no
    communication at all"; its configuration also made the layers wider, which is ``model.width``.
    """
    joins = CONV_OF_TOWERS[model.communication]
    if joins is None:
        return set()
    return set([n for n in left if joins <= n <= 5][:1]) | {n for n in left if n > 5}


def pool_2x2(side: int, wanted: int) -> MaxPool:
    """Pooling with z=2, s=2 that takes ``side`` to ``wanted``, with as little padding and rounding up as will do."""
    for pad, ceil in ((0, False), (0, True), (1, False), (1, True)):
        if output_side(side, 2, 2, pad, ceil) == wanted:
            return MaxPool(z=2, s=2, pad=pad, ceil=ceil)
    raise PaperlibError(f"no 2x2 pooling takes {side} pixels to {wanted}; keep overlapping pooling with these layers")


def check_alexnet(model: ModelRecipe, sizes: Sizes, towers: int) -> None:
    """Refuse what makes no net, in one sentence."""
    removable = [*(f"conv{n}" for n in range(1, 6)), "fc6", "fc7"]
    unknown = [name for name in model.removed if name not in removable]
    if unknown:
        raise PaperlibError(f"model.removed cannot name {unknown[0]!r}; the layers are {', '.join(removable)}")
    lengths = [len(x) for x in (sizes.kernels, sizes.kernel_sizes, sizes.strides, sizes.pads, sizes.pool_pads)]
    if lengths != [5, 5, 5, 5, 3]:
        raise PaperlibError(f"the net {model.net} has five convolutions and three pools; these sizes have {lengths}")
    if any(units % towers for units in (*sizes.kernels, sizes.fc)):
        raise PaperlibError(f"two towers need an even number of kernels and units in every layer, not {sizes.kernels}")
    if model.extra_conv > 4:
        raise PaperlibError(f"model.extra_conv takes 0 to 4 further layers, conv6 to conv9, not {model.extra_conv}")
