"""The end of a training: a bundle that is whole, checked and measured, or none."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor, nn

from inference.calibration import to_json
from inference.encoders.bundle import BUNDLE_FILE, Backend, Bundle
from inference.encoders.explaining import QUERIES_FILE
from inference.encoders.registry import Registry
from inference.encoders.runtime import ONNX_FILES, WEIGHTS_FILE, export_onnx, quantise
from training.evaluation.figures import Figure
from training.learning.catalogue import TEST, VALIDATION, Tell
from training.learning.folder import Folder
from training.learning.judging import calibration_of, encode_images, measured, metrics_table, scope_of
from training.learning.prepare import Prepared
from training.learning.provenance import provenance, trained_on
from training.learning.recipe import Recipe
from training.learning.serving import Serving, batches, choose_serving
from training.learning.toml_text import to_toml
from training.learning.validation import chosen_for_validation

CALIBRATION_FILE = "calibration.json"
# Whoever is killed while exporting leaves a folder of this name, which the next export clears away.
_UNFINISHED = ".bundle-"
# Training images that int8 learns the ranges of activations from.
_RANGE_IMAGES = 128
# What the bundle's weights take the place of.
_START_SETTINGS = frozenset({"pretrained"})


@dataclass(frozen=True, slots=True)
class Outcome:
    """The bundle's folder, and its figures by split and name; ``calibrated`` is False where patients were too few."""

    bundle: Path
    figures: Mapping[str, Mapping[str, Figure]]
    calibrated: bool
    serving: Serving


def export_bundle(
    recipe: Recipe,
    network: nn.Module,
    queries: Mapping[str, Tensor],
    data: Prepared,
    folder: Folder,
    device: str,
    tell: Tell,
) -> Outcome:
    """Makes ``folder/<name>`` in a folder of its own and moves it to its place when all of it is there.

    ``queries`` are the alignment's, which say where to look, or empty.

    Raises
    ------
    TrainingError
        ``ONNX_PARITY`` when the ONNX twin gives other embeddings than the network.
    """
    target = folder.path / recipe.name
    for unfinished in folder.path.glob(f"{_UNFINISHED}*"):
        shutil.rmtree(unfinished)
    with tempfile.TemporaryDirectory(prefix=_UNFINISHED, dir=folder.path) as temporary:
        draft = _Draft(recipe, data, Path(temporary) / recipe.name)
        draft.keep_queries(queries)
        outcome = draft.finish(network.cpu().eval(), device, tell)
        if target.exists():
            target.rename(Path(temporary) / "before")
        draft.folder.rename(target)
    return replace(outcome, bundle=target)


class _Draft:
    """A bundle in the making, in a folder that nobody serves from."""

    def __init__(self, recipe: Recipe, data: Prepared, folder: Path) -> None:
        self.recipe, self.data, self.folder = recipe, data, folder
        folder.mkdir()
        self._files: dict[str, str] = {}
        self._says: dict[str, Any] = {}

    def keep_queries(self, queries: Mapping[str, Tensor]) -> None:
        if queries:
            self._put(QUERIES_FILE, safetensors.torch.save(dict(queries)))

    def finish(self, network: nn.Module, device: str, tell: Tell) -> Outcome:
        recipe = self.recipe
        self._weigh(network)
        self._describe(network, device)
        forms = self._twins(network)
        serving = choose_serving(recipe, self._written(), forms, self.data.held_out, tell)
        self._says["serving"] = {"backend": serving.backend}
        self._says["metrics"] = {
            "serving": {
                "milliseconds": dict(serving.milliseconds),
                "figure": {form: round(value, 4) for form, value in serving.figure.items()},
                "onnx_parity": serving.parity,
            }
        }
        # Of the twins, the one that serves: a float twin beside an int8 one would double the bundle.
        self._drop(ONNX_FILES["onnx" if serving.backend == "onnx-int8" else "onnx-int8"])
        figures: dict[str, dict[str, Figure]] = {}
        if recipe.task == "identity":
            figures = self._judge(serving, tell)
        self._written()
        return Outcome(self.folder, figures, CALIBRATION_FILE in self._files, serving)

    def _weigh(self, network: nn.Module) -> None:
        """Stores the weights; the network goes on with what they are after rounding, as whoever loads them does."""
        state = {name: value.detach().contiguous() for name, value in network.state_dict().items()}
        if self.recipe.export.weights == "float16":
            state = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
        self._put(WEIGHTS_FILE, safetensors.torch.save(state))
        network.load_state_dict(state)

    def _describe(self, network: Any, device: str) -> None:
        recipe, data = self.recipe, self.data
        # A classifier takes whatever there is: that is what it is for.
        modalities = list(data.train.modalities) if recipe.task == "identity" else []
        settings = {key: value for key, value in recipe.network.settings.items() if key not in _START_SETTINGS}
        self._says = {
            "name": recipe.name,
            "version": recipe.version,
            "network": "trained",
            "dimension": int(network.dimension),
            "description": recipe.description,
            "licence": recipe.licence,
            "intended_use": recipe.intended_use,
            "trained_on": trained_on(recipe, data),
            "recipe": f"medreid train {recipe.name}",
            "input": recipe.input_spec().to_mapping(),
            "model": {"name": recipe.network.name, "modalities": modalities, "settings": settings},
            "training": provenance(recipe, data, device),
        }

    def _twins(self, network: nn.Module) -> list[Backend]:
        twin = export_onnx(network, self.recipe.input_spec())
        self._put(ONNX_FILES["onnx"], twin)
        if not self.recipe.export.int8:
            return ["torch", "onnx"]
        # Ranges come from validation images as they serve, whose accuracy then says whether they do.
        self._put(ONNX_FILES["onnx-int8"], quantise(twin, batches(self.data.held_out, _RANGE_IMAGES)))
        return ["torch", "onnx", "onnx-int8"]

    def _judge(self, serving: Serving, tell: Tell) -> dict[str, dict[str, Figure]]:
        """Figures of both held-out splits and the calibration, through the encoder as it will serve."""
        recipe = self.recipe
        self._written()
        device = "cpu" if serving.backend == "onnx-int8" else "auto"
        encoder = Registry((self.folder.parent,), device, recipe.sampler.batch).get(recipe.name)
        figures = {}
        for split in (VALIDATION, TEST):
            images = self.data.catalogue.of(split)
            images = chosen_for_validation(recipe, images) if split == VALIDATION else images
            if not images:
                continue
            encoded = encode_images(encoder, images, f"figures, {split}", tell)
            figures[split] = measured(recipe, encoded)
            self._says["metrics"][split] = metrics_table(encoded, figures[split])
            if split == VALIDATION and recipe.export.calibrate:
                said = f"{split} patients of {self._says['trained_on']}"
                self._calibrate(calibration_of(encoder, encoded, scope_of(recipe), said, 0))
        self._says["metrics"]["about"] = (
            "rank-1, rank-10, mAP, EER, AUC, FNIR at FPIR 1 %: value, then 95 % interval over patients. Validation "
            "patients decided when to stop and fitted the calibration; test patients decided nothing."
        )
        return figures

    def _calibrate(self, found: Any) -> None:
        if found is None:
            self._says["training"]["notes"].append("NO_CALIBRATION: validation has too few patients with two studies")
            return
        self._put(CALIBRATION_FILE, to_json(found).encode())
        self._says["calibration"] = CALIBRATION_FILE

    def _put(self, name: str, content: bytes) -> None:
        (self.folder / name).write_bytes(content)
        self._files[name] = hashlib.sha256(content).hexdigest()

    def _drop(self, name: str) -> None:
        if self._files.pop(name, None):
            (self.folder / name).unlink()

    def _written(self) -> Bundle:
        """The bundle as it is now, read back."""
        text = to_toml(self._says | {"files": self._files})
        (self.folder / BUNDLE_FILE).write_text(text, encoding="utf-8")
        return Bundle.read(self.folder)
