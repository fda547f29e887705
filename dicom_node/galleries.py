"""Galleries of this process, kept in step with the ledger that all processes share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dicom_node.ledger import Ledger
from inference.encoders.protocol import Encoder
from inference.gallery.faiss_gallery import FaissGallery
from inference.gallery.protocol import GalleryEntry


class Galleries:
    """One gallery per encoder version: opened from its file where that is fresh, else from the ledger.

    Parameters
    ----------
    ledger
        where the vectors live; other workers and people at the command line change them.
    folder
        holds one cache file per encoder version; None keeps galleries in memory alone.
    """

    def __init__(self, ledger: Ledger, folder: Path | None) -> None:
        self._ledger = ledger
        self._folder = folder
        self._open: dict[tuple[str, str], tuple[FaissGallery, int]] = {}

    def of(self, encoder: Encoder) -> FaissGallery:
        """The gallery of an encoder version with everything that was committed to the ledger before the call."""
        key = (encoder.name, encoder.version)
        gallery, revision = self._open.get(key) or self._opened(encoder)
        while True:
            changes = self._ledger.gallery_changes(*key, revision)
            gallery.remove(changes.removed)
            gallery.enrol(changes.entries)
            revision = changes.revision
            if changes.complete:
                break
        self._open[key] = (gallery, revision)
        return gallery

    def save(self) -> None:
        """Writes the cache files, so that the next start need not read every vector from the ledger."""
        if self._folder is not None:
            for (encoder, version), (gallery, revision) in self._open.items():
                gallery.save(_file(self._folder, encoder, version), str(revision))

    def _opened(self, encoder: Encoder) -> tuple[FaissGallery, int]:
        if self._folder is None:
            return FaissGallery(encoder.name, encoder.version, encoder.dimension), 0
        # Read before the entries: what is committed between the two is applied again, which changes nothing.
        revision = self._ledger.embedding_revision()
        gallery = FaissGallery.open(
            _file(self._folder, encoder.name, encoder.version),
            encoder.name,
            encoder.version,
            encoder.dimension,
            lambda: self._entries(encoder),
            str(revision),
        )
        return gallery, revision

    def _entries(self, encoder: Encoder) -> Iterator[GalleryEntry]:
        for page in self._ledger.embeddings_of(encoder.name, encoder.version):
            yield from page


def _file(folder: Path, encoder: str, version: str) -> Path:
    return folder / f"{encoder}-{version}.faiss"
