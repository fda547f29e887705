"""Where surfaces are found, and that what a scanner adds is none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from config.errors import ImagingError
from inference.imaging.grid import FieldOfView
from inference.types import LoadedSeries
from inference.verification.surface import EDGE_MM, MIN_POINTS, Surface, surfaces_of
from tests.verification.volumes import series


def ball(
    radius: float = 70.0, spacing: tuple[float, float, float] = (2.0, 1.5, 1.5), top: float = 95.0
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """A soft ball of 40 HU with a shell of bone 10 mm thick that begins 15 mm below its skin."""
    count = np.ceil(np.array([95.0 + top, 190.0, 190.0]) / spacing).astype(int)
    z, y, x = (np.arange(n) * step - 95.0 for n, step in zip(count, spacing, strict=True))
    distance = np.sqrt(z[:, None, None] ** 2 + y[None, :, None] ** 2 + x[None, None, :] ** 2)

    def inside(radius: float) -> NDArray[np.float64]:
        return np.clip((radius - distance) / 2.0 + 0.5, 0.0, 1.0)

    bone = inside(radius - 15.0) - inside(radius - 25.0)
    affine = np.eye(4)
    affine[:3, :3] = np.fliplr(np.diag(spacing[::-1]))
    affine[:3, 3] = -95.0
    return (-1000.0 + 1040.0 * inside(radius) + 900.0 * bone).astype(np.float32), affine


def named(volume: LoadedSeries) -> dict[str, Surface]:
    return {one.name: one for one in surfaces_of(volume)}


@pytest.mark.parametrize("spacing", [(1.0, 0.8, 0.8), (2.0, 1.5, 1.5), (5.0, 1.0, 1.0)])
def test_surfaces_lie_where_the_body_ends(spacing: tuple[float, float, float]) -> None:
    found = named(series(*ball(spacing=spacing)))
    skin, bone = found["skin"], found["bone"]
    away = np.linalg.norm(skin.points, axis=1)
    assert np.abs(away - 70.0).mean() < 0.8
    outwards = (skin.normals * skin.points).sum(axis=1) / away
    assert np.quantile(outwards, 0.05) > 0.9
    away = np.linalg.norm(bone.points, axis=1)
    outer = away > 50.0
    assert np.abs(np.where(outer, 55.0, 45.0) - away).mean() < 1.5
    # Both faces of the bone look away from it.
    outwards = (bone.normals * bone.points).sum(axis=1) / away
    assert np.quantile(outwards[outer], 0.05) > 0.9
    assert np.quantile(outwards[~outer], 0.95) < -0.9


def test_the_end_of_the_field_of_view_is_no_surface() -> None:
    volume = series(*ball(top=30.0))
    field = FieldOfView.of(volume)
    for one in surfaces_of(volume):
        assert field.margin(one.points).min() > EDGE_MM
        # Only the body's own normals: nothing looks straight up, as the cut would.
        high = one.points[:, 2] > 18.0
        assert one.normals[high, 2].max() < 0.75


def test_the_circle_of_reconstruction_is_no_surface() -> None:
    pixels, affine = ball()
    middle = (pixels.shape[1] - 1) / 2
    y, x = (np.arange(n) - middle for n in pixels.shape[1:])
    circle = np.hypot(y[:, None], x[None, :]) < pixels.shape[1] / 2
    # A body wider than the circle, whose skin is nowhere in it but above and below.
    wide = np.where(circle, np.maximum(pixels, 20.0), np.float32(-2000.0))
    wide[:10], wide[-10:] = -1000.0, -1000.0
    wide[:, ~circle] = -2000.0
    for one in surfaces_of(series(wide.astype(np.float32), affine)):
        assert np.hypot(one.points[:, 0], one.points[:, 1]).max() < 95.0 - EDGE_MM + 1.0


def test_table_tubes_and_crumbs_are_left_out() -> None:
    pixels, affine = ball()
    clean = named(series(pixels, affine))
    dirty = pixels.copy()
    dirty[:, -10:-8, :] = 200.0  # a table 3 mm thick
    dirty[:, 5:7, 60:62] = 300.0  # a tube in front
    dirty[40:42, 63:65, 63:65] = 2500.0  # a coil in the brain
    found = named(series(dirty, affine))
    assert found.keys() == clean.keys()
    for name, one in found.items():
        away = np.linalg.norm(one.points, axis=1)
        assert away.max() < np.linalg.norm(clean[name].points, axis=1).max() + 1.0
        assert away.min() > np.linalg.norm(clean[name].points, axis=1).min() - 1.0


def test_gain_and_coil_do_not_move_the_surfaces_of_an_mr() -> None:
    pixels, affine = ball()
    bright = np.where(pixels > 300.0, 60.0, np.maximum(pixels + 1000.0, 0.0)).astype(np.float32)
    plain = named(series(bright, affine, "MR"))
    shading = np.linspace(0.75, 1.25, pixels.shape[2], dtype=np.float32)
    other = named(series(7.0 * bright * shading, affine, "MR"))
    assert plain.keys() == other.keys() == {"skin", "inner"}
    for name, one in plain.items():
        expected, away = (np.linalg.norm(value.points, axis=1) for value in (one, other[name]))
        assert np.quantile(away, [0.1, 0.5, 0.9]) == pytest.approx(np.quantile(expected, [0.1, 0.5, 0.9]), abs=0.6)


@pytest.mark.parametrize(
    "values",
    [pytest.param(-1000.0, id="air"), pytest.param(40.0, id="body to every edge"), pytest.param(0.0, id="zero")],
)
def test_a_volume_without_an_outline_has_no_surface(values: float) -> None:
    _, affine = ball()
    assert surfaces_of(series(np.full((40, 60, 60), values, np.float32), affine)) == []
    assert surfaces_of(series(np.full((40, 60, 60), values, np.float32), affine, "MR")) == []


def test_noise_has_no_bone() -> None:
    _, affine = ball()
    noise = np.random.default_rng(0).normal(-900.0, 300.0, (60, 80, 80)).astype(np.float32)
    assert all(len(one.points) >= MIN_POINTS for one in surfaces_of(series(noise, affine)))
    assert "bone" not in named(series(noise, affine))


def test_a_picture_has_no_geometry() -> None:
    volume = series(*ball())
    with pytest.raises(ImagingError) as caught:
        surfaces_of(replace(volume, kind="radiograph", affine=None))
    assert caught.value.reason == "NO_GEOMETRY"
