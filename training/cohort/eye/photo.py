"""A fundus photograph: the retina seen through the media of the eye by one camera on one day."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from training.cohort.chance import stream
from training.cohort.dials.fundus import FundusVisit
from training.cohort.eye.camera import Camera, Plane
from training.cohort.eye.lesions import lay_lesions
from training.cohort.eye.media import illuminate, through_media
from training.cohort.eye.retina import Colour, Scene, reflectance
from training.cohort.eye.ribbons import layers
from training.cohort.eye.tree import vessel_tree
from training.cohort.person import Person
from training.cohort.visit import Visit

_YELLOWING = 0.01  # of the lens, in a year
_RED_FREE_GAIN = 1.7


def fundus_photo(who: Person, when: Visit, side: str, view: str) -> NDArray[np.uint8]:
    """The photograph of one eye (``R`` or ``L``), centred on ``MACULA`` or ``DISC``: uint8 RGB (rows, columns, 3)."""
    visit = when.fundus
    eye, shot = who.eyes.of(side), visit.shots[side, view]
    camera = Camera.of(eye, view, visit, shot)
    image = reflectance(Scene.of(eye, camera), layers(vessel_tree(eye), camera))
    lay_lesions(image, eye, camera, when.illness)
    rng = stream(who.seed, "visit", who.number, when.number, "fundus", side, view)
    image = through_media(image, camera, shot, eye.lens_yellow + _YELLOWING * when.ageing, rng)
    illuminate(image, camera, visit, shot, rng)
    balance = np.array(visit.gains, np.float32)
    if shot.red_free:
        image = np.repeat(image[..., 1:2], 3, axis=2)
        balance = np.full(3, _RED_FREE_GAIN, np.float32)
    image *= balance
    return _develop(image, camera.window(camera.off_axis()), visit, rng)


def _develop(image: Colour, window: Plane, visit: FundusVisit, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Noise, the camera's curve and sharpening, its aperture, its compression."""
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
    unpacked = np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR))
    return np.asarray(cv2.cvtColor(unpacked, cv2.COLOR_BGR2RGB), dtype=np.uint8)
