"""Calibrations as JSON files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from config.errors import CalibrationError
from inference.calibration.maps import ScoreMap
from inference.calibration.model import SCOPES, Calibration, Correlation
from inference.calibration.open_set import OpenSet
from inference.calibration.strata import Pair
from inference.whole_file import whole_file

FORMAT = 3


def to_json(calibration: Calibration) -> str:
    """The text of a calibration file: small enough to travel in a bundle, and the same for equal calibrations."""
    return json.dumps({"format": FORMAT, **asdict(calibration)}, sort_keys=True, allow_nan=False) + "\n"


def from_json(text: str) -> Calibration:
    """Reads what :func:`to_json` wrote.

    Raises
    ------
    CalibrationError
        ``CALIBRATION_FORMAT`` for a file of another release, ``CALIBRATION_DAMAGED`` when the text is none, or
        not a monotone, finite one. Both name the remedy.
    """
    try:
        values = json.loads(text)
        written = values.pop("format")
        if written != FORMAT:
            raise CalibrationError(
                f"the calibration has format {written!r}, this release reads format {FORMAT}; run `medreid calibrate` "
                "again, or `python -m training.calibrate` for a bundle",
                reason="CALIBRATION_FORMAT",
            )
        return _read(values)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CalibrationError(
            f"not a calibration of format {FORMAT} ({type(error).__name__}); run `medreid calibrate` again",
            reason="CALIBRATION_DAMAGED",
        ) from None


def read_calibration(path: Path) -> Calibration:
    """Reads a calibration file; CalibrationError names the file."""
    try:
        return from_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise CalibrationError(
            f"{path} cannot be read ({type(error).__name__})", reason="CALIBRATION_DAMAGED"
        ) from None
    except CalibrationError as error:
        raise CalibrationError(f"{path}: {error}", reason=error.reason) from None


def write_calibration(calibration: Calibration, path: Path) -> None:
    """Writes the file whole or not at all."""
    with whole_file(path) as file:
        file.write(to_json(calibration).encode())


def _read(values: dict[str, Any]) -> Calibration:
    overall = ScoreMap.from_values(values.pop("overall"))
    strata = {_stratum(name): ScoreMap.from_values(one) for name, one in values.pop("strata").items()}
    open_set = {_stratum(name): OpenSet.from_values(one) for name, one in values.pop("open_set").items()}
    correlations = tuple(_correlation(one) for one in values.pop("correlations"))
    found = Calibration(**values, overall=overall, strata=strata, open_set=open_set, correlations=correlations)
    if found.scope not in SCOPES or found.patients < 2:
        raise ValueError("scope or patients")
    return found


def _stratum(name: str) -> str:
    if "/" in name:
        Pair.of_name(name)
    return name


def _correlation(values: Mapping[str, Any]) -> Correlation:
    found = Correlation(**values)
    if not (abs(found.mated) <= 1 and abs(found.nonmated) <= 1):
        raise ValueError("correlation")
    return found
