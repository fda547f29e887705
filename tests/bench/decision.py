"""From the end of an association to the decision, for one radiograph and for a head CT of about 200 slices.

A whole node runs on loopback with waiting times of nought, a small phantom gallery in it. What is measured: the time
from the release of the association to the settled study, and the peak memory of every role.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from dicom_node.ledger import Ledger
from dicom_node.process import NodeProcess, free_port
from dicom_node.sending import send_files
from training.cohort import Dials, person, visit, write_chest_radiograph, write_head_ct
from training.cohort.dials.head_ct import HeadCtDials
from training.cohort.orphans import make_orphan

# No other run of the project draws persons from this seed.
SEED = 9100
ROUNDS = 4
# About 200 slices of 512 x 512.
CT = HeadCtDials(spacing=(1.1, 1.2), matrix=(512,), field_of_view=(240.0, 250.0), short=0.0)


def main(rounds: int = ROUNDS) -> dict[str, Any]:
    console = Console()
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as name, Progress(console=console) as progress:
        folder = Path(name)
        site = folder / "site.toml"
        site.write_text(
            f"[dicom]\nport = {free_port()}\n[web]\nport = {free_port()}\n[assembly]\nquiet_seconds = 0.0\n"
            "[worker]\npoll_seconds = 0.05\n"
        )
        task = progress.add_task("decisions", total=2 * (rounds + 1))
        with NodeProcess(site, folder / "home", folder / "node.log") as node, Ledger.of(node.settings) as ledger:
            figures: dict[str, Any] = {}
            for label in ("radiograph", "head CT"):
                seconds, sizes = [], []
                for number in range(rounds + 1):
                    files = _study(folder / "studies", label, number, orphan=number > 0)
                    taken = _decide(node, ledger, files)
                    progress.advance(task)
                    if number:  # the first one enrols and warms up
                        seconds.append(taken)
                        sizes.append(len(files))
                figures[label] = {
                    "instances": statistics.median(sizes),
                    "median_s": statistics.median(seconds),
                    "worst_s": max(seconds),
                }
            figures["peak_rss_mb"] = memory(node.pid, "VmHWM")
    show(figures, console)
    return figures


def _study(folder: Path, label: str, number: int, *, orphan: bool) -> list[Path]:
    who = person(SEED, number + 1)
    when = visit(who, int(orphan), Dials(head_ct=CT))
    change = (lambda ds: make_orphan(ds, "empty")) if orphan else None
    out = folder / f"{label}-{number}".replace(" ", "-")
    if label == "radiograph":
        return write_chest_radiograph(out, who, when, change)
    return write_head_ct(out, who, when, change)


def _decide(node: NodeProcess, ledger: Ledger, files: list[Path]) -> float:
    from pydicom import dcmread

    uid = str(dcmread(files[0], stop_before_pixels=True).StudyInstanceUID)
    dicom = node.settings.dicom
    send_files(files, dicom.host, dicom.port, called_ae=dicom.ae_title)
    released = time.monotonic()
    while (record := ledger.study(uid)) is None or not record.state.settled:
        time.sleep(0.02)
    return time.monotonic() - released


def memory(pid: int, what: str) -> dict[str, float]:
    """Resident memory of each role of a node in MB: ``VmRSS`` now, ``VmHWM`` at its peak."""
    found = {}
    for child in psutil.Process(pid).children(recursive=True):
        arguments = child.cmdline()
        if "--role" in arguments:
            status = Path(f"/proc/{child.pid}/status").read_text()
            size = next(line for line in status.splitlines() if line.startswith(what))
            found[arguments[arguments.index("--role") + 1]] = int(size.split()[1]) / 1024
    return found


def show(figures: dict[str, Any], console: Console) -> None:
    table = Table("study", "instances", "median s", "worst s", title="end of association to decision")
    for label in ("radiograph", "head CT"):
        one = figures[label]
        table.add_row(label, f"{one['instances']:.0f}", f"{one['median_s']:.2f}", f"{one['worst_s']:.2f}")
    console.print(table)
    memory = Table("role", "peak MB", title="memory")
    for role, size in figures["peak_rss_mb"].items():
        memory.add_row(role, f"{size:.0f}")
    console.print(memory)


if __name__ == "__main__":
    main()
