"""Where a bundle comes from: data, seed, commit, machine. Nothing of it names a patient or a folder."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

from training.learning.prepare import Prepared
from training.learning.recipe import Recipe, Source


def provenance(recipe: Recipe, data: Prepared, device: str) -> dict[str, Any]:
    """The bundle's table ``[training]``."""
    return {
        "seed": recipe.seed,
        "steps": data.steps,
        "images": len(data.train),
        "patients": len({(row.issuer, row.patient_id) for row in data.train.rows}),
        "validation_patients": len({(row.issuer, row.patient_id) for row in data.held_out.rows}),
        "data": [_source(source) for source in recipe.sources],
        "data_digest": data.catalogue.digest,
        "recipe_digest": hashlib.sha256(recipe.model_dump_json().encode()).hexdigest(),
        "notes": [f"{note.name}: {note.count} {note.text}" for note in data.notes],
        "commit": commit(),
        "release": version("medreid"),
        "torch": version("torch"),
        "device": device_name(device),
        "precision": recipe.length.precision,
    }


def trained_on(recipe: Recipe, data: Prepared) -> str:
    """A sentence for people."""
    patients = len({(row.issuer, row.patient_id) for row in data.train.rows})
    return f"{len(data.train)} images of {patients} patients: {'; '.join(map(_source, recipe.sources))}"


def commit() -> str:
    """The commit that the code is of, with a plus where it was changed since; empty outside of a work tree."""
    root = Path(__file__).parents[2]

    def git(*arguments: str) -> str:
        found = subprocess.run(
            ("git", "-C", str(root), *arguments), capture_output=True, text=True, timeout=30, check=False
        )
        return found.stdout.strip() if found.returncode == 0 else ""

    try:
        head = git("rev-parse", "HEAD")
        changed = bool(git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return f"{head}+" if head and changed else head


def device_name(device: str) -> str:
    """``cuda:`` with the name of the GPU, or ``cpu: x86_64``."""
    import torch

    kind = device.split(":")[0]
    return f"{kind}: {torch.cuda.get_device_name(device) if kind == 'cuda' else platform.machine()}"


def _source(source: Source) -> str:
    own = source.cohort
    if own is None:
        return f"{source.name} (manifest {Path(source.manifest).name})"
    return f"{source.name} ({own.patients} phantoms of {', '.join(own.kinds)}, seed {own.seed}, dials {own.nuisance})"
