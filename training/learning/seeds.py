"""Streams of random numbers by name and number: a function of the recipe's seed, never of what was drawn before."""

from __future__ import annotations

import hashlib

import numpy as np


def seed_of(*parts: int | str) -> int:
    """63 bits that follow from the parts."""
    text = "\0".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def stream(*parts: int | str) -> np.random.Generator:
    return np.random.default_rng(seed_of(*parts))
