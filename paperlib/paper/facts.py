"""The paper as data: what it states, what its authors' run notes say, and what others found later.

The paper is Krizhevsky, Sutskever, Hinton, "ImageNet Classification with Deep Convolutional Neural
Networks", NIPS 2012; sections and footnotes are numbered as there. "2012 source" is the authors' code and
run notes in github.com/computerhistory/AlexNet-Source-Code at commit 2f8b81f; its files are named without
their folder. Nothing here is measured or computed by this project (that is ``paperlib.paper.arithmetic`` and the
records), and the module imports nothing of ours.

All errors are in per cent. ``top1`` and ``top5`` are error rates, never accuracies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# --- what the abstract and the introduction state ---------------------------------------------------------


PARAMETERS = 60_000_000  # Parameters of the net (abstract; section 4 says the same). Stated in millions.
PARAMETERS_STEP = 1_000_000  # The precision of that statement
NEURONS = 650_000  # Neurons of the net (abstract). Stated to two digits.
NEURONS_STEP = 10_000  # The precision of that statement
CONV_LAYERS, FC_LAYERS, LEARNED_LAYERS = 5, 3, 8  # Learned layers (abstract; section 3)
CLASSES = 1000  # Ways of the final softmax (abstract)

CONV_SHARE_BOUND = 1.0
"""Section 1: each convolutional layer is said to hold no more than this share of the parameters, per cent."""

TRAINING_DAYS = (5, 6)  # Training took between this many days on two GTX 580 (sections 1 and 5)
TRAINING_IMAGES = 1_200_000  # Training images as the abstract and section 5 round them
TRAINING_IMAGES_STEP = 100_000  # The precision of that statement
GPUS, GPU_MEMORY_GB = 2, 3  # Two cards with 3 GB each (sections 1, 3.2 and 5)


@dataclass(frozen=True)
class LabelledSet:
    """A set of labelled images: how many are for training or, where it comes without a ``split``, how many in all."""

    name: str
    images: int
    split: bool
    source: str


SMALL_SETS = (
    LabelledSet("Caltech-256", 30_607, False, "Griffin, Holub and Perona 2007, abstract"),
    LabelledSet("CIFAR-10", 50_000, True, "Krizhevsky's page of the set; 10,000 more for testing"),
    LabelledSet("MNIST", 60_000, True, "page of the set by LeCun, Cortes and Burges; 10,000 more for testing"),
)
"""Three of the sets that section 1 names when it speaks of "tens of thousands of images"; the paper gives no counts."""

IMAGENET = LabelledSet("ImageNet", 15_000_000, False, "section 1, 'over'")  # All of ImageNet, as section 1 states it
IMAGENET_CATEGORIES = 22_000  # Section 1: "over" this number of categories

IMAGENET_LATER = (14_197_122, 21_841)
"""Not in the paper: images and categories by image-net.org, 2013 to 2020 (second-hand, historyofinformation.com)."""


# --- section 2: the data ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ilsvrc:
    """The sizes of one year's challenge: images for training, validation and test."""

    year: int
    train: int
    validation: int
    test: int
    source: str


ILSVRC_STATED = Ilsvrc(0, 1_200_000, 50_000, 150_000, "section 2, for ILSVRC in general; train is 'roughly'")
"""What section 2 gives for the challenge, without a year."""

ILSVRC = (
    Ilsvrc(2010, 1_261_406, 50_000, 150_000,
           "image-net.org, ILSVRC 2010 (200,000 for validation and test together; train second-hand)"),
    Ilsvrc(2012, 1_281_167, 50_000, 100_000, "image-net.org, ILSVRC 2012; TensorFlow Datasets, imagenet2012"),
)  # fmt: skip
"""The two years that the paper uses."""

ILSVRC_SHARED_CLASSES = 640
"""Classes that 2010 and 2012 have in common (second-hand, not in the paper): their error rates are not comparable."""

IMAGES_PER_CLASS = 1000  # Section 2: "roughly" this number of images in each class
STORED_SIDE = 256  # Section 2: the shorter side is scaled to this and the central square of this side is kept, pixels


# --- section 3: the architecture --------------------------------------------------------------------------


@dataclass(frozen=True)
class Conv:
    """A convolutional layer as section 3.5 describes it.

    ``depth`` is the number of input maps that each kernel reads. ``reads`` is "image", "own" (the maps of
    the layer's own GPU) or "all". ``pad`` is not stated; it is what the sides of Figure 2 need, and what
    layers-145.cfg has.
    """

    name: str
    kernels: int
    size: int
    depth: int
    stride: int
    pad: int
    reads: str
    normalised: bool
    pooled: bool


CONVS = (
    Conv("conv1", 96, 11, 3, 4, 0, "image", True, True),
    Conv("conv2", 256, 5, 48, 1, 2, "own", True, True),
    Conv("conv3", 384, 3, 256, 1, 1, "all", False, False),
    Conv("conv4", 384, 3, 192, 1, 1, "own", False, False),
    Conv("conv5", 256, 3, 192, 1, 1, "own", False, True),
)
"""Section 3.5, the five convolutional layers; kernels of both GPUs together."""

FC = (4096, 4096, 1000)  # Section 3.5: outputs of the fully connected layers

ONE_GPU_KERNELS = (48, 128, 192, 192, 256)
"""Footnote 2: the net on one GPU has half the kernels, but the whole of conv5 (layer-params-145-half.cfg agrees)."""

INPUT_SIDE, INPUT_CHANNELS = 224, 3  # Section 3.5: the net's input
FIGURE2_SIDES = (224, 55, 27, 13, 13, 13)  # Sides drawn in Figure 2: the input, then conv1 to conv5

FIGURE2_NEURONS = (150_528, 253_440, 186_624, 64_896, 64_896, 43_264, 4096, 4096, 1000)
"""Caption of Figure 2: the dimension of the input, then the neurons of the eight layers."""


@dataclass(frozen=True)
class Lrn:
    """Local response normalisation, section 3.3: b = a / (k + alpha * sum of n neighbouring a^2) ^ beta."""

    k: float
    n: int
    alpha: float
    beta: float


LRN = Lrn(k=2, n=5, alpha=1e-4, beta=0.75)
"""Section 3.3. The 2012 source divides alpha by n (layer.py:1183); see READINGS, row 2."""


@dataclass(frozen=True)
class Pooling:
    """Max pooling, section 3.4: windows of side ``z``, ``s`` pixels apart."""

    z: int
    s: int


POOLING = Pooling(z=3, s=2)  # Section 3.4: used throughout the net


@dataclass(frozen=True)
class Figure1:
    """Section 3.1, Figure 1: updates to a training error, ReLU against tanh, on CIFAR-10."""

    layers: int
    training_error: float
    times_faster: float


FIGURE1 = Figure1(layers=4, training_error=25.0, times_faster=6.0)
"""Section 3.1. The net is not specified further, and no configuration of the 2012 source uses tanh."""

# --- section 4: against overfitting -----------------------------------------------------------------------


LABEL_BITS = 10  # Section 4: bits of constraint that each example puts on the mapping
AUGMENTATION_FACTOR = 2048  # Section 4.1: crops and mirrors make the training set larger by this factor
COLOUR_STD = 0.1  # Section 4.1: standard deviation of the alpha_i of the colour noise

DROPOUT = 0.5
"""Section 4.2: probability with which a hidden unit of the first two fully connected layers is set to zero."""

RGB_EIGENVALUES = (0.2175, 0.0188, 0.0045)
"""Not in the paper: eigenvalues of the RGB covariance of ImageNet pixels on a 0-1 scale (fb.resnet.torch)."""


# --- section 5: learning ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Optimiser:
    """Section 5: v <- momentum * v - weight_decay * lr * w - lr * gradient; w <- w + v."""

    batch_size: int
    momentum: float
    weight_decay: float
    lr: float
    lr_divisor: float
    lr_drops: int
    init_std: float
    bias_one_layers: tuple[str, ...]
    epochs: int


OPTIMISER = Optimiser(
    batch_size=128,
    momentum=0.9,
    weight_decay=0.0005,
    lr=0.01,
    lr_divisor=10,
    lr_drops=3,
    init_std=0.01,
    bias_one_layers=("conv2", "conv4", "conv5", "fc6", "fc7"),
    epochs=90,
)
"""Section 5. ``epochs`` is "roughly"."""

EPOCHS_STEP = 10  # The precision of "roughly 90"
GTX580_TFLOPS = 1.58  # Not in the paper: peak of one GTX 580 in single precision, 10^12 operations a second (NVIDIA)

OPENAI_PFS_DAYS = (0.0054, 0.0058)
"""Not in the paper: AlexNet's training compute by OpenAI's "AI and Compute", petaflop/s-days."""


# --- section 6: results -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class TableRow:
    """One row of Table 1 or 2: error rates in per cent, None where the table has a dash.

    ``claim`` is the row of claims.toml, ``ours`` is False where the paper cites somebody else.
    """

    model: str
    nets: int
    val_top1: float | None
    val_top5: float | None
    test_top1: float | None
    test_top5: float | None
    ours: bool
    claim: str


TABLE1 = (
    TableRow("Sparse coding", 0, None, None, 47.1, 28.2, False, "S6-a"),
    TableRow("SIFT + Fisher vectors", 0, None, None, 45.7, 25.7, False, "S6-a"),
    TableRow("CNN", 1, None, None, 37.5, 17.0, True, "S6-a"),
)
"""Table 1: ILSVRC-2010 test set, ten views."""

TABLE2 = (
    TableRow("SIFT + Fisher vectors", 0, None, None, None, 26.2, False, "S6-h"),
    TableRow("1 CNN", 1, 40.7, 18.2, None, None, True, "S6-d"),
    TableRow("5 CNNs", 5, 38.1, 16.4, None, 16.4, True, "S6-e"),
    TableRow("1 CNN*", 1, 39.0, 16.6, None, None, True, "S6-f"),
    TableRow("7 CNNs*", 7, 36.7, 15.4, None, 15.3, True, "S6-g"),
)
"""Table 2: ILSVRC-2012 validation and test; a star means pre-trained on the Fall 2011 release of ImageNet."""

CENTRE_VIEW = (39.0, 18.3)
"""Footnote 5: ILSVRC-2010 test errors of the net of Table 1 without the ten views, top-1 and top-5."""

VALIDATION_TEST_BOUND = 0.1
"""Section 6: validation and test errors are said to differ by no more than this, percentage points."""


@dataclass(frozen=True)
class Gain:
    """An ablation of the paper: the error rates fall by ``top1`` and ``top5`` percentage points.

    ``with_it`` and ``without`` name the runs in RUN_LOGS whose difference it is (empty: none is noted).
    """

    claim: str
    section: str
    what: str
    top1: float
    top5: float | None
    with_it: str
    without: str


GAINS = (
    Gain("S3.2-c", "3.2", "two GPUs, against half the kernels on one", 1.7, 1.2, "145-2010", "145-half"),
    Gain("S3.3-c", "3.3", "local response normalisation", 1.4, 1.2, "145", "148"),
    Gain("S3.4-b", "3.4", "overlapping pooling, against z = 2 and s = 2", 0.4, 0.3, "145", "147"),
    Gain("S4.1-g", "4.1", "colour noise ('by over 1 %')", 1.0, None, "", ""),
)
"""The ablations with a size in the text. The first three are differences between single runs."""

# --- the run notes of 2012 --------------------------------------------------------------------------------


@dataclass(frozen=True)
class RunLog:
    """One evaluation in the comment lines of the authors' configuration files.

    ``views`` is 10 (averaged), 1 (centre) or None where we did not find it said. ``epochs`` is where the run
    was stopped, ``drops`` are the epochs at which the weights' rate was divided by 10 everywhere.
    ``top1`` and ``top5`` are per cent, with the digits of the note; None where no number is noted.
    """

    net: str
    what: str
    data: str
    views: int | None
    top1: float | None
    top5: float | None
    epochs: int | None
    drops: tuple[int, ...]
    file: str


VAL12 = "ILSVRC-2012 validation"
VAL10 = "ILSVRC-2010 validation"
TEST10 = "ILSVRC-2010 test"
FALL09 = "ImageNet Fall 2009, own split"

RUN_LOGS = (
    RunLog("145-2010", "the paper's net on ILSVRC-2010", TEST10, 10, 37.4727, 16.9987, 93, (23, 51, 78),
           "layer-params-145-2010.cfg:165-206"),
    RunLog("145-2010", "the paper's net on ILSVRC-2010, centre view", TEST10, 1, 39.0247, 18.2953, 93, (23, 51, 78),
           "layer-params-145-2010.cfg:165-206"),
    RunLog("145", "the paper's net on ILSVRC-2012", VAL12, 10, 40.6640, 18.2100, 91, (25, 51, 79),
           "layer-params-145.cfg:165-182"),
    RunLog("145-restarted", "#145 restarted at rate 0.001 and trained on, not published", VAL12, 10, 40.2500, 17.9940,
           135, (), "layer-params-145.cfg:192-203"),
    RunLog("145-half", "one tower: half the kernels, whole conv5 and fully connected layers", TEST10, 10, 39.1680,
           18.2287, 96, (20, 48), "layer-params-145-half.cfg:90-100"),
    RunLog("147", "2x2 pooling with stride 2; conv2 pad 1 and conv5 pad 0 as well", VAL12, 10, 41.0580, 18.5100, 90,
           (23, 51, 79), "layer-params-147.cfg:165-174"),
    RunLog("148", "no normalisation layers, the spatial one gone too", VAL12, 10, 42.0340, 19.3620, 97, (22, 44, 86),
           "layer-params-148.cfg:137-148"),
    RunLog("150", "towers that never communicate, with wider layers", VAL12, None, 41.83, 19.33, None, (),
           "run notes of #150"),
    RunLog("166", "second normalisation below the ReLU", VAL12, None, 41.10, 18.67, None, (), "run notes of #166"),
    RunLog("167", "no normalisation in layer 2", VAL12, None, 40.49, 18.12, None, (), "run notes of #167"),
    RunLog("169", "what #167 is compared with", VAL12, None, 40.60, 18.11, None, (), "run notes of #169"),
    RunLog("170", "January 2013, stepwise exponential rate", VAL12, 10, 40.53, 18.05, None, (), "run notes of #170"),
    RunLog("170", "January 2013, stepwise exponential rate, centre view", VAL12, 1, 42.34, 19.58, None, (),
           "run notes of #170"),
    RunLog("137-2010", "an ancestor: 64 kernels and a low-resolution path", VAL10, None, 37.80, 17.10, None, (),
           "run notes of #137-2010"),
    RunLog("137-2010", "an ancestor: 64 kernels and a low-resolution path", TEST10, None, 37.62, 17.12, None, (),
           "run notes of #137-2010"),
    RunLog("131", "an ancestor, in both submitted ensembles", VAL12, None, None, None, 100, (22, 46, 81),
           "layer-params-131.cfg"),
    RunLog("135", "an ancestor, in the ensemble of five", VAL12, None, None, None, 96, (20, 47, 81),
           "layer-params-135.cfg"),
    RunLog("137", "an ancestor, in both submitted ensembles", VAL12, None, None, None, 99, (26, 50, 84),
           "layer-params-137.cfg"),
    RunLog("146-2012-2011", "sixth convolution; weights from 2012 to Fall 2009 to Fall 2011, fine-tuned on 2012",
           VAL12, 10, 38.9900, 16.6220, 54, (22, 42), "layer-params-146-2012-2011.cfg:181-204"),
    RunLog("146-2012-2009", "sixth convolution, pre-trained on Fall 2009", VAL12, None, None, 16.88, None, (),
           "run notes of #146-2012-2009"),
    RunLog("141-2009", "pre-trained on Fall 2009", VAL12, None, None, 17.21, None, (), "run notes of #141"),
    RunLog("131-2009", "without a sixth convolution", FALL09, None, 69.42, 43.73, None, (),
           "layer-params-131-2009.cfg"),
    RunLog("2009-101", "without a sixth convolution", FALL09, None, 69.38, 43.65, None, (), "run notes of #2009-101"),
)  # fmt: skip
"""The 2012 run notes that bear on the paper, each one run. #170's centre value is the target for a centre view."""


def run_log(net: str, data: str | None = None, views: int | None = None) -> RunLog:
    """The first note of ``net``, on ``data`` and with ``views`` where given; LookupError if there is none."""
    for log in RUN_LOGS:
        if log.net == net and data in (None, log.data) and views in (None, log.views):
            return log
    raise LookupError(f"no run note of #{net} on {data or 'any data'} with {views or 'any number of'} views")


@dataclass(frozen=True)
class Submission:
    """An entry on the ILSVRC-2012 results page of image-net.org: top-5 test error in per cent, nets by file name."""

    team: str
    top5: float
    members: tuple[str, ...]
    extra_data: bool


CONTEST_2012 = (
    Submission("SuperVision", 15.315, ("141", "146.2009", "131", "137", "145", "146.2011", "145f"), True),
    Submission("SuperVision", 16.422, ("131", "137", "145", "135", "145f"), False),
    Submission("ISI", 26.172, (), False),
)
"""The contest: the two submissions of the authors, and the runner-up."""


# --- the two readings -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reading:
    """A place where the paper's text and the authors' code differ, or agree although most ports do not.

    ``field`` is the dotted field of a recipe, None where no recipe has a choice; its default is the paper's value, and
    ``value`` that of the code. ``paper`` and ``source`` say both in words. ``file`` is of the 2012 source.
    """

    number: str
    field: str | None
    what: str
    paper: str
    source: str
    file: str
    value: Any = None
    agrees: bool = False


READINGS = (
    Reading("1", "model.norm1_before_relu", "order in layer 1", "conv, ReLU, LRN, pool",
            "conv, LRN, pool, ReLU (layer 2: conv, ReLU, LRN, pool, as in the paper)", "layers-145.cfg", value=True),
    Reading("2", "model.lrn_alpha", "alpha of LRN, as the coefficient of the plain sum of squares", "1e-4",
            "1e-4 divided by n = 5, so 2e-5 (PyTorch's alpha=1e-4 means the same)", "layer.py:1183", value=2e-5),
    Reading("3", "model.lrn_across_towers", "LRN across the two GPUs", "silent; the formula runs over all N maps",
            "no: within the 48 (layer 1) or 128 (layer 2) maps of a GPU", "layers-145.cfg", value=False),
    Reading("4", "model.spatial_norm", "a third normalisation, after LRN of layer 2", "no",
            "5x5 within a map, scale 1e-3 / 25, power 0.75, constant 1", "layers-145.cfg", value=True),
    Reading("5", "model.init_std", "standard deviation of the initial weights of conv3, conv4 and conv5",
            "0.01, as in every layer", "0.03", "layer-params-145.cfg", value=0.03),
    Reading("6", "optim.bias_lr_factor", "learning rate of biases relative to weights", "1: equal for all layers", "2",
            "layer-params-*.cfg", value=2.0),
    Reading("6b", "optim.bias_lr_drops", "biases' rate divided together with the weights'", "yes", "no, or once",
            "layer-params-*.cfg", value=False),
    Reading("7", "optim.decay_biases", "weight decay on biases", "silent: the rule has one w", "no", "layer.cu:565",
            value=False),
    Reading("8", "optim.freeze_conv1", "conv1 frozen towards the end", "no",
            "rate 1e-5 at epoch 67, 0 at 72 (2010: 68 and 72)", "layer-params-145.cfg, run notes", value=(67, 72)),
    Reading("9", "optim.drops", "when the rate is divided by 10", "three times, when the validation error stalls",
            "at epochs 25, 51, 79 (2010: 23, 51, 78), by eye", "layer-params-145.cfg, run notes", value=(25, 51, 79)),
    Reading("10", "augment.colour_scale", "size of the colour noise along each principal axis",
            "the eigenvalue; sane only for pixels on a 0-1 scale",
            "what it calls 'stdevs', read as the eigenvalue's root; pixels on 0-255", "convdata_jpeg.py:57-66",
            value="std"),
    Reading("11", "augment.colour_shrink", "image divided by 1.1 after the colour noise", "no", "yes",
            "convdata_jpeg.py:155-179", value=True),
    Reading("12", "augment.colour_off_epoch", "colour noise turned off", "never", "at epoch 67 (2010: 68)",
            "layer-params-145.cfg, run notes", value=67),
    Reading("13", "augment.offsets", "crop positions along each side", "32 (factor 2048)", "33 (factor 2178)",
            "convdata_jpeg.py:238-246", value=33),
    Reading("14", "augment.share", "images that share one crop and mirror", "silent; suggests 1",
            "32 consecutive images", "convdata_jpeg.py:77", value=32),
    Reading("15", "augment.mean", "which part of the mean image is subtracted from a crop",
            "silent; suggests the crop's own place", "always the central crop", "convdata_jpeg.py:95", value="centre"),
    Reading("16", "augment.shuffle", "new order of the images in each epoch", "silent; suggests yes",
            "none seen: batch files in a fixed order", "convdata_jpeg.py:262", value=False),
    Reading("17", "model.dropout_form", "form of dropout", "outputs times 0.5 at test",
            "the same; not the inverted form of today's libraries", "layer.cu:1126-1135", agrees=True),
    Reading("18", None, "what is averaged over the ten views", "the outputs of the softmax",
            "the same: probabilities, not logits", "layer.cu:1804-1839", agrees=True),
    Reading("19", None, "224 pixels to 55 positions in conv1", "drawn in Figure 2, not explained",
            "rounds up: the last window reaches 3 pixels of zeros beyond the right and bottom edge", "layer.py:1004",
            agrees=True),
)  # fmt: skip
"""Every place where text and code part, by number; 17 to 19 agree and are listed because most ports get them wrong."""


# --- what others found later ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reproduction:
    """A later result, ILSVRC-2012 validation unless ``data`` says otherwise; errors in per cent.

    ``views`` is 1 (centre), 10 or None (not said). Where the source gives an accuracy, this is 100 minus it.
    """

    who: str
    top1: float | None
    top5: float | None
    views: int | None
    differences: str
    source: str
    data: str = VAL12


REPRODUCTIONS = (
    Reproduction("cuda-convnet2 example", 42.55, 19.81, 1,
                 "the one-column net of 'One weird trick' (64-192-384-256-256) with LRN and colour noise, 90 epochs",
                 "cuda-convnet2 wiki, TrainingExample"),
    Reproduction("cuda-convnet2 example", 40.42, 18.15, 10, "the same net, ten views",
                 "cuda-convnet2 wiki, TrainingExample"),
    Reproduction("Zeiler and Fergus 2013", 40.5, 18.1, 10, "the architecture as specified",
                 "Zeiler and Fergus 2013, Table 3"),
    Reproduction("Caffe, bvlc_alexnet", 42.9, 19.8, 1,
                 "no colour noise, biases 0.1, k = 1, crops of 227, images squashed to 256x256; 72 epochs",
                 "BVLC/caffe, models/bvlc_alexnet/readme.md and examples/imagenet/readme.md"),
    Reproduction("Caffe, CaffeNet", 42.6, 19.6, 1, "as bvlc_alexnet, and pooling before normalisation; 62 epochs",
                 "BVLC/caffe, models/bvlc_reference_caffenet/readme.md"),
    Reproduction("torchvision", 43.478, 20.934, 1,
                 "the one-column net of 'One weird trick', no LRN, no groups, 61,100,840 parameters",
                 "torchvision documentation, alexnet"),
    Reproduction("jiecaoyu/pytorch_imagenet", 42.506, 19.412, None,
                 "grouped, LRN with k = 1, crops of 227 without padding", "jiecaoyu/pytorch_imagenet, README"),
    Reproduction("tensorpack", 42.0, None, 1,
                 "grouped, LRN with k = 1 and alpha 2e-5, He init in the convolutions, bias 1 only in fc6; 100 epochs",
                 "tensorpack, examples/ImageNetModels README"),
    Reproduction("soumith/imagenet-multiGPU.torch", 42.5, None, None,
                 "53 epochs; the README does not say which of its nets", "soumith/imagenet-multiGPU.torch, README"),
    Reproduction("CNTK", 40.106, 17.746, 1, "a recipe of its own", "CNTK documentation, pre-trained image models"),
    Reproduction("neon", 44.0, 20.7, None, "no LRN, no colour noise", "Nervana neon, AlexNet gist"),
    Reproduction("longrootchen", 41.20, 18.20, None, "no groups (96-256-384-384-256), 60 epochs",
                 "longrootchen's README"),
    Reproduction("HolmesShuan", 39.57, 17.53, None, "batch normalisation for LRN",
                 "title of HolmesShuan's repository"),
    Reproduction("CVGJ", 39.9, 18.1, None, "batch normalisation for LRN (42.6 / 19.6 without)", "CVGJ's README"),
)  # fmt: skip
"""Who trained it again, with what result, and what they changed. Compare a centre view only with a centre view."""


@dataclass(frozen=True)
class Cited:
    """A number that somebody else measured: error rates in per cent."""

    what: str
    top1: float
    top5: float | None
    source: str


VGG_LRN = (
    Cited("VGG A, 11 layers", 29.6, 10.4, "Simonyan and Zisserman 2014"),
    Cited("VGG A-LRN, the same with LRN", 29.7, 10.5, "Simonyan and Zisserman 2014"),
)
"""LRN in a deeper net of 3x3 convolutions does not help (ILSVRC-2012 validation)."""

ZEILER_FERGUS = (
    Cited("the whole net", 40.5, 18.1, "Zeiler and Fergus 2013, Table 3"),
    Cited("without conv3 and conv4", 45.4, 22.1, "Zeiler and Fergus 2013, Table 3"),
    Cited("without fc7", 40.0, 18.4, "Zeiler and Fergus 2013, Table 3"),
    Cited("without fc6 and fc7", 44.8, 22.4, "Zeiler and Fergus 2013, Table 3"),
    Cited("without conv3, conv4, fc6 and fc7", 71.3, 50.1, "Zeiler and Fergus 2013, Table 3"),
)
"""Layers removed from a replication of the net (ILSVRC-2012 validation)."""

TINY_IMAGENET = Cited(
    "five convolutions, three pools, three fully connected layers, dropout; one net, test set", 58.2, None,
    "Yao and Miller, Tiny ImageNet Classification with Convolutional Neural Networks, class report, Stanford",
)  # fmt: skip
"""What a net like this one reached on the 200 classes of Tiny ImageNet."""


@dataclass(frozen=True)
class TrainingTime:
    """How long others took: ``hours`` for ``epochs`` passes over ILSVRC-2012."""

    who: str
    hardware: str
    hours: float
    epochs: int
    source: str


TRAINING_TIMES = (
    TrainingTime("the paper, 5 days", "2 GTX 580", 120, 90, "sections 1 and 5"),
    TrainingTime("the paper, 6 days", "2 GTX 580", 144, 90, "sections 1 and 5"),
    TrainingTime("Yadan et al. 2013", "1 GPU", 252, 100, "ccv documentation, convnet"),
    TrainingTime("ccv", "1 TITAN", 186, 100, "ccv documentation, convnet"),
    TrainingTime("One weird trick 2014", "1 K20", 98.05, 90, "ccv documentation, convnet"),
    TrainingTime("tensorpack", "2 V100", 21, 100, "tensorpack, examples/ImageNetModels README"),
    TrainingTime("You et al. 2017", "1024 CPUs", 11 / 60, 100, "You et al. 2017, abstract"),
)
"""From days to minutes; nets and recipes differ (see REPRODUCTIONS)."""
