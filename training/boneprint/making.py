"""Where pairs come from: phantom persons, rendered as small as they are needed, or the images of a manifest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from config.errors import ImagingError, TrainingError
from inference.encoders.inputs import InputSpec, is_flat, prepare
from inference.networks.boneprint_sides import SIDES, Side
from inference.types import LoadedSeries
from training.boneprint.pairs import PLANES, Made, Someone
from training.cohort.nuisance import dials_of
from training.cohort.person import Person, first_day, person
from training.cohort.visit import Dials, Visit, visit
from training.manifests.files import Manifest
from training.manifests.schema import Row

Rendering = Literal["capture", "ct"]
Renderings = Literal["capture", "ct", "mixed"]

# A radiograph and a rendering are of two visits, or the day's fat and the day's illness would say whose they are.
VISITS: dict[Side, int] = {"radiograph": 0, "rendering": 1}
# Pictures are made a little larger than they are needed.
_LARGER = 1.25
_COARSEST = 2.6  # mm, of the volume behind a small rendering
_FULL = 4095
_KINDS: dict[Side, tuple[str, ...]] = {"radiograph": ("radiograph",), "rendering": ("photograph", "volume")}
# A manifest's word for a rendering, and the one that makes a loader of pictures expect colour.
_RENDERING, _PHOTOGRAPH = "CT-VR", "XC"


@dataclass(frozen=True, slots=True)
class PhantomJob:
    """The pictures of phantom ``number`` of ``seed``, under the dials of that name, as ``spec`` has them.

    ``rendering`` is a workstation's ``capture``, or what the node renders itself of a ``ct``.
    """

    seed: int
    number: int
    spec: InputSpec
    nuisance: str = "default"
    sides: tuple[Side, ...] = SIDES
    rendering: Rendering = "capture"

    @property
    def key(self) -> str:
        how = (self.nuisance, self.spec.to_mapping(), self.sides, self.rendering)
        return _digest("phantom", self.seed, self.number, *how)

    def make(self) -> Made:
        who = person(self.seed, self.number)
        dials = small_dials(dials_of(self.nuisance), self.spec.size)
        taken = visit(who, VISITS["radiograph"], dials)
        age = who.years(first_day(self.seed)) + taken.ageing
        someone = Someone(who.patient_id, who.sex, round(age, 2))
        return _framed(someone, [_phantom_picture(self, side, dials) for side in self.sides], self.sides, self.spec)


def phantom_jobs(
    persons: int,
    seed: int,
    spec: InputSpec,
    nuisance: str = "default",
    sides: tuple[Side, ...] = SIDES,
    renderings: Renderings = "capture",
) -> list[PhantomJob]:
    """One job for each of so many phantoms, numbered from 1; ``mixed``, every second one's rendering is of a CT."""
    how: dict[Renderings, tuple[Rendering, Rendering]] = {
        "capture": ("capture", "capture"),
        "ct": ("ct", "ct"),
        "mixed": ("ct", "capture"),
    }
    return [
        PhantomJob(seed, number, spec, nuisance, sides, how[renderings][number % 2]) for number in range(1, persons + 1)
    ]


def small_dials(dials: Dials, size: int) -> Dials:
    """The dials with matrices just large enough for pictures of ``size``: everything about persons stays as it is.

    The patient lies with the arms up where the dials leave a choice: a chest CT is asked for so.
    """
    edge = 32 * max(2, int(np.ceil(_LARGER * size / 32)))
    bones = dials.bone_view
    coarse = (min(bones.voxel[0], _COARSEST), max(bones.voxel[1], _COARSEST))
    return replace(
        dials,
        chest_film=replace(dials.chest_film, matrix=(edge, edge), lateral=0.0),
        bone_view=replace(bones, size=(edge,), voxel=coarse, arms_down=0.0),
        chest_ct=replace(dials.chest_ct, arms_down=0.0),
    )


def _phantom_picture(job: PhantomJob, side: Side, dials: Dials) -> LoadedSeries:
    from training.cohort.bone_view import bone_view
    from training.cohort.chest_radiograph import chest_radiograph

    who = person(job.seed, job.number)
    when = visit(who, VISITS[side], dials)
    if side == "radiograph":
        film, _ = chest_radiograph(who, when)
        return _loaded(np.asarray(film, np.float32) / np.float32(_FULL), "radiograph", "DX")
    if job.rendering == "capture":
        return _loaded(bone_view(who, when), "photograph", "CT")
    return _scanned(who, when)


def _scanned(who: Person, when: Visit) -> LoadedSeries:
    """The visit's chest CT."""
    from training.cohort.chest_ct import chest_ct

    volume, affine = chest_ct(who, when)
    spacing = tuple(float(length) for length in np.linalg.norm(affine[:3, :3], axis=0))
    return LoadedSeries("", "", (), "CT", "volume", np.asarray(volume, np.float32), spacing, affine)


def _loaded(pixels: NDArray[Any], kind: Any, modality: str) -> LoadedSeries:
    return LoadedSeries("", "", (), modality, kind, pixels, (float("nan"),) * 2)


@dataclass(frozen=True, slots=True)
class ManifestJob:
    """The pictures that ``rows`` of a manifest say, one for each of ``sides``."""

    manifest: Manifest
    rows: tuple[Row, ...]
    spec: InputSpec
    sides: tuple[Side, ...] = SIDES

    @property
    def key(self) -> str:
        said = [(row.path, row.series, row.issuer, row.patient_id, row.study) for row in self.rows]
        return _digest("manifest", said, self.spec.to_mapping(), self.sides)

    def make(self) -> Made:
        from training.manifests.images import load_row

        first = self.rows[0]
        someone = Someone(f"{first.issuer}|{first.patient_id}", first.sex, first.age)
        found: list[LoadedSeries] = []
        for row, side in zip(self.rows, self.sides, strict=True):
            known = replace(row, modality=_PHOTOGRAPH) if row.modality == _RENDERING else row
            loaded = load_row(self.manifest, known)
            if not loaded.images:
                return _refused(someone, loaded.rejections[0].reason if loaded.rejections else "NO_IMAGE")
            if loaded.images[0].kind not in _KINDS[side]:
                return _refused(someone, "ENCODER_KIND")
            found.append(loaded.images[0])
        return _framed(someone, found, self.sides, self.spec)


def manifest_jobs(manifest: Manifest, spec: InputSpec, sides: tuple[Side, ...] = SIDES) -> list[ManifestJob]:
    """One job for each patient who has a picture of every side, of as many studies.

    A row of modality ``CT`` is a rendering, or a series that one is made of; a rendering that is no DICOM object has
    the modality ``CT-VR``. The first pair of rows counts that are of two studies.

    Raises
    ------
    TrainingError
        ``SPLIT_EMPTY`` when nobody has.
    """
    patients: dict[tuple[str, str], dict[Side, list[Row]]] = {}
    for row in manifest.rows():
        side = side_of(row)
        if side is not None:
            patients.setdefault((row.issuer, row.patient_id), {}).setdefault(side, []).append(row)
    jobs = []
    for rows in patients.values():
        chosen = _apart([rows.get(side, []) for side in sides])
        if chosen is not None:
            jobs.append(ManifestJob(manifest, chosen, spec, sides))
    if not jobs:
        raise TrainingError(
            f"{Path(manifest.path).name}: no patient has {' and '.join(sides)} of different studies; radiographs are "
            "rows of modality DX, renderings of CT or CT-VR",
            reason="SPLIT_EMPTY",
        )
    return jobs


def side_of(row: Row) -> Side | None:
    """Which side a manifest's row shows, by what it says."""
    if row.modality in ("CR", "DX", "RG", "DR"):
        return "radiograph"
    return "rendering" if row.modality in ("CT", _RENDERING) else None


def _apart(rows: Sequence[Sequence[Row]]) -> tuple[Row, ...] | None:
    """The first row of each side such that no two are of one study."""
    if len(rows) == 1:
        return (rows[0][0],) if rows[0] else None
    pairs = ((one, other) for one in rows[0] for other in rows[1] if one.study != other.study)
    return next(pairs, None)


def _framed(who: Someone, images: Sequence[LoadedSeries], sides: Sequence[Side], spec: InputSpec) -> Made:
    """The pictures as the network sees them when it serves."""
    planes = []
    for image, side in zip(images, sides, strict=True):
        try:
            if is_flat(image):
                return _refused(who, "FLAT")
            planes.append(prepare(chest_of(image, spec.size), spec)[0, : PLANES[side]])
        except ImagingError as error:
            return _refused(who, error.reason)
    return Made(who, np.concatenate(planes))


def chest_of(image: LoadedSeries, size: int) -> LoadedSeries:
    """What the encoder that serves makes of an image before the network's input is prepared: the chest alone.

    Raises
    ------
    ImagingError
        those of :func:`inference.imaging.bone_view.bone_view`, for a volume.
    """
    from inference.imaging.bone_view import SIZE, bone_view
    from inference.imaging.chest_picture import chest_picture
    from inference.imaging.regions import part_of

    if image.kind != "volume":
        return chest_picture(image)
    return _loaded(bone_view(part_of(image, "chest"), max(SIZE, size)).pixels, "photograph", "CT")


def _refused(who: Someone, reason: str) -> Made:
    return Made(replace(who, refused=reason), np.zeros((0, 0, 0), np.uint8))


def _digest(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()[:24]
