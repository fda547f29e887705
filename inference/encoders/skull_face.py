"""Skull to face: two branches that put a skull and the face that belongs to it close to each other.

A siamese pair of networks: the face branch was trained on faces and then frozen, the skull branch learnt to meet it.
Skulls are only ever compared with faces. The confidence of a pair at the distance d is exp(-d^2), with d between unit
vectors, as in the literature on the subject; it is a monotone measure in [exp(-4), 1] and no probability. What a score
is worth says a calibration, where the bundle has one.

The bundle (``network = "skull-face"``)::

    [input.skull]               # and [input.face]
    network = "efficientnet-lite0"
    size = 160
    kinds = ["film"]            # of inference.encoders.skull_pictures
    [input.skull.settings]      # of the network

with the files ``skull.safetensors`` and ``face.safetensors``.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from config.errors import EncoderError
from inference.calibration import Calibration
from inference.encoders.bundle import Bundle, Manifest
from inference.encoders.common import encoding_of
from inference.encoders.runtime import Runtime
from inference.encoders.skull_pictures import KINDS, Picture, Side, kind_of_picture, picture
from inference.types import Encoding, FloatArray, LoadedSeries, SeriesHeader

NETWORK = "skull-face"
SIDES: tuple[Side, Side] = ("skull", "face")


class BranchTable(BaseModel):
    """What a bundle says of one branch."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    network: str
    settings: dict[str, Any] = Field(default_factory=dict)
    size: int = Field(ge=16, le=1024)
    kinds: tuple[str, ...] = Field(min_length=1)


@dataclass(frozen=True, slots=True, eq=False)
class Branch:
    """One of the two networks, and what it takes."""

    table: BranchTable
    runtime: Runtime


def weights_file(side: Side) -> str:
    """The name of a branch's weights in the bundle."""
    return f"{side}.safetensors"


def confidence(skull: FloatArray, faces: FloatArray) -> FloatArray:
    """exp(-d^2) of a skull (D,) and faces (N, D), or of pairs (N, D) both; vectors have length 1. float32 (N,)."""
    return np.asarray(np.exp(-np.square(faces - skull).sum(axis=1)), np.float32)


def log10_lr(calibration: Calibration, skull: FloatArray, faces: FloatArray) -> NDArray[np.float64]:
    """log10 likelihood ratios (N,) of a skull (D,) and faces (N, D): the calibration's scores are cosines."""
    return np.asarray(calibration.log10_lr(np.clip(faces @ skull, -1.0, 1.0)), np.float64)


def load(bundle: Bundle, device: str, batch_size: int) -> SkullFaceEncoder:
    """Builds the encoder from its bundle.

    Raises
    ------
    EncoderError
        ``BUNDLE_DAMAGED``, with what is wrong.
    """
    tables = _tables(bundle)
    branches = {side: Branch(tables[side], _runtime(bundle, side, tables[side], device)) for side in SIDES}
    return SkullFaceEncoder(bundle.manifest, branches, batch_size)


class SkullFaceEncoder:
    """An :class:`~inference.encoders.protocol.Encoder` with two sides."""

    def __init__(self, manifest: Manifest, branches: Mapping[Side, Branch], batch_size: int) -> None:
        self.name, self.version, self.dimension = manifest.name, manifest.version, manifest.dimension
        self._branches, self._batch_size = branches, batch_size
        self._lock = threading.Lock()

    def kinds(self, side: Side) -> tuple[str, ...]:
        """The kinds of picture that a branch was trained on, and takes."""
        return self._branches[side].table.kinds

    def size(self, side: Side) -> int:
        """The edge of a branch's pictures in pixels."""
        return self._branches[side].table.size

    def network(self, side: Side) -> str:
        """The name of a branch's network."""
        return self._branches[side].table.network

    def accepts(self, series: SeriesHeader) -> bool:
        from inference.imaging.series import kind_of

        kind = kind_of(series.instances[0]) if series.instances else None
        shown = {"radiograph": {"film"}, "photograph": {"photo"}, "volume": {"bone-depth", "skin-depth"}}.get(
            kind or ""
        )
        if shown is None or (kind == "volume" and series.modality != "CT"):
            return False
        return bool(shown & {*self.kinds("skull"), *self.kinds("face")})

    def encode(self, images: Sequence[LoadedSeries]) -> Sequence[Encoding | None]:
        """See the protocol. A radiograph is a skull, a photograph a face; so is a CT, which holds both, as it is
        enrolled. :meth:`encode_side` says which is wanted.
        """
        found = []
        for image in images:
            side: Side = "skull" if image.kind == "radiograph" else "face"
            if side == "face" and kind_of_picture(image, side) not in self.kinds(side):
                side = "skull"
            found += self.encode_side([image], side)
        return found

    def encode_side(self, images: Sequence[LoadedSeries], side: Side) -> list[Encoding | None]:
        """Images as skulls, or as faces; one entry for each.

        Raises
        ------
        ImagingError
            what :func:`~inference.encoders.skull_pictures.picture` raises.
        """
        table = self._branches[side].table
        pictures = [picture(image, side, table.size, table.kinds) for image in images]
        vectors = self.embed(pictures, side)
        return [
            encoding_of(image, self.name, self.version, vector)
            for image, vector in zip(images, vectors, strict=True)
        ]  # fmt: skip

    def embed(self, pictures: Sequence[Picture], side: Side) -> FloatArray:
        """float32 (N, D) of unit length of N pictures, as :func:`~inference.encoders.skull_pictures.picture` has them;
        zeros where a network says nothing.
        """
        branch, found = self._branches[side], []
        for start in range(0, len(pictures), self._batch_size):
            batch = np.stack(pictures[start : start + self._batch_size])[:, None]
            # One pass at a time: threads share the network, and its memory is bounded by the batch.
            with self._lock:
                found.append(branch.runtime(batch, np.zeros(len(batch), np.int64)))
        vectors = np.concatenate(found) if found else np.zeros((0, self.dimension), np.float32)
        return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12), np.float32)


def _tables(bundle: Bundle) -> dict[Side, BranchTable]:
    said = bundle.manifest.input
    try:
        if set(said) != set(SIDES):
            raise ValueError(f"[input] has the tables skull and face, not {', '.join(sorted(said)) or 'none'}")
        tables = {side: BranchTable.model_validate(said[side]) for side in SIDES}
        for side, table in tables.items():
            if unknown := set(table.kinds) - set(KINDS[side]):
                raise ValueError(f"[input.{side}] names no kind of {side}: {', '.join(sorted(unknown))}")
    except (ValueError, ValidationError) as error:
        raise _damaged(bundle, str(error)) from None
    return tables


def _runtime(bundle: Bundle, side: Side, table: BranchTable, device: str) -> Runtime:
    import safetensors
    import safetensors.torch
    import torch

    from inference import networks
    from inference.encoders.device import choose_device
    from inference.encoders.runtime import TorchRuntime

    name = weights_file(side)
    # Its weights are in the bundle: where training started from does not matter any more.
    settings = {key: value for key, value in table.settings.items() if key != "pretrained"}
    try:
        network = networks.build(table.network, settings)
        state = safetensors.torch.load(bundle.bytes_of(name))
        network.load_state_dict(state, strict=True)
    except EncoderError as error:
        raise _damaged(bundle, str(error)) from None
    except (RuntimeError, ValueError, safetensors.SafetensorError) as error:
        raise _damaged(bundle, f"{name} does not fit the network {table.network!r}: {error}") from None
    if not all(torch.isfinite(values).all() for values in state.values() if values.is_floating_point()):
        raise _damaged(bundle, f"{name} holds weights that are not finite")
    runtime = TorchRuntime(network, choose_device(device))
    if runtime.dimension != bundle.manifest.dimension:
        raise _damaged(
            bundle, f"it says dimension {bundle.manifest.dimension}, its {side} branch has {runtime.dimension}"
        )
    return runtime


def _damaged(bundle: Bundle, what: str) -> EncoderError:
    return EncoderError(f"bundle {bundle.manifest.name!r}: {what}; install it again", reason="BUNDLE_DAMAGED")
