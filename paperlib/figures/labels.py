"""What figures call experiments, arms and comparisons: the one place where a new experiment gets its words."""

from __future__ import annotations

from typing import Any

from paperlib.experiments import declared

SECTIONS = {
    "1": "size of the training set", "3": "order of the four ideas", "3.1": "ReLU", "3.2": "two towers",
    "3.3": "normalisation", "3.4": "pooling", "4": "overfitting", "4.1": "augmentation", "4.2": "dropout",
    "5": "details of learning", "6": "results", "7": "depth",
}  # fmt: skip
"""Sections of the paper, in its order -> what their comparisons are about."""
OF_SECTION = {
    "1": ("size", "size-long"),
    "3": ("order",),
    "3.1": ("relu", "relu-others", "relu-19pct", "relu-xavier", "relu-parts", "relu-mixed", "relu-25"),
    "3.2": ("towers", "towers-uncut", "own-rates"),
    "3.3": ("lrn", "lrn-vgg", "lrn-factor"),
    "3.4": ("pool", "pool-as-run", "pool-23", "overfit-pool"),
    "4": ("overfit", "long", "longer"),
    "4.1": ("augment", "mirrors", "mirrors-only", "colour"),
    "4.2": ("dropout", "dropout-form", "overfit-rate", "overfit-fast", "converge"),
    "5": ("update", "decay", "readings", "stall"),
    "6": ("net", "ensemble", "pretrain", "full"),
    "7": ("depth", "depth-alone"),
}
"""Section -> the experiments whose comparisons it has, where these serve no claim of another."""
SECTION_OF = {name: section for section, names in OF_SECTION.items() for name in names}
SECTION_OF_ARM = {("own-rates", "no lrn, its rate"): "3.3"}
"""Experiment and second arm -> another section than that of its experiment."""
SETTINGS = {
    **dict.fromkeys(("overfit", "overfit-pool", "overfit-rate", "overfit-fast"), "640 images"),
    **dict.fromkeys(("size-long", "longer"), "four times the updates"),
    "pool-23": "23 pixels", "relu-25": "timed to 25 %", "long": "30 epochs", "lrn-vgg": "net A of VGG",
    "pretrain": "six convolutions, 5 classes", "full": "half the paper's net",
}  # fmt: skip
"""Experiments on other nets or schedules than the baseline's -> in which way."""
WORDS = {
    ("relu-mixed", "2012/relu"): "ReLU", ("relu-mixed", "2012/tanh"): "tanh",
    ("relu-mixed", "2012/mixed"): "the mixed net",
    ("full", "source"): "30 epochs", ("full", "by hand"): "38 epochs", ("longer", "conv 10000"): "baseline",
    ("dropout", "no dropout"): "no dropout, its rate", ("overfit", "no dropout"): "no dropout, its rate {rate:g}",
    ("overfit-rate", "dropout, its rate"): "dropout at {rate:g}", ("overfit-rate", "no dropout"): "none at {rate:g}",
    ("overfit-fast", "baseline"): "dropout at {rate:g}", ("overfit-fast", "no dropout, its rate"): "none at {rate:g}",
}  # fmt: skip
"""Experiment and arm -> the arm's name in a label, where its own says too little."""
PLAIN = {
    "no lrn": "no normalisation", "2x2": "pools without overlap", "neither": "no crops, no mirrors",
    "no augmentation": "no crops, no mirrors", "without both": "no crops, no mirrors, no dropout",
    "vertical": "mirrored upside down instead", "both mirrors": "mirrored upside down too",
    "no conv1": "conv1 and conv2 in one", "one tower, its rate": "one tower, at its rate",
    "uncut": "towers not cut", "uncut, its rate": "towers not cut, at its rate",
    "no lrn, its rate": "no normalisation, at its rate", "no dropout, its rate": "no dropout, both at {rate:g}",
    "inverted": "inverted dropout, same σ and rate", "dropout, its rate": "dropout, both at {rate:g}",
    "k = 1": "normalisation with k = 1", "mlp": "fully connected", "conv": "convolutional",
}  # fmt: skip
"""Arm -> what it is, for who has not read its notebook."""


def with_rate(words: str, experiment: str, arm: str, scale: str) -> str:
    """The words, with the arm's learning rate for "{rate}"."""
    return words.format(rate=declared.get(experiment, scale).recipe(arm).optim.lr) if "{" in words else words


def named(row: Any) -> tuple[str, str]:
    """The arms of a comparison, a row of a forest, as labels name them."""
    a, b = (with_rate(WORDS.get((row.experiment, arm), arm), row.experiment, arm, row.scale) for arm in (row.a, row.b))
    return a, b


def plain(row: Any) -> str:
    """A comparison in words: the second arm, and the first where that is not the baseline."""
    names = []
    for arm in (row.b, row.a):
        net, _, images = arm.partition(" ")
        if images.isdigit() and (row.experiment, arm) not in WORDS:
            names.append(f"{PLAIN[net]}, {int(images):,} images")
        else:
            words = PLAIN.get(arm) or WORDS.get((row.experiment, arm), arm)
            names.append(with_rate(words, row.experiment, arm, row.scale))
    first, _, images = names[0].partition(", ")
    names[0] = first if images and images in names[1] else names[0]  # said once, at the end
    setting = row.setting.replace("test − training", "").strip(", ")
    return names[0] + f" v. {names[1]}" * (names[1] != "baseline") + f" ({setting})" * bool(setting)
