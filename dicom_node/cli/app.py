"""The command line's frame: global options, commands, and one place where errors become exit codes."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from config.errors import MedReIDError
from config.settings import Settings, load_settings
from dicom_node.cli import exits
from dicom_node.cli.exits import Exit

app = typer.Typer(
    name="medreid",
    help="Whose study is this? A DICOM node that recognises patients from their images.",
    epilog=exits.HELP,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@dataclass
class Context:
    """What the global options say; settings are read when a command asks for them."""

    config_file: Path | None

    @property
    def settings(self) -> Settings:
        return load_settings(self.config_file)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"medreid {version('medreid')}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="Site file over the defaults (or MEDREID_CONFIG).")
    ] = None,
    show_version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    from dicom_node.log import log_to_stderr

    log_to_stderr()
    context.obj = Context(config)


def command_line() -> typer.Typer:
    """The frame with all commands; they import what they need when they run, so that --help stays quick."""
    from dicom_node.cli import (  # noqa: F401
        checking,
        demo,
        evaluating,
        explaining,
        manifests,
        models,
        phantoms,
        relinking,
        running,
        seeing,
        skulls,
        training,
    )

    return app


def main() -> None:
    """Entry point: runs a command; an error of ours is one line that says what to do, and its exit code."""
    # Threads that spin while they wait starve the receiver: with more busy processes than cores, a network of 20 ms
    # took 3 s. Read by the OpenMP runtime when torch is imported, here and in every role.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        command_line()()
    except MedReIDError as error:
        from dicom_node.cli.output import errors, printable

        errors.print(f"medreid: {printable(error)} [{error.reason}]", style="red", markup=False, soft_wrap=True)
        sys.exit(exits.exit_code(error))
    except BrokenPipeError:
        sys.exit(Exit.OK)
    except KeyboardInterrupt:
        sys.exit(130)
