"""Puts files into a bundle and their hashes into its ``bundle.toml``, whose comments stay."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from inference.encoders.bundle import BUNDLE_FILE, Bundle


def put_file(folder: Path, name: str, content: bytes) -> None:
    """Writes ``folder/name`` and sets its SHA-256 in the manifest's table ``[files]``."""
    manifest = folder / BUNDLE_FILE
    text = manifest.read_text(encoding="utf-8")
    line = f'"{name}" = "{hashlib.sha256(content).hexdigest()}"'
    known = re.compile(rf'^"{re.escape(name)}" = ".*"$', re.MULTILINE)
    if known.search(text):
        text = known.sub(line, text)
    elif "[files]\n" in text:
        text = text.replace("[files]\n", f"[files]\n{line}\n")
    else:
        text = f"{text.rstrip()}\n\n[files]\n{line}\n"
    (folder / name).write_bytes(content)
    manifest.write_text(text, encoding="utf-8")
    Bundle.read(folder).bytes_of(name)


def name_calibration(folder: Path, name: str) -> None:
    """Makes a file of the bundle its calibration."""
    manifest = folder / BUNDLE_FILE
    text = manifest.read_text(encoding="utf-8")
    if not Bundle.read(folder).manifest.calibration:
        text = re.sub(r"^(dimension = .*)$", rf'\1\ncalibration = "{name}"', text, count=1, flags=re.MULTILINE)
        manifest.write_text(text, encoding="utf-8")
    Bundle.read(folder).calibration()
