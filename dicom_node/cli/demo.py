"""``demo``: the main job end to end, on phantoms, in a few minutes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dicom_node.cli.app import app
from dicom_node.cli.seeing import Json


@app.command()
def demo(
    folder: Annotated[Path, typer.Option(help="Where everything of the demo goes.")] = Path("medreid-demo"),
    json: Json = False,
) -> None:
    """Enrols digital phantom patients over DICOM, sends orphans, and shows each decision beside the truth."""
    from dicom_node.cli.output import console, print_json
    from dicom_node.cli.progress import bar
    from dicom_node.demo import run_demo
    from inference.imaging.isosurface import EGL_PACKAGES, egl_available

    result = run_demo(folder.absolute(), bar)
    sums = {str(verdict): number for verdict, number in result.sums().items()}
    if json:
        print_json({"rows": result.rows, "sums": sums, "seconds": result.seconds, "folder": result.folder})
        return
    _table(result)
    for name, number in sums.items():
        console.print(f"{name}: {number}", highlight=False)
    home = result.folder / "home"
    for what, where in (
        ("phantoms", result.folder / "cohort"),
        ("archive", home / "archive"),
        ("ledger", home / "ledger.sqlite3"),
        ("node log", result.folder / "node.log"),
        ("look on", f"MEDREID_HOME={home} medreid --config {result.folder / 'site.toml'} worklist"),
    ):
        console.print(f"{what:<9}{where}", highlight=False, soft_wrap=True)
    if not egl_available():
        console.print(
            f"VTK found no EGL, so a CPU ray caster made the depth maps, with the same result; for speed: "
            f"apt-get install {EGL_PACKAGES}",
            style="dim",
            soft_wrap=True,
        )
    console.print(f"done in {result.seconds:.0f} s; audit chain {'whole' if result.audit_intact else 'BROKEN'}")


def _table(result: object) -> None:
    from dicom_node.cli.output import table
    from dicom_node.demo import DemoResult

    assert isinstance(result, DemoResult)
    rows = []
    for number, row in enumerate(result.rows, 1):
        found = row.decision
        shown = found is not None and found.patient is not None and row.state.value in ("LINKED", "REVIEW")
        numbers = ("", "", "")
        if found is not None and found.log10_lr is not None:
            numbers = (f"{found.log10_lr:+.2f}", f"{found.posterior:.4f}", f"{found.p_nobody:.4f}")
        candidate = found.patient.id if shown and found is not None and found.patient is not None else ""
        truth = row.study.truth.id if row.study.truth else "not enrolled"
        rows.append(
            (number, row.study.modality, row.study.kind, row.state.value, candidate, *numbers, truth, row.verdict)
        )
    columns = (
        "#", "modality", "missing identity", "decision", "candidate", "log10 LR", "P", "P(nobody)", "truth", "verdict"
    )  # fmt: skip
    table("orphans", columns, rows)
