"""Exit codes, and which error means which."""

from __future__ import annotations

from enum import IntEnum

from config.errors import (
    ArchiveUnavailableError,
    AuditError,
    CommandError,
    ConfigError,
    MedReIDError,
    RelinkRefusedError,
)


class Exit(IntEnum):
    """What a script may rely on."""

    OK = 0
    FAILED = 1
    USAGE = 2  # arguments or settings; also what Typer uses
    NOT_FOUND = 3
    REFUSED = 4  # a guard said no; nothing was changed
    UNAVAILABLE = 5  # archive or database is away; try again
    BROKEN = 6  # a check found damage: audit chain, configuration, unhealthy node


HELP = (
    "Exit codes: 0 done, 1 failed, 2 wrong arguments or settings, 3 not found, 4 refused by a guard, "
    "5 archive or database away, 6 a check found damage."
)


def exit_code(error: MedReIDError) -> Exit:
    """The exit code for an error of ours."""
    if isinstance(error, CommandError) and error.reason == "NOT_FOUND":
        return Exit.NOT_FOUND
    if isinstance(error, ConfigError | CommandError):
        return Exit.USAGE
    if isinstance(error, RelinkRefusedError):
        return Exit.REFUSED
    if isinstance(error, ArchiveUnavailableError) or error.reason == "LEDGER_UNAVAILABLE":
        return Exit.UNAVAILABLE
    if isinstance(error, AuditError):
        return Exit.BROKEN
    return Exit.FAILED
