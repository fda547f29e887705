"""The trainings of the explicit fusion: first both translators and their adversaries, then, with these frozen, F."""

from __future__ import annotations

from typing import Any, cast

import torch
from monai.networks.nets.patchgan_discriminator import PatchDiscriminator
from torch import Tensor, nn
from torch.nn import functional

from inference.networks.boneprint_explicit import ExplicitBoneprint
from inference.networks.boneprint_parts import GROUPS, SideEncoder, Translator
from inference.networks.boneprint_sides import SIDES, Side
from training.boneprint.data import Item
from training.boneprint.learner import BoneprintLearner, PairLearner, groups
from training.boneprint.losses import PairContrast, discrepancy, judged_real, pooled
from training.boneprint.recipe import Contrast, Recipe, Translation
from training.boneprint.searching import OTHER
from training.learning.optimise import optimiser_of, schedule_of

_WIDEST = 128


class Translating(PairLearner):
    """Both translators against the real pictures and two patch adversaries (P. Isola et al., CVPR 2017).

    A translator is shown a picture in other grey values and has to draw the other side in its own: what
    augmentation does to looks is not to be carried over. Both pictures of a person are moved alike.
    ``validation/pixel`` is the mean squared difference of both directions, of greys in [-1, 1].
    """

    figure, smaller = "pixel", True

    def __init__(self, recipe: Recipe, network: ExplicitBoneprint) -> None:
        super().__init__(recipe, cast(Translation, recipe.translation))
        own = self.settings = cast(Translation, recipe.translation)
        self.automatic_optimization = False
        self.translators = nn.ModuleDict({"radiograph": network.to_radiograph, "rendering": network.to_rendering})
        self.adversaries = nn.ModuleDict({side: _adversary(own) for side in SIDES})
        self._grey = network.grey

    def translator(self, to: Side) -> Translator:
        return cast(Translator, self.translators[to])

    def training_step(self, batch: Item, batch_idx: int) -> None:
        real, shown = self._pictures(batch)
        latents = {to: self.translator(to).latent(shown[OTHER[to]]) for to in SIDES}
        drawn = {to: self.translator(to).shown(latents[to]) for to in SIDES}
        translators, adversaries = cast("list[Any]", self.optimizers())
        self.toggle_optimizer(translators)
        self._step(translators, self._drawing(real, drawn, latents))
        self.untoggle_optimizer(translators)
        self.toggle_optimizer(adversaries)
        self._step(adversaries, self._judging(real, drawn))
        self.untoggle_optimizer(adversaries)
        for schedule in cast("list[Any]", self.lr_schedulers()):
            schedule.step()
        self.batches_seen += 1

    def _pictures(self, batch: Item) -> tuple[dict[Side, Tensor], dict[Side, Tensor]]:
        """Greys (B, 1, size, size) of both sides as they are to be drawn, and as they are shown."""
        moved = {side: self.augment.moved(batch[side], batch["seed"]) for side in SIDES}
        shown = {side: self.augment.looking(moved[side], self.seeds(batch, side)) for side in SIDES}
        return {side: self._grey(moved[side]) for side in SIDES}, {side: self._grey(shown[side]) for side in SIDES}

    def _drawing(self, real: dict[Side, Tensor], drawn: dict[Side, Tensor], latents: dict[Side, Tensor]) -> Tensor:
        own = self.settings
        parts = {
            "pixel": torch.stack([functional.mse_loss(drawn[side].float(), real[side]) for side in SIDES]).sum(),
            "adversary": torch.stack([judged_real(self._judgement(side, drawn[side]), True) for side in SIDES]).sum(),
            "latent": discrepancy(*(pooled(latents[side]) for side in SIDES)),
        }
        for name, part in parts.items():
            self.log(f"train/{name}", part.detach())
        return own.pixel * parts["pixel"] + own.adversary * parts["adversary"] + own.latent * parts["latent"]

    def _judging(self, real: dict[Side, Tensor], drawn: dict[Side, Tensor]) -> Tensor:
        found = [
            judged_real(self._judgement(side, pictures[side].detach()), is_real)
            for pictures, is_real in ((real, True), (drawn, False))
            for side in SIDES
        ]
        total = torch.stack(found).mean()
        self.log("train/judging", total.detach())
        return total

    def _judgement(self, side: Side, pictures: Tensor) -> Tensor:
        return cast(Tensor, self.adversaries[side](pictures)[-1])

    def _step(self, optimiser: Any, loss: Tensor) -> None:
        self.finite(loss, "the loss")
        optimiser.zero_grad()
        self.manual_backward(loss)
        if self.settings.optimiser.clip:
            self.clip_gradients(optimiser, self.settings.optimiser.clip, "norm")
        optimiser.step()

    def configure_optimizers(self) -> Any:
        own = self.settings
        made = [
            optimiser_of(groups(part, own.optimiser), own.optimiser) for part in (self.translators, self.adversaries)
        ]
        return made, [schedule_of(one, own.schedule, own.steps) for one in made]

    def validation_step(self, batch: Item, batch_idx: int) -> None:
        real = {side: self._grey(batch[side].float() / 255) for side in SIDES}
        pixel = [functional.mse_loss(self.translator(to)(real[OTHER[to]]).float(), real[to]) for to in SIDES]
        self.log("validation/pixel", torch.stack(pixel).mean(), batch_size=len(batch["place"]))


class Fusing(BoneprintLearner):
    """Encoders and fusion under reconstruction and contrast; the translators are frozen.

    Two pairs of each person meet in the contrast, which ones the recipe's ``positives`` say. Decoders draw again what
    either encoder has seen; they are left behind when the training ends.
    """

    network: ExplicitBoneprint

    def __init__(self, recipe: Recipe, network: ExplicitBoneprint) -> None:
        super().__init__(recipe, network)
        self.settings = cast(Contrast, recipe.contrast)
        for translator in (network.to_rendering, network.to_radiograph):
            translator.requires_grad_(False)
        self.decoders = nn.ModuleDict(
            {side: _decoder(self._encoder(side), network.size) for side in SIDES}
            if self.settings.reconstruction
            else {}
        )
        self.contrast = PairContrast(self.settings.temperature)

    def _encoder(self, side: Side) -> SideEncoder:
        return self.network.radiograph if side == "radiograph" else self.network.rendering

    def loss(self, seen: dict[Side, Tensor], batch: Item) -> Tensor:
        own, pairs = self.settings, self._pairs(seen, batch)
        # All pictures of a side in one pass: a backbone with batch statistics must not tell real ones from drawn ones.
        maps = {side: self._encoder(side).maps(pictures) for side, pictures in pairs.items()}
        total = next(iter(maps.values())).new_zeros((), dtype=torch.float32)
        if own.contrast:
            vectors = [self._encoder(side).pool(maps[side]) for side in SIDES]
            boneprints = self.network.fusion(torch.cat(vectors, dim=1))
            found = self.contrast(*boneprints.chunk(2))
            self.log("train/contrast", found.detach())
            total = total + own.contrast * found
        if own.reconstruction:
            drawn = [functional.mse_loss(self.decoders[side](maps[side]).float(), pairs[side]) for side in SIDES]
            self.log("train/reconstruction", torch.stack(drawn).sum().detach())
            total = total + own.reconstruction * torch.stack(drawn).sum()
        return total

    def _pairs(self, seen: dict[Side, Tensor], batch: Item) -> dict[Side, Tensor]:
        """Pictures (2 B, 1, size, size) of both sides: those of the anchors' pairs, then those of the positives'."""
        how = self.settings.positives
        anchors, positives = dict(seen), dict(seen)
        if how == "augmented":
            positives = self.seen(batch, "again")
        else:
            with torch.no_grad():
                drawn = {OTHER[side]: self.network.translated(seen[side], side) for side in SIDES}
            if how == "translated":
                positives = drawn
            else:
                positives = {"radiograph": seen["radiograph"], "rendering": drawn["rendering"]}
            if how == "served":
                anchors = {"radiograph": drawn["radiograph"], "rendering": seen["rendering"]}
        return {side: torch.cat([anchors[side], positives[side]]) for side in SIDES}


def _adversary(own: Translation) -> nn.Module:
    return cast(
        nn.Module,
        PatchDiscriminator(2, own.width, 1, num_layers_d=own.layers, norm=("INSTANCE", {"affine": True})),
    )


def _decoder(encoder: SideEncoder, size: int) -> nn.Module:
    """From an encoder's maps back to its picture (B, 1, size, size) in [-1, 1]."""
    training = encoder.training
    with torch.no_grad():
        edge = encoder.eval().maps(torch.zeros(1, 1, size, size)).shape[-1]
    encoder.train(training)
    width = min(_WIDEST, GROUPS * max(1, encoder.channels // GROUPS))
    layers: list[nn.Module] = [nn.Conv2d(encoder.channels, width, 1)]
    while edge < size:
        narrower = max(GROUPS, width // 2 // GROUPS * GROUPS)
        convolution = nn.Conv2d(width, narrower, 3, padding=1)
        layers += [nn.Upsample(scale_factor=2), convolution, nn.GroupNorm(GROUPS, narrower), nn.ReLU()]
        edge, width = 2 * edge, narrower
    return nn.Sequential(*layers, nn.Upsample((size, size)), nn.Conv2d(width, 1, 3, padding=1), nn.Tanh())
