"""What a study's images amount to: embeddings to search with, templates to compare with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from config.errors import ImagingError
from dicom_node.routing import Route
from dicom_node.sight import CONTRADICTED
from inference.encoders.protocol import Encoder
from inference.imaging.series import load_series
from inference.types import Encoding, LoadedSeries, PatientKey, SeriesHeader
from inference.verification.protocol import Template

if TYPE_CHECKING:
    from dicom_node.node import Node

log = structlog.get_logger()


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
    """Embeddings and templates of every series that a rule sends to an encoder; refusals are counted by name.

    Where the node has a modality classifier, a series whose headers name no modality gets one from its pixels
    (``modality_by_pixels``), and an image that shows another one than they name is refused (``MODALITY_CONTRADICTED``).
    """
    encodings: list[Encoding] = []
    templates: list[Template] = []
    for received in series:
        one, route = _routed(node, received)
        node.ledger.count("series_routed", rule=route.rule, reason=route.reason)
        encoders = [e for name in route.encoders if (e := node.registry.get(name)).accepts(one)]
        if not encoders:
            continue
        loaded = load_series(one, node.load_options)
        for rejection in loaded.rejections:
            node.ledger.count("image_refused", reason=rejection.reason)
        for image in loaded.images:
            if node.sight is not None and node.sight.contradicts(image):
                log.warning("image.contradicts_its_header", series=node.token(image.series_uid))
                node.ledger.count("image_refused", reason=CONTRADICTED)
                continue
            encodings += _encode(node, image, encoders)
            templates += node.verifying.templates(image)
    return Material(tuple(encodings), tuple(templates))


def _routed(node: Node, series: SeriesHeader) -> tuple[SeriesHeader, Route]:
    installed = node.registry.names()
    route = node.rules.route(series).among(installed)
    named = None if node.sight is None or route.encoders else node.sight.named(series, node.load_options)
    if named is None:
        return series, route
    node.ledger.count("modality_by_pixels", modality=named.modality)
    return named, node.rules.route(named).among(installed)


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
