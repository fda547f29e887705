"""What the scores of a verifier are worth: calibrations that ship beside the verifiers, in the encoders' format.

Their maps are fitted on candidates that an embedding nominated, because nomination changes who the strangers are, and
their guards on pairs of strangers as they come (:func:`inference.evidence.geometric_evidence`).
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from inference.calibration import Calibration, read_calibration


def verifier_calibration(name: str, version: str, folder: Path | None = None) -> Calibration | None:
    """The calibration of that verifier version; None where there is none, or it is for another version.

    ``folder`` may hold a site's own, which goes before the one of the package.

    Raises
    ------
    CalibrationError
        when the file is damaged: falling back silently would change decisions unseen.
    """
    for where in (folder, package_calibrations()):
        path = where / f"{name}.json" if where is not None else None
        if path is not None and path.is_file():
            found = read_calibration(path)
            if (found.encoder, found.version) == (name, version):
                return found
    return None


def package_calibrations() -> Path:
    """The folder with the verifiers' calibrations that ship with MedReID."""
    return Path(str(resources.files("inference.verification"))) / "calibrations"
