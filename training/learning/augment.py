"""What is done to training images, on the device they are on: geometry, grey values, and what a machine does to both.

Every image has a seed of its own, from which all of it follows, wherever in a batch and on whichever process the image
is. All slices of a scan are treated alike. An encoder that leans on a film's border, markers, size or sharpness
recognises the hospital; the steps that take these away are as many as those that move the patient.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from training.learning.recipe import Augment

# Uniform numbers that an image may need, in the order in which they are taken; more may only be added at the end.
_NUMBERS = 40
# Reductions that the resolution is lost by: whole factors keep the two interpolations from aliasing.
_FACTORS = (2, 3, 4, 6, 8)


class Augmenter:
    """Applies an :class:`~training.learning.recipe.Augment`."""

    def __init__(self, settings: Augment, size: int) -> None:
        self._settings, self._size = settings, size

    def __call__(self, images: Tensor, seeds: Tensor) -> Tensor:
        """float32 (B, T, 3, size, size) in [0, 1] of stored images uint8 (B, T, 3, S, S); ``seeds`` int64 (B,)."""
        one = _Chances(seeds, images.device)
        batch, slices = images.shape[:2]
        planes = images.float().div(255).flatten(1, 2)
        planes = _warped(planes, self._geometry(one), self._size)
        planes = self._grey(planes, one)
        planes = self._blurred(planes, one)
        planes = self._coarse(planes, one)
        planes = self._noisy(planes, one)
        planes = self._hidden(planes, one)
        return planes.clamp(0, 1).view(batch, slices, 3, self._size, self._size)

    def _geometry(self, one: _Chances) -> Tensor:
        """(B, 2, 3) from the output's square [-1, 1] to the stored image's: crop, stretch, turn, shift, mirror."""
        own = self._settings
        area = one.between(*own.scale)
        stretch = own.aspect ** one.signed(0.5)
        side = area.sqrt()
        half_x, half_y = (side * stretch).clamp(max=1), (side / stretch).clamp(max=1)
        angle = one.signed(math.radians(own.rotation))
        # The crop's centre is anywhere where the crop stays inside, and may then be shifted beyond the edge.
        centre_x = one.signed(1.0) * (1 - half_x) + one.signed(2 * own.translation)
        centre_y = one.signed(1.0) * (1 - half_y) + one.signed(2 * own.translation)
        mirror = torch.where(one.happens(own.flip), -1.0, 1.0)
        rows = (
            torch.stack([mirror * half_x * angle.cos(), -half_y * angle.sin(), centre_x], 1),
            torch.stack([mirror * half_x * angle.sin(), half_y * angle.cos(), centre_y], 1),
        )
        return torch.stack(rows, 1)

    def _grey(self, planes: Tensor, one: _Chances) -> Tensor:
        own = self._settings
        gamma = _wide(2 ** one.signed(own.gamma))
        contrast = _wide(2 ** one.signed(own.contrast))
        brightness = _wide(one.signed(own.brightness))
        mean = planes.mean((1, 2, 3), keepdim=True)
        return ((planes.clamp(1e-4, 1) ** gamma - mean) * contrast + mean + brightness).clamp(0, 1)

    def _blurred(self, planes: Tensor, one: _Chances) -> Tensor:
        own = self._settings
        chosen, sigmas = one.happens(own.chance), one.between(0.2, max(own.blur, 0.2))
        places = chosen.nonzero().flatten().tolist() if own.blur > 0 else []
        return _replaced(planes, {place: _gaussian(planes[place], float(sigmas[place])) for place in places})

    def _coarse(self, planes: Tensor, one: _Chances) -> Tensor:
        own = self._settings
        factors = [factor for factor in _FACTORS if 1 / factor >= own.resolution]
        chosen, which = one.happens(own.chance), one.between(0, len(factors))
        places = chosen.nonzero().flatten().tolist() if factors else []
        return _replaced(planes, {place: _reduced(planes[place], factors[int(which[place])]) for place in places})

    def _noisy(self, planes: Tensor, one: _Chances) -> Tensor:
        own = self._settings
        deviation, chosen = one.between(0, own.noise), one.happens(own.chance)
        places = chosen.nonzero().flatten().tolist() if own.noise > 0 else []
        # Grain is the same in the three channels of a slice.
        shape = (planes.shape[1] // 3, 1, self._size, self._size)
        grain = {place: one.normal(place, shape).expand(-1, 3, -1, -1).flatten(0, 1) for place in places}
        return _replaced(planes, {place: planes[place] + deviation[place] * grain[place] for place in places})

    def _hidden(self, planes: Tensor, one: _Chances) -> Tensor:
        """A frame along the edge and a rectangle, each of one grey: markers and collimators, and a patient's parts."""
        own = self._settings
        at = (torch.arange(self._size, device=planes.device) + 0.5) / self._size
        sides = [one.between(0, own.border)[:, None] * one.happens(own.chance)[:, None] for _ in range(4)]
        inside_x = (at >= sides[0]) & (at < 1 - sides[1])
        inside_y = (at >= sides[2]) & (at < 1 - sides[3])
        frame = ~(inside_y[:, None, :, None] & inside_x[:, None, None, :])
        width, height = (one.between(0, own.cutout)[:, None] for _ in range(2))
        x, y = one.between(0, 1)[:, None], one.between(0, 1)[:, None]
        inside_x, inside_y = (at - x).abs() < width / 2, (at - y).abs() < height / 2
        hole = inside_y[:, None, :, None] & inside_x[:, None, None, :] & _wide(one.happens(own.chance))
        planes = torch.where(frame, _wide(one.between(0, 1)), planes)
        return torch.where(hole, _wide(one.between(0, 1)), planes)


class _Chances:
    """(B,) draws, each image's from its own seed."""

    def __init__(self, seeds: Tensor, device: torch.device) -> None:
        # On the CPU whatever the device, so that a training can go on on another one.
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds.tolist()]
        self._device = device
        numbers = [torch.rand(_NUMBERS, generator=generator) for generator in self._generators]
        self._columns = iter(torch.stack(numbers, 1).to(device))

    def between(self, low: float, high: float) -> Tensor:
        drawn: Tensor = next(self._columns)
        return low + (high - low) * drawn

    def signed(self, most: float) -> Tensor:
        return self.between(-most, most)

    def happens(self, chance: float) -> Tensor:
        drawn: Tensor = next(self._columns)
        return drawn < chance

    def normal(self, place: int, shape: Sequence[int]) -> Tensor:
        """Standard normal of that shape, of the image at a place in the batch."""
        return torch.randn(*shape, generator=self._generators[place]).to(self._device)


def _wide(values: Tensor) -> Tensor:
    return values[:, None, None, None]


def _warped(planes: Tensor, affine: Tensor, size: int) -> Tensor:
    """What lies beyond the edge is the edge's mirror image: black would say how far the image was moved."""
    grid = functional.affine_grid(affine, [len(planes), planes.shape[1], size, size], align_corners=False)
    found: Tensor = functional.grid_sample(planes, grid, "bilinear", padding_mode="reflection", align_corners=False)
    return found


def _replaced(planes: Tensor, changed: dict[int, Tensor]) -> Tensor:
    return torch.stack([changed.get(place, plane) for place, plane in enumerate(planes)]) if changed else planes


def _gaussian(planes: Tensor, sigma: float) -> Tensor:
    """(C, S, S) through a separable Gaussian."""
    reach = max(1, math.ceil(3 * sigma))
    at = torch.arange(-reach, reach + 1, dtype=planes.dtype, device=planes.device)
    kernel = torch.exp(-0.5 * (at / sigma) ** 2)
    kernel = (kernel / kernel.sum()).view(1, 1, 1, -1)
    padded = functional.pad(planes[:, None], (reach, reach, reach, reach), mode="replicate")
    blurred: Tensor = functional.conv2d(functional.conv2d(padded, kernel), kernel.mT)
    return blurred[:, 0]


def _reduced(planes: Tensor, factor: int) -> Tensor:
    small = functional.avg_pool2d(planes[None], factor, ceil_mode=True, count_include_pad=False)
    return functional.interpolate(small, planes.shape[-2:], mode="bilinear", align_corners=False)[0]
