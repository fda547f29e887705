"""What an evaluation compares, measures and draws, and how far it may go in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

from config.errors import EvaluationError
from training.manifests.pairs import ANY, Rule

Dimension = Literal[
    "sex", "age band", "site", "device", "view", "modality", "laterality", "label", "interval", "impostors"
]
Normalisation = Literal["z", "t", "s", "as"]

# Called with the stage ("searches", "strata", ...), how much of it is done, and of how much.
Progress = Callable[[str, int, int], None]

DIMENSIONS: tuple[Dimension, ...] = get_args(Dimension)


@dataclass(frozen=True, slots=True)
class Options:
    """How to evaluate. Images of one study are never compared, whatever is asked for here.

    rule
        what images must share to be compared; mates that it leaves out are no mates.
    candidates
        length of the candidate list that is kept for each probe.
    ranks, percentiles
        rank-k and the percentile rank rate PRR(p) to report.
    fmrs, fpirs, fnir_ranks
        operating points of verification and identification; rank None is "anywhere in the list".
    strata, interval_days
        which subgroups to measure, and from how many days between probe and mate.
    gallery_sizes
        patients enrolled at each point of the distractor curve; None is the full gallery and steps of half a decade
        below it. draws: random nested galleries per curve.
    rounds, seed
        of the bootstrap over patients, and of every other random draw; 0 rounds give no intervals.
    normalisations, closest
        score normalisations to measure beside the raw scores (they need a cohort); ``closest`` cohort scores make the
        statistics of AS-norm.
    lr_comparisons
        at most about so many non-mated comparisons, drawn at random within every search, are turned into likelihood
        ratios; all are when there are fewer.
    block_scores
        scores held at a time: 8 bytes each, and some copies.

    Raises
    ------
    EvaluationError
        ``OPTION`` for a value that cannot be meant.
    """

    rule: Rule = ANY
    candidates: int = 50
    ranks: tuple[int, ...] = (1, 5, 10, 20, 50)
    percentiles: tuple[float, ...] = (1.0, 5.0, 10.0)
    fmrs: tuple[float, ...] = (1e-2, 1e-3, 1e-4, 1e-5)
    fpirs: tuple[float, ...] = (1e-3, 3e-3, 1e-2, 1e-1)
    fnir_ranks: tuple[int | None, ...] = (1, 20, None)
    strata: tuple[Dimension, ...] = DIMENSIONS
    interval_days: tuple[int, ...] = (1, 7, 14, 90, 365)
    gallery_sizes: tuple[int, ...] | None = None
    draws: int = 5
    rounds: int = 1000
    seed: int = 0
    normalisations: tuple[Normalisation, ...] = ("z", "t", "s", "as")
    closest: int = 200
    lr_comparisons: int = 2_000_000
    block_scores: int = 1 << 23

    def __post_init__(self) -> None:
        rates = (*self.fmrs, *self.fpirs)
        counts = (self.candidates, self.draws, self.closest, self.lr_comparisons, self.block_scores, *self.ranks)
        faults = {
            "rates lie between 0 and 1": all(0 < rate < 1 for rate in rates),
            "candidates, draws, closest, lr_comparisons, block_scores and ranks are positive": min(counts) > 0,
            "rounds and days are not negative": min(self.rounds, self.rule.min_days, *self.interval_days) >= 0,
            "percentiles lie in (0, 100]": all(0 < share <= 100 for share in self.percentiles),
            "gallery sizes are positive": min(self.gallery_sizes or (1,)) > 0,
            f"strata are some of {', '.join(DIMENSIONS)}": set(self.strata) <= set(DIMENSIONS),
            "normalisations are some of z, t, s, as": set(self.normalisations) <= set(get_args(Normalisation)),
        }
        for rule, holds in faults.items():
            if not holds:
                raise EvaluationError(f"the options of an evaluation: {rule}", reason="OPTION")
