"""From a network of depth images to a bundle that takes volumes: judged and calibrated on the volumes themselves."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from inference.calibration import Calibration, to_json
from inference.encoders.bundle import BUNDLE_FILE, Bundle
from inference.encoders.face_network import NETWORK, FaceInput
from inference.encoders.registry import Registry
from inference.imaging.depth_image import DepthSpec
from training.evaluation.figures import Figure
from training.faces.depth_images import visit_of
from training.learning.catalogue import TEST, TRAIN, VALIDATION, Catalogue, Image, Tell
from training.learning.export import CALIBRATION_FILE, Outcome
from training.learning.judging import calibration_of, encode_images, measured, metrics_table, scope_of
from training.learning.recipe import Recipe, Source
from training.learning.toml_text import to_toml
from training.learning.validation import chosen_for_validation
from training.manifests.files import Manifest

# Whoever is killed here leaves a folder of this name, which the next one clears away.
_UNFINISHED = ".faces-"
_ABOUT = (
    "of head volumes, probe and gallery from different visits: rank-1, rank-10, mAP, EER, AUC, FNIR at FPIR 1 %: "
    "value, then 95 % interval over patients. Validation patients decided when to stop and fitted the calibration; "
    "test patients decided nothing."
)


def face_bundle(
    recipe: Recipe, trained: Outcome, catalogue: Catalogue, images: Manifest, out: Path, spec: DepthSpec, tell: Tell
) -> Outcome:
    """The bundle ``out/<name>`` with the weights of ``trained``, whose figures are those of the catalogue's volumes.

    ``images`` are the depth images that it was trained on, made by ``spec``. The bundle is made in a folder of its own
    and moved to its place when all of it is there.
    """
    target = out / recipe.name
    for unfinished in out.glob(f"{_UNFINISHED}*"):
        shutil.rmtree(unfinished)
    with tempfile.TemporaryDirectory(prefix=_UNFINISHED, dir=out) as temporary:
        folder = Path(temporary) / recipe.name
        says = _described(recipe, trained, images, spec)
        _write(folder, says, Bundle.read(trained.bundle))
        figures = _judged(recipe, catalogue, folder, says, tell)
        if target.exists():
            target.rename(Path(temporary) / "before")
        folder.rename(target)
    return replace(trained, bundle=target, figures=figures, calibrated="calibration" in says)


def face_input(recipe: Recipe, spec: DepthSpec) -> FaceInput:
    """What the recipe's network sees when it serves."""
    seen = recipe.input_spec()
    return FaceInput(seen.size, seen.slices, **asdict(spec))


def _described(recipe: Recipe, trained: Outcome, images: Manifest, spec: DepthSpec) -> dict[str, Any]:
    """The manifest of the bundle, from that of the network of depth images."""
    says: dict[str, Any] = tomllib.loads((trained.bundle / BUNDLE_FILE).read_text(encoding="utf-8"))
    rows = [row for row in images.rows() if row.split == TRAIN]
    patients = len({(row.issuer, row.patient_id) for row in rows})
    scans = len({(row.issuer, row.patient_id, row.series) for row in rows})
    sources = [_source(one) for one in recipe.sources]
    return says | {
        "network": NETWORK,
        "input": face_input(recipe, spec).to_mapping(),
        "trained_on": f"{len(rows)} depth images of {scans} scans of {patients} patients: {'; '.join(sources)}",
        "model": says["model"] | {"modalities": sorted({row.labels["modality"] for row in rows})},
        "metrics": {"about": _ABOUT, "serving": says["metrics"]["serving"]},
        "training": says["training"] | {"data": sources},
    }


def _write(folder: Path, says: Mapping[str, Any], trained: Bundle) -> None:
    folder.mkdir()
    for name in says["files"]:
        (folder / name).write_bytes(trained.bytes_of(name))
    _say(folder, says)


def _judged(
    recipe: Recipe, catalogue: Catalogue, folder: Path, says: dict[str, Any], tell: Tell
) -> Mapping[str, Mapping[str, Figure]]:
    """Figures of both held-out splits and the calibration, through the encoder as it will serve."""
    encoder = Registry((folder.parent,), "cpu").get(recipe.name)
    figures: dict[str, Mapping[str, Figure]] = {}
    for split in (VALIDATION, TEST):
        images = catalogue.of(split)
        chosen = _by_visit(chosen_for_validation(recipe, images) if split == VALIDATION else images)
        encoded = encode_images(encoder, chosen, f"figures, {split}", tell)
        if not encoded.encodings:
            continue
        figures[split] = measured(recipe, encoded)
        says["metrics"][split] = metrics_table(encoded, figures[split])
        if split == VALIDATION and recipe.export.calibrate:
            fitted_on = f"{split} patients of {says['trained_on']}"
            _calibrate(folder, says, calibration_of(encoder, encoded, scope_of(recipe), fitted_on, 0))
    _say(folder, says)
    return figures


def _calibrate(folder: Path, says: dict[str, Any], found: Calibration | None) -> None:
    if found is None:
        says["training"]["notes"].append("NO_CALIBRATION: validation has too few patients with two visits")
        return
    content = to_json(found).encode()
    (folder / CALIBRATION_FILE).write_bytes(content)
    says["files"][CALIBRATION_FILE] = hashlib.sha256(content).hexdigest()
    says["calibration"] = CALIBRATION_FILE


def _by_visit(images: Sequence[Image]) -> list[Image]:
    """The images with their visit for a study: the CT and the MR of one day are no probe and mate."""
    return [replace(image, row=replace(image.row, study=visit_of(image.row))) for image in images]


def _say(folder: Path, says: Mapping[str, Any]) -> None:
    (folder / BUNDLE_FILE).write_text(to_toml(says), encoding="utf-8")
    Bundle.read(folder)


def _source(source: Source) -> str:
    own = source.cohort
    if own is None:
        return f"{source.name} (manifest {Path(source.manifest).name})"
    return f"{source.name} ({own.patients} phantoms of {', '.join(own.kinds)}, seed {own.seed}, dials {own.nuisance})"
