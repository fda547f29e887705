"""What the convolutional networks share: planes in, local features, pooling, an optional head, the mean over slices."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, Self, cast, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

Pool = Literal["mean", "gem", "mean+max", "grid"]

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True)
class HeadSettings:
    """How local features become an embedding.

    pool
        ``mean``; ``gem``, the generalised mean with a learned power (F. Radenovic et al., PAMI 41, 2019); ``mean+max``,
        both beside each other; or ``grid``, means of ``grid`` x ``grid`` overlapping windows beside each other, which
        know where in the picture something is.
    embedding
        None for the pooled features, or the dimension of a linear layer with batch normalisation after it
        (H. Luo et al., "Bag of tricks", CVPR Workshops 2019).
    """

    pool: Pool = "mean"
    grid: int = 4
    embedding: int | None = None

    def __post_init__(self) -> None:
        if self.pool not in get_args(Pool):
            raise ValueError(f"pool is {self.pool!r}; it is one of {', '.join(get_args(Pool))}")
        if not 1 <= self.grid <= 16:
            raise ValueError(f"grid is {self.grid}; it goes from 1 to 16")
        if self.embedding is not None and not 1 <= self.embedding <= 65536:
            raise ValueError(f"embedding is {self.embedding}; it goes from 1 to 65536, or is left out")

    @classmethod
    def taken_from(cls, settings: Mapping[str, Any]) -> tuple[Self, dict[str, Any]]:
        """These settings, and what is left of the mapping for the network itself."""
        own = {field.name for field in fields(cls)}
        head = cls(**{key: value for key, value in settings.items() if key in own})
        return head, {key: value for key, value in settings.items() if key not in own}


class Trunk(nn.Module):
    """Pixels float32 (N, 3, S, S) in [0, 1] to local features (N, ``channels``, h, w), by any sequence of layers."""

    mean: Tensor
    deviation: Tensor

    def __init__(
        self, layers: nn.Module, channels: int, mean: tuple[float, ...] = IMAGENET_MEAN,
        deviation: tuple[float, ...] = IMAGENET_STD,
    ) -> None:  # fmt: skip
        super().__init__()
        self.layers, self.channels = layers, channels
        # Not saved: they belong to the architecture, and weights of another one must not bring theirs.
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(deviation).view(1, 3, 1, 1), persistent=False)

    def forward(self, planes: Tensor) -> Tensor:
        return cast(Tensor, self.layers((planes - self.mean) / self.deviation))


class GeneralisedMean(nn.Module):
    """(N, C, h, w) to (N, C): the mean of powers, rooted; negative features count as none."""

    def __init__(self, power: float = 3.0) -> None:
        super().__init__()
        self.power = nn.Parameter(torch.tensor(power))

    def forward(self, maps: Tensor) -> Tensor:
        # In float32 whatever the pass runs in: bf16 has no room for the powers.
        powers = maps.float().clamp(min=1e-6) ** self.power
        return powers.mean((2, 3)) ** (1 / self.power)


class MeanPool(nn.Module):
    """(N, C, h, w) to (N, C)."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps.mean((2, 3))


class MeanAndMax(nn.Module):
    """(N, C, h, w) to (N, 2 C)."""

    def forward(self, maps: Tensor) -> Tensor:
        return torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], dim=1)


class GridPool(nn.Module):
    """(N, C, h, w) to (N, C g g): means of g x g windows of one size, which cover the map and overlap if they must."""

    def __init__(self, grid: int) -> None:
        super().__init__()
        self.grid = grid

    def forward(self, maps: Tensor) -> Tensor:
        # Windows of whole pixels, where torch's adaptive pooling has some of two sizes, which ONNX does not know.
        with warnings.catch_warnings():
            # A trace is meant to hold the one size that it was made with.
            warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
            edges = [int(edge) for edge in maps.shape[2:]]
        if min(edges) < self.grid:
            raise ValueError(f"a grid of {self.grid} does not fit features of {edges[0]} x {edges[1]}")
        step = [edge // self.grid for edge in edges]
        size = [edge - (self.grid - 1) * stride for edge, stride in zip(edges, step, strict=True)]
        return functional.avg_pool2d(maps, size, step).flatten(1)


class SliceNetwork(nn.Module):
    """A network with the face that :mod:`inference.networks` promises.

    ``dimension`` is D of the embedding; ``channels`` is that of :meth:`local`, which knows no head.
    """

    def __init__(self, trunk: nn.Module, channels: int, head: HeadSettings) -> None:
        super().__init__()
        pools: dict[Pool, Callable[[], nn.Module]] = {
            "mean": MeanPool,
            "gem": GeneralisedMean,
            "mean+max": MeanAndMax,
            "grid": lambda: GridPool(head.grid),
        }
        pooled = channels * {"mean+max": 2, "grid": head.grid**2}.get(head.pool, 1)
        self.trunk, self.channels = trunk, channels
        self.pool = pools[head.pool]()
        self.head: nn.Module = nn.Identity()
        if head.embedding is not None:
            self.head = nn.Sequential(nn.Linear(pooled, head.embedding, bias=False), nn.BatchNorm1d(head.embedding))
        self.dimension: int = head.embedding or pooled

    def forward(self, x: Tensor, modality: Tensor | None = None) -> Tensor:
        """float32 (B, D) of (B, T, 3, S, S); the modality is not looked at."""
        pooled = self.pool(self.trunk(x.flatten(0, 1)))
        slices = pooled.reshape(x.shape[0], x.shape[1], pooled.shape[1])
        return cast(Tensor, self.head(slices.mean(1)).float())

    def local(self, x: Tensor) -> Tensor:
        """float32 (B, ``channels``, h, w): the mean over slices of what is pooled."""
        maps = self.trunk(x.flatten(0, 1))
        slices = maps.reshape(x.shape[0], x.shape[1], *maps.shape[1:])
        return cast(Tensor, slices.mean(1).float())
