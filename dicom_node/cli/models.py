"""``models``: which encoder bundles there are, what they say of themselves, and how they compare."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dicom_node.cli.app import app

if TYPE_CHECKING:
    from config.settings import Settings
    from inference.encoders.registry import Registry

models_app = typer.Typer(help="Encoder bundles: list, show, add and compare.", no_args_is_help=True)
app.add_typer(models_app, name="models")

Json = Annotated[bool, typer.Option("--json", help="One JSON document instead of tables.")]
Name = Annotated[str, typer.Argument(help="Name of a bundle, as general.")]


@models_app.command("list")
def list_models(context: typer.Context, json: Json = False) -> None:
    """Shows every bundle with its version, dimension, size and what it was trained on."""
    from dicom_node.cli.output import print_json, table

    registry = _registry(context.obj.settings)
    bundles = [registry.bundle(name) for name in registry.names()]
    sizes = [sum((one.folder / name).stat().st_size for name in one.manifest.files) for one in bundles]
    if json:
        print_json([one.manifest.model_dump() | {"bytes": size} for one, size in zip(bundles, sizes, strict=True)])
        return
    rows = [
        (one.manifest.name, one.manifest.version, one.manifest.dimension, f"{size / 1e6:.1f} MB",
         "yes" if one.manifest.calibration else "no", one.manifest.trained_on)
        for one, size in zip(bundles, sizes, strict=True)
    ]  # fmt: skip
    table("encoder bundles", ("name", "version", "dimension", "size", "calibration", "trained on"), rows)


@models_app.command("show")
def show_model(context: typer.Context, name: Name, json: Json = False) -> None:
    """Shows all that a bundle says of itself: data, licence, seed, commit, figures, intended use."""
    from dicom_node.cli.output import print_json, table

    found = _registry(context.obj.settings).bundle(name).manifest.model_dump()
    if json:
        print_json(found)
        return
    table(f"bundle {name}", ("key", "value"), _flat(found))


@models_app.command("add")
def add_model(
    context: typer.Context, folder: Annotated[Path, typer.Argument(help="A bundle, as medreid train leaves it.")]
) -> None:
    """Checks a bundle to the last file and copies it into the site's folder of bundles, for nodes that start next."""
    from dicom_node.cli.output import console
    from training.models.registering import add_bundle

    settings = context.obj.settings
    added = add_bundle(
        folder, settings.bundle_folder, _registry(settings), lambda *key: _enrolled_dimension(settings, *key)
    )
    console.print(
        f"added {added.manifest.name} {added.manifest.version}: {added.folder}", highlight=False, soft_wrap=True
    )


@models_app.command("compare")
def compare_models(
    context: typer.Context,
    names: Annotated[list[str], typer.Argument(help="Names of bundles.")],
    manifest: Annotated[Path, typer.Option(help="CSV with path, patient_id, study and what else is known.")],
    split: Annotated[str, typer.Option(help="Only this split of the manifest.")] = "",
    same_view: Annotated[bool, typer.Option("--same-view", help="Compare only images of one view.")] = False,
    min_days: Annotated[int, typer.Option(min=0, help="Leave out mates that lie fewer days apart.")] = 0,
    rounds: Annotated[int, typer.Option(min=0, help="Bootstrap rounds; 0 gives no intervals.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of every random draw.")] = 0,
    outside: Annotated[bool, typer.Option("--outside", help="Paths may leave the manifest's folder.")] = False,
    json: Json = False,
) -> None:
    """Measures encoders on the images that all of them take, with 95 % intervals over patients."""
    from dicom_node.cli.output import console, print_json, table
    from dicom_node.cli.progress import stages
    from training.evaluation.appraise import rows_of
    from training.evaluation.figures import to_json
    from training.evaluation.options import Options
    from training.evaluation.report.cells import headline
    from training.evaluation.report.page import FPIR
    from training.manifests.files import read_manifest
    from training.manifests.pairs import Rule
    from training.models.comparing import compare

    registry = _registry(context.obj.settings)
    encoders = [registry.get(name) for name in dict.fromkeys(names)]
    opened = read_manifest(manifest, outside=outside)
    options = Options(
        rule=Rule(same_view=same_view, min_days=min_days), strata=(), rounds=rounds, seed=seed,
        normalisations=(),
    )  # fmt: skip
    with stages() as tell:
        found = compare(opened, rows_of(opened, split), encoders, options, tell)
    if json:
        print_json(to_json(found))
        return
    shown = headline(found.methods, found.chance, FPIR)
    table(
        f"{manifest.name}: {found.images} images of {found.patients} patients, taken by every encoder",
        shown.columns,
        [[str(cell) for cell in row] for row in shown.rows],
    )
    for name, count in found.failed.items():
        if count:
            console.print(f"{name}: {count} images could not be enrolled", style="yellow", markup=False)


def _registry(settings: Settings) -> Registry:
    from inference.encoders.registry import Registry

    own = settings.encoders
    return Registry((settings.bundle_folder,), own.device, own.batch_size, settings.calibration_folder)


def _enrolled_dimension(settings: Settings, name: str, version: str) -> int | None:
    """The dimension of what the node's ledger holds of an encoder version."""
    from dicom_node.ledger import Ledger

    with Ledger.of(settings) as ledger:
        page = next(ledger.embeddings_of(name, version, batch=1), ())
        return len(page[0].vector) if page else None


def _flat(values: object, prefix: str = "") -> list[tuple[str, str]]:
    """Nested tables as dotted keys."""
    if isinstance(values, dict):
        return [row for name, one in values.items() for row in _flat(one, f"{prefix}.{name}" if prefix else str(name))]
    return [(prefix, ", ".join(map(str, values)) if isinstance(values, list | tuple) else str(values))]
