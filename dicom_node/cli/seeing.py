"""``status``, ``worklist`` and ``audit``: what the node did and what waits for a person."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from dicom_node.cli.app import app
from dicom_node.cli.exits import Exit

if TYPE_CHECKING:
    from dicom_node.ledger import Ledger, NodeStatus

# How long nothing may move before a status that waits believes it.
_STILL_SECONDS = 5.0

Json = Annotated[bool, typer.Option("--json", help="One JSON document instead of tables.")]

audit_app = typer.Typer(help="The hash-chained record of every search, decision, link and undo.", no_args_is_help=True)
app.add_typer(audit_app, name="audit")


@app.command()
def status(
    context: typer.Context,
    json: Json = False,
    check: Annotated[bool, typer.Option("--check", help="Exit with 6 when the listener does not answer.")] = False,
    wait: Annotated[float, typer.Option(help="Wait up to so many seconds until no study moves any more.")] = 0.0,
) -> None:
    """Shows studies by state, the worklist, and every counted event and refusal."""
    from dicom_node.cli.output import console, print_json, table
    from dicom_node.ledger import Ledger
    from dicom_node.web.app import listener_problem

    settings = context.obj.settings
    problem = listener_problem(settings)
    with Ledger.of(settings) as ledger:
        found = _when_still(ledger, wait)
    if json:
        print_json({"listener": problem or "ok", "status": found})
    else:
        listening = problem or f"{settings.dicom.ae_title} on {settings.dicom.host}:{settings.dicom.port}"
        sealed = "no key: embeddings are stored in clear" if not settings.node.embedding_key_file else "encrypted"
        rows: list[tuple[str, object]] = [
            ("listener", listening),
            ("home", settings.home),
            ("embeddings at rest", sealed),
        ]
        rows += [(f"studies {state.value}", n) for state, n in sorted(found.studies.items())]
        rows += [(f"worklist {kind.value}", n) for kind, n in sorted(found.worklist.items())]
        rows += [("patients", found.patients), ("embeddings", found.embeddings), ("objects", found.objects)]
        table("node", ("what", "value"), rows)
        counted = [
            (counter.name, " ".join(f"{k}={v}" for k, v in sorted(counter.labels.items()) if v), counter.value)
            for counter in found.counters
        ]
        table("events and refusals", ("name", "labels", "count"), counted, empty="none yet")
        if not settings.node.embedding_key_file:
            console.print("set node.embedding_key_file to encrypt embeddings and templates", style="dim")
    if check and problem:
        raise typer.Exit(Exit.BROKEN)


def _when_still(ledger: Ledger, seconds: float) -> NodeStatus:
    """The status once there are studies and all of them have been settled for a while, or after ``seconds``."""
    deadline, still_since = time.monotonic() + seconds, None
    while True:
        found = ledger.status()
        moving = not found.studies or any(n for state, n in found.studies.items() if not state.settled)
        now = time.monotonic()
        still_since = None if moving else still_since or now
        if now >= deadline or (still_since is not None and now - still_since >= _STILL_SECONDS):
            return found
        time.sleep(0.5)


@app.command()
def worklist(
    context: typer.Context,
    kind: Annotated[str | None, typer.Option(help="REVIEW, CONFLICT, QUARANTINE, NO_EVIDENCE or MISFILE.")] = None,
    json: Json = False,
) -> None:
    """Lists what waits for a person, oldest first, with the best candidate and its evidence."""
    from config.errors import CommandError
    from dicom_node.cli.output import moment, patient, print_json, table
    from dicom_node.ledger import ItemKind, Ledger

    if kind is not None and kind.upper() not in ItemKind.__members__:
        raise CommandError(f"there is no kind {kind!r}; kinds are {', '.join(ItemKind.__members__)}")
    with Ledger.of(context.obj.settings) as ledger:
        items = ledger.worklist(ItemKind[kind.upper()] if kind else None)
        decisions = {item.decision_id: ledger.decision(item.decision_id) for item in items if item.decision_id}
    if json:
        print_json([{"item": item, "decision": decisions.get(item.decision_id)} for item in items])
        return
    rows = []
    for item in items:
        found = decisions.get(item.decision_id)
        best = found.patient if found else None
        posterior = "" if found is None or found.posterior is None else f"{found.posterior:.4f}"
        evidence = "" if found is None or found.log10_lr is None else f"{found.log10_lr:+.2f}"
        rows.append(
            (
                item.id,
                item.kind.value,
                item.reason,
                item.study_uid,
                patient(best),
                posterior,
                evidence,
                moment(item.opened_at),
            )
        )
    columns = ("item", "kind", "reason", "study", "best candidate", "posterior", "log10 LR", "since")
    table("worklist", columns, rows, empty="nothing waits")


@audit_app.command("verify")
def audit_verify(context: typer.Context, json: Json = False) -> None:
    """Checks every hash of the chain; exits with 6 and names the first broken row when one does not fit."""
    from dicom_node.audit import AuditTrail
    from dicom_node.cli.output import console, print_json
    from dicom_node.ledger import Ledger

    settings = context.obj.settings
    with Ledger.of(settings) as ledger:
        report = AuditTrail(ledger, settings.audit_head_file).verify()
    if json:
        print_json({"intact": report.intact, "report": report})
    elif report.intact:
        console.print(f"audit: {report.rows} rows, the chain is whole, head {report.head.hash[:16]}")
    else:
        console.print(f"audit: broken at row {report.first_broken}: {report.problem}", style="red")
    if not report.intact:
        raise typer.Exit(Exit.BROKEN)


@audit_app.command("list")
def audit_list(
    context: typer.Context,
    last: Annotated[int, typer.Option(min=1, help="How many rows, from the newest.")] = 50,
    json: Json = False,
) -> None:
    """Shows the newest rows of the audit."""
    from collections import deque

    from dicom_node.cli.output import print_json, table
    from dicom_node.ledger import Ledger

    with Ledger.of(context.obj.settings) as ledger:
        rows = deque(ledger.audit_entries(), maxlen=last)
    if json:
        print_json(rows)
        return
    table(
        "audit",
        ("row", "at", "actor", "action", "subject", "payload"),
        [(row.seq, row.at, row.actor, row.action, row.subject, row.payload) for row in rows],
        empty="nothing yet",
    )
