"""Memory of every role of a whole node while 10,000 distinct instances pass: 20 chest CT studies of 500 slices."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from dicom_node.ledger import Ledger
from dicom_node.process import NodeProcess, free_port
from dicom_node.sending import send_files
from tests.bench.decision import memory

STUDIES, SLICES, SIZE = 20, 500, 256


def main(studies: int = STUDIES) -> dict[str, Any]:
    console = Console()
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as name, Progress(console=console) as progress:
        folder = Path(name)
        site = folder / "site.toml"
        site.write_text(
            f"[dicom]\nport = {free_port()}\n[web]\nport = {free_port()}\n[assembly]\nquiet_seconds = 0.0\n"
            "[worker]\npoll_seconds = 0.05\n"
        )
        task = progress.add_task("instances", total=studies * SLICES)
        with NodeProcess(site, folder / "home", folder / "node.log") as node, Ledger.of(node.settings) as ledger:
            start = time.monotonic()
            for number in range(studies):
                _pass(node, ledger, list(_study(folder / "study", number)))
                progress.advance(task, SLICES)
                if number == 0:  # everything that is loaded once has been loaded
                    before = memory(node.pid, "VmRSS")
            seconds = time.monotonic() - start
            after, peak = memory(node.pid, "VmRSS"), memory(node.pid, "VmHWM")
    figures = {
        role: {"after_first_mb": before[role], "after_last_mb": after[role], "peak_mb": peak[role]} for role in before
    }
    show(figures, studies * SLICES, seconds, console)
    return {"roles": figures, "instances_per_second": studies * SLICES / seconds}


def _study(folder: Path, number: int) -> Iterator[Path]:
    folder.mkdir(exist_ok=True)
    pixels = np.random.default_rng(number).integers(-1000, 2000, (SIZE, SIZE), dtype=np.int16)
    for index in range(SLICES):
        image = Dataset()
        image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, f"2.25.{10**30 + number * SLICES + index}"
        image.StudyInstanceUID, image.SeriesInstanceUID = f"2.25.{10**20 + number}", f"2.25.{10**21 + number}"
        image.PatientName, image.PatientID, image.Modality = f"PHANTOM^{number:04}", f"P{number}", "CT"
        image.BodyPartExamined, image.InstanceNumber = "CHEST", index + 1
        image.Rows = image.Columns = SIZE
        image.PixelSpacing, image.ImageOrientationPatient = [1.0, 1.0], [1, 0, 0, 0, 1, 0]
        image.ImagePositionPatient, image.SliceThickness = [0, 0, float(index)], 1.0
        image.RescaleIntercept, image.RescaleSlope = 0, 1
        image.BitsAllocated = image.BitsStored = 16
        image.HighBit, image.PixelRepresentation, image.SamplesPerPixel = 15, 1, 1
        image.PhotometricInterpretation = "MONOCHROME2"
        image.PixelData = np.roll(pixels, index).tobytes()
        image.file_meta = FileMetaDataset()
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        path = folder / f"{index:04}.dcm"
        image.save_as(path, enforce_file_format=True)
        yield path


def _pass(node: NodeProcess, ledger: Ledger, files: list[Path]) -> None:
    from pydicom import dcmread

    uid = str(dcmread(files[0], stop_before_pixels=True).StudyInstanceUID)
    dicom = node.settings.dicom
    send_files(files, dicom.host, dicom.port, called_ae=dicom.ae_title)
    while (record := ledger.study(uid)) is None or not record.state.settled:
        time.sleep(0.05)


def show(figures: dict[str, dict[str, float]], instances: int, seconds: float, console: Console) -> None:
    table = Table("role", "MB after the first study", "MB after the last", "grown by", "peak MB")
    table.title = f"memory while {instances} instances pass ({instances / seconds:.0f} a second, one sender, decided)"
    for role, one in figures.items():
        first, last, peak = one["after_first_mb"], one["after_last_mb"], one["peak_mb"]
        table.add_row(role, f"{first:.0f}", f"{last:.0f}", f"{last - first:+.0f}", f"{peak:.0f}")
    console.print(table)


if __name__ == "__main__":
    main()
