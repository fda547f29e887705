"""How far a study is, on standard error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from training.learning.catalogue import Tell


@contextmanager
def stages() -> Iterator[Tell]:
    """One bar for each stage; what it yields is called with (stage, done, of how many)."""
    from rich.console import Console
    from rich.progress import Progress, TaskID

    with Progress(console=Console(stderr=True)) as progress:
        tasks: dict[str, TaskID] = {}

        def tell(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = progress.add_task(stage, total=total)
            progress.update(tasks[stage], completed=done, total=total)

        yield tell
