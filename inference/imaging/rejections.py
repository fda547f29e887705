"""Every reason to refuse an image: its stable name, what it means, and what happens when a site switches it off.

Names are the keys under which refusals are counted, shown and, through ``imaging.allow`` in the settings, switched off.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from config.errors import ConfigError, ImagingError

__all__ = ["REASONS", "SWITCHABLE", "Reason", "check_allowed", "refuse"]


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason to refuse. ``when_allowed`` says what is done instead; empty means it cannot be switched off."""

    name: str
    meaning: str
    when_allowed: str = ""

    @property
    def switchable(self) -> bool:
        return bool(self.when_allowed)


_ALL = (
    # Objects
    Reason("UNREADABLE_FILE", "the file is gone, cannot be opened or is no DICOM object any more"),
    Reason("NO_PIXELS", "the object holds no pixel data"),
    Reason("UNSUPPORTED_SOP_CLASS", "objects of this SOP class and modality have no loader"),
    Reason(
        "FOR_PROCESSING",
        "the radiograph is raw detector data (FOR PROCESSING), not what a reader would see",
        "it is scaled like one for presentation",
    ),
    # Pixels
    Reason("UNSUPPORTED_TRANSFER_SYNTAX", "no decoder for the transfer syntax (video, unknown or private)"),
    Reason("UNDECODABLE_PIXELS", "the decoder failed, or the compressed frame contradicts the header"),
    Reason(
        "TRUNCATED_PIXELS",
        "there are fewer pixel bytes than the header promises",
        "missing uncompressed pixels count as zero",
    ),
    Reason("IMAGE_TOO_LARGE", "decoded it would exceed imaging.max_decoded_bytes; raise that setting instead"),
    Reason("UNSUPPORTED_PHOTOMETRIC", "the photometric interpretation does not fit this kind of image"),
    Reason("NOT_COLOUR", "a fundus photograph without colour", "its grey values fill all three channels"),
    Reason("CONSTANT_IMAGE", "all pixels have the same value", "it is passed on as it is"),
    Reason("BAD_RESCALE", "the rescale slope or intercept is missing where it is needed, or not usable",
           "stored values are taken for modality units"),
    Reason("MULTIFRAME_UNSUPPORTED", "a multi-frame object where a single image is expected",
           "only the first frame is used"),
    # Volumes
    Reason("LOCALIZER", "a localizer (scout, topogram), not a slice of the volume", "it is used like any slice"),
    Reason("NO_GEOMETRY", "position, orientation or pixel spacing is missing or not usable"),
    Reason("TOO_FEW_SLICES", "fewer than 4 slices", "2 slices are enough"),
    Reason("MIXED_SERIES", "slices that belong to a small group beside the main volumes of their series",
           "every group is loaded as a volume of its own"),
    Reason("IMAGE_ORIENTATION_INCONSISTENT", "the slices are not parallel to each other",
           "all are taken to be parallel to the first one"),
    Reason("DUPLICATE_POSITIONS", "several slices at the same position, and nothing that tells them apart",
           "the first instance at each position is used"),
    Reason("SLICE_INCREMENT_INCONSISTENT", "slices are missing or unevenly spaced",
           "the gaps are filled by linear interpolation"),
    Reason("GANTRY_TILT", "the stack is sheared: slices do not follow each other along their normal",
           "the slices are shifted (linear interpolation) until they do"),
    # Faces
    Reason("NO_FACE", "no skin surface with a nose and a face in the field of view"),
    Reason("FACE_CUT", "the field of view cuts the face off"),
    Reason("FACE_CUT_AT_BROW", "the scan begins above the nose: it shows the brain and no face"),
    Reason("NOT_HOUNSFIELD", "a CT whose air is not near -1000, or soft tissue not near 0: the rescale is wrong"),
    Reason("NO_SURFACE", "no body surface at the threshold: too small, or in unexpected units"),
    # Chests
    Reason("NO_CHEST", "no lungs with a spine and pairs of ribs where they belong"),
    Reason("CHEST_CUT", "the field of view leaves out too much between the first and the twelfth thoracic vertebra"),
)  # fmt: skip

REASONS: dict[str, Reason] = {reason.name: reason for reason in _ALL}
SWITCHABLE = frozenset(reason.name for reason in _ALL if reason.switchable)


def refuse(name: str, detail: str) -> ImagingError:
    """The error that refuses an image for one of :data:`REASONS`; ``detail`` holds no patient data."""
    return ImagingError(detail, reason=REASONS[name].name)


def check_allowed(names: Iterable[str]) -> frozenset[str]:
    """The names as a set.

    Raises
    ------
    ConfigError
        when one is no rejection or cannot be switched off.
    """
    wanted = frozenset(names)
    for name in sorted(wanted - SWITCHABLE):
        remedy = "cannot be switched off" if name in REASONS else "is unknown"
        raise ConfigError(f"imaging.allow: {name!r} {remedy}; those that can be are {', '.join(sorted(SWITCHABLE))}")
    return wanted
