"""The claims of the abstract and of sections 1 to 5 that counting settles, one function each."""

from __future__ import annotations

import math

from paperlib.paper import facts
from paperlib.paper.geometry import (
    conv_side,
    mac_count,
    one_gpu,
    overhang,
    parameter_count,
    share_of_peak,
    shares,
    training_flops,
    two_towers,
    ungrouped,
    unit_count,
    updates,
)
from paperlib.paper.outcome import Outcome, agreement, count, holds, of_each, worst

# --- abstract, sections 1 and 2 ---------------------------------------------------------------------------


def parameters() -> Outcome:
    """S0-c: 60 million parameters."""
    total = parameter_count(two_towers())
    return Outcome(
        count(total),
        agreement(total, facts.PARAMETERS, facts.PARAMETERS_STEP),
        f"{count(total)} weights and biases (ungrouped {count(parameter_count(ungrouped()))}): "
        f"cut off, not rounded, to {count(facts.PARAMETERS)}.",
    )


def neurons() -> Outcome:
    """S0-d: 650,000 neurons."""
    total = unit_count(two_towers())
    return Outcome(
        count(total),
        agreement(total, facts.NEURONS, facts.NEURONS_STEP),
        f"The eight layers have {count(total)} outputs, the list under Figure 2 adds up to "
        f"{count(sum(facts.FIGURE2_NEURONS[1:]))}, and the abstract says {count(facts.NEURONS)}.",
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
        f"the last with {count(facts.FC[-1])} outputs: the counts of the abstract and of section 3.",
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
        f"{count(first.inputs)} x {count(first.units)} = {first.inputs * first.units:.2e} instead of "
        f"{count(first.parameters)}; connections are {dense / mac_count(layers):.0f} times fewer.",
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
    counts = ", ".join(f"{count(year.train)} ({year.year})" for year in facts.ILSVRC)
    return Outcome(
        counts,
        worst(*statuses),
        f"Training images: {counts}, so {min(per_class):.0f} to {max(per_class):.0f} a class on average; "
        f"{count(stated.train)} is cut off, not rounded. Validation: {count(stated.validation)} in both years.",
    )


def ilsvrc_test_images() -> Outcome:
    """S2-a, second half: 150,000 test images, said of ILSVRC in general."""
    stated = facts.ILSVRC_STATED.test
    counts = ", ".join(f"{count(year.test)} ({year.year})" for year in facts.ILSVRC)
    return Outcome(
        counts,
        of_each(*(year.test == stated for year in facts.ILSVRC)),
        f"Test images: {counts}. {count(stated)} is right for one of the two years that the paper uses.",
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
        f"Multiplications with addition per image: {count(two)} on each of two GPUs, {count(one)} on one "
        f"({100 * (one / two - 1):.1f} % more). fc8 is counted in halves, though in 2012 one card did all "
        "of it; the transport between the cards is not in it.",
    )


def one_gpu_parameters() -> Outcome:
    """S3.2-e: the one-GPU net has about the same number of parameters."""
    one, two = parameter_count(one_gpu()), parameter_count(two_towers())
    return Outcome(
        f"{count(one)} ({100 * one / two:.1f} %)",
        agreement(one / two, 1, 0.1),
        f"{count(one)} against {count(two)} parameters, because conv5 and the fully connected layers stay whole: "
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
        f"{', '.join(count(layers[name][0].units) for name in names)} as under Figure 2 "
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
        f"{count(layers[0].inputs)} inputs from the last pool, then {', '.join(count(unit) for unit in units)}: as "
        f"under Figure 2, {units[0] // facts.GPUS} of the {units[0]} on each GPU.",
    )


def figure2_neurons() -> Outcome:
    """S3.5-h: the neurons of each layer, as listed under Figure 2."""
    layers = two_towers()
    stated = dict(zip((layer.name for layer in layers), facts.FIGURE2_NEURONS[1:], strict=True))
    wrong = [layer for layer in layers if layer.units != stated[layer.name]]
    first, conv1 = layers[0], stated["conv1"]
    per_gpu = first.maps // facts.GPUS
    slip = f" {count(conv1)} = {first.side} x {per_gpu} x {first.maps}: the depth per GPU in place of a side."
    return Outcome(
        ", ".join(f"{layer.name} {count(layer.units)}" for layer in wrong) or "all eight",
        holds(not wrong and layers[0].inputs == facts.FIGURE2_NEURONS[0]),
        "; ".join(f"{layer.name} has {count(layer.units)} neurons, not {count(stated[layer.name])}" for layer in wrong)
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
        f"log2 of {count(facts.CLASSES)} classes is {bits:.3f}.",
    )


def augmentation_factor() -> Outcome:
    """S4.1-b: crops of 224 out of 256 and their mirrors make 2048 images of one, with all places or one fewer."""
    places = facts.STORED_SIDE - facts.INPUT_SIDE + 1
    factor, stated = 2 * places**2, facts.AUGMENTATION_FACTOR
    return Outcome(
        count(factor),
        of_each(factor == stated, stated in (factor, 2 * (places - 1) ** 2)),
        f"A crop of {facts.INPUT_SIDE} can lie at {places} places along a side of {facts.STORED_SIDE}: "
        f"{places} x {places} x 2 = {factor}. The paper's {stated} is "
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
    years = ", ".join(f"{count(updates(year.train))} ({year.year})" for year in facts.ILSVRC)
    return Outcome(
        " and ".join(str(each) for each in epochs),
        worst(*(agreement(each, stated, facts.EPOCHS_STEP) for each in epochs)),
        f"The run notes stop at {' and '.join(f'{each}' for each in epochs)} passes. {stated} passes in batches of "
        f"{facts.OPTIMISER.batch_size} are {count(updates(facts.TRAINING_IMAGES))} updates of "
        f"{count(facts.TRAINING_IMAGES)} images, or with the exact counts {years}.",
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
