"""How well two registered surfaces agree, and how much of them can be compared at all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inference.imaging.grid import Vector
from inference.verification.volume_cloud import Cloud, are_trunks

# Residual at which a point counts half: scans of one person agree within a fraction of it, of two people seldom.
HALF_MM = 0.7
# Breath moves a trunk: with this its scores mean much the same as those of heads.
TRUNK_HALF_MM = 1.2
# A neighbour further away says nothing (points are about a centimetre apart), nor does one that looks elsewhere.
REACH_MM, LEAST_NORMAL = 20.0, 1.6
EDGE_MM = 4.0
# As if this many more points had been compared and none had agreed: small overlaps prove less.
DOUBT_POINTS = 80


@dataclass(frozen=True, slots=True)
class Agreement:
    """One surface after registration.

    score
        share of the compared points that agree, in [0, 1], mean of both directions; of a trunk only its back counts.
    residual_mm
        median distance to the other surface along the normals.
    overlap
        share of points in the other's field of view; the smaller of both directions.
    """

    score: float
    residual_mm: float
    overlap: float


def agreement(moving: Cloud, fixed: Cloud, transform: NDArray[np.float64]) -> Agreement:
    """How well ``moving``, taken onto ``fixed`` by ``transform`` (4, 4), agrees with it."""
    trunks = are_trunks(moving, fixed)
    half = TRUNK_HALF_MM if trunks else HALF_MM
    ways = [
        residuals(moving, fixed, transform)[moving.still(trunks)],
        residuals(fixed, moving, np.asarray(np.linalg.inv(transform), np.float64))[fixed.still(trunks)],
    ]
    compared = [way[~np.isnan(way)] for way in ways]
    scores = [float((1.0 / (1.0 + np.square(way / half))).sum() / (len(way) + DOUBT_POINTS)) for way in compared]
    medians = [float(np.median(way)) if len(way) else np.inf for way in compared]
    return Agreement(
        score=float(np.mean(scores)),
        residual_mm=min(REACH_MM, float(np.mean(medians))),
        overlap=min(len(part) / len(way) for part, way in zip(compared, ways, strict=True)),
    )


def residuals(moving: Cloud, fixed: Cloud, transform: NDArray[np.float64]) -> Vector:
    """(n,) millimetres from each moving point to the fixed surface along the normals of both.

    Infinite where the surface is not near or looks elsewhere; NaN where the fixed one's field of view had ended.
    """
    points = moving.points @ transform[:3, :3].T + transform[:3, 3]
    normals = moving.normals @ transform[:3, :3].T
    distance, number = fixed.nearest(points, normals, REACH_MM)
    both = normals + fixed.normals[number]
    length = np.linalg.norm(both, axis=1)
    along = np.abs(((points - fixed.points[number]) * both).sum(axis=1)) / np.maximum(length, 1e-6)
    there = np.isfinite(distance) & (length > LEAST_NORMAL)
    return np.where(fixed.box.margin(points) > EDGE_MM, np.where(there, along, np.inf), np.nan)
