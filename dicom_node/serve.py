"""The supervisor: one child process per role, started again when it dies, ended together.

Roles are processes of their own because they differ in what they may cost: the receiver stays small and never
waits for a model, the ingester never waits for a sender, workers hold the networks.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

import structlog

from config.settings import Settings

ROLES = ("receiver", "ingester", "worker", "web")
_MAX_RESTART_SECONDS = 30.0
_STABLE_SECONDS = 60.0

log = structlog.get_logger()


@dataclass
class Child:
    """A role's process, and when it may be started again."""

    role: str
    command: Sequence[str]
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    restarts: int = 0
    due: float = field(default=0.0)

    def start(self, environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(self.command, env=environment, start_new_session=True)
        self.started = time.monotonic()
        log.info("role.started", child=self.role, pid=self.process.pid)

    def reap(self) -> None:
        """Notes a death and when to start again: at once the first time, then slower each time."""
        if self.process is None or self.process.poll() is None:
            return
        lived = time.monotonic() - self.started
        self.restarts = 0 if lived > _STABLE_SECONDS else self.restarts + 1
        wait = 0.0 if self.restarts <= 1 else min(_MAX_RESTART_SECONDS, 2.0 ** (self.restarts - 2))
        self.due = time.monotonic() + wait
        log.error("role.died", child=self.role, status=self.process.returncode, again_in_seconds=wait)
        self.process = None


class Supervisor:
    """Keeps the children of a node alive until :meth:`stop` or SIGTERM."""

    def __init__(self, settings: Settings, config_file: Path | None, roles: Sequence[str] = ROLES) -> None:
        base = [sys.executable, "-m", "dicom_node.cli"]
        if config_file is not None:
            base += ["--config", str(config_file)]
        commands = [(role, [*base, "serve", "--role", role]) for role in roles if role != "worker"]
        if "worker" in roles:
            commands += [(f"worker-{n}", [*base, "serve", "--role", "worker"]) for n in range(settings.node.workers)]
        self.children = [Child(role, command) for role, command in commands]
        self._environment = dict(os.environ, MEDREID_HOME=str(settings.home), MEDREID_SUPERVISED="1")
        self._stopping = Event()

    def run(self, while_running: Callable[[], bool] = lambda: True) -> None:
        """Blocks until stopped; ``while_running`` is polled and ends the loop by returning False."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stopping.set())
        try:
            while not self._stopping.is_set() and while_running():
                self.tick()
                self._stopping.wait(0.2)
        finally:
            self.stop()

    def tick(self) -> None:
        """Starts what is due; to be called a few times a second."""
        for child in self.children:
            child.reap()
            if child.process is None and time.monotonic() >= child.due:
                child.start(self._environment)

    def stop(self, patience: float = 15.0) -> None:
        """Asks every child to end, then insists. What was acknowledged and not yet ingested waits in the journal."""
        self._stopping.set()
        alive = [child for child in self.children if child.process is not None]
        for child in alive:
            assert child.process is not None
            child.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + patience
        for child in alive:
            assert child.process is not None
            try:
                child.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.error("role.killed", child=child.role)
                child.process.kill()
                child.process.wait()
