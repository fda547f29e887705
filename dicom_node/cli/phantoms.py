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
Kinds = Annotated[list[str] | None, typer.Option(help="Kind of study, as head-ct; repeat for several (default: all).")]
NuisanceName = Annotated[str, typer.Option(help="Set of dials: default, unseen, coupled or clinical.")]
DialsFile = Annotated[Path | None, typer.Option(help="TOML file of dials that are to differ from the set.")]


@cohort_app.command("make")
def make(
    out: Out,
    patients: Annotated[int, typer.Option(min=1)] = 10,
    seed: Seed = 1,
    visits: Annotated[int, typer.Option(min=1, help="Visits of each patient.")] = 2,
    kind: Kinds = None,
    distractors: Annotated[int, typer.Option(min=0, help="Further persons with one visit, never searched for.")] = 0,
    nuisance: NuisanceName = "default",
    dials: DialsFile = None,
    processes: Annotated[int, typer.Option(min=1)] = 2,
) -> None:
    """Writes the studies of a cohort and manifest.csv with the truth."""
    from dicom_node.cli.output import console
    from dicom_node.cli.progress import bar
    from training.cohort import KINDS, CohortPlan, make_cohort
    from training.cohort.nuisance import dials_of

    cohort = CohortPlan(patients, seed, visits, tuple(kind or KINDS), dials_of(nuisance, dials), distractors)
    with bar("studies", len(cohort)) as advance:
        manifest = make_cohort(out, cohort, lambda *_: advance(1), processes)
    console.print(f"truth: {manifest.path}", highlight=False, soft_wrap=True)


@cohort_app.command("gallery")
def gallery(
    out: Out,
    seed: Seed = 1,
    persons: Annotated[int, typer.Option(min=1)] = 6,
    visits: Annotated[int, typer.Option(min=1, help="Visits of each person.")] = 3,
    kind: Kinds = None,
    nuisance: NuisanceName = "default",
    dials: DialsFile = None,
) -> None:
    """Draws a contact sheet for each kind of study: persons in rows, visits in columns."""
    from dicom_node.cli.output import console
    from dicom_node.cli.progress import stages
    from training.cohort.gallery import draw_gallery
    from training.cohort.nuisance import dials_of

    with stages() as tell:
        sheets = draw_gallery(
            out, seed, persons, visits, kind, dials_of(nuisance, dials), lambda n, of, _: tell("studies", n, of)
        )
    for sheet in sheets:
        console.print(str(sheet), highlight=False, soft_wrap=True)


@cohort_app.command("dials")
def show_dials(nuisance: NuisanceName = "default", dials: DialsFile = None) -> None:
    """Prints every dial with its value as TOML: edit a copy and give it to --dials."""
    import sys

    from training.cohort.nuisance import dials_of, to_toml

    sys.stdout.write(to_toml(dials_of(nuisance, dials)))


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
