"""What is done to pictures of pairs: what :mod:`training.learning.augment` does, and what the paper does besides."""

from __future__ import annotations

import torch
from torch import Tensor

from training.boneprint.recipe import PairAugment
from training.learning.augment import Augmenter
from training.learning.recipe import Augment
from training.learning.seeds import seed_of

# What moves a picture; everything else changes its grey values.
_MOVES = ("scale", "aspect", "rotation", "translation", "flip")
_OWN = ("turned", "inversion")


class PairAugmenter:
    """Applies a :class:`~training.boneprint.recipe.PairAugment` in two steps, so that two pictures can share the first.

    Every picture has a seed of its own, from which all of it follows.
    """

    def __init__(self, settings: PairAugment, size: int) -> None:
        values = settings.model_dump(exclude=set(_OWN))
        moves = Augment(**{name: values[name] for name in _MOVES})
        self._straight = Augmenter(moves.model_copy(update={"rotation": 0.0}), size)
        self._turning = Augmenter(moves, size)
        self._looks = Augmenter(Augment(**{name: one for name, one in values.items() if name not in _MOVES}), size)
        self._turned, self._inversion = settings.turned, settings.inversion

    def __call__(self, pictures: Tensor, seeds: Tensor) -> Tensor:
        """Moved, and looking otherwise: float32 (B, 3, S, S) in [0, 1] of uint8 (B, 3, S, S); ``seeds`` int64 (B,)."""
        return self.looking(self.moved(pictures, seeds), seeds)

    def moved(self, pictures: Tensor, seeds: Tensor) -> Tensor:
        """float32 (B, 3, S, S) in [0, 1] of uint8 (B, 3, S, S): turned, shifted, scaled."""
        turned = _happens(seeds, "turned", self._turned).to(pictures.device)
        stacked = pictures[:, None]
        return torch.where(
            turned[:, None, None, None], self._turning(stacked, seeds)[:, 0], self._straight(stacked, seeds)[:, 0]
        )

    def looking(self, pictures: Tensor, seeds: Tensor) -> Tensor:
        """float32 (B, 3, S, S) in [0, 1] of the same: in other grey values, some of them inverted."""
        others = torch.tensor([seed_of(seed, "looks") for seed in seeds.tolist()])
        seen = self._looks(pictures[:, None] * 255, others)[:, 0]
        inverted = _happens(seeds, "inversion", self._inversion).to(pictures.device)
        return torch.where(inverted[:, None, None, None], 1 - seen, seen)


def _happens(seeds: Tensor, what: str, chance: float) -> Tensor:
    """(B,) whether it happens to each: by its own seed, and independently of everything else that does."""
    drawn = [torch.rand((), generator=torch.Generator().manual_seed(seed_of(seed, what))) for seed in seeds.tolist()]
    return torch.stack(drawn) < chance
