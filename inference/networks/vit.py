"""A plain pre-norm Vision Transformer whose linear layers can take a low-rank addition of each image's own.

A. Dosovitskiy et al., "An Image is Worth 16x16 Words" (ICLR 2021), with what MaMI's backbone has of CLIP's: a norm on
entry, none on exit, the mean of the patches as read-out, and an MLP that makes the identity vector of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

# What pretrained image networks are used to: mean and deviation of ImageNet's RGB in [0, 1].
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True)
class Shape:
    """Width D, heads and blocks of a Vision Transformer; ``size`` and ``patch`` in pixels."""

    width: int
    heads: int
    depth: int
    size: int = 224
    patch: int = 16

    def __post_init__(self) -> None:
        if self.patch < 1 or self.size < self.patch or self.size % self.patch:
            raise ValueError(f"an input of {self.size} pixels cannot be cut into patches of {self.patch}")
        if self.depth < 1 or self.heads < 1 or self.width % self.heads:
            raise ValueError(f"a width of {self.width} cannot be shared by {self.heads} heads")

    @property
    def grid(self) -> int:
        return self.size // self.patch


class LowRank(NamedTuple):
    """What is added to P linear layers that share their input: ``x @ down @ up``, of rank r, for each of N images.

    ``down`` float32 (N, inputs, P r); ``up`` P times float32 (N, r, outputs).
    """

    down: Tensor
    up: Sequence[Tensor]
    rank: int


class BlockAdaptation(NamedTuple):
    """The additions to a block: to queries, keys and values (P = 3), and to the first layer of its MLP (P = 1)."""

    attention: LowRank
    expansion: LowRank


class LayerNorm(nn.LayerNorm):
    """In float32 whatever the precision around it: its sums of squares overflow in half precision."""

    def forward(self, input: Tensor) -> Tensor:
        weight, bias = self.weight.float(), self.bias.float()
        return functional.layer_norm(input.float(), self.normalized_shape, weight, bias, self.eps).to(input.dtype)


class ParallelLinear(nn.Linear):
    """P linear layers of one input, in one product."""

    def __init__(self, inputs: int, outputs: int, parts: int) -> None:
        super().__init__(inputs, parts * outputs)
        self.parts = parts

    def parallel(self, x: Tensor, added: LowRank | None = None) -> Sequence[Tensor]:
        """P tensors (N, tokens, outputs) of ``x`` (N, tokens, inputs).

        ``W x + B (A x)`` rather than ``(W + B A) x``: with zero factors that is ``W x`` to the bit.
        """
        plain = self._parts(super().forward(x), self.out_features)
        if added is None:
            return plain
        inner = self._parts(torch.bmm(x, added.down), self.parts * added.rank)
        factors = zip(plain, inner, added.up, strict=True)
        if torch.is_grad_enabled() or _tracing():
            return [y + torch.bmm(h, up) for y, h, up in factors]
        # In place where it may be: these are the largest tensors of all, and a copy costs as much as the product.
        return [y.baddbmm_(h, up) for y, h, up in factors]

    def _parts(self, x: Tensor, width: int) -> Sequence[Tensor]:
        # Sizes known beforehand, and no split into one part: a traced chunk computes and copies for every image.
        return (x,) if self.parts == 1 else torch.split(x, width // self.parts, dim=-1)


class Attention(nn.Module):
    """Self-attention of all tokens, with several heads."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.width_of_head = heads, width // heads
        self.scale = self.width_of_head**-0.5
        self.inputs = ParallelLinear(width, width, 3)
        self.output = nn.Linear(width, width)

    def forward(self, x: Tensor, added: LowRank | None = None) -> Tensor:
        query, key, value = self._heads(x, added)
        seen = functional.scaled_dot_product_attention(query, key, value, scale=self.scale)
        return cast(Tensor, self.output(seen.transpose(1, 2).flatten(2)))

    def weights(self, x: Tensor, added: LowRank | None = None) -> Tensor:
        """How much each token attends to each: (N, heads, tokens, tokens), rows summing to 1."""
        query, key, _ = self._heads(x, added)
        return cast(Tensor, (query @ key.transpose(-1, -2) * self.scale).softmax(dim=-1))

    def _heads(self, x: Tensor, added: LowRank | None) -> list[Tensor]:
        shape = (x.shape[0], -1, self.heads, self.width_of_head)
        return [y.reshape(shape).transpose(1, 2) for y in self.inputs.parallel(x, added)]


class Block(nn.Module):
    """Attention, then an MLP of four times the width; both behind a norm and around a short cut."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm_attention, self.norm_mlp = LayerNorm(width), LayerNorm(width)
        self.attention = Attention(width, heads)
        self.expand = ParallelLinear(width, 4 * width, 1)
        self.contract = nn.Linear(4 * width, width)

    def forward(self, x: Tensor, adaptation: BlockAdaptation | None = None) -> Tensor:
        attention, expansion = adaptation or (None, None)
        x = x + self.attention(self.norm_attention(x), attention)
        (wide,) = self.expand.parallel(self.norm_mlp(x), expansion)
        return x + cast(Tensor, self.contract(functional.gelu(wide)))


class VisionTransformer(nn.Module):
    """The network of every ``vit-*``; see :mod:`inference.networks` for its face.

    Parameters
    ----------
    shape
        its dimensions. ``shape.size`` is the size of which its table of positions is; inputs of another multiple of
        the patch take an interpolated table, except in a trace, which holds one size.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.dimension = self.channels = shape.width
        self.patches = nn.Conv2d(3, shape.width, shape.patch, shape.patch, bias=False)
        self.token = nn.Parameter(torch.zeros(1, 1, shape.width))
        self.positions = nn.Parameter(torch.zeros(1, 1 + shape.grid**2, shape.width))
        self.entry = LayerNorm(shape.width)
        self.blocks = nn.ModuleList(Block(shape.width, shape.heads) for _ in range(shape.depth))
        self.identity = nn.Sequential(
            nn.Linear(shape.width, shape.width), nn.LeakyReLU(0.1), nn.Linear(shape.width, shape.width)
        )
        self.register_buffer("mean", torch.tensor(_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(_DEVIATION).view(3, 1, 1), persistent=False)
        self._initialise()

    def forward(self, x: Tensor, modality: Tensor | None = None) -> Tensor:
        return self.embed(self.local(x, modality))

    def embed(self, local: Tensor) -> Tensor:
        """The embedding (B, D) of a local map (B, D, h, w): what training calls when it needs both."""
        return cast(Tensor, self.identity(local.mean((2, 3))).float())

    def local(self, x: Tensor, modality: Tensor | None = None) -> Tensor:
        """float32 (B, D, h, w): what the last block says of each patch, averaged over slices."""
        maps = self.patches((x.flatten(0, 1) - self.mean) / self.deviation)
        batch = (x.shape[0], x.shape[1])
        adaptations = self.adaptations(maps.reshape(*batch, *maps.shape[1:]), modality)
        tokens = self._tokens(maps)
        for block, adaptation in zip(self.blocks, adaptations, strict=True):
            tokens = block(tokens, adaptation)
        return tokens[:, 1:].transpose(-1, -2).reshape(*batch, *maps.shape[1:]).mean(1).float()

    def adaptations(self, maps: Tensor, modality: Tensor | None) -> Sequence[BlockAdaptation | None]:
        """What is added to each block for patch features ``maps`` (B, T, D, h, w): nothing, in the plain network."""
        return (None,) * self.shape.depth

    def _tokens(self, maps: Tensor) -> Tensor:
        """(N, 1 + h w, D): the class token and the patches, each with its position."""
        patches = maps.flatten(2).transpose(-1, -2)
        tokens = torch.cat([self.token.expand(patches.shape[0], -1, -1), patches], dim=1)
        return cast(Tensor, self.entry(tokens + self._positions(maps)))

    def _positions(self, maps: Tensor) -> Tensor:
        grid = self.shape.grid
        # A trace holds the one size that its table has, and may not look at the shapes of its inputs.
        if _tracing() or maps.shape[-2:] == (grid, grid):
            return self.positions
        table = self.positions[:, 1:].transpose(-1, -2).reshape(1, -1, grid, grid)
        resized = functional.interpolate(table, size=maps.shape[-2:], mode="bicubic", antialias=True)
        return torch.cat([self.positions[:, :1], resized.flatten(2).transpose(-1, -2)], dim=1)

    def _initialise(self) -> None:
        for name, part in self.named_modules():
            if isinstance(part, nn.Linear) and not name.startswith("identity"):
                nn.init.trunc_normal_(part.weight, std=0.02)
                nn.init.zeros_(part.bias)
        for table in (self.token, self.positions):
            nn.init.trunc_normal_(table, std=0.02)


def _tracing() -> bool:
    return bool(torch.jit.is_tracing())  # type: ignore[attr-defined,no-untyped-call]
