"""The modality classifier: probabilities from pixels alone, there only where its bundle is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from config.errors import EncoderError, ImagingError
from inference.encoders.inputs import InputSpec
from inference.encoders.modality import CLASSES, ModalityClassifier, load_classifier
from inference.encoders.registry import Registry
from tests.encoders.bundles import write_bundle
from tests.recognition.test_general_encoder import MIXED, image

PLAIN = InputSpec(size=32, slices=2, plain=True)


def classifier_bundle(folder: Path, files: tuple[str, ...] = ("weights.safetensors",), **values: Any) -> Path:
    wanted = {
        "name": "modality",
        "model": "modality-classifier",
        "settings": {"dropout": 0.0},
        "dimension": len(CLASSES),
        "modalities": (),
        "spec": PLAIN,
    }
    return write_bundle(folder, files, **(wanted | values))


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> ModalityClassifier:
    folder = tmp_path_factory.mktemp("bundles")
    classifier_bundle(folder)
    found = load_classifier(Registry([folder]), "cpu", 4)
    assert found is not None
    return found


def test_every_image_has_the_probabilities_of_every_class(classifier: ModalityClassifier) -> None:
    together = classifier.classify(MIXED)
    assert len(together) == len(MIXED)
    for one, found in zip(MIXED, together, strict=True):
        assert tuple(found) == CLASSES
        assert sum(found.values()) == pytest.approx(1.0)
        (alone,) = classifier.classify([one])
        assert alone == pytest.approx(found, abs=1e-4)
    assert classifier.classify([]) == []


def test_a_picture_is_what_it_is_wherever_it_came_from(classifier: ModalityClassifier) -> None:
    rng = np.random.default_rng(1)
    colour = rng.integers(0, 256, (50, 60, 3), np.uint8)
    grey = rng.integers(0, 256, (50, 60), np.uint8)
    grey[0, :2] = 0, 255
    loaded = [
        image(1, "fundus", "OP", pixels=colour),
        image(2, "radiograph", "CR", pixels=grey.astype(np.float32) / 255),
    ]
    for one, other in zip(classifier.classify([colour, grey]), classifier.classify(loaded), strict=True):
        assert one == pytest.approx(other, abs=1e-3)


def test_a_header_has_no_say(classifier: ModalityClassifier) -> None:
    volume = image(3, "volume", "MR")
    a, b = classifier.classify([volume, image(3, "volume", "CT", pixels=volume.pixels)])
    assert a == b


def test_pixels_that_are_no_numbers_are_refused(classifier: ModalityClassifier) -> None:
    with pytest.raises(ImagingError) as caught:
        classifier.classify([image(1, pixels=np.full((9, 9), np.nan, np.float32))])
    assert caught.value.reason == "NOT_FINITE"


def test_without_a_bundle_there_is_no_classifier(tmp_path: Path) -> None:
    assert load_classifier(Registry([tmp_path]), "cpu", 4) is None


@pytest.mark.parametrize(
    "values",
    [
        {"model": "efficientnet-lite0", "settings": {"embedding": 7}},
        {"spec": InputSpec(size=32)},
        {"settings": {"classes": ["CT", "MR"]}},
    ],
    ids=["another network", "input that knows headers", "other classes than dimensions"],
)
def test_a_bundle_that_is_no_classifier_is_refused(tmp_path: Path, values: dict[str, Any]) -> None:
    classifier_bundle(tmp_path, **values)
    with pytest.raises(EncoderError, match="'modality'") as caught:
        load_classifier(Registry([tmp_path]), "cpu", 4)
    assert caught.value.reason == "BUNDLE_DAMAGED"


def test_its_onnx_twin_says_the_same(tmp_path: Path) -> None:
    classifier_bundle(tmp_path / "a")
    classifier_bundle(tmp_path / "b", ("model.onnx",), backend="onnx")
    answers = []
    for name in ("a", "b"):
        found = load_classifier(Registry([tmp_path / name]), "cpu", 4)
        assert found is not None
        answers.append(found.classify(MIXED))
    for one, other in zip(*answers, strict=True):
        assert one == pytest.approx(other, abs=1e-3)
