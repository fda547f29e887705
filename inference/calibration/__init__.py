"""Scores become likelihood ratios, per encoder version, kind of pair and quality, and claim no more than their data."""

from inference.calibration.files import FORMAT, from_json, read_calibration, to_json, write_calibration
from inference.calibration.model import ANY, Calibration, Correlation, Scope, fit_calibration, source_name
from inference.calibration.strata import OVERALL, Pair, Side, quality_band

__all__ = [
    "ANY",
    "FORMAT",
    "OVERALL",
    "Calibration",
    "Correlation",
    "Pair",
    "Scope",
    "Side",
    "fit_calibration",
    "from_json",
    "quality_band",
    "read_calibration",
    "source_name",
    "to_json",
    "write_calibration",
]
