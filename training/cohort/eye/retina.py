"""The fundus itself: how much light of each colour every point of the retina sends back, before any camera."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from training.cohort.chance import stream
from training.cohort.eye.camera import Camera, Plane
from training.cohort.eye.ground import Ground, ground
from training.cohort.eye.ribbons import Layers
from training.cohort.eye.shape import EyeShape

Colour = NDArray[np.float32]

# How much a vessel takes of red, green and blue light, in powers of e; blood without oxygen takes more.
_ARTERY = (0.15, 0.78, 0.58)
_VEIN = (0.36, 1.10, 0.70)
_XANTHOPHYLL = (0.24, 0.40, 0.52)


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """One eye before one camera: coordinates of every pixel in the eye's frame, and the eye's textures there."""

    eye: EyeShape
    camera: Camera
    ground: Ground
    x: Plane
    y: Plane

    @staticmethod
    def of(eye: EyeShape, camera: Camera) -> Scene:
        x, y = camera.retina()
        return Scene(eye, camera, ground(eye), x, y)


def reflectance(scene: Scene, vessels: Layers) -> Colour:
    """float32 (rows, columns, 3), RGB, linear light, 0 to about 1."""
    image = _background(scene)
    disc = _Disc(scene)
    disc.lay(image)
    _sheen(image, scene, disc)
    _lay_vessels(image, scene, vessels)
    _foveal_reflex(image, scene)
    return image


def _background(scene: Scene) -> Colour:
    """Pigment epithelium over the choroid, darker in the macula."""
    eye, x, y = scene.eye, scene.x, scene.y
    dark = np.float32(eye.pigment)
    fair, brown = np.array([0.82, 0.36, 0.175]), np.array([0.50, 0.185, 0.088])
    base = fair + (brown - fair) * dark + eye.redness * np.array([0.010, -0.012, -0.008])
    far = np.sqrt(x * x + y * y)
    out = np.clip((far - np.float32(0.8)) * np.float32(1 / 5.0), 0.0, 1.0)
    choroid = scene.ground.sample(scene.ground.choroid, x, y) * (np.float32(0.25) + np.float32(0.75) * out)
    choroid *= np.float32(0.25 + 0.75 * eye.choroid)
    grain = scene.ground.sample(scene.ground.grain, x, y)
    near = np.exp(-np.square(far / np.float32(1.35 * eye.macula_size)) * np.float32(0.5))
    core = np.exp(-np.square(far / np.float32(0.42 * eye.macula_size)) * np.float32(0.5))
    macula = np.float32(eye.macula_darkness) * (np.float32(1.15) * near + np.float32(1.05) * core)
    image = np.empty((*x.shape, 3), np.float32)
    for n, (depth, mottle, yellow) in enumerate(
        zip((0.085, 0.19, 0.20), (0.010, 0.022, 0.026), _XANTHOPHYLL, strict=True)
    ):
        power = choroid * np.float32(depth) + grain * np.float32(mottle) - macula * np.float32(yellow)
        image[..., n] = np.exp(power) * np.float32(base[n])
    return image


class _Disc:
    """The optic disc: how far each pixel is from its centre, 1 at its margin; cup, rim and what surrounds them."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        eye = scene.eye
        dx, dy = scene.x - np.float32(eye.disc[0]), scene.y - np.float32(eye.disc[1])
        self.angle = np.arctan2(dy, dx)
        a = np.radians(eye.disc_tilt)
        half = eye.disc_height / 2
        u = (dx * np.float32(np.cos(a)) + dy * np.float32(np.sin(a))) * np.float32(1 / (half * eye.disc_ovality))
        v = (dy * np.float32(np.cos(a)) - dx * np.float32(np.sin(a))) * np.float32(1 / half)
        rng = stream(eye.seed, "disc")
        margin = sum(
            np.float32(eye.disc_unevenness * rng.normal(0, 1))
            * np.cos(n * self.angle + np.float32(rng.uniform(0, 6.28)))
            for n in (2, 3, 4)
        )
        self.out = np.sqrt(u * u + v * v) * (1 + margin)
        self.half = half
        cup_u = (u - np.float32(2 * eye.cup_shift)) * np.float32(1 / (eye.cup_ratio * eye.cup_ovality))
        uneven = np.float32(0.05) * np.cos(2 * self.angle + np.float32(rng.uniform(0, 6.28)))
        self.cup_out = np.sqrt(cup_u * cup_u + np.square(v / np.float32(eye.cup_ratio))) * (1 + uneven)

    def lay(self, image: Colour) -> None:
        eye = self.scene.eye
        self._atrophy(image)
        edge = np.float32(self.half / 0.055)
        inside = _rise((1 - self.out) * edge)
        temporal = np.float32(0.5) - np.float32(0.5) * np.cos(self.angle)
        pink = np.array([0.87, 0.45, 0.265]) + eye.disc_pallor * np.array([0.06, 0.10, 0.09])
        pale = np.array([0.98, 0.76, 0.56]) + eye.disc_pallor * np.array([0.04, 0.08, 0.12])
        soft = np.float32(1.6 + 4.0 * eye.cup_sharpness)
        cup = _rise((1 - self.cup_out) * soft) * np.float32(0.88)
        grain = self.scene.ground.sample(self.scene.ground.grain, self.scene.x, self.scene.y)
        fibres = self.scene.ground.sample(self.scene.ground.fibres, self.scene.x, self.scene.y)
        for n in range(3):
            rim = np.float32(pink[n]) + temporal * np.float32((0.03, 0.085, 0.075)[n]) + fibres * np.float32(0.014)
            colour = rim + cup * (np.float32(pale[n]) - rim) + grain * np.float32(0.010)
            image[..., n] += inside * (colour - image[..., n])

    def _atrophy(self, image: Colour) -> None:
        """A pale crescent where the pigment epithelium ends short of the disc, and a dark one where it heaps up."""
        eye = self.scene.eye
        facing = np.cos(self.angle - np.float32(np.radians(eye.atrophy_angle)))
        outside = (self.out - 1) * np.float32(self.half)
        if eye.atrophy > 0.02:
            wide = np.float32(eye.atrophy) * np.clip(np.float32(0.25) + np.float32(0.75) * facing, 0, 1)
            bare = _rise((wide - outside) * np.float32(14.0)) * np.float32(0.62) * (wide > 0.02)
            for n, value in enumerate((0.84, 0.55, 0.33)):
                image[..., n] += bare * (np.float32(value) - image[..., n])
        ring = np.exp(-np.square((outside - np.float32(eye.atrophy * 0.8 + 0.03)) * np.float32(1 / 0.055)))
        dark = ring * np.float32(eye.rim_pigment) * np.clip(facing + np.float32(0.3), 0, 1)
        image *= 1 - dark[..., None] * np.array([0.40, 0.42, 0.36], np.float32)
        scleral = np.exp(-np.square((self.out - 1) * np.float32(self.half / 0.05)))
        image += scleral[..., None] * np.array([0.035, 0.032, 0.025], np.float32)


def _rise(values: Plane) -> Plane:
    """A smooth step, 0 to 1."""
    return np.asarray(np.float32(0.5) + np.float32(0.5) * np.tanh(values), dtype=np.float32)


def _sheen(image: Colour, scene: Scene, disc: _Disc) -> None:
    """Silvery streaks of the nerve fibre layer above and below the disc, brightest where it is thick."""
    eye = scene.eye
    if eye.nerve_sheen <= 0.02:
        return
    out = np.maximum(disc.out - 1, 0)
    where = np.exp(-np.square((out - np.float32(0.5)) * np.float32(1 / 1.35)))
    above = np.square(np.sin(disc.angle + np.float32(0.12)))
    thick = where * (np.float32(0.25) + np.float32(0.75) * above) * (disc.out > 1)
    streak = np.float32(0.55) + np.float32(0.42) * scene.ground.sample(scene.ground.fibres, scene.x, scene.y)
    light = thick * np.maximum(streak, 0) * np.float32(0.17 * eye.nerve_sheen)
    image += light[..., None] * np.array([0.55, 0.85, 0.62], np.float32)


def _lay_vessels(image: Colour, scene: Scene, vessels: Layers) -> None:
    arteries, veins = (cv2.GaussianBlur(layer, (0, 0), 0.55) for layer in (vessels.arteries, vessels.veins))
    veins = veins * (1 - np.float32(0.75) * arteries)
    reflex = cv2.GaussianBlur(vessels.reflex, (0, 0), 0.7) * np.float32(0.16 + 0.26 * scene.eye.artery_reflex)
    for n in range(3):
        through = np.exp(-(arteries * np.float32(_ARTERY[n]) + veins * np.float32(_VEIN[n])))
        image[..., n] *= through
    image += (reflex[..., None] * np.array([0.42, 0.30, 0.18], np.float32)) * image.mean(axis=2, keepdims=True) * 1.6


def _foveal_reflex(image: Colour, scene: Scene) -> None:
    """The bright point of the foveal pit and the ring around the macula, of young eyes."""
    eye = scene.eye
    if eye.fovea_reflex <= 0.05:
        return
    far = np.sqrt(scene.x * scene.x + np.square(scene.y * np.float32(1.15)))
    point = np.exp(-np.square(far * np.float32(1 / 0.075)))
    ring = np.exp(-np.square((far - np.float32(1.05 * eye.macula_size)) * np.float32(1 / 0.24)))
    uneven = np.float32(0.6) + np.float32(0.4) * np.sin(np.arctan2(scene.y, scene.x) * 2 + np.float32(eye.ground % 7))
    light = np.float32(eye.fovea_reflex) * (np.float32(0.20) * point + np.float32(0.030) * ring * uneven)
    image += light[..., None] * np.array([0.9, 0.9, 0.7], np.float32)
