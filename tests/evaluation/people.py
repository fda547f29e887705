"""Random test sets, small enough for brute force."""

from __future__ import annotations

import numpy as np

from training.manifests.schema import Role, Row

ROLES = (Role.BOTH, Role.BOTH, Role.BOTH, Role.PROBE, Role.GALLERY, Role.DISTRACTOR)


def people(rng: np.random.Generator, patients: int, most_images: int = 4, roles: tuple[Role, ...] = ROLES) -> list[Row]:
    """Rows of so many patients in random order, with every column known now and then."""
    rows = []
    for patient in range(patients):
        sex, start = str(rng.choice(["F", "M", ""])), int(rng.integers(0, 1000))
        for image in range(int(rng.integers(1, most_images + 1))):
            row = Row(
                path=f"{patient}/{image}",
                patient_id=f"P{patient // 2}",
                issuer="AB"[patient % 2],
                study=f"S{rng.integers(0, 3)}",
                modality=str(rng.choice(["DX", "CT", ""])),
                view=str(rng.choice(["PA", "LL", ""])),
                laterality=str(rng.choice(["L", "R", ""])),
                days=None if rng.random() < 0.1 else start + int(rng.choice([0, 1, 8, 20, 100, 500])),
                site=str(rng.choice(["north", "south"])),
                device=str(rng.choice(["one", "two", "three", ""])),
                sex=sex,
                age=None if rng.random() < 0.2 else float(rng.integers(0, 95)),
                role=roles[int(rng.integers(len(roles)))],
                labels={"effusion": str(rng.choice(["0", "1", ""]))},
            )
            rows.append(row)
    return [rows[i] for i in rng.permutation(len(rows))]


def scores(rng: np.random.Generator, rows: list[Row], *, ties: bool, gain: float = 1.0) -> np.ndarray:
    """(N, N), larger for one person's images; a few distinct values when ties are wanted."""
    same = np.array([[(p.issuer, p.patient_id) == (g.issuer, g.patient_id) for g in rows] for p in rows])
    values = rng.normal(size=same.shape) + gain * same
    return np.round(values * 2) / 2 if ties else values
