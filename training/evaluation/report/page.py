"""One self-contained HTML page of an appraisal: audits first, then figures, plots, strata, best and worst searches."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np

from config.errors import DiskFullError, StorageError
from inference.whole_file import whole_file
from training.evaluation.appraise import Appraisal
from training.evaluation.enrolling import thumbnail
from training.evaluation.figures import Measures, Stratum
from training.evaluation.report import cells, plots
from training.evaluation.report.cells import Table
from training.manifests.files import Manifest
from training.manifests.images import load_row
from training.manifests.schema import Row

FPIR = 0.01
SEARCHES, LISTED = 8, 6


@dataclass(frozen=True, slots=True)
class Picture:
    """``role`` is ``probe``, ``mate`` or ``other``; ``png`` is base64."""

    role: str
    png: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Section:
    title: str
    text: Sequence[str] = ()
    plots: Sequence[str] = ()
    tables: Sequence[Table] = ()
    lists: Sequence[Sequence[Picture]] = field(default_factory=tuple)


def write_page(path: Path, appraisal: Appraisal, manifest: Manifest, *, thumbnails: bool = True) -> None:
    """Writes the page whole or not at all.

    Parameters
    ----------
    thumbnails
        whether the best and worst searches are shown with their pictures, which are of patients.

    Raises
    ------
    StorageError, DiskFullError
        when the file cannot be written.
    """
    write_whole(path, page(appraisal, manifest, thumbnails=thumbnails).encode("utf-8"))


def write_whole(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all; raises StorageError or DiskFullError when it cannot be written."""
    try:
        with whole_file(path) as file:
            file.write(data)
    except OSError as error:
        kind = DiskFullError if error.errno in (28, 122) else StorageError
        raise kind(f"{path} cannot be written: {error.strerror}; free space or choose another folder") from None


def page(appraisal: Appraisal, manifest: Manifest, *, thumbnails: bool = True) -> str:
    """The page as text."""
    from jinja2 import Environment, PackageLoader

    environment = Environment(loader=PackageLoader("training.evaluation.report", "."), autoescape=True)
    main = appraisal.evaluation.measures
    sections = [
        _overview(appraisal),
        Section("Closed set", plots=[_cmc(appraisal)], tables=cells.closed_set(main)),
        Section("Verification", plots=[plots.roc(appraisal.methods)], tables=cells.verification(main)),
        Section("Open set", plots=[plots.det(appraisal.methods)], tables=cells.open_set(main)),
        *_calibration(main),
        *_normalised(appraisal),
        *_growth(appraisal),
        *_strata(appraisal),
        *_enrolment(appraisal),
    ]
    if thumbnails:
        sections += _searches(appraisal, manifest)
    text: str = environment.get_template("page.html").render(
        title=f"Recognition by {appraisal.encoder} {appraisal.version}",
        subtitle=f"{appraisal.manifest}: {cells.sizes(appraisal.evaluation.sizes)}",
        statements=_statements(appraisal),
        audits=appraisal.audits,
        sections=sections,
    )
    return text


def _statements(appraisal: Appraisal) -> list[str]:
    said = [
        "Figures hold for this test set, this gallery size and these cameras. Intervals are 95 % over patients. Probe "
        "and gallery never share a study. Larger scores are more alike; candidates that tie with a mate stand first."
    ]
    if appraisal.trained_on:
        said.append(f"The encoder was trained on: {appraisal.trained_on}")
    if not appraisal.passed:
        failed = ", ".join(audit.name for audit in appraisal.audits if not audit.passed)
        said.append(f"AUDITS FAILED: {failed}. Until they pass, the figures below are not those of recognition.")
    return [*said, *(f"Note: {note}." for note in appraisal.evaluation.notes)]


def _overview(appraisal: Appraisal) -> Section:
    text = [
        "Floors are what is reached without recognition on the same searches: the correlation of 32x32 pictures, and "
        "what header and manifest say of person and machine."
    ]
    return Section("At a glance", text, tables=[cells.headline(appraisal.methods, appraisal.chance, FPIR)])


def _cmc(appraisal: Appraisal) -> str:
    size = appraisal.evaluation.measures.closed_set.mean_gallery
    ranks = appraisal.options.ranks
    chance = {str(k): min(1.0, k / size) for k in ranks} if appraisal.chance else {}
    return plots.cmc(appraisal.methods, chance)


def _calibration(main: Measures) -> Iterator[Section]:
    if main.likelihood is not None:
        drawn = [plots.tippett(main), plots.reliability(main)]
        yield Section("Likelihood ratios", plots=drawn, tables=cells.likelihood(main.likelihood))


def _normalised(appraisal: Appraisal) -> Iterator[Section]:
    measured = appraisal.evaluation.normalised
    if measured:
        methods = {"raw": appraisal.evaluation.measures, **{f"{kind}-norm": one for kind, one in measured.items()}}
        text = ["Scores normalised by patients who are neither probe nor gallery."]
        yield Section("Score normalisation", text, [plots.det(methods)], [cells.headline(methods, None, FPIR)])


def _growth(appraisal: Appraisal) -> Iterator[Section]:
    curve = appraisal.evaluation.distractors
    if not curve:
        return
    fpirs = list(curve[0].fnir)
    columns = ("patients enrolled", *(f"rank-{k}" for k in curve[0].rank), *(f"FNIR at FPIR {f}" for f in fpirs))
    rows: cells.Rows = [[point.patients, *point.rank.values(), *point.fnir.values()] for point in curve]
    wanted = next((f for f in fpirs if abs(float(f) - FPIR) < 1e-12), fpirs[0] if fpirs else "")
    rank = next(iter(curve[0].rank))
    yield Section(
        "As the gallery grows",
        ["Random nested galleries of other people; the mate is always enrolled."],
        [plots.distractors(curve, rank, wanted)],
        [cells.table("", columns, rows)],
    )


def _strata(appraisal: Appraisal) -> Iterator[Section]:
    strata = appraisal.evaluation.strata.values()
    told = [stratum for stratum in strata if len(stratum.groups) > 1 or stratum.worst]
    if not told:
        return
    tables = []
    for stratum in told:
        headline = cells.headline(stratum.groups, None, FPIR)
        columns = (stratum.dimension, "probes", "patients", *headline.columns[1:])
        rows = tuple(
            (row[0], cells.cell(one.probes), cells.cell(one.patients), *row[1:])
            for row, one in zip(headline.rows, stratum.groups.values(), strict=True)
        )
        tables.append(Table(stratum.dimension, columns, rows))
        tables += _worst(stratum)
    yield Section("Strata", plots=[plots.bars(stratum, "1") for stratum in told], tables=tables)


def _worst(stratum: Stratum) -> Iterator[Table]:
    if stratum.worst:
        rows: cells.Rows = [[name, worst.group, worst.figure] for name, worst in stratum.worst.items()]
        yield cells.table(f"{stratum.dimension}: worst group", ("figure", "group", "value"), rows)


def _enrolment(appraisal: Appraisal) -> Iterator[Section]:
    one = appraisal.evaluation.enrolment
    if one is None:
        return
    rows: cells.Rows = [["failure to enrol", one.failure_rate]]
    rows += [[f"generalised rank-{k}", figure] for k, figure in one.generalised_rank.items()]
    refused: cells.Rows = [[reason, n] for reason, n in sorted(appraisal.refusals.items(), key=lambda item: -item[1])]
    tables = [
        cells.table(
            f"{one.failed_images} of {one.images} images and {one.failed_patients} of {one.patients} patients failed",
            ("figure", "value"),
            rows,
        )
    ]
    if refused:
        tables.append(cells.table("Why images were refused", ("reason", "images"), refused))
    yield Section(
        "Failure to enrol", ["A failed probe, and one whose mates all failed, counts as a miss."], tables=tables
    )


def _searches(appraisal: Appraisal, manifest: Manifest) -> Iterator[Section]:
    rows, found = appraisal.rows, appraisal.evaluation.candidates
    mated = np.flatnonzero(found.mate_ranks > 0)
    if not len(mated):
        return
    lead = found.mate_scores[mated] - np.where(
        found.mate_ranks[mated] == 1, found.scores[mated, 1:2].ravel(), found.scores[mated, 0]
    )
    order = mated[np.argsort(lead, kind="stable")]

    @cache
    def png(number: int) -> str:
        return _png(manifest, rows[number])

    for title, chosen in (("Worst searches", order[:SEARCHES]), ("Best searches", order[::-1][:SEARCHES])):
        lists = [_list(int(search), appraisal, rows, png) for search in chosen]
        yield Section(
            title, ["Probe (black frame), its candidates, and its mate (green) where it ranks below."], lists=lists
        )


def _list(search: int, appraisal: Appraisal, rows: Sequence[Row], png: Callable[[int], str]) -> list[Picture]:
    found = appraisal.evaluation.candidates
    probe, mate, rank = int(found.probes[search]), int(found.mate_images[search]), int(found.mate_ranks[search])
    pictures = [Picture("probe", png(probe), ("probe", rows[probe].view or rows[probe].modality))]
    for place in range(LISTED):
        image = int(found.images[search, place]) if place < found.images.shape[1] else -1
        if image >= 0:
            role = "mate" if image == mate else "other"
            pictures.append(Picture(role, png(image), (f"{place + 1}: {found.scores[search, place]:.3f}", role)))
    if rank > LISTED:
        pictures.append(Picture("mate", png(mate), (f"{rank}: {found.mate_scores[search]:.3f}", "mate")))
    return pictures


def _png(manifest: Manifest, row: Row) -> str:
    import cv2

    loaded = load_row(manifest, row)
    picture = thumbnail(loaded.images[0]) if loaded.images else np.zeros((112, 112), np.uint8)
    done, data = cv2.imencode(".png", picture[..., ::-1] if picture.ndim == 3 else picture)
    return base64.b64encode(data.tobytes()).decode("ascii") if done else ""
