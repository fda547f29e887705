"""Logs: structured events with stable names, to standard error, never with patient data."""

from __future__ import annotations

import logging
import sys

import structlog

from config.settings import LogSettings


def log_to_stderr() -> None:
    """Warnings to standard error until the settings say otherwise: standard output is for results."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


def configure_logging(settings: LogSettings, role: str = "") -> None:
    """Sets up structlog for this process; ``role`` is bound to every event."""
    level = logging.getLevelNamesMapping()[settings.level]
    renderer: structlog.typing.Processor
    if settings.format == "json":
        renderer = structlog.processors.JSONRenderer()
    else:
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=_plain_traceback)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.clear_contextvars()
    if role:
        structlog.contextvars.bind_contextvars(role=role)
    # pynetdicom and pydicom write received values into their logs; a received value may be a name.
    for library in ("pynetdicom", "pydicom", "urllib3", "alembic"):
        logging.getLogger(library).setLevel(logging.CRITICAL)


def _plain_traceback(stream: object, exc_info: object) -> None:
    structlog.dev.plain_traceback(stream, exc_info)  # type: ignore[arg-type]
