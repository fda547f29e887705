"""A manifest and an encoder to an evaluation with its floors and audits: what ``medreid evaluate`` does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from config.errors import CommandError
from inference.calibration import Calibration, Pair, Side
from inference.encoders.protocol import Encoder
from training.evaluation.audits import Audit, audits
from training.evaluation.enrolling import Enrolled, Scratch, enrol
from training.evaluation.evaluate import Evaluation, evaluate
from training.evaluation.figures import Measures, to_json
from training.evaluation.floors import metadata_vectors, pixel_vectors
from training.evaluation.normalisation import Cohort
from training.evaluation.options import Options
from training.evaluation.sources import EmbeddingScores
from training.evaluation.table import Table
from training.manifests.files import Manifest
from training.manifests.schema import Role, Row

PIXELS, METADATA, CROPPED = "pixel correlation", "metadata only", "probe cropped 8 %"
# Told of (stage, done, of how many).
Tell = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, eq=False)
class Appraisal:
    """Everything that one run found.

    ``methods`` are the encoder (first), then floors and variants, each measured on all searches; ``chance`` is the
    rank-1 that guessing reaches. ``rows`` are those of the evaluation's table.
    """

    manifest: str
    encoder: str
    version: str
    trained_on: str
    evaluation: Evaluation
    methods: Mapping[str, Measures]
    chance: float | None
    audits: Sequence[Audit]
    refusals: Mapping[str, int]
    options: Options
    rows: Sequence[Row]

    @property
    def passed(self) -> bool:
        return all(audit.passed for audit in self.audits)

    def to_json(self) -> dict[str, Any]:
        """The whole as JSON has it; figures as in :mod:`training.evaluation.figures`."""
        return {
            "manifest": self.manifest,
            "encoder": {"name": self.encoder, "version": self.version, "trained_on": self.trained_on},
            "audits": to_json(list(self.audits)),
            "failed_to_enrol": dict(self.refusals),
            "chance": {"rank-1": self.chance},
            "evaluation": self.evaluation.to_json(),
            "methods": {name: to_json(measures) for name, measures in self.methods.items()},
            "options": to_json(self.options),
        }


@dataclass(frozen=True, slots=True)
class PairedLrs:
    """A bundle's calibration as an evaluation asks for it: by what the probe is, compared with its like."""

    calibration: Calibration

    def log10_lr(self, scores: Any, modality: str = "", view: str = "") -> Any:
        side = Side(modality, view)
        return self.calibration.log10_lr(scores, Pair(side, side))


def rows_of(manifest: Manifest, split: str = "") -> list[Row]:
    """The rows of a manifest, or of one of its splits.

    Raises
    ------
    CommandError
        ``NO_PROBES`` when nobody is searched for; ``EMPTY_SPLIT`` for a split without images.
    """
    rows = [row for row in manifest.rows() if not split or row.split == split]
    if not rows:
        raise CommandError(f"no image is in the split {split!r}; see medreid manifest check", reason="EMPTY_SPLIT")
    if all(row.role in (Role.GALLERY, Role.DISTRACTOR) for row in rows):
        raise CommandError(
            "no image is a probe; give the role probe or both to those that are to be searched for", reason="NO_PROBES"
        )
    return rows


def appraise(
    manifest: Manifest,
    rows: Sequence[Row],
    encoder: Encoder,
    scratch: Scratch,
    options: Options,
    *,
    calibration: Calibration | None = None,
    crop: bool = True,
    cohort_split: str = "",
    trained_on: str = "",
    tell: Tell,
) -> Appraisal:
    """Enrols every image and measures the encoder, beside its floors, on the same searches.

    Parameters
    ----------
    calibration
        judged as it is; without one, likelihood ratios are cross-fitted over disjoint patients.
    cohort_split
        images of this split are neither searched nor enrolled: scores are normalised by them.
    tell
        called with (stage, done, of how many).

    Raises
    ------
    EvaluationError
        when nothing can be enrolled or compared.
    """
    done = 0

    def encoded(n: int) -> None:
        nonlocal done
        done += n
        tell("images", done, len(rows))

    enrolled = enrol(manifest, rows, encoder, scratch, crop=crop, tell=encoded)
    tested = np.array([n for n, row in enumerate(rows) if not cohort_split or row.split != cohort_split], np.int64)
    shown = [rows[number] for number in tested.tolist()]
    table, failures = Table.from_rows(shown), enrolled.failed[tested]
    main = evaluate(
        table,
        EmbeddingScores(_rows(enrolled.vectors, tested)),
        options,
        lrs=PairedLrs(calibration) if calibration is not None else None,
        cohort=_cohort(cohort_split, rows, enrolled, tested),
        failures=failures,
        progress=tell,
    )
    methods = {f"{encoder.name} {encoder.version}": main.measures}
    # Floors and variants are measured on all searches; strata are the encoder's.
    plain = replace(options, strata=(), gallery_sizes=(len(table.patients),), draws=1)
    for name, source in _others(enrolled, tested).items():
        found = evaluate(table, source, plain, failures=failures, progress=_named(tell, name))
        methods[name] = found.measures
    return Appraisal(
        manifest=manifest.path.name,
        encoder=encoder.name,
        version=encoder.version,
        trained_on=trained_on,
        evaluation=main,
        methods=methods,
        chance=_chance(main),
        audits=audits(enrolled, tell, options.seed),
        refusals=enrolled.reasons,
        options=options,
        rows=shown,
    )


def _others(enrolled: Enrolled, part: NDArray[np.int64]) -> dict[str, EmbeddingScores]:
    sources = {
        PIXELS: EmbeddingScores(_rows(pixel_vectors(enrolled), part)),
        METADATA: EmbeddingScores(_rows(metadata_vectors(enrolled), part)),
    }
    if enrolled.cropped is not None:
        sources[CROPPED] = EmbeddingScores(_rows(enrolled.vectors, part), _rows(enrolled.cropped, part))
    return sources


def _named(tell: Tell, name: str) -> Tell:
    return lambda stage, done, total: tell(f"{name}: {stage}", done, total)


def _rows(values: NDArray[np.float32], part: NDArray[np.int64]) -> NDArray[np.float32]:
    """Some rows; all of them stay where they are, on the disk."""
    return values if len(part) == len(values) else values[part]


def _cohort(split: str, rows: Sequence[Row], enrolled: Enrolled, tested: NDArray[np.int64]) -> Cohort | None:
    held_out = [n for n, row in enumerate(rows) if split and row.split == split and not enrolled.failed[n]]
    if not held_out:
        return None
    patients = [(rows[number].issuer, rows[number].patient_id) for number in held_out]
    return Cohort.of_embeddings(patients, enrolled.vectors[held_out], _rows(enrolled.vectors, tested))


def _chance(evaluation: Evaluation) -> float | None:
    size = evaluation.measures.closed_set.mean_gallery
    return 1.0 / size if np.isfinite(size) and size >= 1 else None
