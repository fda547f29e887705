"""Embeddings of a gallery's faces, made once: by the hash of what they were made of, and the state of the model."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from config.errors import StorageError
from inference.encoders.bundle import BUNDLE_FILE, Bundle
from inference.encoders.skull_pictures import Picture
from inference.types import FloatArray
from inference.whole_file import whole_file


def png_of(shown: NDArray[np.uint8]) -> bytes:
    """A picture uint8 (rows, columns) or (rows, columns, 3) RGB as PNG."""
    import cv2

    _, data = cv2.imencode(".png", shown[..., ::-1] if shown.ndim == 3 else shown)
    return data.tobytes()


class Cache:
    """Files of mode 0600: embeddings are biometric data. Deleting the folder costs nothing but time.

    Parameters
    ----------
    folder
        where it is, or will be.
    bundle
        of the encoder: a bundle that differs in anything has embeddings of its own.
    """

    def __init__(self, folder: Path, bundle: Bundle) -> None:
        manifest = bundle.manifest
        # The manifest holds the hashes of all other files.
        state = hashlib.sha256((bundle.folder / BUNDLE_FILE).read_bytes()).hexdigest()[:16]
        self._folder = folder / f"{manifest.name}-{manifest.version}-{state}"
        self._dimension = manifest.dimension

    def vector(self, digest: str) -> FloatArray | None:
        """The embedding (D,) of unit length; None where there is none that can be used."""
        try:
            found = np.load(io.BytesIO((self._folder / f"{digest}.npy").read_bytes()), allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        if found.shape != (self._dimension,) or found.dtype != np.float32 or not np.isfinite(found).all():
            return None
        return np.asarray(found, np.float32)

    def png(self, digest: str) -> bytes | None:
        """The picture that was kept beside an embedding; None where none was."""
        try:
            return (self._folder / f"{digest}.png").read_bytes()
        except OSError:
            return None

    def put(self, digest: str, vector: FloatArray, shown: Picture | None = None) -> None:
        """Keeps an embedding and, of what is slow to draw, the picture uint8 (3, S, S).

        Raises
        ------
        StorageError
            when the folder cannot be written.
        """
        try:
            if shown is not None:
                with whole_file(self._folder / f"{digest}.png") as file:
                    file.write(png_of(shown.transpose(1, 2, 0)))
            with whole_file(self._folder / f"{digest}.npy") as file:
                np.save(file, np.asarray(vector, np.float32))
        except OSError as error:
            raise StorageError(
                f"the cache {self._folder.parent} cannot be written ({error.strerror}); choose another with --cache"
            ) from None
