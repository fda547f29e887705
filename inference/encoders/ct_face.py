"""Faces in head CT: an aligned depth map, its difference from a mean face, and a projection of that.

Steps: find the face, bring it to the pose of the mean face, render its depth in millimetres, take the difference from
the mean inside a fixed region (forehead to upper lip: what the lower jaw moves stays out), project. The mean face and
the projection were learned from digital phantoms; the difference alone, unprojected, already tells people apart, and
the projection is kept close to it so that it does not learn the phantoms.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from config.errors import EncoderError, ImagingError
from inference.encoders.bundle import Bundle
from inference.encoders.face_alignment import Aligner, MeanFace
from inference.imaging.depth import DepthMap, Renderer, face_depth, find_face
from inference.imaging.regions import part_of
from inference.types import Encoding, FloatArray, LoadedSeries, SeriesHeader

# Depth is rendered this much finer than it is used and averaged, which takes the steps of the slices out.
OVERSAMPLING = 2
# Larger differences from the mean are tubes, tape and holes.
CLIP_MM = 12.0
# Median distances to the mean face (millimetres) at which quality begins to fall, and at which it is 0.
FITS_MM, MISFITS_MM = 1.5, 3.0
WEIGHTS_FILE = "face.npz"


def load(bundle: Bundle, device: str, batch_size: int) -> CtFaceEncoder:
    """Builds the encoder from its bundle. There is no network in it: device and batch size do not matter."""
    del device, batch_size
    try:
        with np.load(io.BytesIO(bundle.bytes_of(WEIGHTS_FILE)), allow_pickle=False) as found:
            weights = FaceWeights(
                mean_depth=found["mean_depth"].astype(np.float32),
                region=found["region"].astype(bool),
                centre=found["centre"].astype(np.float32),
                projection=found["projection"].astype(np.float32),
                pixel_mm=float(found["pixel_mm"]),
            )
        weights.check(bundle.manifest.dimension)
    except (KeyError, ValueError) as error:
        raise EncoderError(
            f"bundle {bundle.manifest.name!r}: {WEIGHTS_FILE}: {error}", reason="BUNDLE_DAMAGED"
        ) from None
    return CtFaceEncoder(bundle.manifest.name, bundle.manifest.version, weights)


@dataclass(frozen=True, slots=True)
class FaceWeights:
    """What was learned from phantoms.

    mean_depth
        float32 (size, size) millimetres behind the tip of the nose, NaN where there is no face.
    region
        bool (size, size): the n pixels that are compared.
    centre, projection
        float32 (n,) mean difference from the mean face, and (n, dimension).
    """

    mean_depth: FloatArray
    region: NDArray[np.bool_]
    centre: FloatArray
    projection: FloatArray
    pixel_mm: float

    def check(self, dimension: int) -> None:
        count = int(self.region.sum())
        shapes = (self.mean_depth.shape, self.centre.shape, self.projection.shape)
        if shapes != (self.region.shape, (count,), (count, dimension)):
            raise ValueError(f"arrays of shapes {shapes} do not belong together")
        if not (np.isfinite(self.mean_depth[self.region]).all() and np.isfinite(self.projection).all()):
            raise ValueError("weights are not finite")


@dataclass(frozen=True, slots=True)
class FaceView:
    """One aligned face: ``depth`` (size, size) with NaN where unseen, and how well it fits the mean (millimetres)."""

    depth: FloatArray
    residual_mm: float


class FaceViewer:
    """Finds, aligns and renders the face of a head CT."""

    def __init__(self, mean_depth: FloatArray, pixel_mm: float, renderer: Renderer = "auto") -> None:
        self._aligner = Aligner(MeanFace(mean_depth, pixel_mm), renderer)
        self._size, self._renderer = len(mean_depth), renderer

    def view(self, volume: LoadedSeries) -> FaceView:
        """Raises ImagingError (``NO_FACE`` and the like) when there is no face to see."""
        face = find_face(volume)
        alignment = self._aligner.align(face)
        rendered = face_depth(face, alignment.pose, self._size * OVERSAMPLING, renderer=self._renderer)
        return FaceView(_averaged(rendered), alignment.residual_mm)


class CtFaceEncoder:
    """An :class:`~inference.encoders.protocol.Encoder`."""

    def __init__(self, name: str, version: str, weights: FaceWeights, renderer: Renderer = "auto") -> None:
        self.name, self.version, self.dimension = name, version, weights.projection.shape[1]
        self._weights = weights
        self._viewer = FaceViewer(weights.mean_depth, weights.pixel_mm, renderer)

    def accepts(self, series: SeriesHeader) -> bool:
        return series.modality == "CT"

    def encode(self, images: Sequence[LoadedSeries]) -> Sequence[Encoding | None]:
        """See the protocol; a CT without a face raises the name under which :func:`find_face` refuses it."""
        return [self._encode_one(image) for image in images]

    def _encode_one(self, image: LoadedSeries) -> Encoding | None:
        if image.kind != "volume" or image.modality != "CT":
            raise ImagingError(f"the encoder {self.name!r} takes CT volumes only", reason="ENCODER_KIND")
        weights = self._weights
        view = self._viewer.view(part_of(image, "head"))
        seen = np.isfinite(view.depth[weights.region])
        difference = depth_difference(view.depth, weights.mean_depth, weights.region)
        vector = (difference - weights.centre) @ weights.projection
        length = float(np.linalg.norm(vector))
        if length < 1e-6:
            return None
        return Encoding(
            encoder=self.name,
            version=self.version,
            study_uid=image.study_uid,
            series_uid=image.series_uid,
            vector=(vector / length).astype(np.float32),
            quality=face_quality(float(seen.mean()), view.residual_mm),
            modality="CT",
        )


def depth_difference(depth: FloatArray, mean: FloatArray, region: NDArray[np.bool_]) -> FloatArray:
    """float32 (n,): millimetres by which a face lies behind the mean inside the region; 0 where it was not seen.

    The median is taken out: how far the tip of the nose stands out must not move the whole face.
    """
    difference = (depth - mean)[region]
    seen = np.isfinite(difference)
    if not seen.any():
        return np.zeros(len(difference), np.float32)
    centred = np.where(seen, difference - np.median(difference[seen]), 0.0)
    return np.clip(centred, -CLIP_MM, CLIP_MM).astype(np.float32)


def face_quality(seen: float, residual_mm: float) -> float:
    """Share of the region that was seen, less where the face does not fit the mean: then it is none, or lies wrong."""
    fit = float(np.clip((MISFITS_MM - residual_mm) / (MISFITS_MM - FITS_MM), 0.0, 1.0))
    return float(np.clip(seen, 0.0, 1.0)) * fit


def _averaged(rendered: DepthMap) -> FloatArray:
    """Mean depth of each block of pixels that are mostly face; NaN elsewhere."""
    size, n = len(rendered.mask) // OVERSAMPLING, OVERSAMPLING
    blocks = (size, n, size, n)
    counts = rendered.mask.reshape(blocks).sum(axis=(1, 3))
    sums = np.where(rendered.mask, rendered.depth, 0.0).reshape(blocks).sum(axis=(1, 3))
    mostly = counts * 2 > n * n
    return np.where(mostly, sums / np.maximum(counts, 1), np.nan).astype(np.float32)
