"""What the pixels say of a series whose headers are silent, or say something else. Only where a classifier is there.

Pixels never overrule a header: where the two contradict each other the image is not compared at all, because one of
them is wrong and nobody here knows which. Silent are captures whose Modality names no modality; what they show, where
the classifier is sure of it, takes the place of the Modality that is missing when the rules are asked again.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from config.errors import ImagingError
from inference.encoders.modality import ModalityClassifier
from inference.imaging.options import LoadOptions
from inference.imaging.series import kind_of, load_series
from inference.types import LoadedSeries, SeriesHeader

# Below this the classifier has said nothing.
SURE: Final = 0.95
CONTRADICTED: Final = "MODALITY_CONTRADICTED"

_SILENT = frozenset({"", "OT", "SC"})
# Classes that a rule for captures can make use of, and the Modality it knows them by.
_MODALITIES = {"radiograph": "DX", "fundus": "OP"}
_UNDECIDED = "other"


class Sight:
    """Looks at images with the modality classifier."""

    def __init__(self, classifier: ModalityClassifier) -> None:
        self._classifier = classifier

    def named(self, series: SeriesHeader, options: LoadOptions) -> SeriesHeader | None:
        """The series with the Modality that all of its images show; None where its headers say one, or none is sure."""
        if not _is_silent(series):
            return None
        shown = {self.shown_by(image) for image in load_series(series, options).images}
        modality = _MODALITIES.get(shown.pop()) if len(shown) == 1 else None
        if modality is None:
            return None
        stated = [replace(one, attributes={**one.attributes, "Modality": modality}) for one in series.instances]
        return replace(series, instances=tuple(stated))

    def contradicts(self, image: LoadedSeries) -> bool:
        """Whether the image surely shows a modality, and another one than its header says."""
        said = _class_said(image)
        shown = self.shown_by(image) if said else ""
        return shown not in ("", _UNDECIDED, said)

    def shown_by(self, image: LoadedSeries) -> str:
        """The class that the image surely shows, or nothing."""
        try:
            (probabilities,) = self._classifier.classify([image])
        except ImagingError:
            return ""  # what cannot be looked at is refused, and counted, by the encoders
        best = max(probabilities, key=lambda name: probabilities[name])
        return best if probabilities[best] >= SURE else ""


def _is_silent(series: SeriesHeader) -> bool:
    return bool(series.instances) and all(
        kind_of(one) == "capture" and one.modality.strip().upper() in _SILENT for one in series.instances
    )


def _class_said(image: LoadedSeries) -> str:
    """The class that an image of its headers would show; empty where they leave it open."""
    if image.kind == "volume":
        return image.modality if image.modality in ("CT", "MR") else ""
    return image.kind if image.kind in ("radiograph", "fundus") else ""
