"""The nets: layers, response normalisation, the paper's net and the others, and the table of them all."""

from paperlib.nets.layers import (
    ACTIVATIONS,
    Dropout,
    MaxPool,
    ScaledTanh,
    learned_layers,
    output_side,
    pad_to_ceil,
    parameter_count,
    set_step,
)
from paperlib.nets.lrn import LocalResponseNorm, SpatialResponseNorm, local_response_norm
from paperlib.nets.sizes import (
    CIFAR_SIZES,
    EVIDENCE_SIZES,
    FULL_SIZES,
    SAMPLE_SIZES,
    TINY_SIZES,
    VGG_EVIDENCE_SIZES,
    VGG_FULL_SIZES,
    VGG_SAMPLE_SIZES,
)
from paperlib.nets.table import build, make, summary, weight_std
