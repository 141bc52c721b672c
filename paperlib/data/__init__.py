"""Data sets: images in memory, loading by name, augmentation, and the preparation of large sets."""

from paperlib.data.augment import Augmenter, centre, colour_shift, crop_and_mirror, ten_views
from paperlib.data.images import (
    DataChecksumError,
    DataError,
    DataMissingError,
    Dataset,
    Statistics,
    colour_covariance,
    colour_pca,
    mean_image,
    prepare,
)
from paperlib.data.known import TRAIN_IMAGES
from paperlib.data.sample import photographs
from paperlib.data.sets import fetch, load, where

__all__ = [
    "Augmenter",
    "DataChecksumError",
    "DataError",
    "DataMissingError",
    "Dataset",
    "Statistics",
    "TRAIN_IMAGES",
    "centre",
    "colour_covariance",
    "colour_pca",
    "colour_shift",
    "crop_and_mirror",
    "fetch",
    "load",
    "mean_image",
    "photographs",
    "prepare",
    "ten_views",
    "where",
]
