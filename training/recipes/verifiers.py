"""What the scores of a verifier are worth, learned from digital phantoms: ``calibrations/<verifier>.json``.

``python -m training.recipes.verifiers --verifier volume head-ct/ct-face chest-ct head-mr`` makes phantoms of each kind,
has the named encoder nominate candidates (without one all are nominated), and fits maps on the nominated, for among
them even strangers fit, and guards on strangers as they come.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inference.calibration import Calibration, Pair, fit_calibration, to_json
from inference.calibration.open_set import OpenSet, fit_open_set
from inference.verification.calibration import package_calibrations
from inference.verification.protocol import Verifier
from training.cohort.kinds import KINDS
from training.cohort.visit import Dials
from training.studies.comparisons import Comparisons, Floats, compare_all
from training.studies.samples import Sample, phantom_images, samples

# No other use of phantoms draws persons from this seed.
VERIFIER_SEED = 7600
TOP = 20


@dataclass(frozen=True, slots=True)
class Searched:
    """Best scores per (probe, patient), all (n,): whose search it is, whether it is of a mate, and of what kind."""

    score: Floats
    search: NDArray[np.int64]
    owner: NDArray[np.str_]
    mated: NDArray[np.bool_]
    kind: NDArray[np.str_]


def searched(found: Sequence[Sample], compared: Comparisons, scores: Floats) -> Searched:
    """What ``scores`` (n, n) bring for every probe and patient who was on its list."""
    table = compared.by_patient(scores)
    rows, patients = np.nonzero(np.isfinite(table))
    templates = [found[number].template for number in compared.probes]
    kinds = np.array(["" if one is None else Pair.alike(one.modality, one.view).name for one in templates])
    owners = np.array([found[number].patient for number in compared.probes])
    return Searched(table[rows, patients], rows, owners[rows], patients == compared.mates[rows], kinds[rows])


def joined(parts: Sequence[Searched]) -> Searched:
    """Searches of different parts stay apart; a person who is in several is one person."""
    searches = np.cumsum([0, *(int(part.search.max(initial=-1)) + 1 for part in parts)])
    return Searched(
        np.concatenate([part.score for part in parts]),
        np.concatenate([part.search + first for part, first in zip(parts, searches, strict=False)]),
        np.concatenate([part.owner for part in parts]),
        np.concatenate([part.mated for part in parts]),
        np.concatenate([part.kind for part in parts]),
    )


def calibration_of(
    verifier: Verifier, nominated: Searched, everybody: Searched, patients: int, fitted_on: str
) -> Calibration:
    """Maps from nominated candidates and guards from all strangers; raises what ``fit_calibration`` does."""
    mated, kinds = nominated.mated, nominated.kind
    return fit_calibration(
        nominated.score[mated],
        nominated.score[~mated],
        encoder=verifier.name,
        version=verifier.version,
        scope="phantom",
        fitted_on=fitted_on,
        patients=patients,
        mated_strata=kinds[mated].tolist(),
        nonmated_strata=kinds[~mated].tolist(),
        open_set=_guards(everybody),
    )


def _guards(everybody: Searched) -> dict[str, OpenSet]:
    """What non-mated searches return, per kind and over all kinds."""
    found: dict[str, OpenSet] = {}
    owners = np.unique(everybody.owner, return_inverse=True)[1].astype(np.int64)
    for level in sorted({level for kind in np.unique(everybody.kind) for level in Pair.of_name(str(kind)).levels()}):
        inside = np.array([level in Pair.of_name(str(kind)).levels() for kind in everybody.kind], bool)
        part = inside & ~everybody.mated
        guard = fit_open_set(everybody.score[part], everybody.search[part], owners[part])
        if guard is not None:
            found[level] = guard
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Fits a verifier's calibration and writes it beside the verifiers."""
    from rich.progress import track

    from inference.encoders.registry import Registry
    from inference.verification.registry import verifier

    parser = argparse.ArgumentParser(prog="python -m training.recipes.verifiers", description=main.__doc__)
    parser.add_argument("--verifier", required=True)
    parser.add_argument("kinds", nargs="+", help=f"KIND, KIND/ENCODER or either:PERSONS; kinds are {', '.join(KINDS)}")
    parser.add_argument("--seed", type=int, default=VERIFIER_SEED, help="of the persons; no other use may share it")
    parser.add_argument("--persons", type=int, default=100)
    parser.add_argument("--visits", type=int, default=2)
    parser.add_argument("--processes", type=int, default=1)
    chosen = parser.parse_args(arguments)
    judge = verifier(chosen.verifier)
    lists, strangers = [], []
    asked = [_asked(text, chosen.persons) for text in chosen.kinds]
    for kind, name, persons in asked:
        encoder = Registry().get(name) if name else None
        made = phantom_images(kind, persons, chosen.visits, 0, chosen.seed, Dials(), chosen.processes)
        found = list(track(samples(made, encoder, judge), kind, persons * chosen.visits))
        compared = compare_all(found, judge, TOP, chosen.processes)
        lists.append(searched(found, compared, np.where(compared.nominated, compared.geometry, -np.inf)))
        strangers.append(searched(found, compared, compared.geometry))
    most = max(persons for *_, persons in asked)
    made_of = ", ".join(f"{kind}{name and '/'}{name} of {persons}" for kind, name, persons in asked)
    said = f"{made_of} phantoms, {chosen.visits} visits each, seed {chosen.seed}"
    calibration = calibration_of(judge, joined(lists), joined(strangers), most, said)
    package_calibrations().mkdir(exist_ok=True)
    (package_calibrations() / f"{judge.name}.json").write_text(to_json(calibration), encoding="utf-8")


def _asked(text: str, persons: int) -> tuple[str, str, int]:
    """(kind, encoder or "", persons) of ``KIND[/ENCODER][:PERSONS]``."""
    source, _, number = text.partition(":")
    kind, _, name = source.partition("/")
    return kind, name, int(number or persons)


if __name__ == "__main__":
    main()
