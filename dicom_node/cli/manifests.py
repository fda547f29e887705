"""``manifest``: which image is whose, for public data sets, exports of a PACS and cohorts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dicom_node.cli.app import app
from dicom_node.cli.exits import Exit
from dicom_node.cli.seeing import Json

if TYPE_CHECKING:
    from training.manifests.checking import Summary

manifest_app = typer.Typer(help="Manifests: one CSV row for each image, whoever published it.", no_args_is_help=True)
app.add_typer(manifest_app, name="manifest")

Outside = Annotated[bool, typer.Option("--outside", help="Allow paths outside the manifest's folder.")]


@manifest_app.command("list")
def list_adapters(json: Json = False) -> None:
    """Lists the data sets that there are adapters for."""
    from dicom_node.cli.output import print_json, table
    from training.manifests.adapters import ADAPTERS

    rows = [(item.name, item.title, item.licence, " ".join(item.labels)) for item in ADAPTERS.values()]
    if json:
        columns = ("name", "title", "licence", "labels")
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
    else:
        table("adapters", ("name", "data", "licence, access", "labels"), rows)


@manifest_app.command("make")
def make(
    adapter: Annotated[str, typer.Argument(help="One of those that `medreid manifest list` shows.")],
    root: Annotated[Path, typer.Argument(help="The folder that the data set was unpacked into.")],
    out: Annotated[Path, typer.Option(help="The manifest to write; best in ROOT, because paths are relative to it.")],
    split: Annotated[
        list[str] | None, typer.Option(metavar="NAME=SHARE", help="Draw splits by patient; repeat until 1.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same split of a patient.")] = 1,
    stratify: Annotated[str, typer.Option(help="A label whose values each split gets in the same shares.")] = "",
    json: Json = False,
) -> None:
    """Writes the manifest of a data set; a split that its publisher made is kept."""
    from dicom_node.cli.output import console, print_json, table
    from dicom_node.cli.progress import bar
    from training.manifests.adapters import adapter_named
    from training.manifests.making import make_manifest

    found = adapter_named(adapter)
    with bar("images", None) as advance:
        made = make_manifest(
            found, root, out, shares=_shares(split or []), seed=seed, stratify=stratify, advance=advance
        )
    if json:
        print_json({"manifest": out, "rows": made.rows, "left_out": made.skipped, "beside_its_images": made.beside})
        return
    console.print(f"{made.rows} rows: {out}", highlight=False, soft_wrap=True)
    table("left out", ("reason", "objects"), sorted(made.skipped.items()))
    if not made.beside:
        console.print("its images lie outside its folder: read it with --outside", style="yellow")


@manifest_app.command("check")
def check(
    file: Annotated[Path, typer.Argument(help="A manifest.")], outside: Outside = False, json: Json = False
) -> None:
    """Counts what a manifest holds, and exits with 6 when files are missing or a patient is in two splits."""
    from dicom_node.cli.output import print_json, table
    from dicom_node.cli.progress import bar
    from training.manifests.checking import check_manifest
    from training.manifests.files import read_manifest

    manifest = read_manifest(file, outside=outside)
    with bar("rows", None) as advance:
        summary = check_manifest(manifest, advance)
    if json:
        print_json(summary)
    else:
        table(str(file), ("what", "number"), _lines(summary))
        problems = [(problem.name, problem.rows or "", problem.detail) for problem in summary.problems]
        table("problems", ("name", "rows", "what to do"), problems, empty="none")
    if summary.problems:
        raise typer.Exit(Exit.BROKEN)


def _lines(summary: Summary) -> list[tuple[str, object]]:
    lines: list[tuple[str, object]] = [
        ("images and volumes", summary.images),
        ("studies", summary.studies),
        ("patients", summary.patients),
        ("patients with two studies", summary.repeated),
    ]
    for name, counts in (
        ("modality", summary.modalities),
        ("view", summary.views),
        ("laterality", summary.lateralities),
        ("role", summary.roles),
        ("patients in split", summary.split_patients),
    ):
        lines += [(f"{name} {value or '(unknown)'}", number) for value, number in sorted(counts.items())]
    return lines


def _shares(options: list[str]) -> dict[str, float]:
    from config.errors import CommandError

    shares: dict[str, float] = {}
    for option in options:
        name, _, share = option.partition("=")
        try:
            shares[name.strip()] = float(share)
        except ValueError:
            raise CommandError(f"--split {option}: write NAME=SHARE, for example train=0.8") from None
    return shares
