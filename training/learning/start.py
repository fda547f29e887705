"""The weights that a training starts from: made once, so that all of its processes start from the same ones."""

from __future__ import annotations

from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import nn

from config.errors import TrainingError
from inference.whole_file import whole_file
from training.learning.catalogue import Tell
from training.learning.data import Samples
from training.learning.discriminant import fit_head
from training.learning.folder import Folder
from training.learning.locks import exclusive
from training.learning.recipe import Recipe


def started(
    recipe: Recipe, network: nn.Module, samples: Samples, folder: Folder, device: torch.device, tell: Tell
) -> None:
    """Gives the network the weights of ``network.start``, and the head of ``network.discriminant``.

    Raises
    ------
    TrainingError
        ``START`` when the file of weights cannot be read or fits no part of the network, and ``DISCRIMINANT``.
    """
    if recipe.network.start:
        _load(network, Path(recipe.network.start))
    if not recipe.network.discriminant:
        return
    with exclusive(folder.start.parent):
        if not folder.start.is_file():
            fit_head(recipe, network, samples, device, tell)
            with whole_file(folder.start) as file:
                file.write(safetensors.torch.save(network.cpu().state_dict()))
    network.load_state_dict(safetensors.torch.load_file(folder.start))
    network.train()


def _load(network: nn.Module, path: Path) -> None:
    """Takes every weight that has the network's name and shape: a head of another size stays as it is."""
    try:
        found = safetensors.torch.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise TrainingError(f"network.start: {path} cannot be read: {error}", reason="START") from None
    own = network.state_dict()
    fitting = {name: value for name, value in found.items() if name in own and own[name].shape == value.shape}
    if not fitting:
        raise TrainingError(f"network.start: {path} fits no part of {type(network).__name__}", reason="START")
    network.load_state_dict(own | fitting)
