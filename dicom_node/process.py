"""A node as a child process: what the demo, the tests and the benchmarks start, wait for and end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from config.errors import CommandError
from config.settings import Settings, load_settings

_START_SECONDS = 90.0


class NodeProcess:
    """``medreid serve`` (or one role of it) with a site file and a home of its own.

    Parameters
    ----------
    site
        the site file; its ports should be free ones.
    home
        the node's home folder.
    log
        file that takes what the node says.
    environment
        further variables for the node's processes; ``MEDREID_*`` variables of this process are not passed on.
    """

    def __init__(
        self, site: Path, home: Path, log: Path, *, role: str = "", environment: Mapping[str, str] | None = None
    ) -> None:
        self.site, self.home, self.log, self.role = site, home, log, role
        self._extra = dict(environment or {})
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def settings(self) -> Settings:
        return load_settings(self.site, self._extra, self.home)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Starts the node and returns when its listener answers (at once for a role that does not listen).

        Raises
        ------
        CommandError
            when it ends instead, or does not listen in time.
        """
        command = [sys.executable, "-m", "dicom_node.cli", "--config", str(self.site), "serve"]
        if self.role:
            command += ["--role", self.role]
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("MEDREID_")}
        environment = inherited | self._extra | {"MEDREID_HOME": str(self.home)}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        if self.role in ("", "receiver"):
            try:
                self._wait_until_listening()
            except CommandError:
                self.stop()
                raise

    def stop(self, patience: float = 30.0) -> int | None:
        """Ends the node as a service manager would; returns its exit status."""
        if self._process is None:
            return None
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self.kill()
            return self._process.returncode

    def kill(self) -> None:
        """SIGKILL to this process alone; the roles of a supervised node notice and end by themselves."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def _wait_until_listening(self) -> None:
        assert self._process is not None
        dicom = self.settings.dicom
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                socket.create_connection((dicom.host, dicom.port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.1)
        raise CommandError(f"the node did not start; see {self.log}")


def free_port(*wanted: int) -> int:
    """One of the wanted ports of 127.0.0.1 if one is free, else any that is."""
    for port in (*wanted, 0):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise CommandError("no port of 127.0.0.1 is free")
