"""``cohort`` and ``send``: digital phantom patients, and a Storage SCU to send them (or anything) with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dicom_node.cli.app import app

cohort_app = typer.Typer(help="Digital phantom patients as conformant DICOM.", no_args_is_help=True)
app.add_typer(cohort_app, name="cohort")

Seed = Annotated[int, typer.Option(min=0, help="Same seed, same bytes.")]
Out = Annotated[Path, typer.Argument(help="Folder to write into.")]


@cohort_app.command("make")
def make(
    out: Out,
    patients: Annotated[int, typer.Option(min=1)] = 10,
    seed: Seed = 1,
    visits: Annotated[int, typer.Option(min=1, help="Visits of each patient.")] = 2,
    modality: Annotated[list[str] | None, typer.Option(help="CT or DX; repeat for both (the default).")] = None,
    processes: Annotated[int, typer.Option(min=1)] = 2,
) -> None:
    """Writes the studies of a cohort and manifest.csv with the truth."""
    from dicom_node.cli.output import console
    from dicom_node.cli.progress import bar
    from training.cohort import MODALITIES, make_cohort

    with bar("studies", None) as advance:
        manifest = make_cohort(
            out, patients, seed, visits, tuple(modality or MODALITIES), lambda _, n, __: advance(1, n), processes
        )
    console.print(f"truth: {manifest.path}", highlight=False, soft_wrap=True)


@cohort_app.command("demo")
def demo_cohort(
    out: Out,
    seed: Seed = 7,
    enrolled: Annotated[int, typer.Option(min=1, help="Patients with known identity.")] = 3,
    orphans: Annotated[int, typer.Option(min=1, help="Later studies of theirs without one; one stranger besides.")] = 2,
) -> None:
    """Writes OUT/enrolment and OUT/orphans, as the demo uses them, and manifest.csv with the truth."""
    from dicom_node.cli.output import console
    from dicom_node.cli.progress import bar
    from training.cohort.demo import DemoSize, build_demo_cohort

    ct = (orphans + 1) // 2
    size = DemoSize(enrolled, 1, mated_ct=ct, mated_dx=orphans - ct, stranger_ct=1, stranger_dx=0)
    with bar("studies", None) as advance:
        made = build_demo_cohort(out, seed, lambda _, n, __: advance(1, n), size)
    console.print(f"truth: {made.manifest}", highlight=False, soft_wrap=True)


@app.command()
def send(
    paths: Annotated[list[Path], typer.Argument(help="DICOM files, or folders of them.")],
    host: Annotated[str, typer.Option(help="The peer's address.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The peer's DICOM port.")] = 11112,
    called: Annotated[str, typer.Option(help="The peer's AE title.")] = "MEDREID",
    calling: Annotated[str, typer.Option(help="Our AE title.")] = "MEDREIDSCU",
) -> None:
    """Sends files over C-STORE: one association for each folder that holds some."""
    from itertools import groupby

    from dicom_node.cli.output import console
    from dicom_node.cli.progress import bar
    from dicom_node.importing import files_of
    from dicom_node.sending import send_files

    files = [path for path in files_of(paths) if path.suffix.lower() != ".csv"]
    sent = 0
    with bar("sending", len(files)) as advance:
        for _, group in groupby(files, key=lambda path: path.parent):
            sent += send_files(
                list(group), host, port, called_ae=called, calling_ae=calling, progress=lambda n: advance(n)
            )
    console.print(f"{sent} objects acknowledged by {called}", highlight=False)
