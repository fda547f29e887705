"""What a study's images amount to: embeddings to search with, templates to compare with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from config.errors import ImagingError
from inference.encoders.protocol import Encoder
from inference.imaging.series import load_series
from inference.types import Encoding, LoadedSeries, PatientKey, SeriesHeader
from inference.verification.protocol import Template

if TYPE_CHECKING:
    from dicom_node.node import Node


@dataclass(frozen=True, slots=True)
class Material:
    encodings: tuple[Encoding, ...] = ()
    templates: tuple[Template, ...] = ()

    def keep(self, node: Node, study_uid: str, patient: PatientKey | None = None) -> None:
        """Stores all of it in the ledger, for ``patient`` where it is known whose it is."""
        with node.ledger.transaction():
            node.ledger.store_embeddings(study_uid, self.encodings, patient)
            node.ledger.store_templates(study_uid, self.templates, patient)


def material_of(node: Node, series: Iterable[SeriesHeader]) -> Material:
    """Embeddings and templates of every series that a rule sends to an encoder; refusals are counted by name."""
    encodings: list[Encoding] = []
    templates: list[Template] = []
    for one in series:
        route = node.rules.route(one)
        node.ledger.count("series_routed", rule=route.rule, reason=route.reason)
        encoders = [e for name in route.encoders if (e := node.registry.get(name)).accepts(one)]
        if not encoders:
            continue
        loaded = load_series(one, node.load_options)
        for rejection in loaded.rejections:
            node.ledger.count("image_refused", reason=rejection.reason)
        for image in loaded.images:
            encodings += _encode(node, image, encoders)
            templates += node.verifying.templates(image)
    return Material(tuple(encodings), tuple(templates))


def _encode(node: Node, image: LoadedSeries, encoders: Sequence[Encoder]) -> list[Encoding]:
    found: list[Encoding] = []
    for encoder in encoders:
        try:
            encodings = encoder.encode([image])
        except ImagingError as error:
            node.ledger.count("image_refused", reason=error.reason)
            continue
        found += [encoding for encoding in encodings if encoding is not None]
        if None in encodings:
            node.ledger.count("image_refused", reason="NOTHING_TO_ENCODE")
    return found
