"""Random numbers keyed by what they are for, so that arms of an experiment share all but what they vary.

A run needs no stored generator state: the numbers of any step can be drawn again from the key alone.
"""

from __future__ import annotations

import hashlib

import torch


def generator(seed: int, *key: object) -> torch.Generator:
    """A CPU generator for ``(seed, *key)``; different keys give independent streams, equal keys equal ones."""
    digest = hashlib.sha256(repr((seed, *key)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
