"""``approve``, ``reject``, ``undo``, ``retry`` and ``forget``: what a person says about a study or a patient."""

from __future__ import annotations

from typing import Annotated

import typer

from dicom_node.cli.app import app
from dicom_node.cli.seeing import Json

Reference = Annotated[str, typer.Argument(help="Number of a worklist item, id of a decision, or Study Instance UID.")]


@app.command()
def approve(
    context: typer.Context,
    study: Reference,
    patient: Annotated[str | None, typer.Option(help="Patient ID to link to instead of the best candidate.")] = None,
    issuer: Annotated[str, typer.Option(help="Issuer of that Patient ID.")] = "",
    json: Json = False,
) -> None:
    """Links a study to its best candidate, or to --patient, and enrols its images."""
    from dicom_node.audit import person
    from dicom_node.desk import Desk
    from dicom_node.node import Node
    from inference.types import PatientKey

    with Node(context.obj.settings) as node:
        desk = Desk(node, person())
        record = desk.approve(desk.study_of(study), PatientKey(issuer, patient) if patient else None)
    _say(record, "linked", json)


@app.command()
def reject(context: typer.Context, study: Reference, json: Json = False) -> None:
    """Says that no candidate is right; the study is not linked without a person any more."""
    from dicom_node.audit import person
    from dicom_node.desk import Desk
    from dicom_node.node import Node

    with Node(context.obj.settings) as node:
        desk = Desk(node, person())
        record = desk.reject(desk.study_of(study))
    _say(record, "rejected", json)


@app.command()
def undo(context: typer.Context, study: Reference, json: Json = False) -> None:
    """Takes a link back: pixels stay as they are, the former identity returns."""
    from dicom_node.audit import person
    from dicom_node.desk import Desk
    from dicom_node.node import Node

    with Node(context.obj.settings) as node:
        desk = Desk(node, person())
        record = desk.undo(desk.study_of(study))
    _say(record, "undone", json)


@app.command()
def retry(context: typer.Context, study: Reference) -> None:
    """Walks a settled or quarantined study once more."""
    from dicom_node.audit import person
    from dicom_node.cli.output import console
    from dicom_node.desk import Desk
    from dicom_node.node import Node

    with Node(context.obj.settings) as node:
        desk = Desk(node, person())
        desk.retry(desk.study_of(study))
    console.print("the study waits for a worker")


@app.command()
def forget(
    context: typer.Context,
    patient: Annotated[str, typer.Argument(help="Patient ID.")],
    issuer: Annotated[str, typer.Option(help="Issuer of that Patient ID.")] = "",
) -> None:
    """Deletes all embeddings of a patient from ledger and galleries; the studies themselves stay."""
    from dicom_node.audit import person
    from dicom_node.cli.output import console
    from dicom_node.desk import Desk
    from dicom_node.node import Node
    from inference.types import PatientKey

    with Node(context.obj.settings) as node:
        removed = Desk(node, person()).forget(PatientKey(issuer, patient))
    console.print(f"{removed} embeddings deleted", highlight=False)


def _say(record: object, what: str, json: bool) -> None:
    from dicom_node.cli.output import console, print_json
    from dicom_node.ledger import DecisionRecord

    assert isinstance(record, DecisionRecord)
    if json:
        print_json(record)
    else:
        console.print(f"{what}: decision {record.id}", markup=False)
