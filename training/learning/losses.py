"""Losses by name. All but cross-entropy are those of pytorch-metric-learning, with the miner that each is meant for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from pytorch_metric_learning import distances, losses, miners, reducers
from torch import Tensor, nn
from torch.nn import functional

from config.errors import TrainingError
from training.learning.recipe import Loss

__all__ = ["LOSSES", "WeightedLoss", "build_losses"]


class CrossEntropy(nn.Module):
    """Cross-entropy over the training classes, of a linear layer without bias; ``smoothing`` of the labels.

    H. Luo et al., "Bag of tricks and a strong baseline for deep person re-identification" (CVPR Workshops 2019).
    """

    def __init__(self, classes: int, dimension: int, smoothing: float = 0.0) -> None:
        super().__init__()
        self.classifier = nn.Linear(dimension, classes, bias=False)
        nn.init.normal_(self.classifier.weight, std=0.001)
        self.smoothing = smoothing

    def forward(self, embeddings: Tensor, classes: Tensor) -> Tensor:
        return functional.cross_entropy(self.classifier(embeddings), classes, label_smoothing=self.smoothing)


class LogitsCrossEntropy(nn.Module):
    """Cross-entropy of a network whose embedding is the classes' logits."""

    def __init__(self, smoothing: float = 0.0) -> None:
        super().__init__()
        self.smoothing = smoothing

    def forward(self, logits: Tensor, classes: Tensor) -> Tensor:
        return functional.cross_entropy(logits, classes, label_smoothing=self.smoothing)


def _soft_margin_triplet(**settings: Any) -> tuple[nn.Module, nn.Module]:
    """log(1 + exp(d_ap - d_an)) of each image's farthest mate and nearest stranger (A. Hermans et al., "In defense of
    the triplet loss", 2017), Euclidean, of embeddings as they are.
    """
    euclidean = distances.LpDistance(normalize_embeddings=False)
    loss = losses.TripletMarginLoss(
        margin=0, smooth_loss=True, distance=euclidean, reducer=reducers.MeanReducer(), **settings
    )
    return loss, miners.BatchHardMiner(distance=euclidean)


def _hinge_triplet(margin: float = 0.2) -> tuple[nn.Module, None]:
    """max(0, d_ap^2 - d_an^2 + margin) of all triplets of a batch, the mean of those that are not 0 (F. Schroff et al.,
    "FaceNet", CVPR 2015); d is Euclidean between embeddings of unit length, so that d^2 goes from 0 to 4.
    """
    squared = distances.LpDistance(normalize_embeddings=True, p=2, power=2)
    return losses.TripletMarginLoss(margin=margin, distance=squared), None


def _multi_similarity(**settings: Any) -> tuple[nn.Module, nn.Module]:
    return losses.MultiSimilarityLoss(**settings), miners.MultiSimilarityMiner()


# Losses of pairs within a batch (and its memory): "settings -> loss, miner".
_PAIRS: dict[str, Callable[..., tuple[nn.Module, nn.Module | None]]] = {
    "triplet": _soft_margin_triplet,
    "hinge-triplet": _hinge_triplet,
    "multi-similarity": _multi_similarity,
    "circle": lambda **settings: (losses.CircleLoss(**settings), None),
    "supervised-contrastive": lambda **settings: (losses.SupConLoss(**settings), None),
    "contrastive": lambda **settings: (losses.ContrastiveLoss(**settings), None),
}
# Losses with weights for every class: "classes, dimension, settings -> loss".
_CLASSES: dict[str, Callable[..., nn.Module]] = {
    "cross-entropy": CrossEntropy,
    "arcface": losses.ArcFaceLoss,
    "sub-centre-arcface": losses.SubCenterArcFaceLoss,
    "cosface": losses.CosFaceLoss,
    "proxy-anchor": losses.ProxyAnchorLoss,
}
LOSSES = (*_CLASSES, *_PAIRS)


class WeightedLoss(nn.Module):
    """A loss with its weight. ``of_pairs`` are shown images with mates only; the others every image."""

    def __init__(self, name: str, weight: float, loss: nn.Module, miner: nn.Module | None, of_pairs: bool) -> None:
        super().__init__()
        self.name, self.weight, self.of_pairs = name, weight, of_pairs
        self.loss, self.miner = loss, miner

    def forward(self, embeddings: Tensor, classes: Tensor) -> Tensor:
        """The scalar loss, unweighted, of embeddings float32 (B, D) and classes int64 (B,)."""
        mined = () if self.miner is None else (self.miner(embeddings, classes),)
        return cast(Tensor, self.loss(embeddings, classes, *mined))

    def get_extra_state(self) -> dict[str, Any]:
        """How full a cross-batch memory is, which is no tensor: without it a resumed training would be another."""
        if not isinstance(self.loss, losses.CrossBatchMemory):
            return {}
        return {name: getattr(self.loss, name) for name in _MEMORY}

    def set_extra_state(self, state: Mapping[str, Any]) -> None:
        for name, value in state.items():
            setattr(self.loss, name, value)


_MEMORY = ("queue_idx", "has_been_filled")


def build_losses(wanted: tuple[Loss, ...], classes: int, dimension: int) -> list[WeightedLoss]:
    """The losses of a recipe for so many classes, and embeddings of that dimension.

    Raises
    ------
    TrainingError
        ``LOSS``, naming a loss that there is not, or that cannot take its settings or a memory.
    """
    return [_build(one, classes, dimension) for one in wanted]


def _build(one: Loss, classes: int, dimension: int) -> WeightedLoss:
    if one.name not in LOSSES:
        raise TrainingError(f"there is no loss {one.name!r}; there are: {', '.join(LOSSES)}", reason="LOSS")
    try:
        if one.name in _CLASSES:
            if one.memory:
                raise ValueError("it has weights for every class, and no use for a memory")
            return WeightedLoss(one.name, one.weight, _of_classes(one, classes, dimension), None, False)
        loss, miner = _PAIRS[one.name](**one.settings)
        if one.memory:
            if type(loss).__name__ not in losses.CrossBatchMemory.supported_losses():
                raise ValueError("it cannot have a memory")
            # The memory mines for itself, among what it remembers.
            loss, miner = losses.CrossBatchMemory(loss, dimension, one.memory, miner), None
    except (TypeError, ValueError) as error:
        raise TrainingError(f"loss {one.name!r} cannot take its settings: {error}", reason="LOSS") from None
    return WeightedLoss(one.name, one.weight, loss, miner, True)


def _of_classes(one: Loss, classes: int, dimension: int) -> nn.Module:
    if one.name == "cross-entropy":
        return CrossEntropy(classes, dimension, **one.settings)
    return _CLASSES[one.name](num_classes=classes, embedding_size=dimension, **one.settings)
