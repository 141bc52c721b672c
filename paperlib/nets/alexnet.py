"""The net of section 3.5 (Figure 2) and its ablations.

:func:`section_3_5` is the table of the paper's net, one row a layer with weights. :func:`ablated` edits rows where a
recipe asks for another net. The loop of :func:`alexnet` makes the layers of each row.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from paperlib.errors import PaperlibError
from paperlib.nets.layers import ACTIVATIONS, Dropout, GroupedLinear, MaxPool, PadToCeil, output_side
from paperlib.nets.lrn import LocalResponseNorm, SpatialResponseNorm
from paperlib.nets.sizes import widened
from paperlib.recipe import ModelRecipe, Sizes

# ---------------------------------------------------------------------------------------------------------
# The table


@dataclass(frozen=True)
class Row:
    """A layer with weights, and the layers without weights that follow it."""

    layer: str  # its name; "" after it was removed, when only its pool is left
    maps: int = 0  # kernels or units of both towers together
    window: int = 1
    stride: int = 1
    pad: int = 0
    reads: str = "both"  # image | own (tower) | both (towers)
    then: tuple[str, ...] = ()  # names of the layers that follow, in this order
    pool: MaxPool | None = None  # the pool in ``then``

    def output_side(self, side: int) -> int:
        """Side of a convolution's maps; the last window hangs over an edge without padding (224 -> 55, reading 19)."""
        return output_side(side, self.window, self.stride, self.pad, ceil=self.pad == 0)

    def less(self, *kinds: str) -> Row:
        """The row without the followers that have one of ``kinds`` in their name."""
        return replace(self, then=tuple(name for name in self.then if not any(kind in name for kind in kinds)))


def section_3_5(sizes: Sizes) -> dict[str, Row]:
    """The rows of the paper's net by place, at ``sizes``; the comments give the paper's sizes and sides."""
    conv1, conv2, conv3, conv4, conv5 = zip(sizes.kernels, sizes.kernel_sizes, sizes.strides, sizes.pads, strict=True)
    pool1, pool2, pool5 = (MaxPool(z=3, s=2, pad=pad) for pad in sizes.pool_pads)  # section 3.4
    rows = (
        Row("conv1", *conv1, "image", ("act1", "norm1", "pool1"), pool1),  # 96 of 11x11x3: 55x55, pooled to 27x27
        Row("conv2", *conv2, "own", ("act2", "norm2", "pool2"), pool2),  # 256 of 5x5x48: 27x27, pooled to 13x13
        Row("conv3", *conv3, "both", ("act3",)),  # 384 of 3x3x256: 13x13
        Row("conv4", *conv4, "own", ("act4",)),  # 384 of 3x3x192: 13x13
        Row("conv5", *conv5, "own", ("act5", "pool5"), pool5),  # 256 of 3x3x192: 13x13, pooled to 6x6
        Row("flatten"),  # 9216 features; those of a tower stay together
        Row("fc6", sizes.fc, then=("act6", "drop6")),  # 4096
        Row("fc7", sizes.fc, then=("act7", "drop7")),  # 4096
        Row("fc8", sizes.classes),  # 1000 logits; the softmax belongs to the loss
    )
    return {row.layer: row for row in rows}


# ---------------------------------------------------------------------------------------------------------
# The net


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
    """The layers of each row, first to last: images (B, C, crop, crop) to logits (B, classes).

    Raises :class:`PaperlibError` where the layers do not fit together.
    """
    check_alexnet(model, sizes, towers)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    follower = followers(model, towers)
    maps, side = sizes.channels, sizes.crop
    for place, row in ablated(model, widened(sizes, model.width)).items():
        groups = towers if row.reads == "own" else 1
        if row.layer.startswith("conv"):
            if row.pad == 0 and (side - row.window) % row.stride:
                layers[place.replace("conv", "edge")] = PadToCeil(row.window, row.stride)
            layers[row.layer] = nn.Conv2d(maps, row.maps, row.window, row.stride, row.pad, groups=groups)
            maps, side = row.maps, row.output_side(side)
        elif row.layer == "flatten":
            layers["flatten"] = nn.Flatten()
            maps, side = maps * side**2, 1
        elif row.layer:
            layers[row.layer] = GroupedLinear(maps, row.maps, groups) if groups > 1 else nn.Linear(maps, row.maps)
            maps = row.maps
        for name in row.then:
            if row.pool and name.startswith("pool"):
                layers[name], side = row.pool, row.pool.output_side(side)
            else:
                layers[name] = follower[name.rstrip("123456789")]()
    return nn.Sequential(layers)


def followers(model: ModelRecipe, towers: int) -> dict[str, Callable[[], nn.Module]]:
    """What makes each kind of follower; the kind is the layer's name without its number."""
    act, lrn = ACTIVATIONS[model.activation], (model.lrn_n, model.lrn_k, model.lrn_alpha, model.lrn_beta)
    # a sum over maps of both towers would let them talk where they never should
    across = model.lrn_across_towers and model.communication != "never"
    return {
        "act": act,  # section 3.1
        "act_conv": act,
        "norm": lambda: LocalResponseNorm(*lrn, groups=1 if across else towers),  # section 3.3
        "spatial_norm": SpatialResponseNorm,  # cnorm2 of layers-145.cfg
        "drop": lambda: Dropout(model.dropout, model.dropout_form),  # section 4.2
    }


# ---------------------------------------------------------------------------------------------------------
# Its ablations


def ablated(model: ModelRecipe, sizes: Sizes) -> dict[str, Row]:
    """The rows of the paper's net, with an edit for each field of ``model`` that asks for another net."""
    rows = section_3_5(sizes)

    def edit(place: str, **columns: Any) -> None:
        rows[place] = replace(rows[place], **columns)

    if model.norm1_before_relu:  # reading 1
        edit("conv1", then=("norm1", "pool1", "act1"))
    if model.spatial_norm:  # reading 4
        edit("conv2", then=("act2", "norm2", "spatial_norm2", "pool2"))
    for n in range(6, 6 + model.extra_conv):  # section 6: "over the last pooling layer"; #146 reads both towers there
        rows[f"conv{n}"] = Row(f"conv{n}", sizes.kernels[4], 3, 1, 1, "both", (f"act_conv{n}",))
    rows |= {place: rows.pop(place) for place in ("flatten", "fc6", "fc7", "fc8")}  # still last
    if model.communication == "conv4":  # as #132
        edit("conv3", reads="own")
        edit("conv4", reads="both")
    if model.communication == "never":
        # #150: we read "no communication at all" as none before fc8. Its configuration also made the layers wider,
        # which is model.width.
        for place in list(rows)[1:-1]:
            edit(place, reads="own")
    rows = without(rows, model.removed)
    if not model.lrn:  # run #148 lacked the spatial norm too
        rows = {place: row.less("norm") for place, row in rows.items()}
    if not model.dropout:
        rows = {place: row.less("drop") for place, row in rows.items()}
    if model.pool != "overlapping":
        rows = pooled_2x2(rows, sizes.crop, as_run=model.pool == "2x2_as_run")
    return rows


ALONE = " alone"


def names_of(removed: tuple[str, ...]) -> tuple[str, ...]:
    """The layers that ``model.removed`` names, whether or not their normalisation stays."""
    return tuple(name.removesuffix(ALONE) for name in removed)


def without(rows: dict[str, Row], removed: tuple[str, ...]) -> dict[str, Row]:
    """The rows after layers are removed (section 7).

    A hidden layer goes with its dropout. A convolution goes with its nonlinearity and normalisation, but its pool
    stays, so that the last maps keep their sides; the next remaining convolution takes over what it read. After
    conv1, that one is in its place: it reads the image, with conv1's window, stride, padding and normalisation.
    After the convolution that reads both towers, it reads both. With " alone" after the name the normalisation stays.
    """
    asked, removed = removed, names_of(removed)
    rows = {place: row for place, row in rows.items() if place.startswith("conv") or place not in removed}
    remaining = [place for place in rows if place.startswith("conv") and place not in removed]
    for gone in [place for place in rows if place in removed]:
        goes = ("act",) if f"{gone}{ALONE}" in asked else ("act", "norm")
        heir = next((place for place in remaining if place > gone), None)  # "conv4" > "conv3"
        if heir and gone == "conv1":
            rows["conv1"] = replace(rows["conv1"], layer=heir, maps=rows[heir].maps)
            gone = heir  # its own place is now empty
        elif heir and rows[gone].reads == "both":
            rows[heir] = replace(rows[heir], reads="both")
        rows[gone] = replace(rows[gone].less(*goes), layer="")
    return rows


def pooled_2x2(rows: dict[str, Row], side: int, as_run: bool) -> dict[str, Row]:
    """The rows with z=2, s=2 (section 3.4), padded or rounded up where that gives the side of the paper's pool.

    ``side`` is the image's. As run in #147, the first pool gave one pixel more (55 -> 28, rounded up), and conv2 and
    conv5 had one pixel of padding less, which led back to the paper's sides.
    """
    stated_side = side  # what it would be with the paper's own pools and pads
    for place, row in rows.items():
        if row.layer.startswith("conv"):
            stated_side = row.output_side(stated_side)
            row = replace(row, pad=row.pad - (as_run and place in ("conv2", "conv5")))
            side = row.output_side(side)
        if row.pool:
            stated_side = row.pool.output_side(stated_side)
            pool = pool_2x2(side, stated_side + (as_run and place == "conv1"))
            row, side = replace(row, pool=pool), pool.output_side(side)
        rows = rows | {place: row}
    return rows


def pool_2x2(side: int, wanted: int) -> MaxPool:
    """Pooling with z=2, s=2 that takes ``side`` to ``wanted``, with as little padding and rounding up as will do."""
    for pad, ceil in ((0, False), (0, True), (1, False), (1, True)):
        if output_side(side, 2, 2, pad, ceil) == wanted:
            return MaxPool(z=2, s=2, pad=pad, ceil=ceil)
    raise PaperlibError(f"no 2x2 pooling takes {side} pixels to {wanted}; keep overlapping pooling with these layers")


def check_alexnet(model: ModelRecipe, sizes: Sizes, towers: int) -> None:
    """Refuse what makes no net, in one sentence."""
    removable = [*(f"conv{n}" for n in range(1, 6)), *(f"conv{n}{ALONE}" for n in (1, 2)), "fc6", "fc7"]
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
