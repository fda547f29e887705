"""CT and MR volumes: which slices belong together, whether they fill space evenly, and their values in real units.

Slices are ordered by position along their normal, never by Instance Number.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from config.errors import ImagingError
from inference.imaging.geometry import (
    Plane,
    Stack,
    affine_of,
    even_distances,
    make_stack,
    resample_slices,
    unshear,
    unsheared_shape,
)
from inference.imaging.grey import check_rescale, padding_mask
from inference.imaging.labels import body_part_of, kept_attributes
from inference.imaging.options import LoadOptions
from inference.imaging.pixels import PixelObject, open_pixels
from inference.imaging.rejections import refuse
from inference.imaging.slices import Slice, slices_of
from inference.types import FloatArray, InstanceHeader, LoadedSeries

MIN_SLICES = 4
AIR_HU = -1024.0
# A group beside the largest one is a volume of its own when it has at least this share of its slices.
MAIN_SHARE = 0.25
MAX_VOLUMES = 4
# Filling gaps may make a volume at most this many times as deep.
MAX_FILL = 4

Report = Callable[[ImagingError, int], None]


def load_volumes(headers: Sequence[InstanceHeader], options: LoadOptions, report: Report) -> list[LoadedSeries]:
    """Every usable volume of a series, the one with most slices first; ``report`` hears of what was refused."""
    slices = _usable_slices(headers, options, report)
    volumes: list[LoadedSeries] = []
    for group in _main_groups(slices, options, report):
        try:
            volumes.append(_load(group, options))
        except ImagingError as error:
            report(error, _objects(group))
    return volumes


def _usable_slices(headers: Sequence[InstanceHeader], options: LoadOptions, report: Report) -> list[Slice]:
    found: list[Slice] = []
    for header in headers:
        try:
            slices = slices_of(header, options)
            if any(item.localizer for item in slices) and "LOCALIZER" not in options.allow:
                slices = [item for item in slices if not item.localizer]
                report(refuse("LOCALIZER", "Image Type says LOCALIZER"), 1)
            found.extend(slices)
        except ImagingError as error:
            report(error, 1)
    return sorted(found, key=lambda item: item.rank)


def _main_groups(slices: list[Slice], options: LoadOptions, report: Report) -> list[list[Slice]]:
    """Groups worth loading, largest first. Slices at one position are split by what tells them apart."""
    if not slices:
        return []
    everything = "MIXED_SERIES" in options.allow
    groups = _groups(slices, ignore_orientation="IMAGE_ORIENTATION_INCONSISTENT" in options.allow)
    if len(groups[0]) < MIN_SLICES <= len(_groups(slices, ignore_orientation=True)[0]):
        report(refuse("IMAGE_ORIENTATION_INCONSISTENT", f"{len(groups)} groups, none a stack"), _objects(slices))
        return []
    floor = 0 if everything else MAIN_SHARE * len(groups[0])
    kept: list[list[Slice]] = []
    for group in groups:
        parts = _split_duplicates(group)
        main = 0 if len(group) < floor or len(kept) >= MAX_VOLUMES else 1
        main = len(parts) if everything else main
        kept.extend(parts[:main])
        for part in parts[main:]:
            report(refuse("MIXED_SERIES", "slices beside the main volumes of the series"), _objects(part))
    return kept


def _groups(slices: Sequence[Slice], *, ignore_orientation: bool) -> list[list[Slice]]:
    """Slices with one matrix, spacing, kernel and (unless ignored) orientation, largest group first."""
    groups: list[list[Slice]] = []
    for item in slices:
        for group in groups:
            first = group[0]
            if (
                (item.rows, item.columns, item.kernel) == (first.rows, first.columns, first.kernel)
                and np.allclose(item.plane.spacing, first.plane.spacing, rtol=1e-3)
                and (ignore_orientation or item.plane.parallel_to(first.plane))
            ):
                group.append(item)
                break
        else:
            groups.append([item])
    return sorted(groups, key=len, reverse=True)


def _split_duplicates(group: list[Slice]) -> list[list[Slice]]:
    """The group itself where no two slices share a position, or where nothing tells those that do apart."""
    if not _stack(group).has_duplicates:
        return [group]
    for variant in range(len(group[0].variants)):
        parts: dict[Any, list[Slice]] = {}
        for item in group:
            parts.setdefault(item.variants[variant], []).append(item)
        if len(parts) > 1 and not any(_stack(part).has_duplicates for part in parts.values()):
            return sorted(parts.values(), key=len, reverse=True)
    return [group]


def _stack(group: Sequence[Slice]) -> Stack:
    return make_stack([item.plane for item in group])


def _objects(slices: Sequence[Slice]) -> int:
    return len({item.header.sop_instance_uid for item in slices})


def _load(group: list[Slice], options: LoadOptions) -> LoadedSeries:
    """One volume of parallel slices. Raises :class:`ImagingError` with the reason why it is none."""
    allow = options.allow
    least = 2 if "TOO_FEW_SLICES" in allow else MIN_SLICES
    if len(group) < least:
        raise refuse("TOO_FEW_SLICES", f"{len(group)} slices, at least {least} are needed")
    group, stack = _without_duplicates(group, least, allow)
    plane = group[0].plane
    spacing, rows, columns = plane.spacing, group[0].rows, group[0].columns
    uneven, sheared = stack.uneven_steps, stack.shear > max(1.0, *spacing)
    if uneven and "SLICE_INCREMENT_INCONSISTENT" not in allow:
        raise refuse(
            "SLICE_INCREMENT_INCONSISTENT",
            f"{uneven} of {len(stack.steps)} steps differ from the median of {stack.step:.2f} mm",
        )
    if sheared and "GANTRY_TILT" not in allow:
        raise refuse("GANTRY_TILT", f"slices are displaced by up to {stack.shear:.1f} mm in their plane")
    wanted = even_distances(stack.distances, stack.step, MAX_FILL * len(group)) if uneven else stack.distances
    if sheared:
        rows, columns = unsheared_shape(stack, rows, columns, spacing)
    needed = 4 * rows * columns * max(len(wanted), len(group))
    if needed > options.max_decoded_bytes:
        raise refuse("IMAGE_TOO_LARGE", f"{needed} bytes as a volume, {options.max_decoded_bytes} are allowed")
    pixels = _decode(group, options)
    if sheared:
        pixels, plane = unshear(pixels, stack, plane, float(pixels.min()))
    if uneven:
        pixels = resample_slices(pixels, stack.distances, wanted)
    return _loaded(group, pixels, plane, float(wanted[-1]) / (len(wanted) - 1))


def _without_duplicates(group: list[Slice], least: int, allow: frozenset[str]) -> tuple[list[Slice], Stack]:
    """Slices in order of position, and their stack."""
    stack = _stack(group)
    ordered = [group[index] for index in stack.order]
    if stack.has_duplicates:
        if "DUPLICATE_POSITIONS" not in allow:
            count = int((stack.steps < 0.01).sum())
            raise refuse("DUPLICATE_POSITIONS", f"{count} slices share their position with another one")
        ordered = _first_at_each_position(ordered, stack)
        if len(ordered) < least:
            raise refuse("TOO_FEW_SLICES", f"{len(ordered)} positions, at least {least} are needed")
    return ordered, _stack(ordered)


def _first_at_each_position(ordered: list[Slice], stack: Stack) -> list[Slice]:
    # The sort is stable and slices came ranked by acquisition and instance number, so the first one is the earliest.
    starts = np.concatenate([[True], stack.steps >= 0.01])
    return [item for item, start in zip(ordered, starts, strict=True) if start]


def _decode(group: Sequence[Slice], options: LoadOptions) -> FloatArray:
    """(slices, rows, columns) float32 in modality units; padding becomes air (CT) or the lowest value (MR)."""
    pixels = np.empty((len(group), group[0].rows, group[0].columns), dtype=np.float32)
    padded = np.zeros(pixels.shape, dtype=bool)
    is_ct = _is_ct(group[0])
    for index, item in enumerate(group):
        source = item.source or open_pixels(
            item.header, options.max_decoded_bytes, truncated_allowed="TRUNCATED_PIXELS" in options.allow
        )
        pixels[index], padded[index] = _decode_slice(item, source, is_ct, options.allow)
    if is_ct:
        pixels[padded] = AIR_HU
        # Scanners fill the corners outside the field of view with anything down to -32768.
        np.maximum(pixels, AIR_HU, out=pixels)
    elif padded.any() and not padded.all():
        pixels[padded] = pixels[~padded].min()
    if pixels.max() == pixels.min() and "CONSTANT_IMAGE" not in options.allow:
        raise refuse("CONSTANT_IMAGE", "all voxels have the same value")
    return pixels


def _decode_slice(item: Slice, source: PixelObject, is_ct: bool, allow: frozenset[str]) -> tuple[Any, Any]:
    stored = source.frame(item.frame)
    if stored.shape != (item.rows, item.columns):
        raise refuse("UNSUPPORTED_PHOTOMETRIC", "a slice of a volume has one sample per pixel")
    slope = item.slope if item.slope is not None else source.get("RescaleSlope")
    intercept = item.intercept if item.intercept is not None else source.get("RescaleIntercept")
    factor, offset = check_rescale(slope, intercept, is_ct, "BAD_RESCALE" in allow)
    values = stored.astype(np.float32) * np.float32(factor) + np.float32(offset)
    return values, padding_mask(stored, source)


def _is_ct(item: Slice) -> bool:
    return item.header.sop_class_uid.startswith("1.2.840.10008.5.1.4.1.1.2") or item.header.modality == "CT"


def _loaded(group: Sequence[Slice], pixels: FloatArray, plane: Plane, step: float) -> LoadedSeries:
    header = group[0].header
    return LoadedSeries(
        study_uid=header.study_uid,
        series_uid=header.series_uid,
        sop_instance_uids=tuple(dict.fromkeys(item.header.sop_instance_uid for item in group)),
        modality=header.modality or ("CT" if _is_ct(group[0]) else "MR"),
        kind="volume",
        pixels=pixels,
        spacing=(step, *plane.spacing),
        affine=affine_of(plane, step),
        body_part=body_part_of(header),
        attributes=kept_attributes(header),
    )
