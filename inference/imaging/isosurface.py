"""Depth of an iso-surface through VTK's off-screen z-buffer. The twin of :mod:`inference.imaging.raycast`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from ctypes import CDLL
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.imaging.grid import Grid, View
from inference.types import FloatArray

EGL_PACKAGES = "libegl1 libegl-mesa0 libgl1-mesa-dri"
_PROBE_SECONDS = 60.0


@cache
def egl_available() -> bool:
    """Whether VTK can render without a screen here. Found out once, in a process of its own: a bad driver crashes."""
    try:
        CDLL("libEGL.so.1")
    except OSError:
        return False
    command = [sys.executable, "-c", "from inference.imaging.isosurface import probe; probe()"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_PROBE_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def probe() -> None:
    """Renders a ball and exits with 1 unless its depth comes out right."""
    axis = np.arange(-8.0, 9.0)
    radius = np.sqrt(axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis[None, None, :] ** 2)
    grid = Grid((5.0 - radius).astype(np.float32), np.full(3, -8.0), 1.0)
    axes = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
    depth, mask = render(grid, 0.0, View(np.zeros(3), axes, 9, 16.0, -20.0, 20.0))
    sys.exit(0 if mask[4, 4] and abs(float(depth[4, 4]) + 5.0) < 0.5 else 1)


def render(grid: Grid, threshold: float, view: View) -> tuple[FloatArray, NDArray[np.bool_]]:
    """(depth, mask) of the surface nearest to the viewer at each pixel.

    ``depth`` is float32 (size, size) millimetres, 0 where ``mask`` is False. Call :func:`egl_available` first.
    """
    (found,) = renderings(grid, threshold, [view])
    return found


def renderings(grid: Grid, threshold: float, views: Sequence[View]) -> Iterator[tuple[FloatArray, NDArray[np.bool_]]]:
    """What :func:`render` gives for each of ``views``, of a surface that is made once."""
    # Without a screen VTK ends at EGL anyway, but only after a warning about the X server that is not there.
    os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")
    from vtkmodules import vtkRenderingOpenGL2  # noqa: F401  (registers the renderer)
    from vtkmodules.vtkRenderingCore import vtkActor, vtkPolyDataMapper, vtkRenderer, vtkRenderWindow

    mapper = vtkPolyDataMapper()
    mapper.SetInputData(_surface(grid, threshold))
    mapper.ScalarVisibilityOff()
    actor = vtkActor()
    actor.SetMapper(mapper)
    renderer = vtkRenderer()
    renderer.AddActor(actor)
    window = vtkRenderWindow()
    window.SetOffScreenRendering(1)
    window.SetMultiSamples(0)
    window.AddRenderer(renderer)
    try:
        for view in views:
            window.SetSize(view.size, view.size)
            _aim(renderer.GetActiveCamera(), view)
            window.Render()
            levels = _depth_buffer(window, view.size)
            mask = levels < 1.0
            depth = view.near + levels * (view.far - view.near)
            yield np.where(mask, depth, 0.0).astype(np.float32), mask
    finally:
        window.Finalize()


def _surface(grid: Grid, threshold: float) -> Any:
    from vtkmodules.util import numpy_support
    from vtkmodules.vtkCommonDataModel import vtkImageData
    from vtkmodules.vtkFiltersCore import vtkFlyingEdges3D

    image = vtkImageData()
    image.SetDimensions(*grid.values.shape[::-1])
    image.SetSpacing(grid.spacing, grid.spacing, grid.spacing)
    image.SetOrigin(*(float(value) for value in grid.origin))
    bridge: Any = numpy_support  # VTK's Python modules are typed only in part
    image.GetPointData().SetScalars(bridge.numpy_to_vtk(np.ascontiguousarray(grid.values).ravel(), deep=True))
    surface = vtkFlyingEdges3D()
    surface.SetInputData(image)
    surface.SetValue(0, threshold)
    surface.ComputeNormalsOff()
    surface.Update()
    return surface.GetOutput()


def _aim(camera: Any, view: View) -> None:
    eye = view.centre - view.axes[2] * (view.near - 1.0)
    camera.ParallelProjectionOn()
    camera.SetFocalPoint(*(float(value) for value in view.centre))
    camera.SetPosition(*(float(value) for value in eye))
    camera.SetViewUp(*(float(value) for value in view.axes[1]))
    camera.SetParallelScale(view.extent / 2.0)
    camera.SetClippingRange(1.0, 1.0 + view.far - view.near)


def _depth_buffer(window: Any, size: int) -> NDArray[np.float64]:
    """(size, size) in [0, 1], top row first."""
    from vtkmodules.util import numpy_support
    from vtkmodules.vtkCommonCore import vtkFloatArray

    levels = vtkFloatArray()
    window.GetZbufferData(0, 0, size - 1, size - 1, levels)
    bridge: Any = numpy_support
    return np.asarray(bridge.vtk_to_numpy(levels).reshape(size, size)[::-1], dtype=np.float64)
