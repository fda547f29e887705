"""From an object on disk to the stored values of its frames, with every size checked before memory is taken."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from config.errors import HeaderError
from inference.imaging.bounded import DEFLATED_LITTLE, EXPLICIT_LITTLE, OpenDataset, open_dataset
from inference.imaging.codestream import frame_pixels
from inference.imaging.quiet import quiet
from inference.imaging.rejections import refuse
from inference.types import InstanceHeader

_KEYWORDS = (
    "SpecificCharacterSet", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames",
    "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue",
    "PixelPaddingRangeLimit", "RescaleIntercept", "RescaleSlope", "WindowCenter", "WindowWidth", "VOILUTFunction",
    "ModalityLUTSequence", "VOILUTSequence", "PresentationLUTShape", "RedPaletteColorLookupTableDescriptor",
    "GreenPaletteColorLookupTableDescriptor", "BluePaletteColorLookupTableDescriptor",
    "AlphaPaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData", "GreenPaletteColorLookupTableData",
    "BluePaletteColorLookupTableData", "SegmentedRedPaletteColorLookupTableData",
    "SegmentedGreenPaletteColorLookupTableData", "SegmentedBluePaletteColorLookupTableData",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths", "PixelData",
)  # fmt: skip
_TAGS: list[BaseTag | int] = [tag for keyword in _KEYWORDS if (tag := tag_for_keyword(keyword)) is not None]
_MAX_READS = 5_000_000
_RLE = "1.2.840.10008.1.2.5"
# A PackBits run turns two bytes into at most 128.
_RLE_EXPANSION = 64
_MAX_FRAMES = 100_000


@dataclass
class PixelObject:
    """An object whose pixels can be decoded frame by frame.

    ``bits_stored`` and ``signed`` describe the stored values that :meth:`frame` returns.
    """

    dataset: Dataset
    transfer_syntax_uid: str
    limit: int
    truncated_allowed: bool

    @cached_property
    def frames(self) -> int:
        return max(1, self._integer("NumberOfFrames", 1))

    @property
    def rows(self) -> int:
        return self._integer("Rows", 0)

    @property
    def columns(self) -> int:
        return self._integer("Columns", 0)

    @property
    def samples(self) -> int:
        return self._integer("SamplesPerPixel", 1)

    @property
    def bits_allocated(self) -> int:
        return self._integer("BitsAllocated", 16)

    @property
    def bits_stored(self) -> int:
        stored = self._integer("BitsStored", self.bits_allocated)
        return stored if 0 < stored <= self.bits_allocated else self.bits_allocated

    @property
    def signed(self) -> bool:
        return self._integer("PixelRepresentation", 0) == 1

    @property
    def photometric(self) -> str:
        return str(self.get("PhotometricInterpretation") or "").strip().upper()

    def get(self, keyword: str) -> Any:
        """A value of the data set, None where it is absent or cannot be read."""
        return value_of(self.dataset, keyword)

    def frame(self, index: int = 0) -> NDArray[Any]:
        """Stored values of one frame: (rows, columns), or (rows, columns, 3) with colours already RGB.

        Bits outside Bits Stored (overlays, noise) are gone, signs are extended.

        Raises
        ------
        ImagingError
            ``UNSUPPORTED_TRANSFER_SYNTAX``, ``UNSUPPORTED_PHOTOMETRIC``, ``TRUNCATED_PIXELS``, ``IMAGE_TOO_LARGE`` or
            ``UNDECODABLE_PIXELS``.
        """
        with quiet():
            decoder, plugin = self._decoder()
            native = not plugin
            self._check_frame(index, native)
            options: Any = {"decoding_plugin": plugin, "correct_unused_bits": not native}
            try:
                values, _ = decoder.as_array(self.dataset, index=index, raw=self.samples == 1, **options)
            except Exception as error:  # noqa: BLE001
                # Codecs meet hostile bytes with errors of any type; each is the same refusal.
                raise refuse("UNDECODABLE_PIXELS", f"the decoder failed ({type(error).__name__})") from None
        if values.ndim != 2 and values.shape[2:] != (3,):
            raise refuse("UNSUPPORTED_PHOTOMETRIC", f"{self.samples} samples per pixel")
        return self._align(values) if native and values.ndim == 2 else values

    def _decoder(self) -> tuple[Any, str]:
        """The decoder of the transfer syntax and the plugin to use, '' for native pixels.

        GDCM is left out on purpose: its JPEG, JPEG-LS and JPEG 2000 decoders abort the process on damaged frames.
        """
        from pydicom.pixels.decoders.base import get_decoder

        try:
            decoder = get_decoder(self.transfer_syntax_uid)
        except (NotImplementedError, ValueError):
            raise refuse("UNSUPPORTED_TRANSFER_SYNTAX", "no decoder for this transfer syntax") from None
        if not decoder.is_encapsulated:
            return decoder, ""
        plugin = "pydicom" if self.transfer_syntax_uid == _RLE else "pylibjpeg"
        if plugin not in decoder.available_plugins:
            raise refuse("UNSUPPORTED_TRANSFER_SYNTAX", "no decoder that survives damage for this transfer syntax")
        return decoder, plugin

    def _check_frame(self, index: int, native: bool) -> None:
        samples = self.rows * self.columns * self.samples
        data = self.get("PixelData")
        if not isinstance(data, bytes):
            raise refuse("NO_PIXELS", "the object has no pixel data")
        if samples <= 0:
            raise refuse("UNDECODABLE_PIXELS", "rows, columns or samples per pixel are zero")
        if native:
            self._complete(data)
            return
        from pydicom.encaps import get_frame

        try:
            frame = get_frame(data, index, number_of_frames=self.frames)
        except Exception as error:  # noqa: BLE001  (fragments and offset tables are hostile too)
            raise refuse("UNDECODABLE_PIXELS", f"the fragments are damaged ({type(error).__name__})") from None
        announced = frame_pixels(frame)
        if announced is not None and announced != samples:
            raise refuse("UNDECODABLE_PIXELS", f"the frame holds {announced} samples, the header says {samples}")
        if self.transfer_syntax_uid == _RLE and len(frame) * _RLE_EXPANSION > self.limit:
            raise refuse("IMAGE_TOO_LARGE", f"an RLE frame of {len(frame)} bytes could exceed {self.limit} bytes")

    def _complete(self, data: bytes) -> None:
        """Native pixels are as many as promised; where allowed, the missing ones become zero."""
        bits = self.rows * self.columns * self.samples * self.frames * self.bits_allocated
        if self.photometric == "YBR_FULL_422":
            bits = bits * 2 // 3
        expected = (bits + 7) // 8
        if len(data) >= expected:
            return
        if not self.truncated_allowed:
            raise refuse("TRUNCATED_PIXELS", f"{len(data)} of {expected} bytes of pixels are there")
        self.dataset.PixelData = data.ljust(expected + expected % 2, b"\0")

    def _align(self, values: NDArray[Any]) -> NDArray[Any]:
        """Drops the bits above and below the stored ones (PS3.5 8.1.1) and extends the sign."""
        allocated, stored = self.bits_allocated, self.bits_stored
        high = self._integer("HighBit", stored - 1)
        if values.dtype.kind not in "iu" or stored == allocated or not stored - 1 <= high < allocated:
            return values
        above = allocated - 1 - high
        aligned: NDArray[Any] = (values << values.dtype.type(above)) >> values.dtype.type(allocated - stored)
        return aligned

    def _integer(self, keyword: str, default: int) -> int:
        value = self.get(keyword)
        try:
            return default if value is None or value == "" else int(value)
        except (TypeError, ValueError):
            return default


def value_of(dataset: Dataset, keyword: str) -> Any:
    """A data element's value, None where it is absent or pydicom cannot make one of its bytes."""
    try:
        return dataset.get(keyword)
    except Exception:  # noqa: BLE001  (hostile values raise anything; a value that is none counts as absent)
        return None


def open_pixels(header: InstanceHeader, limit: int, *, truncated_allowed: bool = False) -> PixelObject:
    """Reads the attributes that pixels need, and the pixel bytes, of one object.

    Raises
    ------
    ImagingError
        ``UNREADABLE_FILE``, ``NO_PIXELS``, ``TRUNCATED_PIXELS`` or ``IMAGE_TOO_LARGE``.
    """
    try:
        with header.path.open("rb") as stream, quiet():
            if header.path.stat().st_size > limit:
                raise refuse("IMAGE_TOO_LARGE", f"the file is larger than {limit} bytes")
            opened = open_dataset(stream, limit, whole=True)
            dataset = _dataset(opened, limit)
            syntax = EXPLICIT_LITTLE if opened.transfer_syntax_uid == DEFLATED_LITTLE else opened.transfer_syntax_uid
            found = PixelObject(dataset, syntax, limit, truncated_allowed)
            _check_size(found)
            return found
    except (OSError, HeaderError) as error:
        raise refuse("UNREADABLE_FILE", f"the file cannot be read any more ({type(error).__name__})") from None
    except OverflowError:
        raise refuse("IMAGE_TOO_LARGE", f"inflated the object exceeds {limit} bytes") from None


def _dataset(opened: OpenDataset, limit: int) -> Dataset:
    elements: dict[BaseTag, Any] = {}
    damaged = ""
    try:
        for element in opened.elements(_TAGS, None, max_bytes=limit, max_reads=_MAX_READS):
            elements[BaseTag(element.tag)] = element
    except Exception as error:  # noqa: BLE001
        # Hostile bytes make pydicom raise anything; what matters is whether the pixels came before it.
        damaged = type(error).__name__
    if damaged and BaseTag(0x7FE00010) not in elements:
        raise refuse("TRUNCATED_PIXELS", f"the object ends or breaks before its pixels ({damaged})")
    dataset = Dataset(elements)
    dataset.set_original_encoding(opened.implicit, opened.little, "iso8859")
    return dataset


def _check_size(found: PixelObject) -> None:
    frames = found.frames
    if frames > _MAX_FRAMES:
        raise refuse("IMAGE_TOO_LARGE", f"{frames} frames")
    samples = found.rows * found.columns * max(1, found.samples)
    decoded = samples * frames * max(1, found.bits_allocated // 8)
    if decoded > found.limit:
        raise refuse("IMAGE_TOO_LARGE", f"{decoded} bytes decoded, {found.limit} are allowed")


def is_grey(rgb: NDArray[np.uint8], tolerance: int = 8) -> bool:
    """Whether an RGB image (rows, columns, 3) is grey but for the chroma noise of lossy compression."""
    signed = rgb.astype(np.int16)
    spread = signed.max(axis=2) - signed.min(axis=2)
    return bool(np.percentile(spread, 99) <= tolerance)
