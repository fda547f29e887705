"""One process at a time in a folder, whichever of a training's processes comes first; the others wait."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from config.errors import StorageError


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Holds the folder's lock, which ends with the process, however that ends; the folder is made where there is none.

    Raises
    ------
    StorageError
        when the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / ".lock").open("w")
    except OSError as error:
        raise StorageError(f"{folder} cannot be written ({error.strerror}); choose another folder") from None
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
