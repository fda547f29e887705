"""Teachers by name: frozen networks whose local features a student's are aligned to. Nothing is ever downloaded.

``imagenet``
    EfficientNet-Lite0 with the ImageNet weights of an installed package.
``reconstruction``
    an autoencoder of medical pictures that :mod:`training.recipes.reconstruction` trained.
``bundle:NAME``
    the network of any bundle that a recipe trained.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, cast

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from config.errors import EncoderError, TrainingError
from inference.encoders.bundle import BUNDLE_FILE, Bundle
from inference.encoders.registry import Registry
from inference.encoders.runtime import WEIGHTS_FILE, load_network

__all__ = ["Reconstruction", "Teacher", "load_teacher", "package_teachers"]

RECONSTRUCTION = "reconstruction"
_BUNDLE = "bundle:"


class Teacher(nn.Module):
    """A frozen network: no gradient, and no training mode, whatever it is told.

    Parameters
    ----------
    name
        under which it was asked for.
    channels
        Ct of its maps.
    network, look
        what it consists of, and float32 (B, 3, S, S) in [0, 1] to (B, Ct, ht, wt).
    """

    def __init__(self, name: str, channels: int, network: nn.Module, look: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.name, self.channels = name, channels
        self.network, self._look = network.requires_grad_(False), look
        network.eval()

    def maps(self, images: Tensor) -> Tensor:
        """Local features float32 (B, Ct, ht, wt) of RGB pictures float32 (B, 3, S, S) in [0, 1]."""
        with torch.no_grad():
            return self._look(images).float()

    def train(self, mode: bool = True) -> Teacher:
        """Stays in evaluation mode: its batch statistics are part of what it knows."""
        return self


class Reconstruction(nn.Module):
    """An autoencoder of pictures (MONAI's), without short cuts: all that it rebuilds passes through its local map."""

    WIDTHS = (32, 64, 128, 256)

    def __init__(self) -> None:
        super().__init__()
        from monai.networks.nets.autoencoder import AutoEncoder

        strides = (2,) * len(self.WIDTHS)
        self.network = AutoEncoder(2, 3, 3, self.WIDTHS, strides, num_res_units=1, norm="BATCH")
        self.channels = self.WIDTHS[-1]

    def forward(self, images: Tensor) -> Tensor:
        """The rebuilt pictures, of the shape of ``images`` float32 (B, 3, S, S) in [0, 1]; S is a multiple of 16."""
        return cast(Tensor, self.network(images - 0.5)) + 0.5

    def local(self, images: Tensor) -> Tensor:
        """(B, ``channels``, S / 16, S / 16)."""
        return cast(Tensor, self.network.encode(images - 0.5))


def load_teacher(name: str, folders: Sequence[Path] = ()) -> Teacher:
    """The teacher of that name, frozen, on the CPU; ``folders`` hold bundles beside those that MedReID brings.

    Raises
    ------
    TrainingError
        ``TEACHER_UNKNOWN`` when there is none of that name, or its bundle holds no network with local features.
    EncoderError
        ``BUNDLE_DAMAGED`` when its weights are missing or do not fit.
    """
    if name == "imagenet":
        return _imagenet(name)
    if name == RECONSTRUCTION:
        return _reconstruction(name, folders)
    if name.startswith(_BUNDLE):
        return _trained(name, folders)
    raise _unknown(name, "there is no such teacher; there are imagenet, reconstruction and bundle:NAME")


def package_teachers() -> Path:
    """The folder with the teachers' bundles that come with MedReID; they do not serve."""
    return Path(str(resources.files("training.learning"))) / "bundles"


def _imagenet(name: str) -> Teacher:
    from inference.networks.efficientnet import CHANNELS, EfficientNetSettings, trunk

    network = trunk("efficientnet-lite0", EfficientNetSettings(pretrained=True))
    return Teacher(name, CHANNELS, network, network)


def _trained(name: str, folders: Sequence[Path]) -> Teacher:
    try:
        bundle = Registry(folders, device="cpu").bundle(name.removeprefix(_BUNDLE))
    except EncoderError as error:
        if error.reason == "ENCODER_UNKNOWN":
            raise _unknown(name, str(error)) from None
        raise
    if bundle.manifest.model is None:
        raise _unknown(name, "that bundle was not trained by a recipe; the ImageNet network is the teacher imagenet")
    network: Any = load_network(bundle)
    if not hasattr(network, "local"):
        raise _unknown(name, f"the network {bundle.manifest.model.name} has no local features")
    return Teacher(name, network.channels, network, lambda images: network.local(images.unsqueeze(1)))


def _reconstruction(name: str, folders: Sequence[Path]) -> Teacher:
    places = (folder / name for folder in (*reversed(folders), package_teachers()))
    found = [place for place in places if (place / BUNDLE_FILE).is_file()]
    if not found:
        raise _unknown(name, "it has not been trained here; run python -m training.recipes.reconstruction")
    bundle, network = Bundle.read(found[0]), Reconstruction()
    try:
        network.load_state_dict(safetensors.torch.load(bundle.bytes_of(WEIGHTS_FILE)))
    except (RuntimeError, safetensors.SafetensorError) as error:
        raise EncoderError(
            f"bundle {name!r}: {WEIGHTS_FILE} does not fit the network: {error}", reason="BUNDLE_DAMAGED"
        ) from None
    return Teacher(name, network.channels, network, network.local)


def _unknown(name: str, why: str) -> TrainingError:
    return TrainingError(f"teacher {name!r}: {why}", reason="TEACHER_UNKNOWN")
