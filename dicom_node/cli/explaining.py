"""``explain``: where in an image an encoder sees the person."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dicom_node.cli.app import app

if TYPE_CHECKING:
    from inference.types import LoadedSeries

Image = Annotated[Path, typer.Argument(help="A DICOM file, a folder holding one series, a NIfTI volume, PNG or JPEG.")]


class Method(StrEnum):
    """See :func:`inference.encoders.explaining.explain`."""

    auto = "auto"
    queries = "queries"
    attention = "attention"
    occlusion = "occlusion"


@app.command()
def explain(
    context: typer.Context,
    image: Image,
    out: Annotated[Path, typer.Option("--out", "-o", help="The PNG that is written: the picture, and its heat map.")],
    encoder: Annotated[str, typer.Option(help="Name of an encoder bundle that medreid train made.")],
    mate: Annotated[Path | None, typer.Option(help="Another image of the person: where are the two alike?")] = None,
    method: Annotated[Method, typer.Option(help="queries, attention or occlusion; auto takes what there is.")] = (
        Method.auto
    ),
    modality: Annotated[str, typer.Option(help="Of files that do not say it themselves: CT, MR, DX, OP ...")] = "",
) -> None:
    """Draws where in an image an encoder sees the person, for whoever reviews a candidate."""
    import cv2

    from config.errors import StorageError
    from dicom_node.cli.output import console
    from inference.encoders import explaining
    from inference.encoders.registry import Registry
    from inference.whole_file import whole_file

    settings = context.obj.settings
    bundle = Registry((settings.bundle_folder,), "cpu").bundle(encoder)
    with console.status("looking"):
        other = None if mate is None else _loaded(mate, modality)
        found = explaining.explain(bundle, _loaded(image, modality), other, method.value)
    _, coded = cv2.imencode(".png", explaining.overlay(found)[..., ::-1])
    try:
        with whole_file(out) as file:
            file.write(coded.tobytes())
    except OSError as error:
        raise StorageError(f"{out} cannot be written ({error.strerror}); choose another file") from None
    console.print(f"{found.method} of {encoder} {bundle.manifest.version}: {out}")


def _loaded(path: Path, modality: str) -> LoadedSeries:
    from config.errors import ImagingError
    from training.manifests.images import load_path
    from training.manifests.schema import Row

    found = load_path(path, Row(path.name, "", "", modality=modality))
    if not found.images:
        refused = found.rejections[0]
        raise ImagingError(f"{path}: {refused.detail}", reason=refused.reason)
    return found.images[0]
