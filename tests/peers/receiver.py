"""A real receiver in a process of its own, as the node runs it: to be sent to, killed and started again."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_PROGRAM = """
import sys
from pathlib import Path
from config.settings import load_settings
from dicom_node.listener import run
run(load_settings(home=Path(sys.argv[1])), lambda port: print("PORT", port, flush=True))
"""


@dataclass
class Receiver:
    """A receiver's process and its port."""

    process: subprocess.Popen[str]
    port: int

    def memory(self, name: str = "VmRSS") -> int:
        """``VmRSS`` (now) or ``VmHWM`` (at most so far) of the process in bytes."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(name + ":"):
                return int(line.split()[1]) * 1024
        raise AssertionError(f"no {name}")

    def threads(self) -> int:
        return len(list(Path(f"/proc/{self.process.pid}/task").iterdir()))

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def terminate(self) -> int:
        """Asks it to end, as a supervisor does; returns its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)


@contextlib.contextmanager
def receiver(home: Path, settings: Mapping[str, str] | None = None, crash_point: str = "") -> Iterator[Receiver]:
    """Starts a receiver on ``home``; ``settings`` are keys such as ``DICOM__MAX_ASSOCIATIONS``.

    It is killed on leaving, unless it ended before. Raises RuntimeError where it dies before it listens.
    """
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("MEDREID_")},
        "MEDREID_DICOM__PORT": "0",
        "MEDREID_SPOOL__MIN_FREE_BYTES": "0",
        **{f"MEDREID_{key}": value for key, value in (settings or {}).items()},
        "MEDREID_CRASH_POINT": crash_point,
        "PYTHONPATH": str(ROOT),
    }
    home.mkdir(parents=True, exist_ok=True)
    with (home / "receiver.log").open("a") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, str(home)], env=environment, stdout=subprocess.PIPE, stderr=log, text=True
        )
        assert process.stdout is not None
        try:
            port = next((int(line.split()[1]) for line in process.stdout if line.startswith("PORT ")), None)
            if port is None:
                raise RuntimeError(f"the receiver ended with {process.wait()}; see {home / 'receiver.log'}")
            yield Receiver(process, port)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
            process.stdout.close()
