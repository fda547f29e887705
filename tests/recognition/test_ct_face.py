"""Faces in head CT: one person twice is one person, however the head lay; and what is no face is refused by name."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from config.errors import EncoderError, ImagingError
from config.settings import Settings
from inference.encoders.ct_face import CLIP_MM, CtFaceEncoder, FaceWeights, depth_difference, face_quality
from inference.encoders.registry import Registry, package_bundles
from inference.evidence import gather_evidence
from inference.gallery.faiss_gallery import FaissGallery
from inference.gallery.protocol import GalleryEntry
from inference.matching import Outcome, decide
from inference.types import Encoding, LoadedSeries, PatientKey
from training.cohort.head_ct import head_ct
from training.cohort.person import person
from training.cohort.visit import visit
from training.recipes.face import Views, learn, packed

SEED, PERSONS = 6100, (1, 2, 3)


def volume(pixels: np.ndarray, affine: np.ndarray, **more: Any) -> LoadedSeries:
    values: dict[str, Any] = {"modality": "CT", "kind": "volume", "spacing": (1.0, 1.0, 1.0)} | more
    return LoadedSeries("1.2", "1.2.3", (), pixels=pixels.astype(np.float32), affine=affine, **values)


def tilted(image: LoadedSeries, *angles: float) -> LoadedSeries:
    """The same slices from a head that lay turned: only the patient coordinates differ."""
    assert image.affine is not None
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    return replace(image, affine=turn @ image.affine)


_known: dict[tuple[int, int], tuple[CtFaceEncoder, LoadedSeries, Encoding]] = {}


def encoded(encoder: CtFaceEncoder, image: LoadedSeries) -> Encoding:
    """Faces take seconds: each volume is encoded once by each encoder, and both are kept so that no id comes again."""
    key = (id(encoder), id(image))
    if key not in _known:
        (found,) = encoder.encode([image])
        assert found is not None
        _known[key] = (encoder, image, found)
    return _known[key][2]


@pytest.fixture(scope="module")
def encoder() -> CtFaceEncoder:
    found = Registry(device="cpu").get("ct-face")
    assert isinstance(found, CtFaceEncoder)
    return found


@pytest.fixture(scope="module")
def heads() -> dict[tuple[int, int], LoadedSeries]:
    """Two visits of each person: other tilt, dose, kernel, slice spacing and mouth."""
    return {
        (number, when): volume(*head_ct(who, visit(who, when)))
        for number in PERSONS
        for who in [person(SEED, number)]
        for when in (0, 1)
    }


@pytest.mark.slow
def test_each_phantom_is_nearest_to_itself_on_another_day(
    encoder: CtFaceEncoder, heads: dict[tuple[int, int], LoadedSeries]
) -> None:
    found = {key: encoded(encoder, image) for key, image in heads.items()}
    first, second = (np.stack([found[n, when].vector for n in PERSONS]) for when in (0, 1))
    scores = first @ second.T
    own = np.diag(scores)
    others = scores[~np.eye(len(PERSONS), dtype=bool)]
    assert scores.argmax(axis=1).tolist() == list(range(len(PERSONS))), scores
    assert own.min() > others.max() + 0.1, scores
    for item in found.values():
        assert (item.encoder, item.version, item.modality) == (encoder.name, encoder.version, "CT")
        assert item.vector.shape == (encoder.dimension,)
        assert np.linalg.norm(item.vector) == pytest.approx(1.0, abs=1e-5)
        assert item.quality > 0.5


@pytest.mark.slow
def test_with_phantoms_trusted_mates_are_linked_and_strangers_are_not(
    encoder: CtFaceEncoder, heads: dict[tuple[int, int], LoadedSeries], settings: Settings
) -> None:
    """The calibration comes from other persons; by default its scope is not trusted, and nothing is linked."""
    calibration = Registry().calibration("ct-face")
    for number in PERSONS:
        for enrolled in (PERSONS, tuple(n for n in PERSONS if n != number)):
            gallery = FaissGallery(encoder.name, encoder.version, encoder.dimension)
            gallery.enrol(
                [
                    GalleryEntry(n, PatientKey("H", str(n)), f"1.{n}", encoded(encoder, heads[n, 0]).vector, "CT")
                    for n in enrolled
                ]
            )
            for scopes, expected in (
                (("phantom", "site"), Outcome.LINK if number in enrolled else Outcome.NO_MATCH),
                (settings.calibration.trusted_scopes, Outcome.REVIEW if number in enrolled else Outcome.NO_MATCH),
            ):
                found = gather_evidence(
                    [replace(encoded(encoder, heads[number, 1]), study_uid="9.9")],
                    {encoder.name: gallery},
                    {encoder.name: calibration},
                    candidates=20,
                    trusted_scopes=scopes,
                )
                decision = decide(
                    found.patients, found.searched, settings.policy, found.trusted, rest_log10_lr=found.rest_log10_lr
                )
                assert decision.outcome is expected, decision
                if expected is Outcome.LINK:
                    assert decision.best == PatientKey("H", str(number))


@pytest.mark.slow
def test_how_the_head_lay_does_not_matter(encoder: CtFaceEncoder, heads: dict[tuple[int, int], LoadedSeries]) -> None:
    image = heads[PERSONS[0], 0]
    straight, turned = encoded(encoder, image), encoded(encoder, tilted(image, 9.0, -7.0, 11.0))
    assert straight.vector @ turned.vector > 0.85
    (again,) = encoder.encode([image])
    assert again is not None
    assert np.array_equal(straight.vector, again.vector), "the same volume twice is the same vector"


@pytest.mark.slow
@pytest.mark.egl
def test_both_renderers_see_one_face(encoder: CtFaceEncoder, heads: dict[tuple[int, int], LoadedSeries]) -> None:
    weights = encoder._weights
    vectors = [
        encoded(CtFaceEncoder("ct-face", "1", weights, renderer), heads[PERSONS[1], 0]).vector
        for renderer in ("cpu", "vtk")
    ]
    assert vectors[0] @ vectors[1] > 0.97


@pytest.mark.data
@pytest.mark.slow
def test_a_real_head_is_itself_at_any_tilt_and_no_phantom(
    encoder: CtFaceEncoder, heads: dict[tuple[int, int], LoadedSeries], data_folder: Path
) -> None:
    image = sitk.ReadImage(str(data_folder / "head_ct_coarse.nii.gz"))
    # Stored upside down in raw units: 0 is air, water is near 1024.
    pixels = sitk.GetArrayFromImage(image).astype(np.float32)[::-1] - 1024.0
    column, row, slice_ = image.GetSpacing()
    affine = np.array([[0, 0, column, 0], [0, row, 0, 0], [slice_, 0, 0, 0], [0, 0, 0, 1.0]])
    real = volume(pixels, affine)
    noisy = replace(real, pixels=pixels + np.random.default_rng(1).normal(0, 25, pixels.shape).astype(np.float32))
    one, other = encoded(encoder, real), encoded(encoder, tilted(noisy, -6.0, 5.0, 8.0))
    assert one.vector @ other.vector > 0.8
    assert one.quality > 0.3
    assert one.vector @ encoded(encoder, heads[PERSONS[0], 0]).vector < 0.7


@pytest.mark.parametrize("shape", ["air", "ball"])
def test_what_has_no_face_is_refused_by_name(encoder: CtFaceEncoder, shape: str) -> None:
    axes = np.indices((60, 60, 60)) - 30
    pixels = np.where((axes**2).sum(axis=0) < 24**2, 40.0, -1000.0) if shape == "ball" else np.full((60,) * 3, -1000.0)
    affine = np.array([[0, 0, 3.0, 0], [0, 3.0, 0, 0], [3.0, 0, 0, 0], [0, 0, 0, 1]])
    with pytest.raises(ImagingError) as caught:
        encoder.encode([volume(pixels, affine)])
    assert caught.value.reason in {"NO_SURFACE", "NO_FACE", "FACE_CUT"}


@pytest.mark.parametrize(("kind", "modality"), [("volume", "MR"), ("radiograph", "CT"), ("fundus", "OP")])
def test_other_kinds_are_refused_by_name(encoder: CtFaceEncoder, kind: str, modality: str) -> None:
    with pytest.raises(ImagingError) as caught:
        encoder.encode([volume(np.zeros((8, 8, 8)), np.eye(4), kind=kind, modality=modality)])
    assert caught.value.reason == "ENCODER_KIND"


def test_a_face_that_does_not_fit_or_is_not_seen_has_little_quality() -> None:
    assert face_quality(1.0, 0.6) == 1.0
    assert face_quality(0.4, 0.6) == pytest.approx(0.4)
    assert face_quality(1.0, 2.9) < 0.1
    assert face_quality(1.0, np.inf) == 0.0


def test_the_difference_ignores_what_is_unseen_and_how_far_the_nose_stands_out() -> None:
    mean, region = np.zeros((4, 4), np.float32), np.ones((4, 4), bool)
    depth = np.arange(16, dtype=np.float32).reshape(4, 4) / 4
    depth[0, 0], depth[3, 3] = np.nan, 99.0
    found = depth_difference(depth, mean, region)
    assert found[0] == 0.0
    assert found.max() == CLIP_MM
    np.testing.assert_allclose(depth_difference(depth + 7, mean, region), found, atol=1e-5)
    assert not depth_difference(np.full((4, 4), np.nan, np.float32), mean, region).any()


def made_up_views(rng: np.random.Generator, persons: int = 40, size: int = 24) -> Views:
    """Smooth faces with a person's own bumps, and less of a day's."""
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    shapes = np.stack([np.cos(2 * a * x) * np.cos(2 * b * y) for a in range(1, 5) for b in range(1, 5)])
    own, days = rng.normal(0, 2, (persons, 1, 16)), rng.normal(0, 0.5, (persons, 2, 16))
    depths = 20 * (x**2 + y**2) + np.tensordot(own + days, shapes, axes=1)
    return Views(depths.reshape(-1, size, size).astype(np.float32), np.repeat(np.arange(persons), 2).astype(str))


def test_learned_weights_tell_persons_apart_that_they_never_saw() -> None:
    rng = np.random.default_rng(3)
    weights = learn(made_up_views(rng), 16, 150 / 24)
    weights.check(16)
    fresh = made_up_views(rng)
    features = np.stack([depth_difference(d, weights.mean_depth, weights.region) for d in fresh.depths])
    vectors = (features - weights.centre) @ weights.projection
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    scores = vectors[::2] @ vectors[1::2].T
    assert (scores.argmax(axis=1) == np.arange(40)).mean() > 0.9


@pytest.mark.parametrize("flaw", ["no npz", "missing array", "other dimension", "NaN"])
def test_damaged_weights_are_refused(tmp_path: Path, flaw: str) -> None:
    weights = learn(made_up_views(np.random.default_rng(4)), 64 if flaw != "other dimension" else 5, 150 / 24)
    if flaw == "NaN":
        weights = replace(weights, projection=np.full_like(weights.projection, np.nan))
    content = {"no npz": b"PK broken", "missing array": _without_region(weights)}.get(flaw) or packed(weights)
    folder = tmp_path / "ct-face"
    folder.mkdir()
    text = (package_bundles() / "ct-face" / "bundle.toml").read_text()
    head = "\n".join(line for line in text[: text.index("[files]")].splitlines() if not line.startswith("calibration"))
    (folder / "bundle.toml").write_text(f'{head}\n[files]\n"face.npz" = "{hashlib.sha256(content).hexdigest()}"\n')
    (folder / "face.npz").write_bytes(content)
    with pytest.raises(EncoderError, match=r"ct-face.*face\.npz"):
        Registry([tmp_path]).get("ct-face")


def _without_region(weights: FaceWeights) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, mean_depth=weights.mean_depth)
    return buffer.getvalue()
