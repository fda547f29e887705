"""Embeddings of stored pictures, kept in a folder: a study that was stopped goes on, and a new method alone is run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from inference.encoders.bundle import Bundle
from inference.networks.boneprint_parts import Boneprint
from inference.networks.boneprint_sides import Side
from inference.types import FloatArray
from inference.whole_file import whole_file
from training.boneprint.export import encoded, opened
from training.boneprint.pairs import PairStore
from training.learning.catalogue import Tell

_BLOCK = 256
# Edge of the pictures that the floor compares.
_FLOOR = 32


class Embedder:
    """What a bundle makes of the pictures of a store; the network is loaded when something is missing."""

    def __init__(self, bundle: Path, folder: Path, tell: Tell) -> None:
        self._bundle, self._folder = bundle, folder
        self._tell = partial(tell, f"embeddings, {bundle.name}")
        files = Bundle.read(bundle).manifest.files
        self._weights = json.dumps(files, sort_keys=True)
        self._network: Boneprint | None = None

    def __call__(self, store: PairStore, side: Side, hide: float = 0.0) -> FloatArray:
        """float32 (N, D) of one side of every usable person, with the share ``hide`` of each picture blacked out."""
        persons = store.usable.tolist()
        found = []
        for start in range(0, len(persons), _BLOCK):
            found.append(self._block(store, persons[start : start + _BLOCK], side, hide))
            self._tell(min(start + _BLOCK, len(persons)), len(persons))
        return np.concatenate(found)

    def _block(self, store: PairStore, persons: Sequence[int], side: Side, hide: float) -> FloatArray:
        whose = [(one, store.people[one].person) for one in persons]
        text = json.dumps((self._weights, store.name, whose, side, hide))
        path = self._folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.npy"
        if not path.is_file():
            self._network = self._network or opened(self._bundle)
            with whole_file(path) as file:
                np.save(file, encoded(self._network, store, persons, side, hide))
        return np.asarray(np.load(path), np.float32)


def pixels(store: PairStore, side: Side) -> FloatArray:
    """The floor, which learns nothing: float32 (N, 1024), every usable person's picture at 32 x 32 less its mean."""
    import cv2

    found = [
        cv2.resize(
            store.pictures(int(one), side).mean(0).astype(np.float32), (_FLOOR, _FLOOR), interpolation=cv2.INTER_AREA
        ).ravel()
        for one in store.usable
    ]
    pictures = np.stack(found)
    return np.asarray(pictures - pictures.mean(axis=1, keepdims=True), np.float32)
