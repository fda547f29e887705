"""A node with a modality classifier: silent headers get a name, contradicted ones are refused, all of it is counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from config.settings import Settings
from dicom_node.material import Material, material_of
from dicom_node.node import Node
from inference.encoders.modality import CLASSES
from inference.imaging.headers import read_header
from inference.types import SeriesHeader
from tests.encoders.test_modality import classifier_bundle
from tests.node.films import film_dataset, known

Walk = Callable[..., tuple[Material, dict[str, float]]]


def always(shown: str, certainty: float = 8.0) -> Callable[[Any], None]:
    """Makes a classifier one that takes everything for ``shown``."""

    def change(network: Any) -> None:
        last = network.head[-1]
        last.weight.data.zero_()
        last.bias.data.zero_()
        last.bias.data[CLASSES.index(shown)] = certainty

    return change


@pytest.fixture
def walk(settings: Settings, tmp_path: Path) -> Iterator[Walk]:
    """What a node makes of one object, and what it counted meanwhile."""
    with Node(settings) as node:

        def run(dataset: Dataset) -> tuple[Material, dict[str, float]]:
            path = tmp_path / "one.dcm"
            dataset.save_as(path, enforce_file_format=True)
            header = read_header(path)
            found = material_of(node, [SeriesHeader(header.study_uid, header.series_uid, (header,))])
            counted = {" ".join([one.name, *one.labels.values()]): one.value for one in node.ledger.counters()}
            return found, counted

        yield run


def capture(**elements: Any) -> Dataset:
    dataset = film_dataset(1, 1, known(1), SOPClassUID=SecondaryCaptureImageStorage, Modality="OT", **elements)
    dataset.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    return dataset


def test_without_a_classifier_headers_are_all_there_is(walk: Walk) -> None:
    found, counted = walk(capture())
    assert found.encodings == ()
    assert counted == {"series_routed SECONDARY_CAPTURE capture-other": 1}
    assert len(walk(film_dataset(1, 1, known(1)))[0].encodings) == 1


def test_a_capture_that_surely_shows_a_radiograph_is_routed_as_one(settings: Settings, walk: Walk) -> None:
    classifier_bundle(settings.bundle_folder, change=always("radiograph"))
    found, counted = walk(capture())
    assert [one.modality for one in found.encodings] == ["DX"]
    assert counted["modality_by_pixels DX"] == 1


@pytest.mark.parametrize(
    ("shown", "certainty"), [("other", 8.0), ("radiograph", 1.0), ("CT", 8.0)], ids=["other", "unsure", "no rule"]
)
def test_a_capture_that_does_not_stays_where_the_rules_put_it(
    settings: Settings, walk: Walk, shown: str, certainty: float
) -> None:
    classifier_bundle(settings.bundle_folder, change=always(shown, certainty))
    found, counted = walk(capture())
    assert found.encodings == ()
    assert counted == {"series_routed SECONDARY_CAPTURE capture-other": 1}


def test_a_film_that_surely_shows_an_eye_is_refused_by_name(settings: Settings, walk: Walk) -> None:
    classifier_bundle(settings.bundle_folder, change=always("fundus"))
    found, counted = walk(film_dataset(1, 1, known(1)))
    assert found == Material()
    assert counted["image_refused MODALITY_CONTRADICTED"] == 1


@pytest.mark.parametrize(("shown", "certainty"), [("radiograph", 8.0), ("fundus", 1.0), ("other", 8.0)])
def test_a_film_that_does_not_surely_show_something_else_is_compared(
    settings: Settings, walk: Walk, shown: str, certainty: float
) -> None:
    classifier_bundle(settings.bundle_folder, change=always(shown, certainty))
    found, counted = walk(film_dataset(1, 1, known(1)))
    assert len(found.encodings) == 1
    assert not [name for name in counted if "image_refused" in name]


def test_what_cannot_be_decoded_is_refused_as_ever(settings: Settings, walk: Walk) -> None:
    classifier_bundle(settings.bundle_folder, change=always("radiograph"))
    found, counted = walk(capture(PixelData=np.zeros(3, np.uint8).tobytes()))
    assert found == Material()
    assert "modality_by_pixels DX" not in counted
