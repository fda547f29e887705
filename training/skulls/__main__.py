"""``python -m training.skulls train --recipe FILE --work DIR``: a recipe becomes the bundle of a skull encoder."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from config.errors import MedReIDError
from training.studies.stages import stages


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains, or goes on with, a skull encoder; prints its figures with chance beside them."""
    from rich.console import Console

    parser = argparse.ArgumentParser(prog="python -m training.skulls", description=main.__doc__)
    train = parser.add_subparsers(dest="command", required=True).add_parser("train", help=main.__doc__)
    train.add_argument("--recipe", type=Path, required=True, help="TOML file, or a recipe that ships: light or full")
    train.add_argument("--work", type=Path, required=True, help="folder for pictures, checkpoints and the bundle")
    train.add_argument("--backbone", default="", help="another network for both branches, as resnet50 or vit-base")
    train.add_argument("--accelerator", default="auto", help="auto, cpu or cuda")
    train.add_argument("--workers", type=int, default=0, help="processes that load batches")
    train.add_argument("--processes", type=int, default=2, help="processes that make phantoms")
    chosen = parser.parse_args(arguments)

    from training.skulls.fitting import Hardware
    from training.skulls.recipe import read_recipe, with_backbone
    from training.skulls.run import train as run
    from training.skulls.showing import table

    hardware = Hardware(chosen.accelerator, chosen.workers, chosen.processes)
    said = Console(stderr=True)
    try:
        recipe = read_recipe(chosen.recipe)
        if chosen.backbone:
            recipe = with_backbone(recipe, chosen.backbone)
        with stages() as tell:
            outcome = run(recipe, chosen.work, hardware=hardware, tell=tell, say=lambda line: said.print(line))
    except MedReIDError as error:
        sys.exit(f"{error} [{error.reason}]")
    console = Console(width=160)
    console.print(table("held-out persons", outcome.figures))
    if not outcome.calibrated:
        console.print("no calibration: too few held-out persons; candidates will carry no likelihood ratio")
    console.print(f"bundle: {outcome.bundle}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
