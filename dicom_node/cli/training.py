"""``train``: a recipe and images with known patients become an encoder bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dicom_node.cli.app import app

if TYPE_CHECKING:
    from training.learning.export import Outcome


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(help="TOML file, or the name of a recipe that ships, as cxr or smoke.")],
    out: Annotated[Path, typer.Option(help="Folder for images, checkpoints, logs and the bundle.")],
    manifest: Annotated[
        list[Path] | None, typer.Option(help="CSV of images, in place of the recipe's sources; repeat for several.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on behind the last checkpoint in OUT.")] = False,
    accelerator: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    devices: Annotated[int, typer.Option(min=1, help="Of this machine; under torchrun, its processes.")] = 1,
    workers: Annotated[int, typer.Option(min=0, help="Processes that load batches.")] = 0,
    processes: Annotated[int, typer.Option(min=1, help="Processes that make phantoms and decode images.")] = 2,
    outside: Annotated[bool, typer.Option("--outside", help="Paths may leave the manifests' folders.")] = False,
) -> None:
    """Trains an encoder to its bundle OUT/NAME, with figures on patients that were held out."""
    from dicom_node.cli.output import errors, printable
    from dicom_node.cli.progress import stages
    from training.faces.recognition import is_face_recipe, train_faces
    from training.learning.recipe import read_recipe, with_manifests
    from training.learning.run import Hardware, train

    chosen = with_manifests(read_recipe(recipe), manifest or [], outside=outside)
    hardware = Hardware(accelerator, devices, workers, processes)
    method = train_faces if is_face_recipe(chosen) else train
    with stages() as tell:
        outcome = method(
            chosen,
            out,
            resume=resume,
            hardware=hardware,
            tell=tell,
            say=lambda line: errors.print(printable(line), markup=False, highlight=False),
        )
    if outcome is not None:
        _show(outcome)


def _show(outcome: Outcome) -> None:
    from dicom_node.cli.output import console, table
    from training.evaluation.report.cells import cell

    names = list(dict.fromkeys(name for figures in outcome.figures.values() for name in figures))
    rows = [[split, *(str(cell(figures[name])) for name in names)] for split, figures in outcome.figures.items()]
    if rows:
        table("figures, 95 % interval over patients", ["patients of", *names], rows)
    serving = outcome.serving
    speeds = [[form, serving.milliseconds[form], serving.figure[form]] for form in serving.milliseconds]
    table("on this CPU, one image at a time", ["form", "milliseconds", "rank-1 or accuracy"], speeds)
    console.print(f"served by {serving.backend}; largest difference of the ONNX twin {serving.parity:.1e}")
    if not outcome.calibrated:
        console.print("no calibration: too few held-out patients with two studies; see medreid calibrate")
    console.print(f"bundle: {outcome.bundle}", highlight=False, soft_wrap=True)
