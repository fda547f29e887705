"""What kind of image is this? One of the other networks with a linear layer to classes on top of it.

``forward`` returns logits float32 (B, classes): in the terms of :mod:`inference.networks` they are its embedding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from torch import Tensor, nn

from inference.encoders.modality import CLASSES


@dataclass(frozen=True, slots=True)
class ClassifierSettings:
    """``network`` and ``settings`` as for :func:`inference.networks.build`; ``dropout`` before the last layer."""

    network: str = "efficientnet-lite0"
    settings: Mapping[str, Any] = field(default_factory=dict)
    classes: tuple[str, ...] = CLASSES
    dropout: float = 0.2

    def __post_init__(self) -> None:
        if len(self.classes) < 2 or len(set(self.classes)) != len(self.classes):
            raise ValueError("classes are at least two different names")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}; it goes from 0 to less than 1")


class ClassifierNetwork(nn.Module):
    """``dimension`` is the number of classes, ``classes`` their names in the order of the logits."""

    def __init__(self, body: nn.Module, classes: tuple[str, ...], dropout: float) -> None:
        super().__init__()
        self.body, self.classes, self.dimension = body, classes, len(classes)
        self.channels = cast(int, body.channels)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(cast(int, body.dimension), len(classes)))

    def forward(self, x: Tensor, modality: Tensor | None = None) -> Tensor:
        """float32 (B, classes) logits of (B, T, 3, S, S); ``modality`` is what is asked for, and not looked at."""
        return cast(Tensor, self.head(self.body(x)).float())

    def local(self, x: Tensor) -> Tensor:
        """The local features of the network below."""
        return cast(Tensor, cast(Any, self.body).local(x))


def build(name: str, settings: Mapping[str, Any]) -> ClassifierNetwork:
    """See :func:`inference.networks.build`."""
    from inference import networks

    del name
    values = dict(settings)
    if "classes" in values:
        values["classes"] = tuple(values["classes"])
    own = ClassifierSettings(**values)
    return ClassifierNetwork(networks.build(own.network, own.settings), own.classes, own.dropout)
