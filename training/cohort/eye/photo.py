"""A fundus photograph: the retina seen through the media of the eye by one camera on one day."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from training.cohort.chance import stream
from training.cohort.dials.fundus import FundusVisit, Shot
from training.cohort.eye.camera import Camera, Plane
from training.cohort.eye.retina import Colour, Scene, reflectance
from training.cohort.eye.ribbons import layers
from training.cohort.eye.tree import vessel_tree
from training.cohort.person import Person
from training.cohort.visit import Visit


def fundus_photo(who: Person, when: Visit, side: str, view: str) -> NDArray[np.uint8]:
    """The photograph of one eye (``R`` or ``L``), centred on ``MACULA`` or ``DISC``: uint8 RGB (rows, columns, 3)."""
    visit = when.fundus
    eye, shot = who.eyes.of(side), visit.shots[side, view]
    camera = Camera.of(eye, view, visit, shot)
    scene = Scene.of(eye, camera)
    image = reflectance(scene, layers(vessel_tree(eye), camera))
    rng = stream(who.seed, "visit", who.number, when.number, "fundus", side, view)
    off_axis = camera.off_axis()
    image = _through_media(image, scene, shot, when.ageing)
    _illuminate(image, camera, visit, shot, off_axis, rng)
    return _develop(image, camera.window(off_axis), visit, rng)


def _through_media(image: Colour, scene: Scene, shot: Shot, ageing: float) -> Colour:
    """Defocus, the yellow of the lens, and light scattered on the way."""
    blur = 0.45 + shot.defocus * scene.camera.shape[1] / 640.0
    image = np.asarray(cv2.GaussianBlur(image, (0, 0), blur), dtype=np.float32)
    if shot.haze > 0.01:
        veil = np.array([0.62, 0.44, 0.27], np.float32) * np.float32(float(image[..., 0].mean()) / 0.62)
        image += np.float32(shot.haze) * (veil - image)
    yellow = scene.eye.lens_yellow + 0.01 * ageing
    image *= np.exp(np.array([0.0, -0.10, -0.75], np.float32) * np.float32(yellow))
    return image


def _illuminate(
    image: Colour, camera: Camera, visit: FundusVisit, shot: Shot, off_axis: Plane, rng: np.random.Generator
) -> None:
    rows, columns = camera.shape
    x = np.linspace(-1, 1, columns, dtype=np.float32)[None, :]
    y = np.linspace(-1, 1, rows, dtype=np.float32)[:, None]
    light = 1 - np.float32(visit.vignette) * np.square(off_axis) * np.sqrt(np.minimum(off_axis, np.float32(1.2)))
    light = light * np.exp(np.float32(shot.gradient[0]) * x + np.float32(shot.gradient[1]) * y)
    cloud = cv2.resize(rng.standard_normal((5, 5)).astype(np.float32), (columns, rows), interpolation=cv2.INTER_CUBIC)
    light *= np.exp(np.float32(shot.patches) * np.float32(0.6) * cloud)
    image *= (light * np.float32(1.16 * shot.exposure))[..., None]
    if shot.flare:
        angle = np.radians(shot.flare_angle)
        facing = (x * np.float32(np.cos(angle)) + y * np.float32(np.sin(angle))) * np.float32(1.0)
        crescent = np.exp(-np.square((off_axis - np.float32(1.03)) * np.float32(1 / 0.13))) * np.clip(
            facing - np.float32(0.35), 0, 1
        )
        image += crescent[..., None] * np.array([0.75, 0.55, 0.38], np.float32)


def _develop(image: Colour, window: Plane, visit: FundusVisit, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Colour balance, noise, the camera's curve and sharpening, its aperture, its compression."""
    image *= np.array(visit.gains, np.float32)
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    image += np.float32(visit.noise) * noise * np.sqrt(np.maximum(image, np.float32(0.02)))
    # A shoulder: bright parts are compressed and not cut off.
    image = 1 - np.exp(-np.maximum(image, 0) * np.float32(1.25))
    image = np.power(image, np.float32(visit.gamma))
    if visit.detail > 0.02:
        image += np.float32(visit.detail) * (image - cv2.GaussianBlur(image, (0, 0), 1.8))
    image *= window[..., None]
    image += np.float32(0.012) + np.float32(0.004) * noise[..., :1]
    shown = np.clip(image * np.float32(255), 0, 255).astype(np.uint8)
    _, packed = cv2.imencode(".jpg", shown[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, visit.quality])
    return np.asarray(
        cv2.cvtColor(np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR)), cv2.COLOR_BGR2RGB), dtype=np.uint8
    )
