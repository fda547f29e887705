"""``serve``: the node, or one role of it."""

from __future__ import annotations

from typing import Annotated

import typer

from dicom_node.cli.app import app


@app.command()
def serve(
    context: typer.Context,
    role: Annotated[
        str | None,
        typer.Option(help="Run one role in this process: receiver, ingester, worker or web. Default: all, supervised."),
    ] = None,
) -> None:
    """Runs the node until SIGTERM or Ctrl-C: DICOM listener, ingester, workers and web."""
    from dicom_node.log import configure_logging
    from dicom_node.roles import make_home, run_role
    from dicom_node.serve import Supervisor

    settings = context.obj.settings
    if role is not None:
        run_role(role, settings)
        return
    configure_logging(settings.log, "supervisor")
    make_home(settings)
    Supervisor(settings, context.obj.config_file).run()
