"""A progress bar on standard error for whatever takes more than a moment."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

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


@contextmanager
def stages() -> Iterator[Callable[[str, int, int], None]]:
    """A bar that tells of one stage after another; what it yields is called with (stage, done, of how many)."""
    columns = (TextColumn("{task.description:<28}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=errors) as progress:
        tasks: dict[str, TaskID] = {}

        def tell(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = progress.add_task(stage, total=total)
            progress.update(tasks[stage], completed=done, total=total)

        yield tell
