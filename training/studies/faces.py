"""How well faces in head CT and MR are recognised, across visits; and what the same scan twice would have made of it.

``python -m training.studies.faces --encoder face-network --encoder ct-face --persons 100 --out FOLDER`` makes phantoms
that no recipe drew, two visits each, under three sets of dials (default; nuisances that training never saw; machines
that tell the person) and measures rank-1, verification accuracy (:mod:`training.studies.pair_accuracy`), AUC and FNIR
at FPIR 1 %. Probe and gallery are from different visits. Beside the encoders stand chance, metadata, and two floors of
pixels: the volume's mean projections, and the frontal depth image, both at 32 x 32 and compared by correlation.

The second table of a set is no result but a warning. The literature searches other *poses of one scan* among the scans
themselves. Here the same gallery, one scan of each person, is searched from another pose: once by the enrolled scans,
once by those of the other visit. What separates the two rows of a method is that shortcut; a floor that knows nobody
again at another visit, and everybody within a scan, shows it to be one.

With ``--out`` a study that was stopped goes on: cohorts and embeddings are kept.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from inference.encoders.face_network import FaceNetworkEncoder
from inference.encoders.protocol import Encoder
from inference.encoders.registry import Registry
from inference.imaging.depth_image import Camera, DepthSpec, Turn
from inference.types import Encoding, FloatArray, LoadedSeries, SeriesHeader
from inference.whole_file import whole_file
from training.cohort.implicit import rotation
from training.evaluation.appraise import METADATA, PIXELS
from training.evaluation.figures import Figure, to_json
from training.evaluation.options import Options
from training.evaluation.report.cells import cell
from training.evaluation.table import Table
from training.faces.depth_images import visit_of
from training.learning.catalogue import Tell
from training.learning.cohorts import cohort_in
from training.learning.recipe import Cohort
from training.manifests.files import Manifest
from training.manifests.schema import Role, Row
from training.studies.embeddings import Candidate, bundled, embed
from training.studies.pair_accuracy import verification_accuracy
from training.studies.paired import FPIR, Judgement, judge, unit, without_embedding
from training.studies.showing import as_json, told
from training.studies.stages import stages

# No other use of phantoms draws persons from this seed.
FACES_SEED = 7800
SETS = ("default", "unseen", "coupled")
DEPTH_PIXELS = "depth pixels"
# The pose of the second table: a camera that looks up and is tilted, well inside of what training sees.
POSE = Turn(pitch=10.0, roll=12.0)
SAME_SCAN, OTHER_VISIT = "same scan", "other visit"
_FLOOR_SIZE = 32
# Below every inner product of vectors of unit length: an image that was not enrolled.
_FAILED = -2.0


@dataclass(frozen=True, slots=True)
class FaceStudy:
    """One set of dials: searches across visits, the accuracy of each method, and the shortcut's rows by method."""

    across: Judgement
    accuracy: Mapping[str, Figure]
    shortcut: Mapping[str, Judgement]


class DepthPixels:
    """A floor as an :class:`~inference.encoders.protocol.Encoder`: the depth image at 32 x 32, centred, no learning."""

    name, version, dimension = DEPTH_PIXELS, "1", _FLOOR_SIZE**2

    def __init__(self, turn: Turn | None = None) -> None:
        self._camera, self._turn = Camera(DepthSpec()), turn or Turn()

    def accepts(self, series: SeriesHeader) -> bool:
        return series.modality in ("CT", "MR")

    def encode(self, images: Sequence[LoadedSeries]) -> Sequence[Encoding | None]:
        """See the protocol; raises ImagingError where there is no face."""
        return [self._encode(image) for image in images]

    def _encode(self, image: LoadedSeries) -> Encoding:
        import cv2

        (taken,) = self._camera.take(self._camera.find(image), [self._turn])
        small = cv2.resize(taken.pixels, (_FLOOR_SIZE, _FLOOR_SIZE), interpolation=cv2.INTER_AREA).ravel()
        vector = unit((small - small.mean(dtype=np.float64))[None])[0]
        return Encoding(self.name, self.version, image.study_uid, image.series_uid, vector, taken.seen, image.modality)

    def seen_from(self, turn: Turn) -> DepthPixels:
        """The floor from another pose."""
        return DepthPixels(turn)


class Turned:
    """Any encoder, shown a patient who lies turned: for encoders that choose the camera themselves."""

    def __init__(self, encoder: Encoder, turn: Turn) -> None:
        self.name, self.version, self.dimension = encoder.name, encoder.version, encoder.dimension
        self._encoder, self._turn = encoder, turn

    def accepts(self, series: SeriesHeader) -> bool:
        return self._encoder.accepts(series)

    def encode(self, images: Sequence[LoadedSeries]) -> Sequence[Encoding | None]:
        """What the encoder makes of them; raises what it raises."""
        return self._encoder.encode([turned(image, self._turn) for image in images])


def turned(volume: LoadedSeries, turn: Turn) -> LoadedSeries:
    """The same voxels of a patient who lies turned by degrees about left (pitch), up (yaw) and front (roll)."""
    if volume.affine is None:
        return volume
    turning = np.eye(4)
    turning[:3, :3] = rotation(turn.pitch, turn.roll, turn.yaw)
    return replace(volume, affine=turning @ volume.affine)


def from_another_pose(encoder: Encoder, turn: Turn = POSE) -> Encoder:
    """The encoder as it sees a scan from another pose, whether it takes one or has to be shown a turned patient."""
    if isinstance(encoder, FaceNetworkEncoder | DepthPixels):
        return encoder.seen_from(turn)
    return Turned(encoder, turn)


def measure(
    encoders: Mapping[str, Candidate], kinds: Sequence[str], nuisance: str, persons: int, seed: int, out: Path, *,
    processes: int, rounds: int, tell: Tell,
) -> FaceStudy:  # fmt: skip
    """One set of dials; ``out`` keeps cohort and embeddings. Raises what :func:`study_of` does."""
    plan = Cohort(kinds=tuple(kinds), patients=persons, visits=2, seed=seed, nuisance=nuisance)
    manifest = cohort_in(out / nuisance, plan, processes, lambda done, of: tell(f"{nuisance}: studies", done, of))

    def told_of(stage: str, done: int, total: int) -> None:
        tell(f"{nuisance}: {stage}", done, total)

    return study_of(manifest, encoders, out / "embeddings", rounds=rounds, tell=told_of)


def study_of(
    manifest: Manifest, encoders: Mapping[str, Candidate], folder: Path, *, rounds: int, tell: Tell
) -> FaceStudy:
    """The volumes of a manifest, searched across visits and from another pose; ``folder`` keeps embeddings.

    Raises
    ------
    EvaluationError
        ``NO_MATES`` when nobody has two visits with an image.
    """
    rows = list(manifest.rows())
    candidates = {**encoders, DEPTH_PIXELS: Candidate("medreid floor depth pixels 1", DepthPixels)}
    posed = {_posed(name): _from_pose(one) for name, one in candidates.items()}
    found = embed(manifest, rows, candidates | posed, folder, tell)
    methods = {name: found.vectors[name] for name in candidates}
    methods[PIXELS] = unit(found.pixels)
    visits = [replace(row, study=visit_of(row)) for row in rows]
    options = Options(fpirs=(FPIR,), strata=(), draws=1, rounds=rounds)
    first = next(iter(encoders))
    across = judge(Table.from_rows(visits), methods | {METADATA: found.metadata}, first, options, tell)
    accuracy = {name: verification_accuracy(visits, scores_of(one), rounds=rounds) for name, one in methods.items()}
    from_pose = {name: found.vectors[_posed(name)] for name in candidates} | {PIXELS: methods[PIXELS]}
    return FaceStudy(across, accuracy, shortcut(visits, methods, from_pose, options, tell))


def scores_of(vectors: FloatArray) -> FloatArray:
    """(N, N) inner products of (N, D); an image without an embedding is like none."""
    failed = without_embedding(vectors)
    scores = np.asarray(vectors @ vectors.T, np.float32)
    scores[failed] = scores[:, failed] = _FAILED
    return scores


def shortcut(
    rows: Sequence[Row],
    frontal: Mapping[str, FloatArray],
    posed: Mapping[str, FloatArray],
    options: Options,
    tell: Tell,
) -> dict[str, Judgement]:
    """By method the same gallery searched from another pose: by the enrolled scans, and by those of another visit.

    The first scan of each person of two visits is enrolled. That a scan is searched for among the very scans is what no
    test may do, and what is measured here: its probes are said to be of another study, which they are not.
    """
    scans: dict[tuple[str, str], dict[str, int]] = {}
    for number, row in enumerate(rows):
        scans.setdefault((row.issuer, row.patient_id), {}).setdefault(row.study, number)
    pairs = [list(visits.values())[:2] for visits in scans.values() if len(visits) > 1]
    enrolled, again = (np.array([pair[n] for pair in pairs], np.int64) for n in (0, 1))
    gallery = [replace(rows[n], role=Role.GALLERY, study="enrolled") for n in enrolled]
    probes = [replace(rows[n], role=Role.PROBE, study="searched for") for n in enrolled]
    table = Table.from_rows([*gallery, *probes])
    return {
        name: judge(
            table,
            {
                OTHER_VISIT: np.concatenate([vectors[enrolled], posed[name][again]]),
                SAME_SCAN: np.concatenate([vectors[enrolled], posed[name][enrolled]]),
            },
            OTHER_VISIT,
            options,
            tell,
        )
        for name, vectors in frontal.items()
    }


def _posed(name: str) -> str:
    return f"{name} from another pose"


def _from_pose(one: Candidate) -> Candidate:
    key = hashlib.sha256(f"{one.key} {POSE.name}".encode()).hexdigest()
    return Candidate(key, lambda: from_another_pose(one.load()))


def show(nuisance: str, one: FaceStudy) -> list[Any]:
    """Two Rich tables."""
    from rich.table import Table as Shown

    judged = one.across
    title = f"{nuisance}: {judged.images} scans of {judged.patients} persons, {judged.mated} searches across visits"
    result = Shown(
        "method", "rank-1", "verification accuracy", "AUC", f"FNIR at FPIR {FPIR:g}", "not enrolled", title=title
    )
    for name, method in judged.methods.items():
        figures = method.headline()
        accuracy = told(one.accuracy[name]) if name in one.accuracy else ""
        auc = told(method.measures.verification.auc)
        result.add_row(name, told(figures["rank-1"]), accuracy, auc, told(figures["FNIR"]), str(method.failed))
    result.add_row("chance", str(cell(judged.chance)), "0.500", "0.500", "", "")
    result.caption = "intervals of 95 % over persons; a scan that a method does not enrol is a miss of it"
    title = f"{nuisance}: the same-scan shortcut"
    warning = Shown("method", "searched by", "rank-1", f"less {OTHER_VISIT}", title=title)
    for name, judgement in one.shortcut.items():
        for row, method in judgement.methods.items():
            difference = told(method.difference["rank-1"]) if method.difference else ""
            warning.add_row(name, row, told(method.headline()["rank-1"]), difference)
    warning.caption = f"one scan of each person enrolled, chance {cell(next(iter(one.shortcut.values())).chance)}"
    return [result, warning]


def in_json(one: FaceStudy) -> dict[str, Any]:
    """Everything that was measured."""
    return {
        "across visits": as_json(one.across),
        "verification accuracy": to_json(one.accuracy),
        "same-scan shortcut": {name: as_json(judgement) for name, judgement in one.shortcut.items()},
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints two tables for each set of dials, and keeps all figures in FOLDER/table.json."""
    from rich.console import Console

    parser = argparse.ArgumentParser(prog="python -m training.studies.faces", description=main.__doc__)
    parser.add_argument("--encoder", action="append", required=True, help="name of an encoder bundle; repeat for more")
    parser.add_argument("--bundles", type=Path, action="append", default=[], help="folders of further bundles")
    parser.add_argument("--kind", nargs="+", default=["head-ct"], choices=("head-ct", "head-mr"))
    parser.add_argument("--persons", type=int, default=100)
    parser.add_argument("--sets", nargs="+", default=list(SETS), help="of dials, as the cohorts know them")
    parser.add_argument("--seed", type=int, default=FACES_SEED, help="of the persons; no other use may share it")
    parser.add_argument("--out", type=Path, help="folder that keeps cohorts, embeddings and figures; none without")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=1000, help="draws of persons for intervals")
    chosen = parser.parse_args(arguments)
    registry = Registry(chosen.bundles)
    encoders = {name: bundled(registry, name) for name in chosen.encoder}
    found: dict[str, FaceStudy] = {}
    with tempfile.TemporaryDirectory(prefix="medreid-faces-") as temporary, stages() as tell:
        out = chosen.out or Path(temporary)
        for nuisance in chosen.sets:
            found[nuisance] = measure(
                encoders, chosen.kind, nuisance, chosen.persons, chosen.seed, out, processes=chosen.processes,
                rounds=chosen.rounds, tell=tell,
            )  # fmt: skip
        if chosen.out is not None:
            with whole_file(out / "table.json") as file:
                file.write(json.dumps({name: in_json(one) for name, one in found.items()}, indent=1).encode())
    for nuisance, one in found.items():
        for table in show(nuisance, one):
            Console(width=150).print(table)


if __name__ == "__main__":
    main()
