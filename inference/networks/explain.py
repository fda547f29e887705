"""Which regions of an image carry identity: heat maps for the reviewer and for de-identification.

Three ways, none of which needs a gradient: where the key queries of the training's alignment look
(:func:`query_heat`); the attention of a Vision Transformer rolled out over its blocks (:func:`rollout_heat`; S. Abnar,
W. Zuidema, "Quantifying attention flow in transformers", ACL 2020); and what happens when a region is hidden
(:func:`occlusion_heat`; M. Zeiler, R. Fergus, "Visualizing and understanding convolutional networks", ECCV 2014).

Every heat map is float32 (S, S) in [0, 1] over the network's input, the hottest place being 1, or 0 everywhere where no
place differs from another. The same input gives the same map.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from config.errors import EncoderError
from inference.networks.mami import KeyQueries
from inference.networks.vit import Attention, LowRank, VisionTransformer
from inference.types import FloatArray

__all__ = ["identity_heat", "occlusion_heat", "query_heat", "read_queries", "rollout_heat"]

# What a region is hidden under: neither the black of air nor the white of bone.
_GREY = 0.5


def read_queries(state: Mapping[str, Tensor], prefix: str = "student.") -> KeyQueries:
    """The key queries of a ``DifferenceAlignment`` from its state.

    Raises
    ------
    EncoderError
        ``QUERIES_MISSING`` when the state holds none under that prefix.
    """
    own = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    if "queries" not in own:
        raise EncoderError(f"there are no key queries under {prefix!r}; train with alignment", reason="QUERIES_MISSING")
    keys = KeyQueries(*own["queries"].shape)
    keys.load_state_dict(own)
    return keys.eval()


def identity_heat(
    network: nn.Module, image: Tensor, modality: int = 0, queries: KeyQueries | None = None
) -> FloatArray:
    """The cheapest map that there is for an image float32 (T, 3, S, S) in [0, 1].

    That of the key queries where training left some, else the rolled-out attention, else, for networks without
    attention, that of occlusion.
    """
    if queries is not None:
        return query_heat(network, image, queries, modality)
    if isinstance(network, VisionTransformer):
        return rollout_heat(network, image, modality)
    return occlusion_heat(network, image, modality=modality)


@torch.no_grad()
def query_heat(
    network: nn.Module, image: Tensor, queries: KeyQueries, modality: int, number: int | None = None
) -> FloatArray:
    """Where the key queries of a modality look, on average, in an image float32 (T, 3, S, S) in [0, 1].

    ``number`` is the modality's for the network, where the queries count it otherwise.
    """
    with _evaluating(network):
        local = _local(network, image, modality if number is None else number)
        seen = queries.to(image.device).attention(local, torch.tensor([modality], device=image.device))
    return _heat(seen.mean(1, keepdim=True), image.shape[-1])


@torch.no_grad()
def rollout_heat(network: nn.Module, image: Tensor, modality: int = 0, batch_size: int = 8) -> FloatArray:
    """How much of each patch reaches the mean that becomes the embedding, averaged over slices and heads.

    ``image`` is float32 (T, 3, S, S) in [0, 1], of which ``batch_size`` slices are looked at together.

    Raises
    ------
    EncoderError
        ``NO_ATTENTION`` when the network is no Vision Transformer: hide regions instead.
    """
    if not isinstance(network, VisionTransformer):
        raise EncoderError(
            f"{type(network).__name__} has no attention to roll out; use occlusion", reason="NO_ATTENTION"
        )
    with _evaluating(network):
        starts = range(0, len(image), batch_size)
        reached = [_rolled_out(network, image[start : start + batch_size], modality) for start in starts]
    grid = image.shape[-1] // network.shape.patch
    return _heat(torch.stack(reached).sum(0).view(1, 1, grid, grid), image.shape[-1])


@torch.no_grad()
def occlusion_heat(
    network: nn.Module,
    image: Tensor,
    mate: Tensor | None = None,
    modality: int = 0,
    patch: int = 32,
    stride: int = 16,
    batch_size: int = 16,
) -> FloatArray:
    """How much less an image looks like its mate when a region of it is hidden.

    Parameters
    ----------
    image, mate
        float32 (T, 3, S, S) in [0, 1]: two images of a person; without a mate, the image itself stands for it, and the
        map shows what changes the embedding at all.
    patch, stride
        edge of the hidden squares and the way from one to the next, in pixels; all slices are hidden at once.
    batch_size
        how many hidden forms are encoded together: memory grows with it, the map does not change.

    A place's heat is the mean loss of cosine similarity over the squares that cover it; gains count as none.
    """
    size = image.shape[-1]
    if not (1 <= patch <= size and 1 <= stride <= patch and batch_size >= 1):
        raise ValueError(f"a patch of {patch} at steps of {stride} cannot cover {size} pixels")
    starts = sorted({*range(0, size - patch, stride), size - patch})
    corners = [(top, left) for top in starts for left in starts]
    with _evaluating(network):
        reference = _embedding(network, (image if mate is None else mate).unsqueeze(0), modality)
        whole = _likeness(_embedding(network, image.unsqueeze(0), modality), reference)
        lost, covered = torch.zeros(size, size), torch.zeros(size, size)
        for first in range(0, len(corners), batch_size):
            part = corners[first : first + batch_size]
            hidden = torch.stack([_hidden(image, top, left, patch) for top, left in part])
            drops = whole - _likeness(_embedding(network, hidden, modality), reference)
            for (top, left), drop in zip(part, drops.tolist(), strict=True):
                square = (slice(top, top + patch), slice(left, left + patch))
                lost[square] += max(drop, 0.0)
                covered[square] += 1
    return _heat((lost / covered)[None, None], size)


def _hidden(image: Tensor, top: int, left: int, patch: int) -> Tensor:
    hidden = image.clone()
    hidden[..., top : top + patch, left : left + patch] = _GREY
    return hidden


def _rolled_out(network: VisionTransformer, slices: Tensor, modality: int) -> Tensor:
    """What reaches the mean of the patches from each patch, summed over slices (T, 3, S, S): (patches,)."""
    flow: list[Tensor] = []

    def follow(attention: Attention, inputs: tuple[Any, ...]) -> None:
        tokens, *added = cast("tuple[Tensor, LowRank | None]", inputs)
        weights = attention.weights(tokens, *added).float().mean(1)
        # Half of what a block passes on came past its attention, on the short cut.
        step = (weights + torch.eye(weights.shape[-1], device=weights.device)) / 2
        flow[:] = [step @ flow[0]] if flow else [step]

    handles = [part.register_forward_pre_hook(follow) for part in network.modules() if isinstance(part, Attention)]
    try:
        _local(network, slices, modality)
    finally:
        for handle in handles:
            handle.remove()
    return flow[0][:, 1:, 1:].mean(1).sum(0)


def _local(network: nn.Module, image: Tensor, modality: int) -> Tensor:
    """(1, D, h, w) of an image (T, 3, S, S)."""
    found: Any = network
    label = torch.tensor([modality], device=image.device)
    takes_labels = isinstance(network, VisionTransformer)
    return cast(Tensor, found.local(image.unsqueeze(0), label) if takes_labels else found.local(image.unsqueeze(0)))


def _embedding(network: nn.Module, images: Tensor, modality: int) -> Tensor:
    label = torch.full((len(images),), modality, dtype=torch.int64, device=images.device)
    return cast(Tensor, network(images, label)).float()


def _likeness(embeddings: Tensor, reference: Tensor) -> Tensor:
    return functional.cosine_similarity(embeddings, reference, dim=1).cpu()


def _heat(values: Tensor, size: int) -> FloatArray:
    """(1, 1, h, w) as a heat map of ``size``."""
    fine = functional.interpolate(values.float().cpu(), size=(size, size), mode="bilinear", align_corners=False)[0, 0]
    least, most = fine.min(), fine.max()
    # What is left of rounding is no difference.
    if float(most - least) <= 1e-6 * max(1e-6, float(most.abs())):
        return cast(FloatArray, torch.zeros(size, size).numpy())
    return cast(FloatArray, ((fine - least) / (most - least)).numpy())


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(training)
