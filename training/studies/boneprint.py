"""Which boneprint recognises a chest across modalities: explicit and implicit fusion, baselines and floors.

``python -m training.studies.boneprint --work DIR`` trains every method on the same phantom pairs (what is trained
already, in DIR, is not trained again) and searches pairs of other phantoms, a rendering among radiographs and a
radiograph among renderings. ``--ablations`` adds the explicit fusion with other weights and other positives.

A person is in the bank once and a query once, at another visit. Everything comes from embeddings that are kept in DIR;
every figure stands beside chance, with an interval of 95 % over persons. The bank of radiographs grows by those of
further phantoms, nobody's mates; a part of each query is blacked out; sex and age are looked at apart.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np

from config.errors import CommandError, MedReIDError
from inference.networks.boneprint_sides import SIDES, Side
from inference.types import FloatArray
from inference.whole_file import whole_file
from training.boneprint.__main__ import assigned
from training.boneprint.figures import CHANCE, RANKS, beyond_chance, chance_row, order, row
from training.boneprint.making import Renderings
from training.boneprint.pairs import PairStore
from training.boneprint.recipe import Recipe, Source, changed, read_recipe
from training.boneprint.searching import OTHER, Searches, search
from training.boneprint.variants import FUSIONS, ablations, methods
from training.evaluation.figures import Figure, to_json
from training.evaluation.report.cells import cell
from training.learning.catalogue import Tell

# No recipe and no other study draws persons from these seeds: those who are searched for, and those who are only there.
BONEPRINT_SEED, DISTRACTOR_SEED = 7820, 7821
PERSONS = 263
DISTRACTORS = (1000, 5000, 10000)
HIDDEN = (0.10, 0.15)
_AGES = ((40, "18-39"), (60, "40-59"), (80, "60-79"), (200, "80+"))
_FEW = (1, 10, 50)
# Queries are renderings unless a table says otherwise, as in the paper.
_QUERY: Side = "rendering"
FLOOR = "pixels"

Rows = dict[str, dict[str, Figure]]
Tables = dict[str, Rows]


@dataclass(frozen=True, slots=True, eq=False)
class Method:
    """What a method makes of everybody: ``vectors`` of both sides, those of queries with a ``hidden`` part (by its
    share), and those of the distractors' radiographs."""

    vectors: Mapping[Side, FloatArray]
    hidden: Mapping[float, FloatArray]
    others: FloatArray | None

    def found(self, query: Side = _QUERY) -> Searches:
        return search(self.vectors[query], self.vectors[OTHER[query]])

    def found_among(self, others: int) -> Searches:
        """Renderings among radiographs and so many distractors."""
        assert self.others is not None
        return search(self.vectors[_QUERY], self.vectors[OTHER[_QUERY]], self.others[:others])

    def found_hidden(self, share: float) -> Searches:
        return search(self.hidden[share], self.vectors[OTHER[_QUERY]])


@dataclass(frozen=True, slots=True)
class Plan:
    """``others`` are numbers of distractors, ascending; ``renderings`` those of the persons who are searched for."""

    work: Path
    persons: int
    renderings: Renderings
    others: tuple[int, ...]
    processes: int
    workers: int
    accelerator: str


def study(recipes: Mapping[str, Recipe], plan: Plan, tell: Tell, say: Any) -> tuple[Tables, list[str]]:
    """Trains what is not trained, embeds what is not embedded, and searches; the tables by title, and sentences.

    Raises
    ------
    CommandError
        ``INPUT_DIFFERS`` when two recipes would see different pictures.
    """
    spec = next(iter(recipes.values())).input_spec()
    if any(recipe.input_spec() != spec for recipe in recipes.values()):
        raise CommandError("recipes that are compared see the same pictures: make [input] one", reason="INPUT_DIFFERS")
    from training.boneprint.embeddings import pixels
    from training.boneprint.run import phantoms_in

    made = partial(phantoms_in, plan.work, spec, processes=plan.processes)
    searched = Source(persons=plan.persons, seed=BONEPRINT_SEED, renderings=plan.renderings)
    people = made(searched, tell=partial(tell, "persons"))
    others = None
    if plan.others:
        alone = Source(persons=max(plan.others), seed=DISTRACTOR_SEED)
        others = made(alone, tell=partial(tell, "distractors"), sides=(OTHER[_QUERY],))
    found = {name: _method(recipe, plan, people, others, tell, say) for name, recipe in recipes.items()}
    found[FLOOR] = Method({side: pixels(people, side) for side in SIDES}, {}, None)
    return tables(found, people, plan.others), sentences(found)


def _method(recipe: Recipe, plan: Plan, people: PairStore, others: PairStore | None, tell: Tell, say: Any) -> Method:
    from training.boneprint.embeddings import Embedder
    from training.boneprint.run import Hardware, train

    hardware = Hardware(plan.accelerator, plan.workers, plan.processes)
    embed = Embedder(train(recipe, plan.work, hardware=hardware, tell=tell, say=say), plan.work / "embeddings", tell)
    return Method(
        {side: embed(people, side) for side in SIDES},
        {share: embed(people, _QUERY, share) for share in HIDDEN},
        None if others is None else embed(others, OTHER[_QUERY]),
    )


def tables(found: Mapping[str, Method], people: PairStore, others: Sequence[int]) -> Tables:
    """All of the study's tables; methods without embeddings of distractors or of hidden parts are left out of these."""
    made: Tables = {}
    for query in SIDES:
        searches = {name: one.found(query) for name, one in found.items()}
        made[f"{query}s among {OTHER[query]}s"] = _with_chance(
            {name: row(one) for name, one in searches.items()}, people
        )
    for count in others:
        rows = {name: row(one.found_among(count)) for name, one in found.items() if one.others is not None}
        made[f"among {count} further radiographs"] = rows | {CHANCE: chance_row(len(people.usable) + count)}
    for share in HIDDEN:
        rows = {name: row(one.found_hidden(share)) for name, one in found.items() if share in one.hidden}
        made[f"{share:.0%} of each query hidden"] = _with_chance(rows, people)
    for name, one in found.items():
        if name in FUSIONS:
            made[f"{name}, by sex and age"] = _with_chance(_strata(one.found(), people), people, _FEW)
    return made


def sentences(found: Mapping[str, Method]) -> list[str]:
    """What the tables say of the published order, in either direction, and how far from chance the fusions are."""
    said = []
    for query in SIDES:
        searches = {name: one.found(query) for name, one in found.items()}
        said += [f"Queries are {query}s. {beyond_chance(name, searches[name])}" for name in FUSIONS if name in searches]
        if all(name in searches for name in FUSIONS):
            said += [f"Queries are {query}s. {order(searches, rank).sentence()}" for rank in _FEW]
    return said


def _with_chance(rows: Rows, people: PairStore, ranks: Sequence[int] = RANKS) -> Rows:
    columns = set(next(iter(rows.values())))
    drawn = chance_row(len(people.usable), ranks)
    return rows | {CHANCE: {name: figure for name, figure in drawn.items() if name in columns}}


def _strata(found: Searches, people: PairStore) -> Rows:
    """Queries of a group in the whole bank; a group of nobody is left out."""
    usable = [people.people[int(place)] for place in people.usable]
    groups = {f"sex {sex}": np.array([who.sex == sex for who in usable]) for sex in ("F", "M")}
    ages = np.array([np.nan if who.age is None else who.age for who in usable])
    low = 0
    for high, name in _AGES:
        groups[f"age {name}"] = (ages >= low) & (ages < high)
        low = high
    return {
        f"{name} ({int(chosen.sum())})": row(found.of(chosen), _FEW, (10.0,))
        for name, chosen in groups.items()
        if chosen.any()
    }


def _recipes(given: argparse.Namespace) -> dict[str, Recipe]:
    values = assigned(given.set)
    explicit, implicit = (
        _changed(read_recipe(path), values, given.persons) for path in (given.explicit, given.implicit)
    )
    found = methods(explicit, implicit) | (ablations(explicit) if given.ablations else {})
    unknown = sorted(set(given.methods or ()) - set(found))
    if unknown:
        raise CommandError(f"there is no method {', '.join(unknown)}; there are: {', '.join(found)}")
    return {name: recipe for name, recipe in found.items() if name in (given.methods or found)}


def _changed(recipe: Recipe, values: Mapping[str, Any], persons: int | None) -> Recipe:
    """With those of the values that the recipe has a table for: the two fusions differ in theirs."""
    own = {name: value for name, value in values.items() if getattr(recipe, name, None) is not None}
    if persons is not None:
        own["source"] = own.get("source", {}) | {"persons": persons}
    return changed(recipe, own)


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains, embeds and searches, and shows what each method reaches."""
    parser = argparse.ArgumentParser(prog="python -m training.studies.boneprint", description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder for pictures, trainings and embeddings")
    parser.add_argument("--explicit", type=Path, default=Path("boneprint-explicit"), help="recipe of that fusion")
    parser.add_argument("--implicit", type=Path, default=Path("boneprint-implicit"), help="recipe of that fusion")
    parser.add_argument("--persons", type=int, help="phantoms to train on, in place of the recipes' number")
    parser.add_argument("--test", type=int, default=PERSONS, help="phantoms who are searched for")
    parser.add_argument(
        "--distractors", type=int, nargs="*", default=DISTRACTORS, help="further radiographs in the bank"
    )
    parser.add_argument(
        "--renderings", choices=get_args(Renderings), help="of the persons who are searched for; otherwise the recipe's"
    )
    parser.add_argument("--methods", nargs="+", help="these alone, by name")
    parser.add_argument("--ablations", action="store_true", help="other weights and other positives as well")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="in place of the recipes' value"
    )
    parser.add_argument("--processes", type=int, default=1, help="processes that make pictures")
    parser.add_argument("--workers", type=int, default=0, help="processes that load batches")
    parser.add_argument("--accelerator", default="auto", help="auto, cpu or cuda")
    given = parser.parse_args(arguments)
    try:
        _study(given)
    except MedReIDError as error:
        sys.exit(f"{error.reason}: {error}")


def _study(given: argparse.Namespace) -> None:
    from rich.console import Console

    from training.studies.stages import stages

    others = tuple(sorted(given.distractors))
    hardware = (given.processes, given.workers, given.accelerator)
    recipes = _recipes(given)
    renderings = given.renderings or next(iter(recipes.values())).source.renderings
    plan = Plan(given.work, given.test, renderings, others, *hardware)
    console = Console(stderr=True)

    def say(line: str) -> None:
        console.print(line, markup=False, highlight=False)

    with stages() as tell:
        made, said = study(recipes, plan, tell, say)
    show(made, said)
    with whole_file(given.work / "boneprint.json") as file:
        tell_all = {"tables": {title: _plain(rows) for title, rows in made.items()}, "sentences": said}
        file.write(json.dumps(tell_all, indent=1).encode())


def _plain(rows: Rows) -> dict[str, Any]:
    return {name: {column: to_json(figure) for column, figure in figures.items()} for name, figures in rows.items()}


def show(made: Tables, said: Sequence[str]) -> None:
    """The tables and sentences on standard output."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    for title, rows in made.items():
        columns = list(next(iter(rows.values())))
        table = Table("method", *columns, title=title, caption="value and interval of 95 % over persons")
        for name, figures in rows.items():
            table.add_row(name, *(_shown(figures[column]) for column in columns))
        console.print(table)
    for sentence in said:
        console.print(sentence, markup=False, highlight=False)


def _shown(figure: Figure) -> str:
    found = cell(figure)
    return f"{found.text}\n{found.interval}".strip()


if __name__ == "__main__":
    main()
