"""Which images are compared with which, and the scores of mated pairs: the first, small pass over the scores."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from config.errors import EvaluationError
from training.evaluation.options import Options, Progress
from training.evaluation.sources import ScoreSource
from training.evaluation.table import Bools, Codes, Floats, Table
from training.manifests.pairs import comparable_mask


def left_out(table: Table, probes: Codes, gallery: Codes, options: Options) -> Bools:
    """(p, g) True where two table rows are never compared: of one study, of a wrong role, or against the rule."""
    return ~comparable_mask(table.keys.take(probes), table.keys.take(gallery), options.rule)


def refuse_broken(scores: Floats, ignored: Bools) -> None:
    """Raises EvaluationError (``NOT_FINITE``) when a score that counts is NaN or infinite."""
    # The sum of finite scores is finite and costs a tenth of looking at each.
    if np.isfinite(scores.sum()):
        return
    broken = int((~np.isfinite(scores) & ~ignored).sum())
    if broken:
        raise EvaluationError(
            f"{broken} of {int((~ignored).sum())} scores of a block are NaN or infinite; the source of the scores is "
            "at fault, and images that it cannot score belong to the failures to enrol",
            reason="NOT_FINITE",
        )


@dataclass(frozen=True, slots=True, eq=False)
class Mates:
    """Every mated pair: probe images against images of the same patient in other studies.

    ``probe`` (M,) counts the probes (not table rows), ascending; ``image`` (M,) are table rows; ``score`` (M,);
    ``gap`` (M,) days between both, NaN where unknown. The pairs of probe i are ``offsets[i]:offsets[i + 1]``.
    """

    probe: Codes
    image: Codes
    score: Floats
    gap: Floats
    offsets: Codes

    def among(self, kept: Bools) -> Mates:
        """Only the pairs that ``kept`` (M,) chooses; as many probes as before."""
        counts = np.bincount(self.probe[kept], minlength=len(self.offsets) - 1)
        return Mates(
            self.probe[kept], self.image[kept], self.score[kept], self.gap[kept], np.append(0, np.cumsum(counts))
        )

    def best(self) -> tuple[Floats, Codes]:
        """(P,) each probe's best mated score, NaN without a mate, and the table row it was reached with, or -1."""
        score, image = np.full(len(self.offsets) - 1, np.nan), np.full(len(self.offsets) - 1, -1)
        order = np.lexsort((self.image, -self.score, self.probe))
        found, first = np.unique(self.probe[order], return_index=True)
        score[found], image[found] = self.score[order][first], self.image[order][first]
        return score, image


def find_mates(
    table: Table, source: ScoreSource, probes: Codes, gallery: Codes, options: Options, progress: Progress
) -> Mates:
    """Scores every mated pair that may be compared.

    Parameters
    ----------
    probes, gallery
        table rows.

    Raises
    ------
    EvaluationError
        ``NOT_FINITE`` for a NaN or infinite score.
    """
    parts = []
    probes_of, gallery_of = _by_patient(table, probes), _by_patient(table, gallery)
    for number, (patient, places) in enumerate(probes_of.items()):
        if patient in gallery_of:
            parts.append(_mates_of(table, source, places, probes, gallery[gallery_of[patient]], options))
        if number % 256 == 0:
            progress("mated comparisons", number, len(probes_of))
    progress("mated comparisons", len(probes_of), len(probes_of))
    empty = (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0), np.empty(0))
    probe, image, score, gap = (np.concatenate(column) for column in zip(empty, *parts, strict=True))
    order = np.lexsort((image, probe))
    offsets = np.append(0, np.cumsum(np.bincount(probe, minlength=len(probes))))
    return Mates(probe[order], image[order], score[order], gap[order], offsets)


def _mates_of(
    table: Table, source: ScoreSource, places: Codes, probes: Codes, images: Codes, options: Options
) -> tuple[Codes, Codes, Floats, Floats]:
    rows = probes[places]
    gap = np.abs(table.days[rows][:, None] - table.days[images][None, :])
    ignored = left_out(table, rows, images, options)
    scores = source.block(rows, images)
    refuse_broken(scores, ignored)
    mine, theirs = np.nonzero(~ignored)
    return places[mine], images[theirs], scores[mine, theirs], gap[mine, theirs]


def _by_patient(table: Table, rows: Codes) -> dict[int, Codes]:
    """Places within ``rows`` by patient code."""
    order = np.argsort(table.patient[rows], kind="stable")
    codes, first = np.unique(table.patient[rows][order], return_index=True)
    return dict(zip(codes.tolist(), np.split(order, first[1:]), strict=True))
