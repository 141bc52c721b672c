"""What pencil and paper settle: sides, parameters, operations, and whether the paper's numbers follow.

The first half is the geometry of the net, short enough to be shown in a notebook. The second half has one
function for each claim that needs no training; each computes a number, compares it with the one that
``paperlib.paper.facts`` quotes, and returns an :class:`Outcome`. Nothing here is typed that can be computed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from paperlib.paper import facts

Status = Literal["exact", "rounding", "erratum", "estimate"]


@dataclass(frozen=True)
class Outcome:
    """A claim held against arithmetic.

    ``status`` is "exact" (equal at the precision the paper states), "rounding" (equal only if digits are cut
    off), "erratum" (not equal) or "estimate" (a calculation that bears on the claim and does not settle it).
    ``value`` is what was computed, ``detail`` a sentence that says how.
    """

    value: str
    status: Status
    detail: str


# --- the geometry of the net ------------------------------------------------------------------------------


def conv_side(side: int, kernel: int, stride: int = 1, pad: int = 0, ceil: bool = False) -> int:
    """Side of the output of a convolution or a pool, in positions; ``side``, ``kernel`` and ``pad`` in pixels.

    ``ceil`` rounds up, as the 2012 source does (layer.py:1004): the last window may reach beyond the edge.
    Raises ValueError where not even one window fits.
    """
    room = side + 2 * pad - kernel
    if room < 0 or stride < 1:
        raise ValueError(f"a window of {kernel} with stride {stride} does not fit into {side} pixels padded by {pad}")
    return 1 + (-(-room // stride) if ceil else room // stride)


def overhang(side: int, kernel: int, stride: int = 1, pad: int = 0) -> int:
    """Pixels that the last window reaches beyond the padded edge when the side is rounded up."""
    return (conv_side(side, kernel, stride, pad, ceil=True) - 1) * stride + kernel - (side + 2 * pad)


@dataclass(frozen=True)
class Layer:
    """A layer with weights: ``maps`` output maps of ``side`` x ``side``, each reading ``depth`` maps by ``size``.

    A fully connected layer is the same with ``side`` and ``size`` 1. ``inputs`` counts the numbers that the
    layer as a whole reads, after pooling.
    """

    name: str
    maps: int
    side: int
    size: int
    depth: int
    inputs: int

    @property
    def weights(self) -> int:
        return self.maps * self.size**2 * self.depth

    @property
    def parameters(self) -> int:
        """Weights and one bias for each map."""
        return self.weights + self.maps

    @property
    def macs(self) -> int:
        """Multiplications with addition for one image: every weight is used at every position."""
        return self.weights * self.side**2

    @property
    def units(self) -> int:
        """Output neurons."""
        return self.maps * self.side**2


KERNELS = tuple(conv.kernels for conv in facts.CONVS)
PADS = tuple(conv.pad for conv in facts.CONVS)
GROUPS = tuple(facts.GPUS if conv.reads == "own" else 1 for conv in facts.CONVS)
UNGROUPED = (1,) * len(facts.CONVS)


def net(
    kernels: tuple[int, ...] = KERNELS,
    groups: tuple[int, ...] = GROUPS,
    pads: tuple[int, ...] = PADS,
    pool: facts.Pooling = facts.POOLING,
    fc: tuple[int, ...] = facts.FC,
    ceil: bool = True,
) -> tuple[Layer, ...]:
    """The eight layers of section 3.5, or of a variant, for one 224x224 colour image.

    ``groups`` is 2 where a GPU reads only its own maps. ``ceil`` rounds sides up in convolutions and pools.
    """
    side, maps, layers = facts.INPUT_SIDE, facts.INPUT_CHANNELS, []
    for conv, count, group, pad in zip(facts.CONVS, kernels, groups, pads, strict=True):
        inputs = side**2 * maps
        side = conv_side(side, conv.size, conv.stride, pad, ceil)
        layers.append(Layer(conv.name, count, side, conv.size, maps // group, inputs))
        if conv.pooled:
            side = conv_side(side, pool.z, pool.s, ceil=ceil)
        maps = count
    width = side**2 * maps
    for number, outputs in enumerate(fc, start=len(kernels) + 1):
        layers.append(Layer(f"fc{number}", outputs, 1, 1, width, width))
        width = outputs
    return tuple(layers)


def two_towers() -> tuple[Layer, ...]:
    """The paper's net: conv2, conv4 and conv5 read only the maps of their own GPU."""
    return net()


def ungrouped() -> tuple[Layer, ...]:
    """The same sizes with every layer reading all maps: what many ports train."""
    return net(groups=UNGROUPED)


def one_gpu() -> tuple[Layer, ...]:
    """The net of footnote 2: one tower, but conv5 and the fully connected layers whole."""
    return net(kernels=facts.ONE_GPU_KERNELS, groups=UNGROUPED)


def one_weird_trick() -> tuple[Layer, ...]:
    """The one-column net of 2014 (torchvision's "alexnet"): 64-192-384-256-256, conv1 padded by 2, rounded down."""
    return net(kernels=(64, 192, 384, 256, 256), groups=UNGROUPED, pads=(2, 2, 1, 1, 1), ceil=False)


def parameter_count(layers: tuple[Layer, ...]) -> int:
    """Weights and biases of all layers."""
    return sum(layer.parameters for layer in layers)


def mac_count(layers: tuple[Layer, ...]) -> int:
    """Multiplications with addition of all layers, for one image forward."""
    return sum(layer.macs for layer in layers)


def unit_count(layers: tuple[Layer, ...]) -> int:
    """Output neurons of all layers; the input is not counted."""
    return sum(layer.units for layer in layers)


def shares(layers: tuple[Layer, ...]) -> dict[str, float]:
    """Each layer's share of the parameters, per cent."""
    total = parameter_count(layers)
    return {layer.name: 100 * layer.parameters / total for layer in layers}


# --- the cost of training, and noise ----------------------------------------------------------------------


def updates(images: int, epochs: int = facts.OPTIMISER.epochs, batch: int = facts.OPTIMISER.batch_size) -> int:
    """Updates of the weights in ``epochs`` passes over ``images``."""
    return round(images * epochs / batch)


def training_flops(images: int = facts.TRAINING_IMAGES, epochs: int = facts.OPTIMISER.epochs) -> float:
    """Operations of a training: 2 for each multiplication with addition, 3 passes' worth (forward, and twice back)."""
    return 3.0 * 2.0 * mac_count(two_towers()) * images * epochs


def share_of_peak(days: float) -> float:
    """Per cent of what the two cards could do at most that a training of so many days used."""
    peak = facts.GPUS * facts.GTX580_TFLOPS * 1e12
    return 100 * training_flops() / (peak * days * 86_400)


def standard_error(error: float, n: int) -> float:
    """Standard error, in percentage points, of an error rate (per cent) measured on ``n`` images."""
    return 100 * math.sqrt(error / 100 * (1 - error / 100) / n)


def difference_error(error_a: float, error_b: float, n: int) -> float:
    """Standard error of the difference of two error rates on ``n`` images each, taken as independent."""
    return math.hypot(standard_error(error_a, n), standard_error(error_b, n))


# --- holding a number against the paper -------------------------------------------------------------------


def agreement(computed: float, stated: float, step: float) -> Status:
    """How ``computed`` agrees with a number stated in multiples of ``step``.

    "exact" if rounding (half up) gives the stated number, "rounding" if only cutting digits off does,
    "erratum" otherwise.
    """
    # a hair is added because 0.3 / 0.1 is a little less than 3 in binary
    hair = 1e-9 * max(1.0, abs(computed / step))
    target = round(stated / step)
    if math.floor(computed / step + 0.5 + hair) == target:
        return "exact"
    return "rounding" if math.floor(computed / step + hair) == target else "erratum"


def holds(condition: bool) -> Status:
    """A statement without a number of its own: "exact" if it is true, "erratum" if it is not."""
    return "exact" if condition else "erratum"


def worst(*statuses: Status) -> Status:
    """The least favourable of several."""
    order: tuple[Status, ...] = ("exact", "rounding", "erratum")
    return max(statuses, key=order.index)


def _count(number: int) -> str:
    return f"{number:,}"


# --- abstract, sections 1 and 2 ---------------------------------------------------------------------------


def parameters() -> Outcome:
    """S0-c: 60 million parameters."""
    total = parameter_count(two_towers())
    return Outcome(
        _count(total),
        agreement(total, facts.PARAMETERS, facts.PARAMETERS_STEP),
        f"{_count(total)} weights and biases (ungrouped {_count(parameter_count(ungrouped()))}): "
        f"cut off, not rounded, to {_count(facts.PARAMETERS)}.",
    )


def neurons() -> Outcome:
    """S0-d: 650,000 neurons."""
    total = unit_count(two_towers())
    return Outcome(
        _count(total),
        agreement(total, facts.NEURONS, facts.NEURONS_STEP),
        f"The eight layers have {_count(total)} outputs, the list under Figure 2 adds up to "
        f"{_count(sum(facts.FIGURE2_NEURONS[1:]))}, and the abstract says {_count(facts.NEURONS)}.",
    )


def learned_layers() -> Outcome:
    """S0-e and S3-a: five convolutional and three fully connected layers, 1000 outputs."""
    conv, fc = len(facts.CONVS), len(facts.FC)
    agree = (conv, fc, conv + fc, facts.FC[-1]) == (
        facts.CONV_LAYERS,
        facts.FC_LAYERS,
        facts.LEARNED_LAYERS,
        facts.CLASSES,
    )
    pooled = ", ".join(layer.name for layer in facts.CONVS if layer.pooled)
    return Outcome(
        f"{conv} + {fc}",
        holds(agree),
        f"Section 3.5 describes {conv} convolutional layers (pools after {pooled}) and {fc} fully connected ones, "
        f"the last with {_count(facts.FC[-1])} outputs: the counts of the abstract and of section 3.",
    )


def fewer_than_dense() -> Outcome:
    """S1-c: far fewer connections and parameters than a fully connected net with layers of the same sizes."""
    layers = two_towers()
    dense = sum(layer.inputs * layer.units for layer in layers)
    first = layers[0]
    return Outcome(
        f"{dense / parameter_count(layers):,.0f} times fewer parameters",
        holds(dense > 10 * parameter_count(layers) and dense > 10 * mac_count(layers)),
        f"Dense layers of these sizes would need {dense:.2e} weights, conv1 alone "
        f"{_count(first.inputs)} x {_count(first.units)} = {first.inputs * first.units:.2e} instead of "
        f"{_count(first.parameters)}; connections are {dense / mac_count(layers):.0f} times fewer.",
    )


def conv_shares() -> Outcome:
    """S1-d, first half: each convolutional layer has no more than 1 % of the parameters."""
    share = {name: value for name, value in shares(two_towers()).items() if name.startswith("conv")}
    above = [name for name, value in share.items() if value > facts.CONV_SHARE_BOUND]
    return Outcome(
        ", ".join(f"{name} {share[name]:.3f} %" for name in above) or f"at most {max(share.values()):.3f} %",
        holds(not above),
        "Shares of the parameters: "
        + ", ".join(f"{name} {value:.3f} %" for name, value in share.items())
        + f"; above {facts.CONV_SHARE_BOUND:g} %: {', '.join(above) or 'none'}.",
    )


def ilsvrc_training_images() -> Outcome:
    """S2-a, first half: about 1000 images in each of 1000 classes, 1.2 million in all, 50,000 for validation."""
    stated = facts.ILSVRC_STATED
    statuses = [agreement(year.train, stated.train, facts.TRAINING_IMAGES_STEP) for year in facts.ILSVRC]
    statuses += [holds(year.validation == stated.validation) for year in facts.ILSVRC]
    per_class = [year.train / facts.CLASSES for year in facts.ILSVRC]
    statuses += [agreement(each, facts.IMAGES_PER_CLASS, 1000) for each in per_class]
    counts = ", ".join(f"{_count(year.train)} ({year.year})" for year in facts.ILSVRC)
    return Outcome(
        counts,
        worst(*statuses),
        f"Training images: {counts}, so {min(per_class):.0f} to {max(per_class):.0f} a class on average; "
        f"{_count(stated.train)} is cut off, not rounded. Validation: {_count(stated.validation)} in both years.",
    )


def ilsvrc_test_images() -> Outcome:
    """S2-a, second half: 150,000 test images, said of ILSVRC in general."""
    stated = facts.ILSVRC_STATED.test
    counts = ", ".join(f"{_count(year.test)} ({year.year})" for year in facts.ILSVRC)
    return Outcome(
        counts,
        holds(all(year.test == stated for year in facts.ILSVRC)),
        f"Test images: {counts}. {_count(stated)} is right for one of the two years that the paper uses.",
    )


# --- section 3 --------------------------------------------------------------------------------------------


def order_of_gains() -> Outcome:
    """S3-b, the stated sizes: sections 3.2 to 3.4 come in the order of their gains."""
    gains = [gain for gain in facts.GAINS if gain.section.startswith("3.")]
    sizes = [gain.top1 for gain in sorted(gains, key=lambda gain: gain.section)]
    return Outcome(
        " > ".join(f"{size:g}" for size in sizes),
        holds(all(a > b for a, b in zip(sizes, sizes[1:], strict=False))),
        "Stated top-1 gains of sections 3.2, 3.3 and 3.4, percentage points; section 3.1 gives a speed, not an error.",
    )


def memory() -> Outcome:
    """S3.2-a: does the net fit into 3 GB (of 2³⁰ bytes)? Numbers of 4 bytes, batch of 128, no workspace."""
    layers, batch = two_towers(), facts.OPTIMISER.batch_size
    normalised = sum(
        layer.units for layer, conv in zip(layers, facts.CONVS, strict=False) if conv.normalised
    )  # a copy each
    pooled = sum(after.inputs for after, conv in zip(layers[1:], facts.CONVS, strict=False) if conv.pooled)
    activations = 4 * batch * (2 * (unit_count(layers) + normalised + pooled) + layers[0].inputs)
    weights = 4 * 3 * parameter_count(layers)
    total, card = (activations + weights) / 1e9, facts.GPU_MEMORY_GB * 2**30 / 1e9
    return Outcome(
        f"{total:.1f} GB",
        "estimate",
        f"Activations with their gradients {activations / 1e9:.2f} GB (batch of {batch}), weights with gradients and "
        f"velocities {weights / 1e9:.2f} GB: {total:.2f} of the card's {card:.2f} · 10⁹ bytes, before any workspace.",
    )


def work_per_gpu() -> Outcome:
    """S3.2-d, the arithmetic: a GPU of the two-GPU net has slightly less to do than the one of footnote 2."""
    two, one = mac_count(two_towers()) // facts.GPUS, mac_count(one_gpu())
    return Outcome(
        f"{two / 1e6:.0f} M against {one / 1e6:.0f} M",
        holds(0.9 * one < two < one),
        f"Multiplications with addition per image: {_count(two)} on each of two GPUs, {_count(one)} on one "
        f"({100 * (one / two - 1):.1f} % more). fc8 is counted in halves, though in 2012 one card did all "
        "of it; the transport between the cards is not in it.",
    )


def one_gpu_parameters() -> Outcome:
    """S3.2-e: the one-GPU net has about the same number of parameters."""
    one, two = parameter_count(one_gpu()), parameter_count(two_towers())
    return Outcome(
        f"{_count(one)} ({100 * one / two:.1f} %)",
        agreement(one / two, 1, 0.1),
        f"{_count(one)} against {_count(two)} parameters, because conv5 and the fully connected layers stay whole: "
        f"the one-GPU net is much more than half of the other.",
    )


def largest_layer() -> Outcome:
    """S3.2-e: most parameters are in the first fully connected layer."""
    share = shares(two_towers())
    name = max(share, key=lambda layer: share[layer])
    return Outcome(
        f"{name} {share[name]:.1f} %",
        holds(name == "fc6" and share[name] > 50),
        f"{name} holds {share[name]:.1f} % of the parameters.",
    )


def pool_sides() -> Outcome:
    """S3.4-a: pools of z = 3 and s = 2 throughout lead to the sides that Figure 2 draws."""
    layers = two_towers()
    pools = [conv_side(layer.side, facts.POOLING.z, facts.POOLING.s) for layer in (layers[0], layers[1], layers[4])]
    exact = [
        conv_side(layer.side, facts.POOLING.z, facts.POOLING.s, ceil=True)
        for layer in (layers[0], layers[1], layers[4])
    ]
    drawn = tuple(layer.side for layer in layers[:5]) == facts.FIGURE2_SIDES[1:]
    return Outcome(
        " -> ".join(str(side) for side in [layers[0].side, *pools]),
        holds(drawn and pools == exact),
        f"After the three pools the sides are {', '.join(str(side) for side in pools)}, whether rounded down or up, "
        f"and the convolutions have the sides of Figure 2.",
    )


def first_side() -> Outcome:
    """S3.5-d: 224 pixels, kernels of 11 and a stride of 4 give the 55 positions of Figure 2."""
    conv, side = facts.CONVS[0], facts.INPUT_SIDE
    down = conv_side(side, conv.size, conv.stride)
    up = conv_side(side, conv.size, conv.stride, ceil=True)
    return Outcome(
        str(up),
        holds(up == facts.FIGURE2_SIDES[1] and side**2 * facts.INPUT_CHANNELS == facts.FIGURE2_NEURONS[0]),
        f"({side} - {conv.size}) / {conv.stride} + 1 = {(side - conv.size) / conv.stride + 1:g}: rounded down {down}, "
        f"rounded up {up} with {overhang(side, conv.size, conv.stride)} pixels of zeros beyond the edge, as in 2012.",
    )


def _described(names: tuple[str, ...]) -> Outcome:
    """Do the kernel depths of section 3.5 follow from who reads whom, and the neurons of Figure 2 from the sides?"""
    layers = {
        layer.name: (layer, stated) for layer, stated in zip(two_towers(), facts.FIGURE2_NEURONS[1:], strict=True)
    }
    convs = {conv.name: conv for conv in facts.CONVS}
    depths = all(layers[name][0].depth == convs[name].depth for name in names)
    units = all(layers[name][0].units == layers[name][1] for name in names)
    kernels = [f"{c.kernels} of {c.size}x{c.size}x{layers[c.name][0].depth}" for c in (convs[name] for name in names)]
    return Outcome(
        ", ".join(kernels),
        holds(depths and units),
        f"Kernels {', '.join(kernels)} follow from which GPU reads which maps; neurons "
        f"{', '.join(_count(layers[name][0].units) for name in names)} as under Figure 2 "
        f"(paddings {', '.join(str(convs[name].pad) for name in names)}, which the paper does not state).",
    )


def second_layer() -> Outcome:
    """S3.5-e: conv2 has 256 kernels of 5x5x48."""
    return _described(("conv2",))


def later_layers() -> Outcome:
    """S3.5-f: conv3 384 of 3x3x256, conv4 384 of 3x3x192, conv5 256 of 3x3x192."""
    return _described(("conv3", "conv4", "conv5"))


def fully_connected() -> Outcome:
    """S3.5-g: 4096 neurons in each of the fully connected layers, then 1000."""
    layers = two_towers()[5:]
    units = tuple(layer.units for layer in layers)
    return Outcome(
        "-".join(str(unit) for unit in units),
        holds(units == facts.FIGURE2_NEURONS[6:] and all(unit % facts.GPUS == 0 for unit in units)),
        f"{_count(layers[0].inputs)} inputs from the last pool, then {', '.join(_count(unit) for unit in units)}: as "
        f"under Figure 2, {units[0] // facts.GPUS} of the {units[0]} on each GPU.",
    )


def figure2_neurons() -> Outcome:
    """S3.5-h: the neurons of each layer, as listed under Figure 2."""
    layers = two_towers()
    stated = dict(zip((layer.name for layer in layers), facts.FIGURE2_NEURONS[1:], strict=True))
    wrong = [layer for layer in layers if layer.units != stated[layer.name]]
    first, conv1 = layers[0], stated["conv1"]
    per_gpu = first.maps // facts.GPUS
    slip = f" {_count(conv1)} = {first.side} x {per_gpu} x {first.maps}: the depth per GPU in place of a side."
    return Outcome(
        ", ".join(f"{layer.name} {_count(layer.units)}" for layer in wrong) or "all eight",
        holds(not wrong and layers[0].inputs == facts.FIGURE2_NEURONS[0]),
        "; ".join(
            f"{layer.name} has {_count(layer.units)} neurons, not {_count(stated[layer.name])}" for layer in wrong
        )
        + f"; the other {len(layers) - len(wrong)} are right."
        + (slip if conv1 == first.side * per_gpu * first.maps else ""),
    )


# --- sections 4 and 5 -------------------------------------------------------------------------------------


def label_bits() -> Outcome:
    """S4-a: a label puts 10 bits of constraint on the mapping."""
    bits = math.log2(facts.CLASSES)
    return Outcome(
        f"{bits:.3f} bits",
        agreement(bits, facts.LABEL_BITS, 1),
        f"log2 of {_count(facts.CLASSES)} classes is {bits:.3f}.",
    )


def augmentation_factor() -> Outcome:
    """S4.1-b: crops of 224 out of 256 and their mirrors make 2048 images of one."""
    places = facts.STORED_SIDE - facts.INPUT_SIDE + 1
    factor = 2 * places**2
    return Outcome(
        _count(factor),
        holds(factor == facts.AUGMENTATION_FACTOR),
        f"A crop of {facts.INPUT_SIDE} can lie at {places} places along a side of {facts.STORED_SIDE}: "
        f"{places} x {places} x 2 = {factor}. The paper's {facts.AUGMENTATION_FACTOR} is "
        f"{places - 1} x {places - 1} x 2; the 2012 source uses all {places}.",
    )


def colour_noise() -> Outcome:
    """S4.1-e: how far the colour noise moves a pixel, in grey levels (0-255), under each reading."""
    on_unit = [255 * facts.COLOUR_STD * value for value in facts.RGB_EIGENVALUES]
    literal = [255 * each for each in on_unit]
    root = [255 * facts.COLOUR_STD * math.sqrt(value) for value in facts.RGB_EIGENVALUES]
    shown = {
        "eigenvalues of 0-1 pixels": on_unit,
        "eigenvalues of 0-255 pixels": literal,
        "standard deviations (2012 source)": root,
    }
    return Outcome(
        f"{on_unit[0]:.1f}, {literal[0]:,.0f} or {root[0]:.1f} grey levels",
        "estimate",
        "One standard deviation along the three axes, in grey levels: "
        + "; ".join(f"{name} {' / '.join(f'{each:,.1f}' for each in axes)}" for name, axes in shown.items())
        + " (then divided by 1.1). The formula is not free of the pixels' scale.",
    )


def passes() -> Outcome:
    """S5-g, first half: roughly 90 passes over the training set."""
    logs = [facts.run_log("145-2010"), facts.run_log("145")]
    epochs = [log.epochs for log in logs if log.epochs is not None]
    stated = facts.OPTIMISER.epochs
    years = ", ".join(f"{_count(updates(year.train))} ({year.year})" for year in facts.ILSVRC)
    return Outcome(
        " and ".join(str(each) for each in epochs),
        worst(*(agreement(each, stated, facts.EPOCHS_STEP) for each in epochs)),
        f"The run notes stop at {' and '.join(f'{each}' for each in epochs)} passes. {stated} passes in batches of "
        f"{facts.OPTIMISER.batch_size} are {_count(updates(facts.TRAINING_IMAGES))} updates of "
        f"{_count(facts.TRAINING_IMAGES)} images, or with the exact counts {years}.",
    )


def training_time() -> Outcome:
    """S1-e and S1-i: what 5 to 6 days on two GTX 580 mean, in images a second and in share of the cards' peak."""
    fast, slow = facts.TRAINING_DAYS
    images = facts.TRAINING_IMAGES * facts.OPTIMISER.epochs
    rate = [images / (days * 86_400) for days in (slow, fast)]
    pfs_days = training_flops() / (1e15 * 86_400)
    low, high = facts.OPENAI_PFS_DAYS
    return Outcome(
        f"{rate[0]:.0f} to {rate[1]:.0f} images/s, {share_of_peak(slow):.0f} to {share_of_peak(fast):.0f} % of peak",
        "estimate",
        f"{training_flops():.2e} operations = {pfs_days:.4f} petaflop/s-days (OpenAI counts {low} to {high}); "
        f"{rate[0]:.0f} to {rate[1]:.0f} images/s, {share_of_peak(slow):.0f} to {share_of_peak(fast):.0f} % of "
        f"the peak of two cards, {share_of_peak((fast + slow) / 2):.0f} % in between: possible, and good for its time.",
    )


# --- the published results against the authors' own run notes ---------------------------------------------


def _against_log(published: tuple[float | None, ...], logged: tuple[float | None, ...], source: str) -> Outcome:
    """Published error rates against noted ones, per cent to one decimal; a None is passed over."""
    pairs = [(p, q) for p, q in zip(published, logged, strict=True) if p is not None and q is not None]
    noted = " / ".join(f"{q:.6g}" for _, q in pairs)
    return Outcome(
        noted,
        worst(*(agreement(q, p, 0.1) for p, q in pairs)),
        f"Published {' / '.join(f'{p:.1f}' for p, _ in pairs)}; noted {noted} ({source}).",
    )


def _errors(log: facts.RunLog) -> tuple[float, float]:
    """The two error rates of a run note, per cent; LookupError if one is not noted."""
    if log.top1 is None or log.top5 is None:
        raise LookupError(f"the notes of #{log.net} do not hold both error rates")
    return log.top1, log.top5


def _gap(a: facts.RunLog, b: facts.RunLog) -> tuple[float, float]:
    """By how much the error rates of ``a`` are above those of ``b``, percentage points, without binary dust."""
    (a1, a5), (b1, b5) = _errors(a), _errors(b)
    return round(a1 - b1, 6), round(a5 - b5, 6)


def _row(table: tuple[facts.TableRow, ...], model: str) -> facts.TableRow:
    return next(row for row in table if row.model == model)


def table1_cnn() -> Outcome:
    """S0-b and S6-a: 37.5 / 17.0 on the test set of 2010."""
    row, log = _row(facts.TABLE1, "CNN"), facts.run_log("145-2010", views=10)
    return _against_log((row.test_top1, row.test_top5), (log.top1, log.top5), f"#{log.net}, one run")


def centre_view() -> Outcome:
    """S6-b: 39.0 / 18.3 without the ten views."""
    log, ten = facts.run_log("145-2010", views=1), facts.run_log("145-2010", views=10)
    outcome = _against_log(facts.CENTRE_VIEW, _errors(log), f"#{log.net}, centre view")
    top1, top5 = _gap(log, ten)
    gain = f" The ten views gain {top1:.2f} / {top5:.2f}."
    return Outcome(outcome.value, outcome.status, outcome.detail + gain)


def validation_against_test() -> Outcome:
    """S6-c: validation and test errors do not differ by more than 0.1 %."""
    val, test = facts.run_log("137-2010", facts.VAL10), facts.run_log("137-2010", facts.TEST10)
    top1, top5 = (abs(each) for each in _gap(val, test))
    bound = facts.VALIDATION_TEST_BOUND
    return Outcome(
        f"top-1 {top1:.2f}, top-5 {top5:.2f}",
        holds(top1 <= bound and top5 <= bound),
        f"The one net with both in its notes, #{val.net}, differs by {top1:.2f} in top-1 "
        f"({'within' if top1 <= bound else 'more than'} {bound}) and by {top5:.2f} in top-5 "
        f"({'within' if top5 <= bound else 'more than'} {bound}).",
    )


def table2_one() -> Outcome:
    """S6-d: 1 CNN, 40.7 / 18.2 on the validation set of 2012."""
    row, log = _row(facts.TABLE2, "1 CNN"), facts.run_log("145", views=10)
    return _against_log((row.val_top1, row.val_top5), (log.top1, log.top5), f"#{log.net}, one run")


def _submission(team: str, extra_data: bool) -> facts.Submission:
    return next(each for each in facts.CONTEST_2012 if (each.team, each.extra_data) == (team, extra_data))


def table2_five() -> Outcome:
    """S6-e: 5 CNNs, test top-5 16.4."""
    entry = _submission("SuperVision", False)
    return _against_log(
        (_row(facts.TABLE2, "5 CNNs").test_top5,), (entry.top5,), f"results page, nets {', '.join(entry.members)}"
    )


def table2_pretrained() -> Outcome:
    """S6-f: 1 CNN*, 39.0 / 16.6 on the validation set of 2012."""
    row, log = _row(facts.TABLE2, "1 CNN*"), facts.run_log("146-2012-2011")
    return _against_log((row.val_top1, row.val_top5), (log.top1, log.top5), f"#{log.net}, one run")


def table2_seven() -> Outcome:
    """S6-g: 7 CNNs*, test top-5 15.3."""
    entry = _submission("SuperVision", True)
    return _against_log(
        (_row(facts.TABLE2, "7 CNNs*").test_top5,), (entry.top5,), f"results page, nets {', '.join(entry.members)}"
    )


def contest() -> Outcome:
    """S0-f and S6-h: the winner's 15.3 and the runner-up's 26.2 on the test set of 2012."""
    rows = (_row(facts.TABLE2, "7 CNNs*"), _row(facts.TABLE2, "SIFT + Fisher vectors"))
    entries = (_submission("SuperVision", True), _submission("ISI", False))
    return _against_log(tuple(row.test_top5 for row in rows), tuple(each.top5 for each in entries), "results page")


def _gain(claim: str) -> Outcome:
    """A stated gain against the difference of the two runs it comes from, with its standard error."""
    gain = next(each for each in facts.GAINS if each.claim == claim)
    good, bad = facts.run_log(gain.with_it), facts.run_log(gain.without)
    top1, top5 = _gap(bad, good)
    outcome = _against_log((gain.top1, gain.top5), (top1, top5), f"#{bad.net} minus #{good.net}, {good.data}")
    n = {f"ILSVRC-{year.year} {part}": getattr(year, part) for year in facts.ILSVRC for part in ("validation", "test")}
    error = difference_error(_errors(good)[0], _errors(bad)[0], n[good.data])
    return Outcome(
        outcome.value,
        outcome.status,
        f"{outcome.detail} One run each: {top1 / error:.1f} unpaired standard errors in top-1, "
        "before any spread between seeds.",
    )


def two_gpu_gain() -> Outcome:
    """S3.2-c: two GPUs lower the error rates by 1.7 / 1.2."""
    return _gain("S3.2-c")


def lrn_gain() -> Outcome:
    """S3.3-c: normalisation lowers the error rates by 1.4 / 1.2."""
    return _gain("S3.3-c")


def pooling_gain() -> Outcome:
    """S3.4-b: overlapping pooling lowers the error rates by 0.4 / 0.3."""
    return _gain("S3.4-b")
