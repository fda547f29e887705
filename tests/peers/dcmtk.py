"""DCMTK's command line tools as peers: storescu and echoscu as senders, storescp as a receiver to compare with."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from dicom_node.process import free_port

# Without it Debian's DCMTK waits 40 ms for each instance (Nagle against delayed acknowledgement).
ENVIRONMENT = {**os.environ, "TCP_NODELAY": "1"}


def start_storescu(
    port: int, paths: Sequence[Path], *options: str, called: str = "MEDREID", calling: str = "STORESCU"
) -> subprocess.Popen[str]:
    """Starts a sender of ``paths`` (files, or folders of files)."""
    command = ["storescu", "-aec", called, "-aet", calling, *options, "+sd", "127.0.0.1", str(port)]
    return subprocess.Popen(
        [*command, *map(str, paths)],
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def storescu(
    port: int, paths: Sequence[Path], *options: str, called: str = "MEDREID", calling: str = "STORESCU"
) -> subprocess.CompletedProcess[str]:
    """Sends ``paths`` and waits; the exit status says whether all were accepted."""
    with start_storescu(port, paths, *options, called=called, calling=calling) as process:
        output, _ = process.communicate(timeout=240)
    return subprocess.CompletedProcess(process.args, process.returncode, output)


def echoscu(
    port: int, *options: str, called: str = "MEDREID", calling: str = "ECHOSCU"
) -> subprocess.CompletedProcess[str]:
    """One C-ECHO; exit status 0 means Success."""
    return subprocess.run(
        ["echoscu", "-aec", called, "-aet", calling, *options, "127.0.0.1", str(port)],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@contextlib.contextmanager
def storescp(folder: Path, *options: str) -> Iterator[int]:
    """A running storescp that writes into ``folder``; yields its port."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    with tempfile.TemporaryFile() as log:
        command = ["storescp", "--max-pdu", "131072", *options, "-od", str(folder), str(port)]
        process = subprocess.Popen(command, env=ENVIRONMENT, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + 15
            while echoscu(port, called="ANY-SCP").returncode != 0:
                if time.monotonic() > deadline or process.poll() is not None:
                    raise RuntimeError("storescp did not start")
                time.sleep(0.05)
            yield port
        finally:
            process.terminate()
            process.wait(timeout=15)
