"""What serves a bundle on a CPU: the fastest form of its network that recognises as well as the plain one."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from config.errors import TrainingError
from inference.encoders.bundle import Backend, Bundle
from inference.encoders.runtime import Images, Modalities, Runtime, open_runtime
from inference.types import FloatArray
from training.learning.catalogue import Tell
from training.learning.data import Samples
from training.learning.recipe import Recipe
from training.learning.validation import balanced_accuracy, figures_of

# Largest difference of a component of embeddings of unit length between PyTorch and its ONNX twin in float32.
MOST_DIFFERENCE = 1e-4
# One image at a time, as the node meets them; the median of so many.
_TIMED = 7
_BATCH = 16


@dataclass(frozen=True, slots=True)
class Serving:
    """The backend that serves; milliseconds for one image and the recipe's figure by backend; and the twins' parity."""

    backend: Backend
    milliseconds: Mapping[Backend, float]
    figure: Mapping[Backend, float]
    parity: float


def batches(samples: Samples, most: int | None = None) -> Iterator[tuple[Images, Modalities]]:
    """Stored images uint8 (B, T, 3, S, S) with their modalities' numbers (B,), in order; ``most`` images or all."""
    count = min(len(samples), most or len(samples))
    start = 0
    while start < count:
        depth = samples.records[start].planes
        end = start + 1
        while end < min(count, start + _BATCH) and samples.records[end].planes == depth:
            end += 1
        records = samples.records[start:end]
        stack = [
            np.broadcast_to(planes, (depth, 3, *planes.shape[2:])) for planes in map(samples.store.planes, records)
        ]
        numbers = [samples.modalities.index(record.modality) for record in records]
        yield np.stack(stack), np.array(numbers, np.int64)
        start = end


def outputs_of(runtime: Runtime, samples: Samples, stage: str, tell: Tell) -> FloatArray:
    """What the network gives for every sample: float32 (N, D)."""
    found = []
    done = 0
    for images, modalities in batches(samples):
        found.append(runtime(images, modalities))
        done += len(images)
        tell(stage, done, len(samples))
    return np.concatenate(found)


def choose_serving(recipe: Recipe, bundle: Bundle, forms: Sequence[Backend], samples: Samples, tell: Tell) -> Serving:
    """Times and judges the forms on validation images; PyTorch has to be among them.

    Raises
    ------
    TrainingError
        ``ONNX_PARITY`` when the ONNX twin in float32 gives other embeddings than PyTorch.
    """
    outputs: dict[Backend, FloatArray] = {}
    milliseconds: dict[Backend, float] = {}
    for form in forms:
        runtime = open_runtime(bundle, "cpu", form)
        outputs[form] = outputs_of(runtime, samples, f"validation, {form}", tell)
        milliseconds[form] = round(_milliseconds(runtime, samples), 2)
    parity = float(np.abs(unit(outputs["torch"]) - unit(outputs["onnx"])).max())
    if parity > MOST_DIFFERENCE:
        raise TrainingError(
            f"the ONNX twin differs from the network by {parity:.1e}, more than {MOST_DIFFERENCE:g}: its network "
            "has an operation that does not export faithfully",
            reason="ONNX_PARITY",
        )
    figure = {form: _figure(recipe, samples, found) for form, found in outputs.items()}
    good = [form for form in forms if figure[form] >= figure["torch"] - recipe.export.most_loss]
    return Serving(min(good, key=lambda form: milliseconds[form]), milliseconds, figure, parity)


def unit(vectors: FloatArray) -> FloatArray:
    """Rows of length 1."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), np.float32)


def _figure(recipe: Recipe, samples: Samples, outputs: FloatArray) -> float:
    """Rank-1, or the accuracy of a classifier."""
    if recipe.task == "kind":
        return balanced_accuracy(samples.classes, outputs.argmax(axis=1))
    value = figures_of(recipe, samples.rows, unit(outputs)).by_name["rank-1"].value
    return 0.0 if value is None else value


def _milliseconds(runtime: Runtime, samples: Samples) -> float:
    images, modalities = next(batches(samples, 1))
    times = []
    for _ in range(_TIMED + 1):
        start = time.perf_counter()
        runtime(images, modalities)
        times.append(time.perf_counter() - start)
    # The first is of another kind: it allocates.
    return float(np.median(times[1:])) * 1000
