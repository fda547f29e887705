"""``evaluate``: an encoder on anybody's data, measured as the biometrics field measures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dicom_node.cli.app import app
from dicom_node.cli.exits import Exit

if TYPE_CHECKING:
    from training.evaluation.appraise import Appraisal


@app.command()
def evaluate(
    context: typer.Context,
    manifest: Annotated[Path, typer.Option(help="CSV with path, patient_id, study and what else is known.")],
    encoder: Annotated[str, typer.Option(help="Name of an encoder bundle, as general.")],
    json: Annotated[Path | None, typer.Option(help="Write all figures to this file.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write one self-contained HTML page to this file.")] = None,
    split: Annotated[str, typer.Option(help="Evaluate only this split of the manifest.")] = "",
    cohort_split: Annotated[
        str, typer.Option(help="Split whose patients normalise scores; they are not searched.")
    ] = "",
    calibration: Annotated[
        bool, typer.Option("--calibration", help="Judge the node's calibration of the encoder, not a cross-fitted one.")
    ] = False,
    same_view: Annotated[bool, typer.Option("--same-view", help="Compare only images of one view.")] = False,
    min_days: Annotated[int, typer.Option(min=0, help="Leave out mates that lie fewer days apart.")] = 0,
    rounds: Annotated[int, typer.Option(min=0, help="Bootstrap rounds; 0 gives no intervals.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of every random draw.")] = 0,
    crop: Annotated[bool, typer.Option(help="Measure cropped probes as well.")] = True,
    thumbnails: Annotated[bool, typer.Option(help="Show pictures of patients in the report.")] = True,
    outside: Annotated[bool, typer.Option("--outside", help="Paths may leave the manifest's folder.")] = False,
    allow: Annotated[list[str] | None, typer.Option(help="Audit that may fail; repeat for several.")] = None,
) -> None:
    """Measures an encoder beside its floors and audits the test set; exits with 6 when an audit fails."""
    from dicom_node.cli.output import errors
    from dicom_node.cli.progress import stages
    from inference.encoders.registry import Registry
    from training.evaluation.appraise import appraise, rows_of
    from training.evaluation.enrolling import Scratch
    from training.evaluation.options import Options
    from training.evaluation.report.page import write_page
    from training.manifests.files import read_manifest
    from training.manifests.pairs import Rule

    allowed = _audits(allow or [])
    _writable(json, report)
    settings = context.obj.settings
    encoders = settings.encoders
    registry = Registry((settings.bundle_folder,), encoders.device, encoders.batch_size, settings.calibration_folder)
    chosen = registry.get(encoder)
    opened = read_manifest(manifest, outside=outside)
    rows = rows_of(opened, split)
    with Scratch() as scratch, stages() as tell:
        found = appraise(
            opened,
            rows,
            chosen,
            scratch,
            Options(rule=Rule(same_view=same_view, min_days=min_days), rounds=rounds, seed=seed),
            calibration=registry.calibration(encoder) if calibration else None,
            crop=crop,
            cohort_split=cohort_split,
            trained_on=registry.bundle(encoder).manifest.trained_on,
            tell=tell,
        )
        if report is not None:
            tell("report", 0, 1)
            write_page(report, found, opened, thumbnails=thumbnails)
            tell("report", 1, 1)
    if json is not None:
        _write_json(json, found.to_json())
    _show(found)
    failed = [audit for audit in found.audits if not audit.passed and audit.name not in allowed]
    if failed:
        errors.print(f"audits failed: {', '.join(audit.name for audit in failed)}", style="bold red")
        raise typer.Exit(Exit.BROKEN)


def _audits(names: list[str]) -> list[str]:
    from config.errors import CommandError
    from training.evaluation.audits import NAMES

    if unknown := sorted(set(names) - set(NAMES)):
        raise CommandError(f"there is no audit {unknown[0]!r}; there are {', '.join(NAMES)}")
    return names


def _writable(*paths: Path | None) -> None:
    """Hours of work must not end at a folder that was never there."""
    from config.errors import CommandError

    for path in paths:
        if path is not None and not path.parent.is_dir():
            raise CommandError(f"there is no folder {path.parent} for {path.name}; make it first")


def _write_json(path: Path, value: Any) -> None:
    import json

    from training.evaluation.report.page import write_whole

    write_whole(path, (json.dumps(value, indent=1, allow_nan=False) + "\n").encode("utf-8"))


def _show(found: Appraisal) -> None:
    from dicom_node.cli.output import console, table
    from training.evaluation.report.cells import headline, sizes
    from training.evaluation.report.page import FPIR

    shown = headline(found.methods, found.chance, FPIR)
    table(
        f"{found.manifest}: {sizes(found.evaluation.sizes)}",
        shown.columns,
        [[str(cell) for cell in row] for row in shown.rows],
    )
    for audit in found.audits:
        style = "green" if audit.passed else "bold red"
        console.print(f"{audit.name}: {'passed' if audit.passed else 'FAILED'}. {audit.statement}", style=style)
