"""What every verifier offers: compact templates, and the comparison of two of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from inference.types import LoadedSeries


@dataclass(frozen=True, slots=True)
class Template:
    """What a verifier keeps of one image or volume: biometric data, a few kilobytes, stored beside the embedding.

    ``data`` is the verifier's own format, versioned by ``version``; templates of different versions are never compared.
    """

    verifier: str
    version: str
    study_uid: str
    series_uid: str
    data: bytes
    modality: str = ""
    view: str = ""
    laterality: str = ""

    @classmethod
    def of_picture(cls, verifier: Verifier, image: LoadedSeries, data: bytes) -> Template:
        """What ``verifier`` keeps of a picture: only those of one view and side are compared."""
        return cls(
            verifier=verifier.name,
            version=verifier.version,
            study_uid=image.study_uid,
            series_uid=image.series_uid,
            data=data,
            modality=image.modality,
            view=image.view,
            laterality=image.laterality,
        )


@dataclass(frozen=True, slots=True)
class Verification:
    """How well a probe fits a reference.

    score
        larger for more alike, finite, in [0, 1]; its meaning as evidence comes from a calibration of its own.
    transform
        float64, maps the probe's coordinates onto the reference's: (4, 4) on patient LPS millimetres for volumes,
        (3, 3) on pixel (column, row, 1) of the templates' images for pictures.
    overlay
        uint8 (rows, columns, 3) RGB for a reviewer: both aligned, in two colours, with what agreed.
    details
        named figures (overlap, inliers, residual in mm, ...) for the reviewer and for reports.
    """

    score: float
    transform: NDArray[np.float64]
    overlay: NDArray[np.uint8]
    details: Mapping[str, float] = field(default_factory=dict)


@runtime_checkable
class Verifier(Protocol):
    """Needs no training. ``compare`` is symmetric up to the direction of the transform, as far as the method allows."""

    name: str
    version: str

    def accepts(self, image: LoadedSeries) -> bool:
        """Whether a template can be made of an image of this kind."""
        ...

    def template(self, image: LoadedSeries) -> Template | None:
        """The template, or None where the image shows too little to compare (counted by the caller).

        Raises
        ------
        ImagingError
            when the image is of a kind that :meth:`accepts` refuses.
        """
        ...

    def score(self, probe: Template, reference: Template) -> float:
        """The score of :meth:`compare` alone, which needs no overlay.

        Raises
        ------
        EncoderError
            ``TEMPLATE_VERSION`` when a template is of another verifier or version, ``TEMPLATE_DAMAGED`` when its bytes
            cannot be read.
        """
        ...

    def compare(self, probe: Template, reference: Template) -> Verification:
        """Score, transform and overlay; raises as :meth:`score` does."""
        ...
