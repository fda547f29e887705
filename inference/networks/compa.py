"""The continuous modality parameter adapter: what kind of image it is decides, image by image, how layers are adapted.

From MaMI ("All-in-one medical image re-identification", CVPR 2025, arXiv 2503.08173), from its text alone:

1. context: two 1 x 1 convolutions over the patches, averaged;
2. modality: a gate over K learnable codes reads the codebook (:class:`Codebook`);
3. factors: a trunk and a grouped last layer make, for each adapted layer, matrices A and B of low rank, which
   are added to learnt ones that are the same for all images (:class:`FactorGenerator`).

It differs where the text leaves the choice: one trunk serves all layers, because a generator of its own for each would
double the parameters; query, key, value and the first layer of the MLP are adapted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from inference.networks.vit import BlockAdaptation, LowRank

SLOPE = 0.1
# Deviation of A at the start. B starts at zero: together they add nothing, yet B has a gradient.
START = 0.02

# In units of rank x width numbers, what a block takes: A of query, key and value together; the B of each; A of the MLP,
# and its B, which is four times as wide.
ATTENTION_DOWN, MLP_DOWN = slice(0, 3), slice(6, 7)
UNITS = (3, 1, 1, 1, 1, 4)


@dataclass(frozen=True, slots=True)
class AdapterSettings:
    """How images are told apart, and how much a layer can change.

    rank, groups
        of the generated factors; groups of the generator's last layer.
    codes, codebook, reading
        K; whether the codebook is used at all (else the context itself is the modality); how it is read.
    context
        ``slice``: each slice of a volume is adapted on its own; ``scan``: all by the mean of their contexts.
    discrete, modalities
        instead of all that, one learnt code for each of so many labels: the ablation that shows what continuous is
        worth. Only then is the modality label of an image looked at.
    """

    rank: int = 16
    groups: int = 64
    codes: int = 32
    codebook: bool = True
    reading: Literal["sum", "concat"] = "sum"
    context: Literal["slice", "scan"] = "slice"
    discrete: bool = False
    modalities: int = 16

    def __post_init__(self) -> None:
        if self.reading not in ("sum", "concat"):
            raise ValueError(f"reading is 'sum' or 'concat', not {self.reading!r}")
        if self.context not in ("slice", "scan"):
            raise ValueError(f"context is 'slice' or 'scan', not {self.context!r}")
        if min(self.rank, self.groups, self.codes, self.modalities) < 1:
            raise ValueError("rank, groups, codes and modalities are 1 or more")


class Codebook(nn.Module):
    """K learnable codes, read by a gate that a context opens.

    ``sum``: codes of the width D, averaged with the gate's weights, as the paper has it; ``concat``: codes of D / K,
    each scaled by its weight and put side by side.
    """

    def __init__(self, width: int, codes: int, reading: Literal["sum", "concat"]) -> None:
        super().__init__()
        if reading == "concat" and codes > width:
            raise ValueError(f"{codes} codes cannot be put side by side in a width of {width}; use reading 'sum'")
        self.reading = reading
        self.gate = nn.Sequential(nn.Linear(width, width), nn.LeakyReLU(SLOPE), nn.Linear(width, codes))
        self.codes = nn.Parameter(torch.randn(codes, width if reading == "sum" else width // codes))
        self.dimension = width if reading == "sum" else self.codes.numel()

    def forward(self, context: Tensor) -> Tensor:
        """Contexts (N, D) to modalities (N, ``dimension``)."""
        weights = self.weights(context)
        if self.reading == "sum":
            return weights @ self.codes.to(weights.dtype)
        return (weights.unsqueeze(-1) * self.codes).flatten(1)

    def weights(self, context: Tensor) -> Tensor:
        """The gate: (N, K), rows summing to 1."""
        return cast(Tensor, self.gate(context).softmax(dim=-1))


class PatchContext(nn.Module):
    """What the patches of an image have in common, before any attention: the cue to its modality.

    The mean stands before the second of the two 1 x 1 convolutions, where it gives the same and costs less.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.patch, self.image = nn.Conv2d(width, width, 1), nn.Linear(width, width)

    def forward(self, maps: Tensor) -> Tensor:
        """(N, D, h, w) to (N, D)."""
        return cast(Tensor, self.image(functional.leaky_relu(self.patch(maps), SLOPE).mean((2, 3))))


class FactorGenerator(nn.Module):
    """Makes the low-rank factors of all blocks from a modality vector, in one grouped product.

    Group g of G makes the g-th part of each factor from the g-th part of the trunk's output. The last layer has no
    bias: ``static``, the factors that all images share, is one.
    """

    def __init__(self, modality: int, width: int, depth: int, trunk: int, settings: AdapterSettings) -> None:
        super().__init__()
        groups, rank = settings.groups, settings.rank
        if trunk % groups or rank * width % groups:
            raise ValueError(f"{groups} groups do not divide a trunk of {trunk} and factors of {rank} x {width}")
        self.width, self.depth, self.rank = width, depth, rank
        self.trunk = nn.Sequential(
            nn.Linear(modality, 2 * trunk), nn.LeakyReLU(SLOPE), nn.Linear(2 * trunk, trunk), nn.LeakyReLU(SLOPE)
        )
        made = depth * sum(UNITS) * (rank * width // groups)
        self.generated = nn.Parameter(torch.zeros(groups, trunk // groups, made))
        self.static = nn.Parameter(torch.zeros(groups, 1, made))
        with torch.no_grad():
            units = self.static.view(groups, depth, sum(UNITS), -1)
            for down in (ATTENTION_DOWN, MLP_DOWN):
                units[:, :, down].normal_(std=START)

    def forward(self, modality: Tensor) -> Sequence[BlockAdaptation]:
        """One adaptation per block, for modalities (N, ``modality``)."""
        groups = self.static.shape[0]
        unit = self.rank * self.width
        parts = self.trunk(modality).reshape(-1, groups, self.generated.shape[1]).transpose(0, 1)
        made = torch.baddbmm(self.static, parts, self.generated)
        made = made.reshape(groups, -1, self.depth, sum(UNITS), unit // groups).permute(2, 1, 3, 0, 4).flatten(2)
        return [self._block(torch.split(own, [count * unit for count in UNITS], dim=1)) for own in made.unbind(0)]

    def _block(self, factors: Sequence[Tensor]) -> BlockAdaptation:
        down, query, key, value, mlp_down, mlp_up = factors
        rank, width = self.rank, self.width
        return BlockAdaptation(
            LowRank(
                down.reshape(-1, width, 3 * rank), [up.reshape(-1, rank, width) for up in (query, key, value)], rank
            ),
            LowRank(mlp_down.reshape(-1, width, rank), [mlp_up.reshape(-1, rank, 4 * width)], rank),
        )


class ModalityAdapter(nn.Module):
    """From the patch features of images to an adaptation of every block."""

    def __init__(self, width: int, depth: int, trunk: int, settings: AdapterSettings) -> None:
        super().__init__()
        self.settings = settings
        modality = width
        if settings.discrete:
            self.labels = nn.Embedding(settings.modalities, width)
        else:
            self.context = PatchContext(width)
            if settings.codebook:
                self.codebook = Codebook(width, settings.codes, settings.reading)
                modality = self.codebook.dimension
        self.generator = FactorGenerator(modality, width, depth, trunk, settings)
        self._initialise()

    def forward(self, maps: Tensor, labels: Tensor | None) -> Sequence[BlockAdaptation]:
        """``maps`` (B, T, D, h, w); ``labels`` int64 (B,), needed by the discrete form only."""
        return cast("Sequence[BlockAdaptation]", self.generator(self.modality(maps, labels)))

    def modality(self, maps: Tensor, labels: Tensor | None) -> Tensor:
        """The modality vector of each slice: (B T, D)."""
        if self.settings.discrete:
            if labels is None:
                raise ValueError("a network with discrete modalities needs the modality label of every image")
            coded = cast(Tensor, self.labels(labels))
            return coded.unsqueeze(1).expand(-1, maps.shape[1], -1).flatten(0, 1)
        context = self.context(maps.flatten(0, 1))
        if self.settings.context == "scan":
            slices = context.reshape(maps.shape[0], maps.shape[1], -1)
            context = slices.mean(1, keepdim=True).expand_as(slices).flatten(0, 1)
        return cast(Tensor, self.codebook(context)) if self.settings.codebook else context

    def _initialise(self) -> None:
        """What usually keeps the variance from layer to layer: by default six layers let a context fade, until the gate
        is the same for all images and the adapter begins as a constant."""
        for part in self.modules():
            if isinstance(part, nn.Linear | nn.Conv2d):
                nn.init.kaiming_normal_(part.weight, SLOPE)
                nn.init.zeros_(cast(Tensor, part.bias))
