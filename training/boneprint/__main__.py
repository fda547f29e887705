"""``python -m training.boneprint``: trains a recipe of the neural boneprint."""

from __future__ import annotations

import argparse
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from config.errors import CommandError, MedReIDError
from training.boneprint.recipe import Recipe, changed, read_recipe, shipped_recipes


def assigned(assignments: Sequence[str]) -> dict[str, Any]:
    """Nested values of assignments as TOML has them: ``length.steps=20``.

    Raises
    ------
    CommandError
        for one that is no assignment, or names a key twice.
    """
    try:
        return tomllib.loads("\n".join(assignments))
    except tomllib.TOMLDecodeError as error:
        raise CommandError(f"--set takes KEY=VALUE as in the recipe (length.steps=20): {error}") from None


def chosen(recipe: Path, persons: int | None, assignments: Sequence[str]) -> Recipe:
    """The recipe with so many phantom persons, and what was assigned besides."""
    values = assigned(assignments)
    if persons is not None:
        values["source"] = values.get("source", {}) | {"persons": persons}
    return changed(read_recipe(recipe), values)


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains a recipe to its bundle WORK/bundles/NAME; goes on where it was cut off."""
    parser = argparse.ArgumentParser(prog="python -m training.boneprint", description=__doc__)
    commands = parser.add_subparsers(required=True)
    train = commands.add_parser("train", description=main.__doc__)
    known = ", ".join(shipped_recipes())
    train.add_argument("--recipe", type=Path, required=True, help=f"TOML file, or one that ships: {known}")
    train.add_argument("--work", type=Path, required=True, help="folder for pairs, checkpoints, logs and the bundle")
    train.add_argument("--persons", type=int, help="phantom persons, in place of the recipe's number")
    train.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="in place of the recipe's value")
    train.add_argument("--accelerator", default="auto", help="auto, cpu or cuda")
    train.add_argument("--workers", type=int, default=0, help="processes that load batches")
    train.add_argument("--processes", type=int, default=1, help="processes that make pictures")
    given = parser.parse_args(arguments)
    try:
        _train(given)
    except MedReIDError as error:
        sys.exit(f"{error.reason}: {error}")


def _train(given: argparse.Namespace) -> None:
    from rich.console import Console

    from training.boneprint.run import Hardware, train
    from training.studies.stages import stages

    console = Console(stderr=True)

    def say(line: str) -> None:
        console.print(line, markup=False, highlight=False)

    recipe = chosen(given.recipe, given.persons, given.set)
    hardware = Hardware(given.accelerator, given.workers, given.processes)
    with stages() as tell:
        bundle = train(recipe, given.work, hardware=hardware, tell=tell, say=say)
    Console().print(f"bundle: {bundle}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
