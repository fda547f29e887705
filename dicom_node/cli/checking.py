"""``enrol``, ``check-config`` and ``calibrate``: what is done before, or beside, a running node."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dicom_node.cli.app import app
from dicom_node.cli.exits import Exit
from dicom_node.cli.seeing import Json


@app.command()
def enrol(
    context: typer.Context,
    paths: Annotated[list[Path], typer.Argument(help="DICOM files, or folders of them.")],
    walk: Annotated[bool, typer.Option("--walk", help="Walk the studies in this process, without a node.")] = False,
    json: Json = False,
) -> None:
    """Takes studies from folders: those with an identity are enrolled, the others identified, as if received."""
    from dicom_node.cli.output import console, print_json
    from dicom_node.cli.progress import bar
    from dicom_node.importing import files_of, import_files, walk_all
    from dicom_node.log import configure_logging
    from dicom_node.node import Node
    from dicom_node.roles import make_home

    settings = context.obj.settings
    configure_logging(settings.log, "enrol")
    make_home(settings)
    files = files_of(paths)
    with Node(settings) as node:
        with bar("reading", len(files)) as advance:
            report = import_files(node, files, advance)
        states = {}
        if walk:
            with bar("studies", None) as advance:
                states = walk_all(node, advance)
    if json:
        print_json({"import": report, "studies": states})
        return
    refused = ", ".join(f"{reason} {n}" for reason, n in sorted(report.refused.items()))
    console.print(
        f"{report.added} new objects of {report.files} files, {report.duplicates} known already, "
        f"{report.conflicts} in conflict" + (f"; refused: {refused}" if refused else ""),
        highlight=False,
    )
    for state, number in sorted(states.items()):
        console.print(f"studies {state.value}: {number}", highlight=False)
    if not walk:
        console.print("the running node takes the studies from here; without one: medreid enrol --walk", style="dim")


@app.command("check-config")
def check_config(
    context: typer.Context,
    folder: Annotated[
        Path | None, typer.Argument(help="Show what the routing rules do with the files below it.")
    ] = None,
    rejections: Annotated[bool, typer.Option("--rejections", help="List every reason to refuse an image.")] = False,
    json: Json = False,
) -> None:
    """Checks settings, routing rules, orphan patterns and encoder bundles; exits with 2 or 6 when one is unusable."""
    from dataclasses import replace

    from dicom_node.cli.output import console, print_json, table
    from dicom_node.node import Node
    from dicom_node.routing import dry_run, files_below
    from inference.imaging.rejections import REASONS

    settings = context.obj.settings
    node = Node(settings)
    rules = node.rules.current
    assert node.detector is not None and node.load_options is not None
    bundles = {name: node.registry.bundle(name).manifest.version for name in node.registry.names()}
    missing = rules.missing(bundles)
    rows = []
    if folder is not None:
        from dicom_node.cli.progress import bar

        with bar("reading", sum(1 for _ in files_below(folder))) as advance:
            found = dry_run(folder, rules, lambda _: advance(1))
        rows = [replace(row, route=row.route.among(bundles)) for row in found]
    if json:
        print_json({"encoders": bundles, "missing_encoders": missing, "dry_run": rows})
    else:
        if rejections:
            table(
                "rejections (names for imaging.allow)",
                ("name", "why", "when switched off"),
                [(r.name, r.meaning, r.when_allowed or "cannot be switched off") for r in REASONS.values()],
            )
        if folder is not None:
            table(
                "what the routing rules do",
                ("series", "modality", "instances", "rule", "encoders", "reason"),
                [
                    (r.series_uid, r.modality, r.instances, r.route.rule, " ".join(r.route.encoders), r.route.reason)
                    for r in rows
                ],
                empty="no files",
            )
        table("encoders", ("name", "version"), sorted(bundles.items()))
        if missing:
            console.print(f"routing names encoders that have no bundle: {', '.join(missing)}", style="red")
        else:
            console.print("settings, routing rules, orphan patterns and bundles can be used")
    if missing:
        raise typer.Exit(Exit.BROKEN)


@app.command()
def calibrate(
    context: typer.Context,
    encoder: Annotated[str | None, typer.Option(help="One encoder; default: all that have enough studies.")] = None,
    json: Json = False,
) -> None:
    """Fits this site's calibrations from its enrolled patients with several studies: needed for automatic links."""
    from config.errors import CalibrationError, CommandError
    from dicom_node.cli.output import console, print_json, table
    from dicom_node.node import Node
    from inference.calibration import write_calibration
    from inference.encoders.bundle import site_calibration
    from training.calibrate import calibrate_from_embeddings

    settings = context.obj.settings
    rows, reports, problems = [], {}, {}
    with Node(settings) as node:
        for name in [encoder] if encoder else node.registry.names():
            version = node.registry.bundle(name).manifest.version
            entries = (entry for page in node.ledger.embeddings_of(name, version) for entry in page)
            try:
                with console.status(f"fitting {name}"):
                    calibration, report = calibrate_from_embeddings(
                        entries,
                        encoder=name,
                        version=version,
                        scope="site",
                        fitted_on="the enrolled studies of this site",
                    )
            except CalibrationError as error:
                problems[name] = str(error)
                continue
            write_calibration(calibration, site_calibration(settings.calibration_folder, name))
            reports[name] = report
            rows.append(
                (name, version, report.patients, f"{report.rank1:.3f}", f"{report.equal_error_rate:.3f}",
                 f"{report.cllr:.3f}", f"{report.min_cllr:.3f}", f"{report.largest_log10_lr:.1f}")
            )  # fmt: skip
    if json:
        print_json({"fitted": reports, "not_fitted": problems})
    else:
        columns = ("encoder", "version", "patients", "rank-1", "EER", "Cllr", "min Cllr", "largest log10 LR")
        table("site calibrations, judged on patients they were not fitted on", columns, rows, empty="none fitted")
        for name, problem in problems.items():
            console.print(f"{name}: {problem}", style="yellow", markup=False)
    if not reports:
        raise CommandError("no calibration could be fitted; enrol more patients with two or more studies")
