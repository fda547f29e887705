"""Which encoders there are. A bundle names its network; the network's loader is imported when it is first asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from importlib import import_module, resources
from pathlib import Path

from config.errors import EncoderError
from inference.calibration import Calibration
from inference.encoders.bundle import BUNDLE_FILE, Bundle, read_site_calibration
from inference.encoders.protocol import Encoder

# Network name in bundle.toml -> module with `load(bundle, device, batch_size) -> Encoder`.
NETWORKS = {
    "boneprint": "inference.encoders.boneprint",
    "efficientnet-lite0": "inference.encoders.general",
    "face-depth": "inference.encoders.ct_face",
    "skull-face": "inference.encoders.skull_face",
    "face-network": "inference.encoders.face_network",
    "trained": "inference.encoders.trained",
}

Loader = Callable[[Bundle, str, int], Encoder]


class Registry:
    """Encoders by name, from the bundles of the package and of further folders.

    Parameters
    ----------
    folders
        folders of bundles; a bundle in a later folder takes the place of an earlier one of that name, and any takes
        the place of the package's. A folder that does not exist holds none.
    device
        ``auto`` (CUDA where there is one), ``cpu``, ``cuda`` or ``cuda:N``.
    batch_size
        images per pass through a network.
    calibrations
        folder with the site's own calibrations, which go before those of the bundles.
    """

    def __init__(
        self,
        folders: Sequence[Path] = (),
        device: str = "auto",
        batch_size: int = 8,
        calibrations: Path | None = None,
    ) -> None:
        self._device, self._batch_size, self._calibrations = device, batch_size, calibrations
        self._folders = {
            item.name: item
            for folder in (package_bundles(), *folders)
            if folder.is_dir()
            for item in sorted(folder.iterdir())
            if (item / BUNDLE_FILE).is_file()
        }
        self._bundles: dict[str, Bundle] = {}
        self._encoders: dict[str, Encoder] = {}
        self._lock = threading.RLock()

    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self._folders))

    def bundle(self, name: str) -> Bundle:
        """The bundle's metadata, without loading its weights.

        Raises
        ------
        EncoderError
            ``ENCODER_UNKNOWN``, or ``BUNDLE_DAMAGED`` with what is wrong.
        """
        with self._lock:
            if name not in self._folders:
                raise EncoderError(
                    f"there is no encoder {name!r}; there are: {', '.join(self.names()) or 'none'}",
                    reason="ENCODER_UNKNOWN",
                )
            if name not in self._bundles:
                self._bundles[name] = Bundle.read(self._folders[name])
            return self._bundles[name]

    def get(self, name: str) -> Encoder:
        """The encoder, loaded when it is asked for the first time; raises what :meth:`bundle` does."""
        with self._lock:
            if name not in self._encoders:
                bundle = self.bundle(name)
                network = bundle.manifest.network
                if network not in NETWORKS:
                    raise EncoderError(
                        f"bundle {name!r} needs the network {network!r}, which this release lacks; update it",
                        reason="BUNDLE_DAMAGED",
                    )
                load: Loader = import_module(NETWORKS[network]).load
                self._encoders[name] = load(bundle, self._device, self._batch_size)
            return self._encoders[name]

    def calibration(self, name: str) -> Calibration | None:
        """The calibration in force: the site's own for this encoder version, else the bundle's, else None.

        Raises
        ------
        EncoderError, CalibrationError
            when the one that should be used is damaged: falling back silently would change decisions unseen.
        """
        bundle = self.bundle(name)
        if self._calibrations is not None:
            found = read_site_calibration(self._calibrations, name, bundle.manifest.version)
            if found is not None:
                return found
        return bundle.calibration()


def package_bundles() -> Path:
    """The folder with the bundles that ship with MedReID."""
    return Path(str(resources.files("inference.encoders"))) / "bundles"
