"""Volume rendering of bone from in front, orthographic: through VTK where it can render without a screen, else on the
CPU. Both composite front to back with one transfer function, which lies in ``bone_view.toml`` beside this file.
"""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.imaging.grid import Grid
from inference.types import FloatArray

_FILE = "bone_view.toml"
# The fixed point mapper holds unsigned 16 bit without scaling; units are moved so that air is 0.
_OFFSET, _HIGHEST = 1024.0, 4095.0
# Steps of the mapper's rays, as a share of a voxel.
_STEP = 0.7


@dataclass(frozen=True, slots=True)
class BoneLook:
    """``opacity`` (n, 2) HU and opacity per mm; ``colour`` (n, 4) HU and RGB in [0, 1]; the rest is the lamp."""

    opacity: NDArray[np.float64]
    colour: NDArray[np.float64]
    ambient: float
    diffuse: float
    specular: float
    power: float

    @property
    def threshold(self) -> float:
        """HU at which bone begins to be seen."""
        return float(self.opacity[0, 0])


@dataclass(frozen=True, slots=True)
class Frame:
    """What the picture shows: a square of ``side`` millimetres about ``x`` and ``z`` (LPS), ``size`` pixels wide."""

    x: float
    z: float
    side: float
    size: int


@cache
def bone_look() -> BoneLook:
    """The packaged transfer function."""
    text = resources.files("inference.imaging").joinpath(_FILE).read_text(encoding="utf-8")
    values = tomllib.loads(text)
    return BoneLook(np.array(values["opacity"]), np.array(values["colour"]), **values["light"])


def render_on_cpu(grid: Grid, frame: Frame, look: BoneLook) -> NDArray[np.uint8]:
    """uint8 (size, size, 3) RGB on black, the patient's left on the right: sheet after sheet, from the front."""
    import cv2

    volume = grid.values
    shown = np.flatnonzero((volume > look.threshold).any(axis=(0, 2)))
    rest = np.ones(volume[:, 0].shape, np.float32)
    picture = np.zeros((*rest.shape, 3), np.float32)
    for depth in shown.tolist():
        z, x = np.nonzero((volume[:, depth] > look.threshold) & (rest > 1e-3))
        units = volume[z, depth, x]
        opaque = np.interp(units, look.opacity[:, 0], look.opacity[:, 1])
        alpha = (1.0 - (1.0 - opaque) ** grid.spacing).astype(np.float32)
        weight = rest[z, x] * alpha * _shade(volume, (z, depth, x), look)
        for channel in range(3):
            tint = np.interp(units, look.colour[:, 0], look.colour[:, 1 + channel])
            picture[z, x, channel] += weight * tint.astype(np.float32)
        rest[z, x] *= np.float32(1.0) - alpha
    per = frame.side / frame.size / grid.spacing
    first = -0.5 * frame.side + 0.5 * frame.side / frame.size
    left, top = frame.x + first - grid.origin[0], frame.z - first - grid.origin[2]
    matrix = np.array([[per, 0.0, left / grid.spacing], [0.0, -per, top / grid.spacing]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    placed = cv2.warpAffine(picture, matrix, (frame.size, frame.size), flags=flags)
    return np.asarray(np.clip(placed * 255.0, 0, 255).round(), np.uint8)


def _shade(volume: FloatArray, place: tuple[Any, int, Any], look: BoneLook) -> FloatArray:
    """Light from voxels of one sheet under a lamp at the camera, by how their surface faces it."""
    z, y, x = place
    deep, high, wide = volume.shape[1] - 1, volume.shape[0] - 1, volume.shape[2] - 1
    facing = volume[z, min(y + 1, deep), x] - volume[z, max(y - 1, 0), x]
    up = volume[np.minimum(z + 1, high), y, x] - volume[np.maximum(z - 1, 0), y, x]
    across = volume[z, y, np.minimum(x + 1, wide)] - volume[z, y, np.maximum(x - 1, 0)]
    length = np.sqrt(facing**2 + up**2 + across**2)
    cosine = np.maximum(facing / np.maximum(length, 1e-3), 0.0)
    light = look.ambient + look.diffuse * cosine + look.specular * cosine**look.power
    return np.asarray(light, np.float32)


def render_by_vtk(grid: Grid, frame: Frame, look: BoneLook) -> NDArray[np.uint8]:
    """The twin of :func:`render_on_cpu`. Call :func:`inference.imaging.isosurface.egl_available` first."""
    # Without a screen VTK ends at EGL anyway, but only after a warning about the X server that is not there.
    os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")
    from vtkmodules import vtkRenderingOpenGL2, vtkRenderingVolumeOpenGL2  # noqa: F401  (registers the renderer)
    from vtkmodules.vtkRenderingCore import vtkLight, vtkRenderer, vtkRenderWindow, vtkVolume
    from vtkmodules.vtkRenderingVolume import vtkFixedPointVolumeRayCastMapper

    mapper = vtkFixedPointVolumeRayCastMapper()
    mapper.SetInputData(_image(grid))
    # Left to itself the mapper trades quality for speed without a word.
    mapper.SetAutoAdjustSampleDistances(0)
    mapper.SetSampleDistance(_STEP * grid.spacing)
    mapper.SetImageSampleDistance(1.0)
    volume = vtkVolume()
    volume.SetMapper(mapper)
    volume.SetProperty(_property(look))
    renderer = vtkRenderer()
    renderer.AddVolume(volume)
    renderer.SetBackground(0.0, 0.0, 0.0)
    renderer.AutomaticLightCreationOff()
    lamp = vtkLight()
    lamp.SetLightTypeToHeadlight()
    renderer.AddLight(lamp)
    window = vtkRenderWindow()
    window.SetOffScreenRendering(1)
    window.SetMultiSamples(0)
    window.SetSize(frame.size, frame.size)
    window.AddRenderer(renderer)
    _aim(renderer.GetActiveCamera(), grid, frame)
    window.Render()
    picture = _pixels(window, frame.size)
    window.Finalize()
    return picture


def _image(grid: Grid) -> Any:
    from vtkmodules.util import numpy_support
    from vtkmodules.vtkCommonDataModel import vtkImageData

    image = vtkImageData()
    image.SetDimensions(*grid.values.shape[::-1])
    image.SetSpacing(*(float(grid.spacing),) * 3)
    image.SetOrigin(*(float(value) for value in grid.origin))
    bridge: Any = numpy_support  # VTK's Python modules are typed only in part
    stored = np.clip(grid.values + np.float32(_OFFSET), 0, _HIGHEST).astype(np.uint16)
    image.GetPointData().SetScalars(bridge.numpy_to_vtk(np.ascontiguousarray(stored).ravel(), deep=True))
    return image


def _property(look: BoneLook) -> Any:
    from vtkmodules.vtkCommonDataModel import vtkPiecewiseFunction
    from vtkmodules.vtkRenderingCore import vtkColorTransferFunction, vtkVolumeProperty

    opacity = vtkPiecewiseFunction()
    opacity.AddPoint(0.0, 0.0)
    for units, alpha in look.opacity:
        opacity.AddPoint(float(units) + _OFFSET, float(alpha))
    colour = vtkColorTransferFunction()
    for units, *rgb in look.colour:
        colour.AddRGBPoint(float(units) + _OFFSET, *(float(value) for value in rgb))
    made = vtkVolumeProperty()
    made.SetScalarOpacity(opacity)
    made.SetScalarOpacityUnitDistance(1.0)
    made.SetColor(colour)
    made.SetInterpolationTypeToLinear()
    made.ShadeOn()
    made.SetAmbient(look.ambient)
    made.SetDiffuse(look.diffuse)
    made.SetSpecular(look.specular)
    made.SetSpecularPower(look.power)
    return made


def _aim(camera: Any, grid: Grid, frame: Frame) -> None:
    middle = float(grid.origin[1] + grid.spacing * (grid.values.shape[1] - 1) / 2.0)
    reach = 2.0 * frame.side
    camera.ParallelProjectionOn()
    camera.SetFocalPoint(frame.x, middle, frame.z)
    camera.SetPosition(frame.x, middle - reach, frame.z)
    camera.SetViewUp(0.0, 0.0, 1.0)
    camera.SetParallelScale(frame.side / 2.0)
    camera.SetClippingRange(1.0, 2.0 * reach)


def _pixels(window: Any, size: int) -> NDArray[np.uint8]:
    """(size, size, 3), top row first."""
    from vtkmodules.util import numpy_support
    from vtkmodules.vtkCommonCore import vtkUnsignedCharArray

    found = vtkUnsignedCharArray()
    window.GetRGBACharPixelData(0, 0, size - 1, size - 1, 0, found)
    bridge: Any = numpy_support
    return np.ascontiguousarray(bridge.vtk_to_numpy(found).reshape(size, size, 4)[::-1, :, :3], dtype=np.uint8)
