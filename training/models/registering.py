"""Takes a bundle into a folder of bundles: checked to the last file, whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from config.errors import EncoderError, StorageError
from inference.encoders.bundle import Bundle
from inference.encoders.registry import Registry

# Dimension of the enrolled embeddings of an encoder version; None where there are none.
EnrolledDimension = Callable[[str, str], int | None]


def check_bundle(folder: Path) -> Bundle:
    """The bundle in ``folder``, after every file's hash was compared and the encoder was loaded with its weights.

    Raises
    ------
    EncoderError
        ``BUNDLE_DAMAGED``, naming the file that is missing or differs, or what does not fit.
    """
    bundle = Bundle.read(folder.resolve())
    for name in bundle.manifest.files:
        bundle.bytes_of(name)
    bundle.calibration()
    encoder = Registry((bundle.folder.parent,), device="cpu").get(bundle.manifest.name)
    if encoder.dimension != bundle.manifest.dimension:
        raise EncoderError(
            f"bundle {bundle.manifest.name!r} says dimension {bundle.manifest.dimension}, its network gives "
            f"{encoder.dimension}; export it again",
            reason="BUNDLE_DAMAGED",
        )
    return bundle


def add_bundle(folder: Path, into: Path, known: Registry, enrolled: EnrolledDimension) -> Bundle:
    """Checks the bundle in ``folder`` and copies it below ``into``, where it takes the place of one of its name.

    Raises
    ------
    EncoderError
        ``BUNDLE_DAMAGED``; ``BUNDLE_VERSION`` when one of the same name and version has other files;
        ``BUNDLE_DIMENSION`` when embeddings of another dimension are enrolled under that name and version.
    StorageError
        when ``into`` cannot be written. What stood there stands, whatever is raised.
    """
    bundle = check_bundle(folder)
    manifest = bundle.manifest
    if manifest.name in known.names():
        other = known.bundle(manifest.name).manifest
        if other.version == manifest.version and other.files != manifest.files:
            raise EncoderError(
                f"there is a bundle {manifest.name!r} of version {manifest.version} with other files; embeddings are "
                "only compared within a version: export it under a new one",
                reason="BUNDLE_VERSION",
            )
    dimension = enrolled(manifest.name, manifest.version)
    if dimension not in (None, manifest.dimension):
        raise EncoderError(
            f"embeddings of {manifest.name!r} {manifest.version} are enrolled with dimension {dimension}, the bundle "
            f"has {manifest.dimension}: export it under a new version",
            reason="BUNDLE_DIMENSION",
        )
    try:
        _copy(bundle.folder, into / manifest.name)
    except OSError as error:
        raise StorageError(f"{into} cannot be written ({error.strerror}); nothing was added") from None
    return check_bundle(into / manifest.name)


def _copy(source: Path, target: Path) -> None:
    """The files go to a folder beside the target, which is then renamed: a killed copy leaves no half of a bundle."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source == target.resolve():
        return
    with tempfile.TemporaryDirectory(prefix=".adding-", dir=target.parent) as temporary:
        copied, before = Path(temporary) / target.name, Path(temporary) / "before"
        shutil.copytree(source, copied)
        if target.exists():
            target.rename(before)
        try:
            copied.rename(target)
        except OSError:
            if before.exists():
                before.rename(target)
            raise
