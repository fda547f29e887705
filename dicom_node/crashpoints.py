"""Places where a test may kill this process with SIGKILL, to show that nothing acknowledged is lost there.

``MEDREID_CRASH_POINT=name`` kills at the first pass, ``name:3`` at the third. Unset, a crash point costs a comparison.
"""

from __future__ import annotations

import os
import re
import signal
from threading import Lock

from config.errors import ConfigError

VARIABLE = "MEDREID_CRASH_POINT"

# Every step of the receive path, in the order in which an object passes it.
RECEIVE_POINTS = (
    "receive.command_read",
    "receive.fragment",
    "receive.last_fragment",
    "commit.file_synced",
    "journal.rotating",
    "journal.segment_made",
    "journal.written",
    "journal.synced",
    "commit.durable",
    "receive.answered",
    "commit.moved",
    "commit.published",
    "recover.settled",
)
# Other rooms name theirs where they stand.
_SYNTAX = re.compile(r"(?P<name>[a-z]+\.[a-z_]+)(:(?P<passes>[1-9]\d*))?")


class _Trap:
    """The armed crash point and how many passes it lets go by."""

    def __init__(self, text: str) -> None:
        match = _SYNTAX.fullmatch(text)
        if match is None:
            raise ConfigError(f"{VARIABLE} is {text!r}; it has to look like commit.moved or commit.moved:3")
        self.name = match["name"]
        self._passes_left = int(match["passes"] or 1)
        self._lock = Lock()

    def passed(self) -> None:
        with self._lock:
            self._passes_left -= 1
            if self._passes_left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


_trap = _Trap(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None


def crash_point(name: str) -> None:
    """Kills the process here if the environment asks for it."""
    if _trap is not None and _trap.name == name:
        _trap.passed()
