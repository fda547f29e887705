"""Heads made of a few solids as scans of persons: as volumes on the disk, and as anything with a face."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from config.errors import ImagingError
from inference.imaging.depth import Face
from inference.imaging.depth_image import Camera, DepthSpec, Turn
from inference.types import LoadedSeries
from tests.imaging.heads import head
from training.manifests.schema import Row

TURNS = (Turn(), Turn(pitch=10.0), Turn(roll=-12.5))


@dataclass(frozen=True, slots=True)
class Solid:
    """A scan of a head of some width; one of width 0 has no face."""

    width: float
    row: Row
    turns: tuple[Turn, ...] = TURNS

    @property
    def key(self) -> str:
        return f"solid {self.width}"

    def face(self, camera: Camera) -> Face:
        if not self.width:
            raise ImagingError("a head without width", reason="NO_FACE")
        return face_of(self.width)


@cache
def face_of(width: float) -> Face:
    """The face of a head of that width: the same for all tests, which do not change it."""
    return Camera(DepthSpec()).find(head(width=width))


def solid(width: float, patient: str = "p", study: str = "s", days: int | None = None, **more: str) -> Solid:
    return Solid(width, Row("", patient, study, series=f"{patient}-{study}", modality="CT", days=days, **more))  # type: ignore[arg-type]


def as_mr(volume: LoadedSeries) -> LoadedSeries:
    """The same head with an MR's values: air and bone dark, and no units."""
    return replace(volume, modality="MR", pixels=np.interp(volume.pixels, (-1000.0, 40.0), (5.0, 600.0)).astype("f4"))


def write_nifti(path: Path, volume: LoadedSeries) -> None:
    import SimpleITK as sitk

    assert volume.affine is not None
    image: Any = sitk.GetImageFromArray(volume.pixels)
    steps = volume.affine[:3, :3][:, ::-1]
    lengths = np.linalg.norm(steps, axis=0)
    image.SetSpacing([float(one) for one in lengths])
    image.SetOrigin([float(one) for one in volume.affine[:3, 3]])
    image.SetDirection([float(one) for one in (steps / lengths).ravel()])
    sitk.WriteImage(image, str(path))
