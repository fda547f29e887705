"""Is a study complete? Nobody says so over DICOM: silence and ended associations have to do."""

from __future__ import annotations

from config.settings import AssemblySettings
from dicom_node.ledger import Ledger


def complete_studies(ledger: Ledger, settings: AssemblySettings) -> tuple[str, ...]:
    """Puts studies into the queue that are complete, and returns their UIDs.

    A study is complete when no instance came for ``quiet_seconds`` and every association that brought some
    has ended, or, whatever associations do, after ``stale_seconds`` without news: a sender that hangs must not
    hold a study for ever. A guess that was wrong is harmless, because a late instance opens the study again.
    """
    complete = ledger.promote_complete(settings.quiet_seconds, settings.stale_seconds)
    if complete:
        ledger.count("study_assembled", len(complete))
    return complete
