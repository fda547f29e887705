"""Is a study complete? Nobody says so over DICOM: silence and ended associations have to do."""

from __future__ import annotations

from collections.abc import Callable

from config.settings import AssemblySettings
from dicom_node.ledger import Ledger


def complete_studies(
    ledger: Ledger, settings: AssemblySettings, is_orphan: Callable[[str], bool] = lambda _: False
) -> tuple[str, ...]:
    """Puts studies into the queue that are complete, and returns their UIDs.

    A study is complete when no instance came for ``quiet_seconds`` and every association that brought some
    has ended, or, whatever associations do, after ``stale_seconds`` without news: a sender that hangs must not
    hold a study for ever. A guess that was wrong is harmless, because a late instance opens the study again.

    Where studies come together, as when an archive is read in, orphans step behind the others: the patient
    that one is searched for may be among those.
    """
    complete = ledger.promote_complete(settings.quiet_seconds, settings.stale_seconds)
    if complete:
        ledger.count("study_assembled", len(complete))
        ledger.step_behind([study_uid for study_uid in complete if is_orphan(study_uid)])
    return complete
