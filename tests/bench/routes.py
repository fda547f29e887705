"""Routes: seconds per study from its files to its embeddings, and where they go.

Studies of full size are phantoms, drawn small and brought to the matrix of a scanner: what is in a voxel does not
change how long it takes. A network that ships no bundle yet has the size of its recipe and random weights, for the same
reason.
The budgets are those of two cores: a head CT of 200 slices in 5 s, a chest CT of 300 slices in 8 s.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from pydicom import dcmread
from rich.console import Console
from rich.progress import track
from rich.table import Table

from inference import networks
from inference.encoders.boneprint import BoneprintEncoder
from inference.encoders.bundle import Manifest, ModelTable
from inference.encoders.inputs import InputSpec
from inference.encoders.protocol import Encoder
from inference.encoders.registry import Registry
from inference.encoders.runtime import TorchRuntime
from inference.imaging.headers import read_header
from inference.imaging.series import load_series
from inference.types import SeriesHeader
from training.cohort.dials.bone_view import BoneViewDials
from training.cohort.dials.chest_ct import ChestCtDials
from training.cohort.dials.head_ct import HeadCtDials
from training.cohort.kinds import KINDS
from training.cohort.person import person
from training.cohort.visit import Dials, visit

# No other run of the project draws persons from this seed.
SEED = 9400
MATRIX, ROUNDS = 512, 3
BONEPRINT = "boneprint-explicit"


@dataclass(frozen=True, slots=True)
class Route:
    """A kind of study, the encoder that its series goes to, how many slices it has, and the seconds it may take."""

    kind: str
    encoder: str
    slices: int = 1
    budget: float | None = None


ROUTES = {
    "ct_face": Route("head-ct", "ct-face", 200, 5.0),
    "vrt, series": Route("chest-ct", BONEPRINT, 300, 8.0),
    "vrt, capture": Route("bone-view", BONEPRINT),
    "vrt, film": Route("chest-film", BONEPRINT),
    "cxr": Route("chest-film", "general"),
    "fundus": Route("fundus", "general"),
}
_DIALS = Dials(
    head_ct=HeadCtDials(matrix=(96,), spacing=(3.0, 3.0)),
    chest_ct=ChestCtDials(matrix=(128,), spacing=(4.0, 4.0), missing=0.0),
    bone_view=BoneViewDials(voxel=(2.6, 2.6)),
)


def main(rounds: int = ROUNDS) -> dict[str, Any]:
    console = Console()
    registry = Registry()
    with tempfile.TemporaryDirectory() as folder:
        figures = {
            name: measure(_study(Path(folder) / name, route), _encoder(registry, route.encoder), route, rounds)
            for name, route in track(ROUTES.items(), "routes", console=console)
        }
    show(figures, console)
    return figures


def measure(series: SeriesHeader, encoder: Encoder, route: Route, rounds: int) -> dict[str, Any]:
    """The median of the rounds, after one that does not count: it loads libraries and weights."""
    loading, encoding = [], []
    for _ in range(rounds + 1):
        started = time.perf_counter()
        loaded = load_series(series)
        between = time.perf_counter()
        found = encoder.encode(loaded.images)
        encoding.append(time.perf_counter() - between)
        loading.append(between - started)
        if not any(found):
            raise RuntimeError(f"the study of {route.kind} was not encoded: {loaded.rejections}")
    seconds = [one + other for one, other in zip(loading[1:], encoding[1:], strict=True)]
    return {
        "objects": len(series.instances),
        "load_s": statistics.median(loading[1:]),
        "encode_s": statistics.median(encoding[1:]),
        "study_s": statistics.median(seconds),
        "budget_s": route.budget,
        "threads": torch.get_num_threads(),
    }


def _encoder(registry: Registry, name: str) -> Encoder:
    return registry.get(name) if name in registry.names() or name != BONEPRINT else _boneprint()


def _boneprint() -> Encoder:
    from training.boneprint.export import serving_settings
    from training.boneprint.recipe import read_recipe

    recipe = read_recipe(Path(BONEPRINT))
    torch.manual_seed(1)
    settings = serving_settings(recipe)
    network = networks.build(recipe.network.name, settings)
    manifest = Manifest(
        name=BONEPRINT,
        version="0",
        network="boneprint",
        dimension=network.dimension,
        description="random weights",
        licence="",
        trained_on="nothing",
        recipe="none",
        model=ModelTable(name=recipe.network.name, settings=settings),
    )
    spec: InputSpec = recipe.input_spec()
    return BoneprintEncoder(manifest, spec, TorchRuntime(network, torch.device("cpu")), 8)


def _study(folder: Path, route: Route) -> SeriesHeader:
    who = person(SEED, 1)
    images = KINDS[route.kind].write(folder, who, visit(who, 0, _DIALS), None)
    paths = list(images[0].files)
    if route.slices > 1:
        paths = list(_full_size(paths, folder / "full", route.slices))
    headers = tuple(read_header(path) for path in paths)
    return SeriesHeader(headers[0].study_uid, headers[0].series_uid, headers)


def _full_size(paths: Sequence[Path], folder: Path, slices: int) -> Iterator[Path]:
    """The same volume with a scanner's matrix and so many slices, a file each."""
    folder.mkdir()
    stored = sorted((dcmread(path) for path in paths), key=lambda one: float(one.ImagePositionPatient[2]))
    first, last = (np.array(stored[n].ImagePositionPatient, float) for n in (0, -1))
    grow = MATRIX / stored[0].Rows
    for number, place in enumerate(np.linspace(0, len(stored) - 1, slices)):
        below, share = int(place), place - int(place)
        above = min(below + 1, len(stored) - 1)
        pixels = (1 - share) * stored[below].pixel_array + share * stored[above].pixel_array
        one = stored[below].copy()
        one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = f"2.25.{SEED}{number}"
        one.Rows = one.Columns = MATRIX
        one.PixelSpacing = [float(value) / grow for value in one.PixelSpacing]
        position = first + (last - first) * place / (len(stored) - 1)
        one.ImagePositionPatient = [round(float(value), 4) for value in position]
        one.InstanceNumber = number + 1
        larger = cv2.resize(pixels.astype(np.float32), (MATRIX, MATRIX), interpolation=cv2.INTER_LINEAR)
        one.PixelData = larger.round().astype(stored[below].pixel_array.dtype).tobytes()
        path = folder / f"{number:04d}.dcm"
        one.save_as(path, enforce_file_format=True)
        yield path


def show(figures: dict[str, dict[str, Any]], console: Console) -> None:
    table = Table(title="seconds per study", title_justify="left")
    for column in ("route", "objects", "load", "encode", "study", "budget"):
        table.add_column(column, justify="left" if column == "route" else "right")
    for name, one in figures.items():
        seconds = (one["load_s"], one["encode_s"], one["study_s"], one["budget_s"])
        table.add_row(name, str(one["objects"]), *("" if value is None else f"{value:.2f}" for value in seconds))
    console.print(table)


if __name__ == "__main__":
    main()
