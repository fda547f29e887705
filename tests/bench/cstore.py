"""Durable C-STORE against DCMTK's storescp (which syncs nothing) and Orthanc (which syncs its storage).

``python -m tests.bench.cstore`` sends 500 CT instances (512x512, 16 bit) with one and with four associations to each
receiver in turn, round after round on the same disk, and prints medians and ratios. ``--many 10000`` adds a long run
that shows the receiver's peak memory. Nothing is asserted: figures of a shared machine mean nothing alone.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from tests.peers.dcmtk import ENVIRONMENT, start_storescu, storescp
from tests.peers.orthanc import orthanc
from tests.peers.receiver import receiver

INSTANCES = 500
ASSOCIATIONS = (1, 4)
AIMS = {("storescp", 1): 0.65, ("storescp", 4): 1.0, ("orthanc", 1): 2.0, ("orthanc", 4): 2.0}


def make_instances(folder: Path, count: int = INSTANCES) -> list[Path]:
    """Writes ``count`` CT instances of 0.5 MB, all different."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(1).integers(-1000, 2000, (512, 512), dtype=np.int16)
    return [_write_instance(folder / f"{number:05}.dcm", number, np.roll(pixels, number)) for number in range(count)]


def _write_instance(path: Path, number: int, pixels: Any) -> Path:
    image = Dataset()
    image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, f"2.25.{10**30 + number}"
    image.StudyInstanceUID, image.SeriesInstanceUID = "2.25.1", "2.25.2"
    image.PatientName, image.PatientID, image.Modality = "PHANTOM^0001", "P1", "CT"
    image.InstanceNumber = number
    image.Rows, image.Columns = pixels.shape
    image.BitsAllocated = image.BitsStored = 16
    image.HighBit, image.PixelRepresentation, image.SamplesPerPixel = 15, 1, 1
    image.PhotometricInterpretation = "MONOCHROME2"
    image.PixelData = pixels.tobytes()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.save_as(path, enforce_file_format=True)
    return path


@contextlib.contextmanager
def peer(name: str, folder: Path, associations: int) -> Iterator[tuple[int, str]]:
    """Starts a receiver by name on an empty folder: (port, AE title)."""
    if name == "storescp":
        with storescp(folder, *(["--fork"] if associations > 1 else [])) as port:
            yield port, "STORESCP"
    elif name == "orthanc":
        with orthanc(folder, SyncStorageArea=True, StableAge=60, MaximumPduLength=131072) as server:
            yield server.dicom_port, "ORTHANC"
    else:
        with receiver(folder) as ours:
            yield ours.port, "MEDREID"


def send(port: int, title: str, paths: Sequence[Path], associations: int) -> float:
    """Seconds that ``associations`` senders need for ``paths`` together."""
    start = time.perf_counter()
    senders = [start_storescu(port, paths[n::associations], "-xe", called=title) for n in range(associations)]
    answers = [sender.communicate()[0] for sender in senders]
    seconds = time.perf_counter() - start
    for sender, answer in zip(senders, answers, strict=True):
        if sender.returncode:
            raise RuntimeError(f"a sender failed: {answer[-500:]}")
    return seconds


def compare(folder: Path, rounds: int, progress: Progress) -> dict[tuple[str, int], list[float]]:
    """Instances per second of every receiver and number of associations, one figure a round."""
    paths = make_instances(folder / "instances")
    figures: dict[tuple[str, int], list[float]] = {}
    task = progress.add_task("C-STORE", total=rounds * 3 * len(ASSOCIATIONS))
    for _ in range(rounds):
        for associations in ASSOCIATIONS:
            for name in ("storescp", "medreid", "orthanc"):
                place = folder / name
                with peer(name, place, associations) as (port, title):
                    os.sync()  # nobody pays for what another one has not written yet
                    seconds = send(port, title, paths, associations)
                shutil.rmtree(place)
                figures.setdefault((name, associations), []).append(len(paths) / seconds)
                progress.advance(task)
    return figures


def many(folder: Path, count: int, progress: Progress) -> dict[str, float]:
    """Memory of the receiving process while ``count`` instances pass, in MB, and its rate."""
    paths = make_instances(folder / "instances")
    task = progress.add_task(f"{count} instances", total=count)
    with receiver(folder / "many") as ours:
        before = ours.memory() / 1e6
        start = time.perf_counter()
        for _ in range(count // len(paths)):
            send(ours.port, "MEDREID", paths, 4)
            progress.advance(task, len(paths))
        seconds = time.perf_counter() - start
        return {"before_mb": before, "peak_mb": ours.memory("VmHWM") / 1e6, "instances_per_second": count / seconds}


def summary(figures: dict[tuple[str, int], list[float]]) -> dict[str, Any]:
    """Medians, and ratios of ours to the peers': medians of the ratios within a round."""
    report: dict[str, Any] = {"instances_per_second": {}, "ratios": {}}
    for (name, associations), values in figures.items():
        report["instances_per_second"][f"{name} x{associations}"] = round(statistics.median(values), 1)
    for (name, associations), aim in AIMS.items():
        pairs = zip(figures["medreid", associations], figures[name, associations], strict=True)
        ratio = statistics.median(ours / theirs for ours, theirs in pairs)
        report["ratios"][f"medreid / {name} x{associations}"] = {"ratio": round(ratio, 2), "aim": aim}
    report["rounds"] = {
        f"{name} x{number}": [round(v, 1) for v in values] for (name, number), values in figures.items()
    }
    return report


def show(report: dict[str, Any], console: Console) -> None:
    table = Table(title="Durable C-STORE of 500 CT instances (0.5 MB), instances per second, medians")
    table.add_column("receiver")
    for associations in ASSOCIATIONS:
        table.add_column(f"{associations} association{'s' * (associations > 1)}", justify="right")
    for name in ("storescp", "orthanc", "medreid"):
        table.add_row(name, *(str(report["instances_per_second"][f"{name} x{number}"]) for number in ASSOCIATIONS))
    for name in ("storescp", "orthanc"):
        cells = [report["ratios"][f"medreid / {name} x{number}"] for number in ASSOCIATIONS]
        table.add_row(f"medreid / {name}", *(f"{cell['ratio']} (aim {cell['aim']})" for cell in cells))
    console.print(table)
    if "many" in report:
        console.print(report["many"])


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Measures, prints a table, writes JSON where ``--json`` says, and returns the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--many", type=int, default=0, help="instances of an additional long run (memory)")
    parser.add_argument("--folder", type=Path, help="where to work: the disk that is measured (default: a new folder)")
    parser.add_argument("--json", type=Path, help="file for the report")
    options = parser.parse_args(arguments)
    console = Console()
    os.environ.update(ENVIRONMENT)  # Orthanc is built on DCMTK and stalls as its tools do
    with tempfile.TemporaryDirectory(dir=options.folder) as folder, Progress(console=console) as progress:
        report = summary(compare(Path(folder), options.rounds, progress))
        if options.many:
            report["many"] = many(Path(folder), options.many, progress)
    show(report, console)
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    return report


if __name__ == "__main__":
    main()
