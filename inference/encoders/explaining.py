"""Where in an image an encoder sees the person: a heat map over the picture that its network gets.

For a reviewer, who judges whether a candidate was nominated for ribs or for a marker in the corner, and for
de-identification, which has to know what to take out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from config.errors import EncoderError
from inference.encoders.bundle import Bundle
from inference.encoders.inputs import InputSpec, prepare, require_pixels
from inference.encoders.trained import modality_number
from inference.types import FloatArray, LoadedSeries

if TYPE_CHECKING:
    from inference.networks.mami import KeyQueries

Method = Literal["auto", "queries", "attention", "occlusion"]
QUERIES_FILE = "queries.safetensors"
# Share of the heat's colour in the picture where it is hottest.
_OPACITY = 0.6


@dataclass(frozen=True, slots=True)
class Explanation:
    """``picture`` uint8 (S, S, 3) RGB is the network's input, of a volume its middle slice; ``heat`` float32 (S, S) in
    [0, 1], of a volume that of all slices together; ``method`` is the one that made it."""

    picture: NDArray[np.uint8]
    heat: FloatArray
    method: Method


def explain(
    bundle: Bundle, image: LoadedSeries, mate: LoadedSeries | None = None, method: Method = "auto"
) -> Explanation:
    """Where the bundle's network sees the person of an image.

    Parameters
    ----------
    mate
        another image of the person: occlusion then shows where the two are alike. Other methods look at one image.
    method
        ``queries`` of the training's alignment, ``attention`` rolled out, ``occlusion``, or the first of these that the
        bundle has (with a mate: occlusion).

    Raises
    ------
    EncoderError
        ``NOT_EXPLAINABLE`` for a bundle without a network of its own, ``QUERIES_MISSING`` and ``NO_ATTENTION`` for a
        method that it does not have, ``BUNDLE_DAMAGED``.
    ImagingError
        when the encoder could not take the image either.
    """
    import torch

    from inference.encoders.runtime import load_network
    from inference.networks.explain import occlusion_heat, query_heat, rollout_heat
    from inference.networks.vit import VisionTransformer

    if bundle.manifest.model is None:
        raise EncoderError(
            f"the bundle {bundle.manifest.name!r} has no network to ask; choose one that medreid train made",
            reason="NOT_EXPLAINABLE",
        )
    spec = InputSpec.from_mapping(bundle.manifest.input)
    number = modality_number(bundle.manifest, image)
    network = load_network(bundle)
    queries = _queries(bundle, number)
    chosen = method
    if method == "auto":
        chosen = "occlusion" if mate is not None or not isinstance(network, VisionTransformer) else "attention"
        chosen = "queries" if queries is not None and mate is None else chosen
    planes = _planes(image, spec)
    seen = torch.from_numpy(planes).float() / 255
    if chosen == "queries":
        if queries is None:
            raise EncoderError(
                f"the bundle {bundle.manifest.name!r} was trained without alignment and has no key queries; use "
                "another method",
                reason="QUERIES_MISSING",
            )
        # Each modality's queries were stored as the only ones of their kind.
        heat = query_heat(network, seen, queries, 0, number)
    elif chosen == "attention":
        heat = rollout_heat(network, seen, number)
    else:
        other = None if mate is None else torch.from_numpy(_planes(mate, spec)).float() / 255
        edge = max(2, spec.size // 7)
        heat = occlusion_heat(network, seen, other, number, patch=edge, stride=max(1, edge // 2))
    middle = planes[len(planes) // 2]
    return Explanation(np.ascontiguousarray(middle.transpose(1, 2, 0)), heat, chosen)


def overlay(found: Explanation) -> NDArray[np.uint8]:
    """uint8 (S, 2 S, 3) RGB: the picture, and beside it the picture under its heat (dark blue none, yellow most)."""
    import cv2

    colours = cv2.applyColorMap((found.heat * 255).astype(np.uint8), cv2.COLORMAP_VIRIDIS)[..., ::-1]
    share = (_OPACITY * found.heat)[..., None]
    mixed = found.picture * (1 - share) + colours * share
    return np.ascontiguousarray(np.concatenate([found.picture, np.rint(mixed).astype(np.uint8)], axis=1))


def _planes(image: LoadedSeries, spec: InputSpec) -> NDArray[np.uint8]:
    require_pixels(image)
    return prepare(image, spec)


def _queries(bundle: Bundle, number: int) -> KeyQueries | None:
    import safetensors
    import safetensors.torch

    from inference.networks.explain import read_queries

    model = bundle.manifest.model
    if QUERIES_FILE not in bundle.manifest.files or model is None or not model.modalities:
        return None
    prefix = f"{model.modalities[number]}."
    try:
        state = safetensors.torch.load(bundle.bytes_of(QUERIES_FILE))
        if not any(key.startswith(prefix) for key in state):
            return None
        return read_queries(state, prefix)
    except (RuntimeError, ValueError, safetensors.SafetensorError) as error:
        raise EncoderError(
            f"bundle {bundle.manifest.name!r}: {QUERIES_FILE}: {error}", reason="BUNDLE_DAMAGED"
        ) from None
