"""A progress bar on standard error for whatever takes more than a moment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from dicom_node.cli.output import errors


class Advance(Protocol):
    """Moves a bar on by ``steps``; ``total`` is told where it was not known at the start."""

    def __call__(self, steps: int, total: int | None = None) -> None: ...


@contextmanager
def bar(label: str, total: int | None) -> Iterator[Advance]:
    """Shows a bar; what it yields is called with the number of steps just done."""
    columns = (
        TextColumn("{task.description:<12}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=errors) as progress:
        task = progress.add_task(label, total=total)

        def advance(steps: int, total: int | None = None) -> None:
            if total is not None:
                progress.update(task, total=total)
            progress.advance(task, steps)

        yield advance
