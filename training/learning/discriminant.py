"""A linear discriminant head in closed form, on the features of a network that stays as it is.

On few patients this beats any fine-tuning, and it is where fine-tuning best starts from. Within-class scatter is shrunk
(O. Ledoit, M. Wolf, "A well-conditioned estimator for large-dimensional covariance matrices", 2004), and each direction
weighs as much as a two-covariance model says it tells (S. Ioffe, "Probabilistic linear discriminant analysis", 2006).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import default_collate

from config.errors import TrainingError
from training.learning.augment import Augmenter
from training.learning.catalogue import Tell
from training.learning.data import Samples, TrainingImages
from training.learning.recipe import Recipe
from training.learning.sampler import Draw
from training.learning.seeds import seed_of

Floats = NDArray[np.float64]


def fit_head(recipe: Recipe, network: Any, samples: Samples, device: torch.device, tell: Tell) -> None:
    """Sets ``network.head`` (a linear layer and batch normalisation) to the discriminant of the samples' classes.

    Raises
    ------
    TrainingError
        ``DISCRIMINANT`` when the network has no such head, or the data no room for its dimension.
    """
    head = network.head if isinstance(getattr(network, "head", None), nn.Sequential) else ()
    layers = list(head)
    if not (len(layers) == 2 and isinstance(layers[0], nn.Linear) and isinstance(layers[1], nn.BatchNorm1d)):
        raise TrainingError(
            f"network.discriminant: {recipe.network.name} has no linear head; give its settings an embedding",
            reason="DISCRIMINANT",
        )
    linear, norm = layers
    network.head = nn.Identity()
    features = _features(recipe, network.to(device).eval(), samples, device, tell)
    network.head = head
    classes = np.tile(samples.classes, recipe.network.discriminant)
    projection, mean = discriminant(features, classes, linear.out_features)
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(projection))
        norm.running_mean.copy_(torch.from_numpy(projection @ mean))
        # The scale of each direction is what it tells; the norm passes it on.
        norm.running_var.fill_(1.0)
        norm.weight.fill_(1.0)
        norm.bias.zero_()


def discriminant(features: Floats, classes: NDArray[np.int64], dimension: int) -> tuple[Floats, Floats]:
    """The projection (d, D) and the mean (D,) of features (N, D) of so many classes.

    Classes of one example say nothing of what varies within a class, but do of what varies between them.

    Raises
    ------
    TrainingError
        ``DISCRIMINANT`` when d is more than D or than the classes less one, or no class has two examples.
    """
    from scipy.linalg import eigh
    from sklearn.covariance import ledoit_wolf

    _, codes, counts = np.unique(classes, return_inverse=True, return_counts=True)
    if dimension > min(features.shape[1], len(counts) - 1) or counts.max() < 2:
        raise TrainingError(
            f"a discriminant of {dimension} dimensions needs {dimension + 1} patients, some of them with two images, "
            f"and as many features; there are {len(counts)} patients and {features.shape[1]} features",
            reason="DISCRIMINANT",
        )
    means = np.zeros((len(counts), features.shape[1]))
    np.add.at(means, codes, features)
    means /= counts[:, None]
    residual = (features - means[codes])[counts[codes] > 1]
    within, _ = ledoit_wolf(residual, assume_centered=True)
    centre = means.mean(axis=0)
    between = np.cov(means - centre, rowvar=False)
    size = len(within)
    values, vectors = eigh(between, within, subset_by_index=[size - dimension, size - 1])
    # Of a direction's variance between class means, so much is not what varies within a class.
    telling = np.clip(values, 0, None)
    projection = (vectors * np.sqrt(telling / (1 + telling))).T[::-1]
    return np.ascontiguousarray(projection), centre


def _features(recipe: Recipe, network: Any, samples: Samples, device: torch.device, tell: Tell) -> Floats:
    """(views N, D): several augmented views of every training image, view by view."""
    images = TrainingImages(samples, recipe.input_spec().slices, recipe.mixed)
    augment = Augmenter(recipe.augment, recipe.input_spec().size)
    draws = [
        Draw(place, seed_of(recipe.seed, "discriminant", view, place), True)
        for view in range(recipe.network.discriminant)
        for place in range(len(samples))
    ]
    # Images of one number of slices make a batch.
    deep = [samples.records[draw.image].planes > 1 for draw in draws]
    groups = np.split(np.argsort(deep, kind="stable"), [deep.count(False)])
    size = recipe.sampler.batch
    batches = [group[start : start + size] for group in groups for start in range(0, len(group), size)]
    found: Floats | None = None
    for done, places in enumerate(batches, start=1):
        batch = default_collate([images[draws[place]] for place in places])
        with torch.inference_mode():
            views = augment(batch["images"].to(device), batch["seed"])
            own = network(views, batch["modality"].to(device)).double().cpu().numpy()
        found = np.empty((len(draws), own.shape[1])) if found is None else found
        found[places] = own
        tell("features", done, len(batches))
    assert found is not None
    return found
