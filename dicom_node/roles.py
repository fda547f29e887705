"""What one role's process does from start to SIGTERM."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable
from threading import Event

import structlog

from config.errors import ConfigError
from config.settings import Settings
from dicom_node.log import configure_logging

log = structlog.get_logger()


def run_role(role: str, settings: Settings) -> None:
    """Runs ``receiver``, ``ingester``, ``worker`` or ``web`` until SIGTERM, or until its supervisor is gone."""
    configure_logging(settings.log, role)
    make_home(settings)
    stopping = Event()
    if role != "web":  # uvicorn and the listener install handlers of their own
        signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the supervisor's to answer
    _end_with_supervisor()
    _runner(role)(settings, stopping)


def make_home(settings: Settings) -> None:
    """Creates the home folder for this user alone.

    Raises
    ------
    ConfigError
        when it cannot be made or written.
    """
    try:
        settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigError(f"home folder {settings.home}: {error.strerror}; set MEDREID_HOME") from None
    if not os.access(settings.home, os.W_OK):
        raise ConfigError(f"home folder {settings.home} is not writable; set MEDREID_HOME")


def owner_name() -> str:
    """Under which name this process holds leases."""
    return f"{socket.gethostname()}:{os.getpid()}"


def _runner(role: str) -> Callable[[Settings, Event], None]:
    # Each role imports only what it needs: the receiver must stay free of SQL, numpy and torch.
    if role == "receiver":
        from dicom_node.listener import run as run_listener

        return lambda settings, _: run_listener(settings)
    if role == "ingester":
        from dicom_node.ingester import run_ingester

        return run_ingester
    if role == "worker":
        from dicom_node.worker import run_worker

        return run_worker
    if role == "web":
        from dicom_node.web.app import run_web

        return run_web
    raise ConfigError(f"unknown role {role!r}; roles are receiver, ingester, worker and web")


def _end_with_supervisor() -> None:
    """A role whose supervisor was killed must not live on and hold the port and the leases."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            threading.Event().wait(1.0)
        os.kill(os.getpid(), signal.SIGTERM)

    if os.environ.get("MEDREID_SUPERVISED") == "1":
        threading.Thread(target=watch, daemon=True, name="supervisor-watch").start()
