"""What a figure on phantoms is worth: the same persons with nuisances that training never saw, and machines that tell.

``python -m training.studies.nuisances --kind chest-film --encoder general`` makes one cohort for each set of dials and
measures the encoder beside the floors of pixels and metadata. Under ``coupled`` each person always meets the same
machines, so whoever recognises machines seems to recognise people: what the floors gain there, an encoder may have
gained in the same way.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from inference.encoders.protocol import Encoder
from training.cohort.cohort import CohortPlan, make_cohort
from training.cohort.kinds import KINDS
from training.cohort.nuisance import dials_of
from training.evaluation.appraise import METADATA, PIXELS, Appraisal, Tell, appraise, rows_of
from training.evaluation.enrolling import Scratch
from training.evaluation.options import Options
from training.evaluation.report.cells import cell, fnir_at
from training.manifests.pairs import Rule

# No other use of phantoms draws persons from this seed.
NUISANCE_SEED = 7500
SETS = ("default", "unseen", "coupled")
FPIR = 0.01


def measure(
    encoder: Encoder, kind: str, nuisance: str, persons: int, seed: int, processes: int, rounds: int, tell: Tell
) -> Appraisal:
    """Makes the persons of ``seed`` under one set of dials, two visits each, and appraises the encoder on them."""
    with tempfile.TemporaryDirectory(prefix="medreid-nuisances-") as name, Scratch() as scratch:
        plan = CohortPlan(persons, seed, 2, (kind,), dials_of(nuisance))
        manifest = make_cohort(Path(name), plan, lambda done, of, _: tell(f"{nuisance}: studies", done, of), processes)
        # A frontal film is no test of a lateral one, nor a left eye of a right one; a volume has neither view nor side.
        rule = Rule(same_view=True, same_laterality=True, unknown_alike=True)
        options = Options(rule=rule, rounds=rounds, strata=(), draws=1)
        return appraise(
            manifest,
            rows_of(manifest),
            encoder,
            scratch,
            options,
            crop=False,
            tell=lambda stage, done, of: tell(f"{nuisance}: {stage}", done, of),
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints one table; ``--json`` keeps the figures."""
    from rich.console import Console
    from rich.progress import Progress, TaskID
    from rich.table import Table

    from inference.encoders.registry import Registry

    parser = argparse.ArgumentParser(prog="python -m training.studies.nuisances", description=main.__doc__)
    parser.add_argument("--kind", required=True, choices=sorted(KINDS))
    parser.add_argument("--encoder", required=True, help="name of an encoder bundle")
    parser.add_argument("--persons", type=int, default=100)
    parser.add_argument("--seed", type=int, default=NUISANCE_SEED, help="of the persons; no other use may share it")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args(arguments)
    encoder = Registry().get(chosen.encoder)
    found: dict[str, Appraisal] = {}
    with Progress() as progress:
        tasks: dict[str, TaskID] = {}

        def tell(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = progress.add_task(stage, total=total)
            progress.update(tasks[stage], completed=done, total=total)

        for nuisance in SETS:
            found[nuisance] = measure(
                encoder, chosen.kind, nuisance, chosen.persons, chosen.seed, chosen.processes, chosen.rounds, tell
            )
    table = Table("dials", "method", "rank-1", "EER", f"FNIR at FPIR {FPIR:g}", "failed to enrol", "device audit")
    for nuisance, appraisal in found.items():
        audit = next(one for one in appraisal.audits if one.name == "device")
        for name, one in appraisal.methods.items():
            table.add_row(
                nuisance,
                name,
                str(cell(one.closed_set.rank["1"])),
                str(cell(one.verification.eer)),
                str(cell(fnir_at(one, FPIR))),
                "" if name in (PIXELS, METADATA) else str(sum(appraisal.refusals.values())),
                "" if name in (PIXELS, METADATA) else ("passed" if audit.passed else "FAILED"),
            )
    Console(width=160).print(table)
    if chosen.json is not None:
        chosen.json.write_text(
            json.dumps({name: one.to_json() for name, one in found.items()}, indent=1) + "\n", encoding="utf-8"
        )


if __name__ == "__main__":
    main()
