"""The training of the implicit fusion: noise to predict on both sides, and a contrast half-way."""

from __future__ import annotations

from typing import cast

import torch
from monai.networks.schedulers.ddpm import DDPMScheduler
from torch import Tensor
from torch.nn import functional

from inference.networks.boneprint_implicit import ImplicitBoneprint
from inference.networks.boneprint_sides import SIDES, Side
from training.boneprint.data import Item
from training.boneprint.learner import BoneprintLearner
from training.boneprint.losses import PairContrast
from training.boneprint.recipe import Diffusion, Recipe

# As of J. Ho et al., "Denoising diffusion probabilistic models" (NeurIPS 2020).
_STEPS = 1000


class Denoising(BoneprintLearner):
    """The U-Net learns the noise at a step drawn for every picture, and to pull the two sides of a person together."""

    network: ImplicitBoneprint

    def __init__(self, recipe: Recipe, network: ImplicitBoneprint) -> None:
        super().__init__(recipe, network)
        self.settings = cast(Diffusion, recipe.diffusion)
        self.scheduler = DDPMScheduler(num_train_timesteps=_STEPS)
        self.contrast = PairContrast(self.settings.temperature)

    def loss(self, seen: dict[Side, Tensor], batch: Item) -> Tensor:
        own, network = self.settings, self.network
        pictures = torch.cat([seen[side] for side in SIDES])
        sides = torch.arange(len(SIDES), device=pictures.device).repeat_interleave(len(batch["place"]))
        # Drawn on the CPU whatever the device, so that a training can go on on another one.
        steps = torch.randint(0, _STEPS, (len(pictures),)).to(pictures.device)
        noise = torch.randn(pictures.shape).to(pictures)
        at = network.halfway(self.scheduler.add_noise(pictures, noise, steps), steps, sides)
        parts = {}
        if own.noise:
            parts["noise"] = own.noise * functional.mse_loss(network.noise(at).float(), noise)
        if own.contrast:
            if own.features == "clean":
                at = network.halfway(pictures, torch.full_like(steps, network.step), sides)
            parts["contrast"] = own.contrast * self.contrast(*network.boneprint(at).chunk(2))
        for name, part in parts.items():
            self.log(f"train/{name}", part.detach())
        return torch.stack(list(parts.values())).sum()
