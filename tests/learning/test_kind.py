"""A classifier of kinds of image: the same training, with the sources' labels as classes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from config.errors import TrainingError
from inference.encoders.bundle import Bundle
from inference.encoders.inputs import prepare
from inference.encoders.runtime import open_runtime
from inference.networks import NETWORKS
from tests.learning.tiny import RECIPE, TinyNetwork, quiet, write_films
from training.learning.recipe import Recipe, recipe_of
from training.learning.run import Hardware, train
from training.manifests.files import read_manifest
from training.manifests.images import load_row


class TinyKinds(TinyNetwork):
    classes = ("lying", "upright")


def build(name: str, settings: Mapping[str, Any]) -> TinyKinds:
    return TinyKinds(2, 0.0)


def _recipe(folder: Path) -> Recipe:
    films = '[[sources]]\nname = "films"\nmanifest = "films/manifest.csv"\n'
    assert films in RECIPE
    kinds = "".join(films.replace("films", kind) + f'label = "{kind}"\n\n' for kind in ("lying", "upright"))
    text = RECIPE.replace(films, kinds.replace('manifest = "', f'manifest = "{folder}/'))
    text = text.replace("seed = 5", 'seed = 5\ntask = "kind"').replace("every = 3", 'every = 3\nfigure = "accuracy"')
    text = text.replace('\n[[losses]]\nname = "triplet"\n', "").replace("patients = 4", "patients = 2")
    return recipe_of(text.replace("steps = 6", "steps = 18"), "kinds.toml")


def _pictures(folder: Path) -> None:
    """Pictures with stripes, for one kind lying and for the other upright."""
    stripes = np.tile(np.repeat([0, 120], 4), 6)[:, None]
    for kind, pattern in (("lying", stripes), ("upright", stripes.T)):
        for path in write_films(folder / kind, (2,) * 12).parent.glob("*.png"):
            picture = np.asarray(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE))
            cv2.imwrite(str(path), (picture // 4 + pattern).astype(np.uint8))


def test_it_learns_the_labels_and_its_bundle_gives_a_logit_for_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(NETWORKS, "tiny", f"{__name__}:build")
    _pictures(tmp_path)
    recipe = _recipe(tmp_path)
    found = train(recipe, tmp_path / "out", hardware=Hardware("cpu"), tell=quiet, say=lambda line: None)
    assert found is not None
    assert found.serving.figure["torch"] > 0.9
    bundle = Bundle.read(found.bundle)
    assert bundle.manifest.dimension == 2
    assert bundle.manifest.model is not None
    assert bundle.manifest.model.modalities == ()
    manifests = [read_manifest(tmp_path / kind / "manifest.csv") for kind in TinyKinds.classes]
    images = [load_row(manifest, next(manifest.rows())).images[0] for manifest in manifests]
    pictures = np.stack([prepare(image, recipe.input_spec()) for image in images])
    logits = open_runtime(bundle, "cpu")(pictures, np.zeros(2, np.int64))
    assert logits.argmax(axis=1).tolist() == [0, 1]


def test_a_label_that_the_network_has_no_class_for_is_named(tmp_path: Path) -> None:
    _pictures(tmp_path)
    with pytest.raises(TrainingError, match="lying") as caught:
        train(_recipe(tmp_path), tmp_path / "out", hardware=Hardware("cpu"), tell=quiet, say=lambda line: None)
    assert caught.value.reason == "LABEL_UNKNOWN"
