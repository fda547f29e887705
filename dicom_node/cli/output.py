"""What people and machines read: Rich tables, or JSON with ``--json``; errors on standard error."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

# Where nobody looks at a terminal, a table is not folded to the width of one.
console = Console(width=None if sys.stdout.isatty() else 160)
errors = Console(stderr=True)


def print_json(value: Any) -> None:
    """One JSON document on standard output, without colours or wrapping."""
    console.file.write(json.dumps(plain(value), ensure_ascii=False, indent=2) + "\n")


def plain(value: Any) -> Any:
    """Dataclasses, paths, enums and tuples as JSON knows them."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Iterable):
        return [plain(item) for item in value]
    return value


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], empty: str = "nothing") -> None:
    """A table of untrusted text: markup and control characters in values are shown, not obeyed."""
    drawn = Table(title=title, title_justify="left", header_style="bold", expand=False)
    for column in columns:
        drawn.add_column(column, overflow="fold")
    for row in rows:
        drawn.add_row(*(escape(printable(cell)) for cell in row))
    if drawn.row_count:
        console.print(drawn)
    else:
        console.print(f"{title}: {empty}")


def printable(value: object) -> str:
    """Text without control characters (a received value could steer a terminal)."""
    text = "" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def moment(seconds: float | None) -> str:
    """Seconds since the epoch as local time of the reader, to the second."""
    if seconds is None:
        return ""
    return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def patient(key: Any) -> str:
    """A patient key as ``id (issuer)``."""
    if key is None:
        return ""
    return f"{key.id} ({key.issuer})" if key.issuer else str(key.id)
