"""Every error that MedReID raises on purpose.

::

    MedReIDError
     +- ConfigError            a settings, rules or policy file cannot be used
     +- StorageError           spool, journal or archive folder cannot do what was asked
     |   +- DiskFullError      less space than the configured reserve
     |   +- JournalError       the journal is torn beyond its last record
     +- LedgerError            the database refuses or contradicts itself
     |   +- ConflictError      same SOP Instance UID, other bytes
     |   +- LeaseLostError     another worker holds the study now
     |   +- AuditError         the hash chain of the audit does not verify
     +- HeaderError            bytes that are no DICOM object
     +- ImagingError           an image cannot be used; carries a named Rejection
     +- EncoderError           a bundle is missing, damaged or of another version
     +- GalleryError           a search or an enrolment that cannot be exact
     +- CalibrationError       no calibration for a score, or too little data to fit one
     +- EvaluationError        a test of recognition that cannot be carried out
     +- TrainingError          a recipe that cannot be trained, or a training that went wrong
     +- ArchiveError           the archive refuses, is away or disagrees
     |   +- ArchiveUnavailableError   try again later
     |   +- ArchiveConflictError      what is there is not what was expected
     |   +- RelinkRefusedError        a guard of the re-link procedure said no
     +- CommandError           the person at the command line has to change something

Messages name the thing and the remedy. They never hold patient data.
"""

from __future__ import annotations

__all__ = [
    "ArchiveConflictError",
    "ArchiveError",
    "ArchiveUnavailableError",
    "AuditError",
    "CalibrationError",
    "CommandError",
    "ConfigError",
    "ConflictError",
    "DiskFullError",
    "EncoderError",
    "EvaluationError",
    "GalleryError",
    "HeaderError",
    "ImagingError",
    "JournalError",
    "LeaseLostError",
    "LedgerError",
    "MedReIDError",
    "RelinkRefusedError",
    "StorageError",
    "TrainingError",
]


class MedReIDError(Exception):
    """Base of all errors that MedReID raises on purpose.

    ``reason`` is a stable upper-case name: the key under which the refusal is counted and shown.
    """

    reason: str = "ERROR"

    def __init__(self, message: str, *, reason: str | None = None) -> None:
        super().__init__(message)
        if reason is not None:
            self.reason = reason


class ConfigError(MedReIDError):
    reason = "CONFIG"


class StorageError(MedReIDError):
    reason = "STORAGE"


class DiskFullError(StorageError):
    reason = "DISK_FULL"


class JournalError(StorageError):
    reason = "JOURNAL"


class LedgerError(MedReIDError):
    reason = "LEDGER"


class ConflictError(LedgerError):
    reason = "CONFLICT"


class LeaseLostError(LedgerError):
    reason = "LEASE_LOST"


class AuditError(LedgerError):
    reason = "AUDIT"


class HeaderError(MedReIDError):
    reason = "NOT_DICOM"


class ImagingError(MedReIDError):
    reason = "IMAGING"


class EncoderError(MedReIDError):
    reason = "ENCODER"


class GalleryError(MedReIDError):
    reason = "GALLERY"


class CalibrationError(MedReIDError):
    reason = "CALIBRATION"


class EvaluationError(MedReIDError):
    reason = "EVALUATION"


class TrainingError(MedReIDError):
    reason = "TRAINING"


class ArchiveError(MedReIDError):
    reason = "ARCHIVE"


class ArchiveUnavailableError(ArchiveError):
    reason = "ARCHIVE_UNAVAILABLE"


class ArchiveConflictError(ArchiveError):
    reason = "ARCHIVE_CONFLICT"


class RelinkRefusedError(ArchiveError):
    reason = "RELINK_REFUSED"


class CommandError(MedReIDError):
    reason = "COMMAND"
