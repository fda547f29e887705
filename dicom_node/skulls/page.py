"""A candidate list as one self-contained HTML page, and as JSON."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

from config.errors import ImagingError
from dicom_node.skulls.cache import Cache, png_of
from dicom_node.skulls.faces import Face, load_face
from dicom_node.skulls.search import WORDS, Lead, Leads, Skull
from inference.types import LoadedSeries

_EDGE = 160
_EXPLAINED = (
    "A network found these faces nearest to the skull. Confidence is exp(-d²) of the distance between two embeddings: "
    "it orders the list and is no probability. Somebody stands first in every list, also when the right person is not "
    "in the gallery."
)


@dataclass(frozen=True, slots=True)
class _Shown:
    png: str
    title: str
    lines: tuple[str, ...]


def page(found: Leads, query: str, image: LoadedSeries, skull: Skull, cache: Cache, trained_on: str) -> str:
    """The page as text; everything that comes from files is escaped.

    Parameters
    ----------
    query
        the name of the query, as it is shown; ``image`` is its picture, ``skull`` what was compared of it.
    """
    from jinja2 import Environment, PackageLoader

    from training.evaluation.enrolling import thumbnail

    asked = [
        _Shown(_base64(png_of(thumbnail(image, _EDGE))), "the query", (query,)),
        _Shown(_base64(png_of(skull.shown.transpose(1, 2, 0))), "what is compared of it", (found.kind,)),
    ]
    leads = [
        _Shown(_base64(_face_png(one.face, cache)), f"{one.rank}: {one.name}", lines_of(one)) for one in found.leads
    ]
    environment = Environment(loader=PackageLoader("dicom_node.skulls", "."), autoescape=True)
    text: str = environment.get_template("page.html").render(
        words=WORDS,
        statements=statements(found, trained_on),
        asked=asked,
        leads=leads,
        refused=found.refused,
        twice=found.twice,
    )
    return text


def lines_of(lead: Lead) -> tuple[str, ...]:
    """What is said of a candidate below its picture."""
    lines = [f"confidence {lead.confidence:.3f}"]
    if lead.log10_lr is not None:
        lines.append(f"log10 LR {lead.log10_lr:+.2f}")
    if lead.also:
        lines.append(f"the same face as {', '.join(lead.also)}")
    return tuple(lines)


def statements(found: Leads, trained_on: str) -> list[str]:
    """What whoever reads the list has to know."""
    said = [
        _EXPLAINED,
        f"Chance: in a random order the right face, if it is among these {found.searched}, stands on a list of "
        f"{len(found.leads)} in {found.chance:.1%} of all searches, and first in {1 / found.searched:.1%}.",
        f"Encoder {found.encoder} {found.version}, trained on: {trained_on}",
    ]
    if all(one.log10_lr is None for one in found.leads):
        said.append("This encoder is not calibrated: no likelihood ratio can be given.")
    if found.refused:
        said.append(f"{len(found.refused)} files could not be searched: whoever they show is not on this list.")
    return said


def as_json(found: Leads, query: str, trained_on: str) -> dict[str, Any]:
    """Everything but the pictures."""
    return {
        "words": WORDS,
        "query": query,
        "kind": found.kind,
        "encoder": found.encoder,
        "version": found.version,
        "searched": found.searched,
        "chance": {"on_the_list": found.chance, "first": 1 / found.searched},
        "statements": statements(found, trained_on),
        "leads": [
            {
                "rank": one.rank,
                "name": one.name,
                "also": list(one.also),
                "confidence": one.confidence,
                "log10_lr": one.log10_lr,
                "sha256": one.face.digest,
            }
            for one in found.leads
        ],
        "refused": [{"name": one.name, "reason": one.reason} for one in found.refused],
        "twice": [list(names) for names in found.twice],
    }


def _face_png(face: Face, cache: Cache) -> bytes:
    """Of a CT the face that was compared, a photograph as it is. Empty where the file has gone since."""
    from training.evaluation.enrolling import thumbnail

    kept = cache.png(face.digest)
    if kept is not None:
        return kept
    try:
        return png_of(thumbnail(load_face(face), _EDGE))
    except ImagingError:
        return b""


def _base64(png: bytes) -> str:
    return base64.b64encode(png).decode("ascii")
