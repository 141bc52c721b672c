"""What is known of each data set: its title, its size and the fingerprints of its copies."""

from __future__ import annotations

TRAIN_IMAGES = {"sample": 10_000, "photos": 3_200, "cifar10": 50_000, "tinyimagenet": 100_000}
"""Training images of each data set, also where it is not here to be counted."""

FINGERPRINTS: dict[str, dict[str, str]] = {
    "sample": {"embedded": "sha256:996e297b8085dae95007ba7853502df7a590eacffe56be6a0eaa1f726834b1ae"},
    "photos": {"embedded": "sha256:2e15eb3455645a2c7da4636d338dc6576c1f75e1d8d170c694667e4fd53f1b16"},
    "cifar10": {"official": "sha256:f1c2c1f17242ab74b8f478b91d70aa56f7237acc14de43512e582d2df32c3382"},
    "tinyimagenet": {"official": "sha256:3d0b85341f160bd51a958033fd5e9baef9d510933cc6886590421be9c22f98ea"},
}
"""Data set -> known copy -> fingerprint, the same for an archive and for the folder unpacked from it.

That of CIFAR-10 is taken over the six files of the binary version, that of Tiny ImageNet over those of train and val.
"""

TITLES = {
    "sample": "Fashion-MNIST sample", "photos": "Photograph patches", "cifar10": "CIFAR-10",
    "tinyimagenet": "Tiny ImageNet",
}  # fmt: skip
KNOWN = tuple(TITLES)
EMBEDDED = ("sample", "photos")
