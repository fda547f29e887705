"""The output folder of a training: whose it is, and what lies where.

``recipe.json`` and ``data.txt`` say what is trained on what: a training goes on only with the same of both. ``store``
and ``cohort`` can be deleted and are made anew; ``checkpoints/last.ckpt`` is where it goes on, and ``best.ckpt``, which
validation liked best, what is exported.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable
from pathlib import Path

from config.errors import StorageError, TrainingError
from inference.whole_file import whole_file
from training.learning.catalogue import Image
from training.learning.recipe import Recipe


def is_first_process() -> bool:
    """Whether this process is the one of several that writes (torchrun's, or Lightning's own numbering)."""
    return int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0"))) == 0


class Folder:
    """The paths in an output folder, and the rules for going on in one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.store, self.logs = path / "store", path / "logs"
        self.last, self.best = path / "checkpoints" / "last.ckpt", path / "checkpoints" / "best.ckpt"
        self.start = path / "start.safetensors"
        self.failures = path / "failures.csv"

    def claim(self, recipe: Recipe, resume: bool) -> None:
        """Makes the folder this recipe's.

        Raises
        ------
        TrainingError
            ``OUT_IN_USE`` when it holds a training and going on was not asked for; ``RECIPE_CHANGED`` when it was, and
            the recipe is another one.
        """
        text, place = recipe.model_dump_json(indent=1), self.path / "recipe.json"
        if not place.is_file():
            self._write(place, text.encode())
        elif not resume:
            raise TrainingError(
                f"{self.path} holds a training already: go on with --resume, or choose another folder",
                reason="OUT_IN_USE",
            )
        elif place.read_text(encoding="utf-8") != text:
            raise TrainingError(
                f"{self.path} holds the training of another recipe (see recipe.json in it): choose another folder",
                reason="RECIPE_CHANGED",
            )

    def same_data(self, digest: str) -> None:
        """Raises TrainingError ``DATA_CHANGED`` when the training began on other images, patients or splits."""
        place = self.path / "data.txt"
        if not place.is_file():
            self._write(place, digest.encode())
        elif place.read_text(encoding="utf-8") != digest:
            raise TrainingError(
                f"{self.path} holds a training on other data: a manifest has changed; choose another folder",
                reason="DATA_CHANGED",
            )

    def write_failures(self, failures: Iterable[tuple[Image, str]]) -> None:
        """Lists the images that cannot be used, one on each line: manifest, path, reason."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(("manifest", "path", "reason"))
        writer.writerows((image.manifest.path, image.row.path, reason) for image, reason in failures)
        self._write(self.failures, text.getvalue().encode(errors="surrogateescape"))

    def _write(self, path: Path, content: bytes) -> None:
        try:
            with whole_file(path) as file:
                file.write(content)
        except OSError as error:
            raise StorageError(f"{self.path} cannot be written ({error.strerror}); choose another folder") from None
