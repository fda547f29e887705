"""A bundle: one folder with all that makes an encoder; weights, metadata, calibration. Nothing is ever downloaded.

``bundle.toml``::

    name = "general"            # the folder's name as well
    version = "1.0"             # changes whenever an embedding would
    network = "efficientnet-lite0"
    dimension = 1280
    description, licence, trained_on, recipe    # text for people
    [input]                     # free numbers for the network's loader
    [files]                     # file in this folder = SHA-256
    [package_files]             # "importable.package/path/in/it" = SHA-256: weights that an installed package brings
    calibration = "calibration.json"            # optional; of [files]
    supports_automatic_link = false             # optional: its candidates go to review unless other evidence joins them

A bundle that a recipe trained (``network = "trained"``, read by :mod:`inference.encoders.trained`) says besides::

    intended_use                # text for people
    [model]
    name = "efficientnet-lite0" # what inference.networks.build takes
    modalities = ["DX", "CT"]   # what it was trained on and takes; a place in this list is the modality's number
    [model.settings]            # of the network
    [serving]
    backend = "onnx"            # what serves on a CPU: torch, onnx or onnx-int8
    [metrics]                   # what was measured of it, on what
    [training]                  # data, seed, commit, machine: how it came to be

Its files are ``weights.safetensors`` and, where a backend needs them, ``model.onnx`` and ``model.int8.onnx``. The
backend is the fastest of those whose loss of accuracy the export measured and accepted: it is chosen once, on the same
images as the metrics, and every node that runs the bundle on a CPU computes the same embeddings.
"""

from __future__ import annotations

import hashlib
import importlib.util
import tomllib
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from config.errors import CalibrationError, EncoderError
from inference.calibration import Calibration, from_json, read_calibration

BUNDLE_FILE = "bundle.toml"
# Published figures of these methods cannot support an automatic link, and no bundle of theirs may say that it does.
REVIEW_ONLY_NETWORKS = frozenset({"boneprint"})
_MAX_BUNDLE_TOML = 65536
Backend = Literal["torch", "onnx", "onnx-int8"]
_NAME = r"^[a-z0-9][a-z0-9._-]{0,63}$"


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelTable(_Table):
    """Which network, with which settings, and the modalities (as in :mod:`inference.encoders.families`) it takes."""

    name: str
    settings: dict[str, Any] = Field(default_factory=dict)
    modalities: tuple[str, ...] = ()


class ServingTable(_Table):
    """What serves on a CPU."""

    backend: Backend = "torch"


class Manifest(_Table):
    """What ``bundle.toml`` says. An unknown key is an error."""

    name: str = Field(pattern=_NAME)
    version: str = Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z.+_-]{0,63}$")
    network: str
    dimension: int = Field(ge=1, le=65536)
    description: str
    licence: str
    trained_on: str
    recipe: str
    input: dict[str, Any] = Field(default_factory=dict)
    files: dict[str, str] = Field(default_factory=dict)
    package_files: dict[str, str] = Field(default_factory=dict)
    calibration: str = ""
    supports_automatic_link: bool = True
    intended_use: str = ""
    model: ModelTable | None = None
    serving: ServingTable = ServingTable()
    metrics: dict[str, Any] = Field(default_factory=dict)
    training: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _never_alone(self) -> Self:
        claims = "supports_automatic_link" in self.model_fields_set and self.supports_automatic_link
        if claims and self.network in REVIEW_ONLY_NETWORKS:
            raise ValueError(f"no bundle of the network {self.network!r} supports an automatic link")
        return self

    @property
    def may_link(self) -> bool:
        """Whether its evidence alone may bring an automatic link about."""
        return self.supports_automatic_link and self.network not in REVIEW_ONLY_NETWORKS


class Bundle:
    """A bundle whose manifest has been read. Files are checked against their hash whenever they are opened."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder, self.manifest = folder, manifest

    @classmethod
    def read(cls, folder: Path) -> Bundle:
        """Reads and validates ``bundle.toml``; EncoderError names the bundle and what is wrong."""
        try:
            with (folder / BUNDLE_FILE).open("rb") as file:
                text = file.read(_MAX_BUNDLE_TOML + 1)
            if len(text) > _MAX_BUNDLE_TOML:
                raise ValueError("too large")
            manifest = Manifest.model_validate(tomllib.loads(text.decode()))
        except (OSError, ValueError, ValidationError) as error:
            raise EncoderError(
                f"bundle {folder.name!r}: {BUNDLE_FILE} cannot be used: {_short(error)}", reason="BUNDLE_DAMAGED"
            ) from None
        if manifest.name != folder.name:
            raise EncoderError(f"bundle {folder.name!r} calls itself {manifest.name!r}; rename the folder")
        return cls(folder, manifest)

    def bytes_of(self, name: str) -> bytes:
        """Contents of one of the bundle's own files.

        Raises
        ------
        EncoderError
            ``BUNDLE_DAMAGED`` when it is not listed, missing, or its hash differs.
        """
        if name not in self.manifest.files or Path(name).name != name:
            raise EncoderError(f"bundle {self.manifest.name!r} lists no file {name!r}", reason="BUNDLE_DAMAGED")
        return self._checked(self.folder / name, self.manifest.files[name])

    def package_bytes(self) -> bytes:
        """Contents of the one weights file that an installed package brings."""
        if len(self.manifest.package_files) != 1:
            raise EncoderError(f"bundle {self.manifest.name!r} needs exactly one package file", reason="BUNDLE_DAMAGED")
        ((where, digest),) = self.manifest.package_files.items()
        package, _, inside = where.partition("/")
        found = importlib.util.find_spec(package)
        if found is None or not found.submodule_search_locations:
            raise EncoderError(
                f"bundle {self.manifest.name!r} takes its weights from the package {package}; install it",
                reason="BUNDLE_DAMAGED",
            )
        return self._checked(Path(found.submodule_search_locations[0]) / inside, digest)

    def calibration(self) -> Calibration | None:
        """The calibration that came with the bundle; None where it has none."""
        if not self.manifest.calibration:
            return None
        try:
            found = from_json(self.bytes_of(self.manifest.calibration).decode())
            found.require(self.manifest.name, self.manifest.version)
        except (CalibrationError, UnicodeDecodeError) as error:
            raise EncoderError(f"bundle {self.manifest.name!r}: {error}", reason="BUNDLE_DAMAGED") from None
        return found

    def _checked(self, path: Path, digest: str) -> bytes:
        try:
            content = path.read_bytes()
        except OSError as error:
            raise EncoderError(
                f"bundle {self.manifest.name!r}: {path.name} cannot be read ({error.strerror}); install it again",
                reason="BUNDLE_DAMAGED",
            ) from None
        if hashlib.sha256(content).hexdigest() != digest:
            raise EncoderError(
                f"bundle {self.manifest.name!r}: {path.name} is not the file that {BUNDLE_FILE} describes "
                "(SHA-256 differs); install it again",
                reason="BUNDLE_DAMAGED",
            )
        return content


def site_calibration(folder: Path, name: str) -> Path:
    """Where a site's own calibration of an encoder lies."""
    return folder / f"{name}.json"


def read_site_calibration(folder: Path, name: str, version: str) -> Calibration | None:
    """The site's calibration of that encoder version; None where there is none, or it is for another version."""
    path = site_calibration(folder, name)
    if not path.is_file():
        return None
    found = read_calibration(path)
    return found if (found.encoder, found.version) == (name, version) else None


def _short(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
    return error.strerror or "unreadable" if isinstance(error, OSError) else str(error)
