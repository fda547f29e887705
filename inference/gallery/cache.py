"""A gallery on disk: one file with a checksum and a stamp, written whole or not at all.

Layout: a magic line; a line of JSON (stamp, sizes, SHA-256 of what follows); float32 vectors, little endian, row by
row; then the entries without their vectors as JSON. Nothing in it is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from config.errors import GalleryError
from inference.gallery.protocol import GalleryEntry
from inference.types import PatientKey
from inference.whole_file import whole_file

MAGIC = b"MEDREID GALLERY 1\n"
_MAX_HEADER = 65536
_TEXTS = ("study_uid", "modality", "view", "laterality", "sex", "birth_date")


class CacheUnusableError(GalleryError):
    """The file cannot be used; the gallery is rebuilt from the ledger instead."""

    reason = "GALLERY_CACHE_UNUSABLE"


@dataclass(frozen=True, slots=True)
class CacheStamp:
    """What a gallery file must say of itself to be of use."""

    encoder: str
    version: str
    dimension: int
    watermark: str


def write_cache(path: Path, stamp: CacheStamp, entries: Sequence[GalleryEntry]) -> None:
    """Writes ``path`` atomically and durably, with mode 0600."""
    vectors = np.asarray([entry.vector for entry in entries], "<f4").tobytes()
    rows = [[e.embedding_id, e.patient.issuer, e.patient.id, *(getattr(e, name) for name in _TEXTS)] for e in entries]
    table = json.dumps(rows).encode()
    header = asdict(stamp) | {
        "count": len(entries),
        "table_bytes": len(table),
        "sha256": hashlib.sha256(vectors + table).hexdigest(),
    }
    with whole_file(path) as file:
        file.writelines((MAGIC, json.dumps(header).encode(), b"\n", vectors, table))


def read_cache(path: Path, stamp: CacheStamp) -> list[GalleryEntry]:
    """The entries of a file that bears ``stamp`` and is whole.

    Raises
    ------
    CacheUnusableError
        when the file is missing, torn, damaged, of another encoder, version or dimension, or stale.
    """
    try:
        with path.open("rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                raise ValueError("no gallery file")
            header = json.loads(file.readline(_MAX_HEADER))
            if CacheStamp(**{name: header[name] for name in asdict(stamp)}) != stamp:
                raise ValueError("other encoder, version or state of the ledger")
            size = 4 * header["count"] * stamp.dimension
            # The sizes are checked against the file before memory is taken for them.
            if os.fstat(file.fileno()).st_size != file.tell() + size + header["table_bytes"]:
                raise ValueError("torn")
            body = file.read()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CacheUnusableError(f"gallery file {path.name} is not used: {error}") from None
    if hashlib.sha256(body).hexdigest() != header["sha256"]:
        raise CacheUnusableError(f"gallery file {path.name} is not used: damaged")
    vectors = np.frombuffer(body, "<f4", header["count"] * stamp.dimension).reshape(-1, stamp.dimension)
    return [
        GalleryEntry(row[0], PatientKey(row[1], row[2]), vector=vector, **dict(zip(_TEXTS, row[3:], strict=True)))
        for row, vector in zip(json.loads(body[size:]), vectors, strict=True)
    ]
