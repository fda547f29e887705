"""The store of decoded images: each once, whatever happens while it is filled."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from inference.encoders.inputs import InputSpec, prepare
from tests.learning.tiny import write_films
from training.learning.catalogue import Image
from training.learning.store import ImageStore, failures
from training.manifests.files import read_manifest
from training.manifests.images import load_row

SPEC = InputSpec(size=24)


def _images(path: Path) -> list[Image]:
    manifest = read_manifest(path)
    return [Image(0, manifest, row) for row in manifest.rows()]


def _count(folder: Path, images: list[Image], processes: int = 1) -> tuple[ImageStore, int]:
    """The filled store, and how many images were decoded for it."""
    decoded: list[int] = []
    store = ImageStore(folder, SPEC)
    store.fill(images, processes, lambda done, total: decoded.append(done))
    return store, len(decoded)


def test_planes_are_those_that_serve(tmp_path: Path) -> None:
    images = _images(write_films(tmp_path / "films", (2, 2)))
    store = ImageStore(tmp_path / "store", SPEC)
    records = store.fill(images, 1, lambda done, total: None)
    for image, record in zip(images, records, strict=True):
        served = prepare(load_row(image.manifest, image.row).images[0], SPEC)
        assert np.array_equal(np.broadcast_to(store.planes(record), served.shape), served)
        assert (record.channels, record.modality) == (1, "DX")


def test_an_image_is_decoded_once_and_again_when_its_file_changes(tmp_path: Path) -> None:
    images = _images(write_films(tmp_path / "films", (2, 2)))
    assert _count(tmp_path / "store", images)[1] == 4
    assert _count(tmp_path / "store", images)[1] == 0
    changed = tmp_path / "films" / images[0].row.path
    changed.write_bytes((tmp_path / "films" / images[-1].row.path).read_bytes())
    store, decoded = _count(tmp_path / "store", images)
    assert decoded == 1
    records = store.fill(images, 1, lambda done, total: None)
    assert np.array_equal(store.planes(records[0]), store.planes(records[-1]))


@pytest.mark.parametrize("cut", [1, 30, 10_000])
def test_a_store_cut_off_anywhere_is_one_with_fewer_images(tmp_path: Path, cut: int) -> None:
    images = _images(write_films(tmp_path / "films", (3, 3)))
    whole, _ = _count(tmp_path / "whole", images)
    _count(tmp_path / "cut", images[:4])
    # The index lost its end; planes of an entry that was never written lie behind it.
    index = next((tmp_path / "cut").glob("*/index.jsonl"))
    index.write_bytes(index.read_bytes()[:-cut])
    with next((tmp_path / "cut").glob("*/planes.u8")).open("ab") as file:
        file.write(b"half of a picture")
    store, decoded = _count(tmp_path / "cut", images)
    assert decoded >= 2
    for image in images:
        ours, theirs = (one.fill([image], 1, lambda done, total: None)[0] for one in (store, whole))
        assert np.array_equal(store.planes(ours), whole.planes(theirs))


def test_planes_that_never_reached_the_disk_are_made_again(tmp_path: Path) -> None:
    images = _images(write_films(tmp_path / "films", (3, 3)))
    _count(tmp_path / "store", images)
    planes = next((tmp_path / "store").glob("*/planes.u8"))
    with planes.open("r+b") as file:
        file.truncate(2 * SPEC.size**2 + 5)
    assert _count(tmp_path / "store", images)[1] == 4


def test_images_that_cannot_be_used_are_kept_by_name(tmp_path: Path) -> None:
    images = _images(write_films(tmp_path / "films", (2, 2)))
    (tmp_path / "films" / images[0].row.path).write_bytes(b"no picture")
    (tmp_path / "films" / images[1].row.path).unlink()
    records = ImageStore(tmp_path / "store", SPEC).fill(images, 1, lambda done, total: None)
    found = failures(images, records)
    assert [(image.row.path, reason) for image, reason in found] == [
        (images[0].row.path, "UNKNOWN_FORMAT"),
        (images[1].row.path, "MISSING_FILE"),
    ]


def test_several_processes_fill_it_alike(tmp_path: Path) -> None:
    images = _images(write_films(tmp_path / "films", (2, 2)))
    for processes in (1, 2):
        assert _count(tmp_path / str(processes), images, processes)[1] == 4
    one, two = (next((tmp_path / str(n)).glob("*/planes.u8")).read_bytes() for n in (1, 2))
    assert one == two


def test_it_crosses_to_a_worker_without_its_planes(tmp_path: Path) -> None:
    images = _images(write_films(tmp_path / "films", (2, 2)))
    store, _ = _count(tmp_path / "store", images)
    record = store.fill(images, 1, lambda done, total: None)[0]
    planes = store.planes(record)
    sent = pickle.dumps(store)
    assert len(sent) < 4 * SPEC.size**2
    assert np.array_equal(pickle.loads(sent).planes(record), planes)
