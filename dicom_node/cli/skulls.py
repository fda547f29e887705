"""``identify-skull``: a ranked, illustrated list of leads, never a decision."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dicom_node.cli.app import app

if TYPE_CHECKING:
    from config.settings import Settings
    from dicom_node.skulls.search import Leads
    from inference.encoders.registry import Registry
    from inference.encoders.skull_face import SkullFaceEncoder

_CACHE = ".medreid-skulls"


@app.command("identify-skull")
def identify_skull(
    context: typer.Context,
    query: Annotated[Path, typer.Argument(help="Skull radiograph (DICOM, PNG, JPEG), or a head CT (folder, NIfTI).")],
    gallery: Annotated[Path, typer.Option(help="Folder of photographs of faces, or of head CTs, each in a folder.")],
    top: Annotated[int, typer.Option(min=1, help="Length of the list.")] = 10,
    html: Annotated[Path | None, typer.Option(help="Write one self-contained HTML page to this file.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write the list to this file.")] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Folder for the gallery's embeddings; a hidden one in the gallery by default.")
    ] = None,
    encoder: Annotated[str, typer.Option(help="Name of the bundle.")] = "skull-face",
) -> None:
    """Lists the faces of a folder that are nearest to a skull: investigative leads, no identification."""
    from dicom_node.cli.output import printable
    from dicom_node.cli.progress import stages
    from dicom_node.skulls.cache import Cache
    from dicom_node.skulls.faces import faces_in, load_query, of_another_study
    from dicom_node.skulls.page import as_json, page
    from dicom_node.skulls.search import face_vectors, search, skull_of

    _writable(html, json)
    registry, chosen = _encoder(context.obj.settings, encoder)
    bundle = registry.bundle(encoder)
    image = load_query(query)
    skull = skull_of(chosen, image)
    place = cache or gallery / _CACHE
    everything, unreadable = faces_in(gallery, place)
    faces, same = of_another_study(everything, query, image)
    kept = Cache(place, bundle)
    with stages() as tell:
        vectors, refused = face_vectors(chosen, faces, kept, tell)
    found = search(chosen, skull, faces, vectors, registry.calibration(encoder), top, [*unreadable, *same, *refused])
    name = printable(query.name)
    if json is not None:
        _write_json(json, as_json(found, name, bundle.manifest.trained_on))
    if html is not None:
        _write(html, page(found, name, image, skull, kept, bundle.manifest.trained_on))
    _show(found, bundle.manifest.trained_on)


def _encoder(settings: Settings, name: str) -> tuple[Registry, SkullFaceEncoder]:
    from config.errors import CommandError
    from inference.encoders.registry import Registry
    from inference.encoders.skull_face import SkullFaceEncoder

    own = settings.encoders
    registry = Registry((settings.bundle_folder,), own.device, own.batch_size, settings.calibration_folder)
    if name not in registry.names():
        raise CommandError(
            f"no bundle {name!r} is installed in {settings.bundle_folder}; train one with `python -m training.skulls "
            "train`, and put it there",
            reason="NO_BUNDLE",
        )
    found = registry.get(name)
    if not isinstance(found, SkullFaceEncoder):
        raise CommandError(f"the encoder {name!r} compares no skulls with faces", reason="ENCODER_KIND")
    return registry, found


def _writable(*paths: Path | None) -> None:
    """The work on a large gallery must not end at a folder that was never there."""
    from config.errors import CommandError

    for path in paths:
        if path is not None and not path.parent.is_dir():
            raise CommandError(f"there is no folder {path.parent} for {path.name}; make it first")


def _write_json(path: Path, value: object) -> None:
    import json

    _write(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def _write(path: Path, text: str) -> None:
    from training.evaluation.report.page import write_whole

    write_whole(path, text.encode("utf-8"))


def _show(found: Leads, trained_on: str) -> None:
    from dicom_node.cli.output import console, errors, table
    from dicom_node.skulls.page import statements
    from dicom_node.skulls.search import WORDS

    rows = [
        (one.rank, one.name, f"{one.confidence:.3f}", "" if one.log10_lr is None else f"{one.log10_lr:+.2f}",
         ", ".join(one.also))
        for one in found.leads
    ]  # fmt: skip
    table(WORDS, ("rank", "face", "confidence", "log10 LR", "the same face as"), rows)
    for line in statements(found, trained_on):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    for one in found.refused:
        errors.print(f"not searched: {one.name} [{one.reason}]", markup=False, highlight=False, soft_wrap=True)
    for names in found.twice:
        errors.print(f"one face under several names: {', '.join(names)}", markup=False, highlight=False, soft_wrap=True)
