"""The training of what the fusions are compared with: one encoder, one loss, persons as classes."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from inference.networks.boneprint_sides import SIDES, Side
from inference.networks.boneprint_single import SingleBoneprint
from training.boneprint.data import Item
from training.boneprint.learner import BoneprintLearner
from training.boneprint.recipe import Recipe, Single
from training.learning.losses import build_losses
from training.learning.recipe import Loss


class Telling(BoneprintLearner):
    """Both sides of a person are one class: ``triplet``, ``arcface``, or any other loss that training knows.

    Where pictures of one side are translated first, the translator is frozen.
    """

    network: SingleBoneprint

    def __init__(self, recipe: Recipe, network: SingleBoneprint, persons: int) -> None:
        super().__init__(recipe, network)
        own = cast(Single, recipe.single)
        (self.told,) = build_losses((Loss(name=own.loss, settings=own.settings),), persons, network.dimension)
        if network.translator is not None:
            network.translator.requires_grad_(False)

    def loss(self, seen: dict[Side, Tensor], batch: Item) -> Tensor:
        network = self.network
        if network.translator is not None:
            other: Side = "rendering" if network.seen == "radiograph" else "radiograph"
            seen = seen | {other: network.translator(seen[other])}
        # Both sides in one pass, so that batch statistics are those of both, as they are when it serves.
        embeddings = network.head(network.encoder(torch.cat([seen[side] for side in SIDES]))).float()
        return cast(Tensor, self.told(embeddings, batch["place"].repeat(len(SIDES))))
