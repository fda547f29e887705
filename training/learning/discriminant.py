"""A linear discriminant head in closed form, on the features of a network that stays as it is.

On few patients this beats any fine-tuning, and it is where fine-tuning best starts from. Each direction weighs as much
as a two-covariance model says it tells (S. Ioffe, "Probabilistic linear discriminant analysis", ECCV 2006); how far the
scatter within patients is shrunk towards a round one is decided on training patients that a first fit leaves out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import default_collate

from config.errors import TrainingError
from training.evaluation.metrics import equal_error_rate
from training.learning.augment import Augmenter
from training.learning.catalogue import Tell
from training.learning.data import Samples, TrainingImages
from training.learning.recipe import Recipe
from training.learning.sampler import Draw
from training.learning.seeds import seed_of, stream

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

_SHRINKAGES = (0.01, 0.03, 0.1, 0.3, 0.6)
# Images that decide between them: their pairs are counted.
_JUDGED = 1500


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
    groups = np.unique(samples.alike(recipe), return_inverse=True)[1].astype(np.int64)
    projection, mean = _judged(features, samples.classes, groups, linear.out_features, recipe.seed)
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(projection))
        norm.running_mean.copy_(torch.from_numpy(projection @ mean))
        # The scale of each direction is what it tells; the norm passes it on.
        norm.running_var.fill_(1.0)
        norm.weight.fill_(1.0)
        norm.bias.zero_()


def discriminant(
    features: Floats, classes: Codes, dimension: int, shrinkage: float, groups: Codes | None = None
) -> tuple[Floats, Floats]:
    """The projection (d, D) and the mean (D,) of features (N, D) of so many classes.

    Classes of one example say nothing of what varies within a class, but do of what varies between them. ``shrinkage``
    in [0, 1] is the share of a round scatter in that within classes. ``groups`` (N,) are of images that are alike (one
    hospital's, one view's), a class being in one of them: what tells groups apart tells nobody apart and counts for
    nothing, and the mean is that of the groups' means.

    Raises
    ------
    TrainingError
        ``DISCRIMINANT`` when d is more than D or than the classes less one, or no class has two examples.
    """
    from scipy.linalg import eigh

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
    # In units of what varies within a class, or a round scatter would be as wide as the loudest feature.
    scale = residual.std(axis=0) + 1e-9
    residual /= scale
    scatter = residual.T @ residual / max(1, len(residual) - int((counts > 1).sum()))
    size = len(scatter)
    within = (1 - shrinkage) * scatter + shrinkage * np.trace(scatter) / size * np.eye(size)
    centres, group = _centres(means, codes, groups)
    apart = (means - centres[group]) / scale
    # Class means vary by what varies within a class too: that part tells nothing.
    between = apart.T @ apart / (len(means) - len(centres)) - scatter * (1 / counts).mean()
    values, vectors = eigh(between, within, subset_by_index=[size - dimension, size - 1])
    telling = np.clip(values, 0, None)
    projection = (vectors * np.sqrt(telling / (1 + telling))).T[::-1] / scale
    return np.ascontiguousarray(projection), centres.mean(axis=0)


def _centres(means: Floats, codes: Codes, groups: Codes | None) -> tuple[Floats, Codes]:
    """The mean of each group's classes, and each class's group."""
    if groups is None:
        return means.mean(axis=0, keepdims=True), np.zeros(len(means), np.int64)
    own = np.empty(len(means), np.int64)
    own[codes] = np.unique(groups, return_inverse=True)[1]
    return np.stack([means[own == one].mean(axis=0) for one in range(own.max() + 1)]), own


def best_shrinkage(features: Floats, classes: Codes, groups: Codes, images: int, dimension: int, seed: int) -> float:
    """The shrinkage under which patients whom the fit left out are told apart best (by equal error rate).

    The first ``images`` rows are one view of every image; what follows are further views, to fit on alone.
    """
    names = np.unique(classes)
    judged = np.isin(classes, stream(seed, "shrinkage").permutation(names)[: len(names) // 3])
    test = np.flatnonzero(judged[:images])[:_JUDGED]
    mates = np.triu(classes[test][:, None] == classes[test][None, :], 1)
    strangers = np.triu(groups[test][:, None] == groups[test][None, :], 1)
    strangers &= classes[test][:, None] != classes[test][None, :]
    if not mates.any() or not strangers.any():
        return _SHRINKAGES[len(_SHRINKAGES) // 2]
    errors = []
    for shrinkage in _SHRINKAGES:
        most = min(dimension, len(np.unique(classes[~judged])) - 1)
        projection, mean = discriminant(features[~judged], classes[~judged], most, shrinkage, groups[~judged])
        found = (features[test] - mean) @ projection.T
        found /= np.linalg.norm(found, axis=1, keepdims=True) + 1e-12
        scores = found @ found.T
        errors.append(equal_error_rate(scores[mates], scores[strangers]))
    return _SHRINKAGES[int(np.argmin(errors))]


def _judged(features: Floats, classes: Codes, groups: Codes, dimension: int, seed: int) -> tuple[Floats, Floats]:
    views = len(features) // len(classes)
    every, alike = np.tile(classes, views), np.tile(groups, views)
    # Said first, so that it is said of the dimension that was asked for.
    fitted = discriminant(features, every, dimension, _SHRINKAGES[0], alike)
    shrinkage = best_shrinkage(features, every, alike, len(classes), dimension, seed)
    return fitted if shrinkage == _SHRINKAGES[0] else discriminant(features, every, dimension, shrinkage, alike)


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
