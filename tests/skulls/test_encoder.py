"""The encoder of two branches: what it takes, what its confidence is, and bundles that are none."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from config.errors import EncoderError, ImagingError
from inference.calibration import fit_calibration
from inference.encoders.registry import Registry
from inference.encoders.skull_face import confidence, log10_lr
from inference.encoders.skull_pictures import kind_of_picture, picture
from inference.types import LoadedSeries
from tests.skulls.conftest import ToyRun
from tests.skulls.heads import films


def image(kind: str, pixels: np.ndarray, modality: str) -> LoadedSeries:
    return LoadedSeries("1.2", "1.2.3", ("1.2.3.4",), modality, kind, pixels, (1.0, 1.0))  # type: ignore[arg-type]


def photo(seed: int = 1) -> LoadedSeries:
    return image("photograph", np.random.default_rng(seed).integers(0, 256, (50, 40, 3), np.uint8), "XC")


def film(monkeypatch: pytest.MonkeyPatch) -> LoadedSeries:
    return image("radiograph", films(1, monkeypatch)[0].pixels, "DX")


def test_confidence_falls_with_the_distance_of_unit_vectors() -> None:
    skull = np.array([1.0, 0.0], np.float32)
    faces = np.array([[1, 0], [0, 1], [-1, 0]], np.float32)
    np.testing.assert_allclose(confidence(skull, faces), np.exp([0.0, -2.0, -4.0]), rtol=1e-6)


def test_likelihood_ratios_are_those_of_cosines() -> None:
    rng = np.random.default_rng(1)
    mated, others = rng.normal(0.6, 0.1, 200).clip(-1, 1), rng.normal(0.0, 0.1, 2000).clip(-1, 1)
    found = fit_calibration(mated, others, encoder="e", version="1", scope="phantom", fitted_on="x", patients=200)
    skull = np.array([1.0, 0.0], np.float32)
    faces = np.array([[0.6, 0.8], [0.0, 1.0]], np.float32)
    likely, unlikely = log10_lr(found, skull, faces)
    assert likely > 0.5 > -0.5 > unlikely


def test_each_image_goes_to_its_branch(toy_run: ToyRun, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, shown = toy_run.encoder(), film(monkeypatch)
    both = encoder.encode([shown, photo()])
    (skull,), (face,) = encoder.encode_side([shown], "skull"), encoder.encode_side([photo()], "face")
    assert [one.modality for one in both if one] == ["DX", "XC"]
    for found, wanted in zip(both, (skull, face), strict=True):
        assert found is not None and wanted is not None
        np.testing.assert_array_equal(found.vector, wanted.vector)
        assert np.linalg.norm(found.vector) == pytest.approx(1, abs=1e-5)


def test_what_a_branch_was_not_trained_on_is_refused(toy_run: ToyRun) -> None:
    encoder = toy_run.encoder()
    volume = image("volume", np.zeros((4, 4, 4), np.float32), "CT")
    for wrong, side in ((volume, "skull"), (photo(), "skull"), (volume, "face")):
        with pytest.raises(ImagingError) as caught:
            encoder.encode_side([wrong], side)  # type: ignore[arg-type]
        assert caught.value.reason == "ENCODER_KIND"


def test_an_mr_shows_neither_bone_nor_skin_depth() -> None:
    volume = image("volume", np.zeros((4, 4, 4), np.float32), "MR")
    assert (kind_of_picture(volume, "skull"), kind_of_picture(volume, "face")) == ("", "")


def test_a_film_gives_the_same_picture_wherever_the_head_lies_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = film(monkeypatch)
    wider = replace(shown, pixels=np.pad(shown.pixels, ((20, 0), (0, 30))))
    a, b = (picture(one, "skull", 48).astype(float) for one in (shown, wider))
    assert np.abs(a - b).mean() < 0.1 * a[a > 0].mean()
    assert a[:, :, [0, -1]].max() == 0 or a[:, [0, -1]].max() == 0


def test_a_portrait_is_cut_to_its_middle_square() -> None:
    pixels = np.zeros((60, 40, 3), np.uint8)
    pixels[:6], pixels[-14:], pixels[6:-14] = 50, 60, 200
    found = picture(image("photograph", pixels, "XC"), "face", 40)
    assert found.shape == (3, 40, 40)
    assert (found == 200).all()


def unknown_side(text: str) -> str:
    return text.replace("[input.skull]", "[input.bone]").replace("[input.skull.settings]", "[input.bone.settings]")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (unknown_side, "skull and face"),
        (lambda text: text.replace('kinds = ["film"]', 'kinds = ["photo"]'), "names no kind of skull"),
        (lambda text: text.replace("dimension = 8", "dimension = 9"), "dimension 9"),
        (lambda text: text.replace("[input.face]", "[input.face]\ncolour = 1"), "colour"),
        (lambda text: text.replace("dropout = 0.2", "dimension = 4"), "does not fit"),
    ],
)
def test_a_bundle_that_is_none_is_named(
    toy_run: ToyRun, tmp_path: Path, change: Callable[[str], str], told: str
) -> None:
    shutil.copytree(toy_run.outcome.bundle, tmp_path / "skull-face")
    manifest = tmp_path / "skull-face" / "bundle.toml"
    manifest.write_text(change(manifest.read_text()))
    with pytest.raises(EncoderError, match=told) as caught:
        Registry((tmp_path,), "cpu").get("skull-face")
    assert caught.value.reason == "BUNDLE_DAMAGED"
