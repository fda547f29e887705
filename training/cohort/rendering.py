"""Volume rendering of bone: through VTK where it can render without a screen, else on the CPU by shear and warp.

Both composite front to back along parallel rays, with the same transfer function and a lamp beside the camera. The
CPU's way shades voxels in the volume and lays each sheet of it over the picture where its rays meet it, after P.
Lacroute and M. Levoy, "Fast volume rendering using a shear-warp factorization of the viewing transformation"
(SIGGRAPH 1994).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from training.cohort.implicit import Field, Matrix, rotation

_AMBIENT, _DIFFUSE, _GLOSS = 0.26, 0.95, 18.0
# Opacity of bone that has fully come up, per millimetre of ray.
_OPAQUE = 0.55


@dataclass(frozen=True, slots=True)
class Look:
    """Opacity rises from ``threshold`` HU over ``softness`` HU; ``lamp`` is degrees right and up of the camera."""

    threshold: float
    softness: float
    tint: tuple[float, float, float]
    lamp: tuple[float, float]
    shine: float
    depth_cue: float


@dataclass(frozen=True, slots=True)
class Scene:
    """``volume`` is HU (z, y, x) in patient axes, isotropic; the camera looks at its middle from in front, turned by
    ``yaw`` and ``pitch`` degrees; ``shift`` moves the picture right and up, ``extent`` is its width (mm)."""

    volume: Field
    voxel: float
    yaw: float
    pitch: float
    shift: tuple[float, float]
    extent: float
    size: int

    def axes(self) -> Matrix:
        """Rows: the picture's right, its up and towards the viewer, in patient x, y, z."""
        straight = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
        turned: Matrix = straight @ (rotation(0.0, 0.0, self.yaw) @ rotation(self.pitch, 0.0, 0.0)).T
        return turned


def picture(scene: Scene, look: Look) -> NDArray[np.uint8]:
    """uint8 (size, size, 3) RGB on black."""
    from inference.imaging.isosurface import egl_available

    return through_vtk(scene, look) if egl_available() else by_shear_warp(scene, look)


def by_shear_warp(scene: Scene, look: Look) -> NDArray[np.uint8]:
    """The CPU's twin of :func:`through_vtk`."""
    light = _lit(scene, look)
    axes = scene.axes()
    depth = scene.volume.shape[1]
    order = range(depth) if axes[2, 1] < 0 else range(depth - 1, -1, -1)
    step = scene.voxel / abs(float(axes[2, 1]))
    left = np.ones((scene.size, scene.size), np.float32)
    shade = np.zeros_like(left)
    for number in order:
        sheet = scene.volume[:, number, :]
        if float(sheet.max()) <= look.threshold:
            continue
        matrix = _onto_picture(scene, axes, number)
        values = cv2.warpAffine(sheet, matrix, (scene.size, scene.size), flags=cv2.INTER_LINEAR, borderValue=-1000.0)
        shown = cv2.warpAffine(light[:, number, :], matrix, (scene.size, scene.size), flags=cv2.INTER_LINEAR)
        rise = np.clip((values - np.float32(look.threshold)) * np.float32(1 / look.softness), 0, 1)
        alpha = np.float32(1) - np.power(np.float32(1 - _OPAQUE), rise * np.float32(step))
        shade += left * alpha * shown
        left *= np.float32(1) - alpha
    return _coloured(shade, look)


def _lit(scene: Scene, look: Look) -> Field:
    """Brightness of every voxel under the lamp, nearer ones brighter."""
    volume, axes = scene.volume, scene.axes()
    bright = np.zeros_like(volume)
    z, y, x = np.nonzero(volume > look.threshold)
    edges = [np.clip(index, 1, size - 2) for index, size in zip((z, y, x), volume.shape, strict=True)]
    z1, y1, x1 = edges
    slope = np.stack(
        [
            volume[z1, y1, x1 - 1] - volume[z1, y1, x1 + 1],
            volume[z1, y1 - 1, x1] - volume[z1, y1 + 1, x1],
            volume[z1 - 1, y1, x1] - volume[z1 + 1, y1, x1],
        ],
        axis=1,
    )
    slope /= np.maximum(np.linalg.norm(slope, axis=1, keepdims=True), 1e-3)
    lamp = lamp_direction(axes, look).astype(np.float32)
    half = lamp + axes[2].astype(np.float32)
    half /= np.linalg.norm(half)
    value = np.float32(_AMBIENT) + np.float32(_DIFFUSE) * np.maximum(slope @ lamp, 0)
    value += np.float32(look.shine) * np.power(np.maximum(slope @ half, 0), np.float32(_GLOSS))
    away = (y - volume.shape[1] / 2) * np.float32(axes[2, 1]) + (x - volume.shape[2] / 2) * np.float32(axes[2, 0])
    far = np.clip(np.float32(0.5) - away / np.float32(volume.shape[1]), 0, 1)
    bright[z, y, x] = value * (np.float32(1) - np.float32(look.depth_cue) * far)
    return bright


def lamp_direction(axes: Matrix, look: Look) -> Matrix:
    """Unit vector towards the lamp."""
    right, up = np.radians(look.lamp)
    toward: Matrix = axes[2] + np.tan(right) * axes[0] + np.tan(up) * axes[1]
    return toward / np.linalg.norm(toward)


def _onto_picture(scene: Scene, axes: Matrix, number: int) -> Matrix:
    """(2, 3) from (column, row) of the coronal sheet ``number`` to (column, row) of the picture."""
    depth, rows, columns = scene.volume.shape[1], scene.volume.shape[0], scene.volume.shape[2]
    per = scene.size / scene.extent
    y = (number - (depth - 1) / 2) * scene.voxel
    right, up = axes[0], axes[1]
    a = np.array([[right[0], right[2]], [-up[0], -up[2]]]) * scene.voxel * per
    middle = np.array([(columns - 1) / 2, (rows - 1) / 2])
    offset = np.array([right[1] * y + scene.shift[0], -(up[1] * y + scene.shift[1])]) * per + (scene.size - 1) / 2
    return np.column_stack([a, offset - a @ middle])


def _coloured(shade: Field, look: Look) -> NDArray[np.uint8]:
    """Highlights go over into white."""
    over = np.clip(shade - np.float32(0.85), 0, 1)[..., None]
    tint = np.asarray(look.tint, np.float32)
    colour = np.clip(shade, 0, 1)[..., None] * tint + over * (np.float32(1) - tint)
    return np.asarray(np.rint(np.clip(colour, 0, 1) * np.float32(255)), np.uint8)


def through_vtk(scene: Scene, look: Look) -> NDArray[np.uint8]:
    """Rendered by VTK's volume mapper. Call ``inference.imaging.isosurface.egl_available`` first."""
    # Without a screen VTK ends at EGL anyway, but only after a warning about the X server that is not there.
    os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")
    from vtkmodules import vtkRenderingOpenGL2, vtkRenderingVolumeOpenGL2  # noqa: F401  (register the renderers)
    from vtkmodules.vtkRenderingCore import vtkLight, vtkRenderer, vtkRenderWindow, vtkVolume
    from vtkmodules.vtkRenderingVolume import vtkFixedPointVolumeRayCastMapper

    mapper = vtkFixedPointVolumeRayCastMapper()
    mapper.SetNumberOfThreads(1)
    mapper.SetInputData(_image(scene))
    mapper.SetAutoAdjustSampleDistances(0)
    mapper.SetSampleDistance(0.7 * scene.voxel)
    mapper.SetImageSampleDistance(1.0)
    volume = vtkVolume()
    volume.SetMapper(mapper)
    volume.SetProperty(_property(look))
    renderer = vtkRenderer()
    renderer.AddVolume(volume)
    renderer.SetBackground(0.0, 0.0, 0.0)
    renderer.AutomaticLightCreationOff()
    axes = scene.axes()
    _aim(renderer.GetActiveCamera(), scene, axes)
    lamp = vtkLight()
    lamp.SetLightTypeToSceneLight()
    lamp.SetPosition(*(float(v) for v in lamp_direction(axes, look) * 1e4))
    lamp.SetFocalPoint(0.0, 0.0, 0.0)
    renderer.AddLight(lamp)
    window = vtkRenderWindow()
    window.SetOffScreenRendering(1)
    window.SetMultiSamples(0)
    window.SetSize(scene.size, scene.size)
    window.AddRenderer(renderer)
    window.Render()
    shown = _pixels(window, scene.size)
    window.Finalize()
    return shown


def _image(scene: Scene) -> Any:
    from vtkmodules.util import numpy_support
    from vtkmodules.vtkCommonDataModel import vtkImageData

    rows, depth, columns = scene.volume.shape
    image = vtkImageData()
    image.SetDimensions(columns, depth, rows)
    image.SetSpacing(scene.voxel, scene.voxel, scene.voxel)
    image.SetOrigin(*(-(count - 1) / 2 * scene.voxel for count in (columns, depth, rows)))
    bridge: Any = numpy_support  # VTK's Python modules are typed only in part
    # The mapper's fixed point holds unsigned 16 bit without scaling.
    stored = np.clip(scene.volume + np.float32(1024), 0, 4095).astype(np.uint16)
    image.GetPointData().SetScalars(bridge.numpy_to_vtk(np.ascontiguousarray(stored).ravel(), deep=True))
    return image


def _property(look: Look) -> Any:
    from vtkmodules.vtkCommonDataModel import vtkPiecewiseFunction
    from vtkmodules.vtkRenderingCore import vtkColorTransferFunction, vtkVolumeProperty

    low, high = look.threshold + 1024.0, look.threshold + look.softness + 1024.0
    opacity = vtkPiecewiseFunction()
    for value, alpha in ((0.0, 0.0), (low, 0.0), (high, _OPAQUE), (4095.0, _OPAQUE)):
        opacity.AddPoint(value, alpha)
    colour = vtkColorTransferFunction()
    for value in (0.0, 4095.0):
        colour.AddRGBPoint(value, *look.tint)
    made = vtkVolumeProperty()
    made.SetScalarOpacity(opacity)
    made.SetScalarOpacityUnitDistance(1.0)
    made.SetColor(colour)
    made.SetInterpolationTypeToLinear()
    made.ShadeOn()
    made.SetAmbient(_AMBIENT)
    made.SetDiffuse(_DIFFUSE)
    made.SetSpecular(look.shine)
    made.SetSpecularPower(_GLOSS)
    return made


def _aim(camera: Any, scene: Scene, axes: Matrix) -> None:
    focus = -axes[0] * scene.shift[0] - axes[1] * scene.shift[1]
    reach = 2.0 * scene.extent
    camera.ParallelProjectionOn()
    camera.SetFocalPoint(*(float(v) for v in focus))
    camera.SetPosition(*(float(v) for v in focus + axes[2] * reach))
    camera.SetViewUp(*(float(v) for v in axes[1]))
    camera.SetParallelScale(scene.extent / 2.0)
    camera.SetClippingRange(1.0, 2.0 * reach)


def _pixels(window: Any, size: int) -> NDArray[np.uint8]:
    """(size, size, 3), top row first."""
    from vtkmodules.util import numpy_support
    from vtkmodules.vtkCommonCore import vtkUnsignedCharArray

    found = vtkUnsignedCharArray()
    window.GetRGBACharPixelData(0, 0, size - 1, size - 1, 0, found)
    bridge: Any = numpy_support
    return np.ascontiguousarray(bridge.vtk_to_numpy(found).reshape(size, size, 4)[::-1, :, :3], dtype=np.uint8)
