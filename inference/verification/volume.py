"""Rigid registration of bone and skin (CT) or of skin and inner structures (MR): do two scans show one body?

A skull neither grows thinner nor smiles. Scans of one person come to lie within tenths of a millimetre of each other,
and of two people do not, whatever device, position and field of view had them alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from config.errors import EncoderError, ImagingError
from inference.types import LoadedSeries
from inference.verification.overlay_volume import overlay
from inference.verification.protocol import Template, Verification
from inference.verification.surface import surfaces_of
from inference.verification.volume_agreement import Agreement, agreement
from inference.verification.volume_cloud import Box, Cloud
from inference.verification.volume_registration import register
from inference.verification.volume_template import pack, unpack

# What carries the registration and the score, best first: the first one that both scans show well.
ORDER = ("bone", "inner", "skin")
MODALITIES = ("CT", "MR")


@dataclass(frozen=True, slots=True)
class _Comparison:
    """``shown`` names the surface of the probe and of the reference that a reviewer should see."""

    score: float
    transform: NDArray[np.float64]
    shown: tuple[str, str]
    agreements: Mapping[str, Agreement]


class VolumeVerifier:
    """A :class:`~inference.verification.protocol.Verifier` of CT with CT and of MR with MR.

    Parameters
    ----------
    order
        the surfaces that may carry a comparison, best first.
    """

    name = "volume"
    version = "1"

    def __init__(self, order: tuple[str, ...] = ORDER) -> None:
        self._order = order

    def accepts(self, image: LoadedSeries) -> bool:
        return image.kind == "volume" and image.modality in MODALITIES and image.affine is not None

    def template(self, image: LoadedSeries) -> Template | None:
        """See the protocol. About 16 kB; None where the volume shows no body."""
        if not self.accepts(image):
            raise ImagingError(f"the verifier {self.name!r} takes CT and MR volumes only", reason="VERIFIER_KIND")
        surfaces = surfaces_of(image)
        if not surfaces:
            return None
        return Template(
            verifier=self.name,
            version=self.version,
            study_uid=image.study_uid,
            series_uid=image.series_uid,
            data=pack(Box.of(image), surfaces),
            modality=image.modality,
        )

    def score(self, probe: Template, reference: Template) -> float:
        """See the protocol. Symmetric to the last bit; 0 where both show nothing of the same kind."""
        return self._compared(probe, reference, whole=False).score

    def compare(self, probe: Template, reference: Template) -> Verification:
        """See the protocol. ``details``: score, residual in mm and overlap of every surface that both show."""
        found = self._compared(probe, reference, whole=True)
        details = {
            f"{name}_{key}": value
            for name, one in found.agreements.items()
            for key, value in (("score", one.score), ("residual_mm", one.residual_mm), ("overlap", one.overlap))
        }
        first, second = _clouds(probe.data)[found.shown[0]], _clouds(reference.data)[found.shown[1]]
        return Verification(found.score, found.transform, overlay(first, second, found.transform), details)

    def _compared(self, probe: Template, reference: Template, *, whole: bool) -> _Comparison:
        """``whole`` looks at every surface that both show, not only at the one that carries the score."""
        self._check(probe)
        self._check(reference)
        # Which one moves is settled by the bytes: the score is the same both ways round.
        swapped = probe.data > reference.data
        moving, fixed = (_clouds(one.data) for one in ((reference, probe) if swapped else (probe, reference)))
        shared = [name for name in self._order if name in moving and name in fixed]
        if not shared or probe.modality != reference.modality:
            shown = (next(iter(fixed if swapped else moving)), next(iter(moving if swapped else fixed)))
            return _Comparison(0.0, np.eye(4), shown, {})
        carrier = shared[0]
        transform = register(moving[carrier], fixed[carrier])
        judged = shared if whole else shared[:1]
        agreements = {name: agreement(moving[name], fixed[name], transform) for name in judged}
        onto_reference = np.asarray(np.linalg.inv(transform), np.float64) if swapped else transform
        return _Comparison(agreements[carrier].score, onto_reference, (carrier, carrier), agreements)

    def _check(self, template: Template) -> None:
        if (template.verifier, template.version) != (self.name, self.version):
            raise EncoderError(
                f"the verifier {self.name!r} {self.version} cannot read a template of {template.verifier!r} "
                f"{template.version}; make it again",
                reason="TEMPLATE_VERSION",
            )


@lru_cache(maxsize=64)
def _clouds(data: bytes) -> dict[str, Cloud]:
    """The surfaces of a template, ready to be searched. A probe meets many candidates: the last few are kept."""
    box, surfaces = unpack(data)
    return {surface.name: Cloud(surface.points, surface.normals, box) for surface in surfaces}
