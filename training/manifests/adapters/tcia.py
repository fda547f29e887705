"""Collections of The Cancer Imaging Archive, as the NBIA Data Retriever unpacks them.

Layout: ``COLLECTION/PatientID/StudyInstanceUID or date/SeriesInstanceUID or number/*.dcm``, in several versions over
the years, which is why rows come from headers alone (see :mod:`dicom_folder`). Every collection is described on its
page at cancerimagingarchive.net. Only CT and MR series become rows; PET, segmentations and radiotherapy objects are
counted as left out.

The five head and neck CT collections with faces are Head-Neck-PET-CT, HNSCC, Head-Neck-Radiomics-HN1, QIN-HEADNECK and
TCGA-HNSC: they have whole heads, and three of them repeated CT of one patient (planning, PET-CT, follow-up), without
which faces cannot be recognised across scans.

Licence: Creative Commons by collection; those that show faces are, or are becoming, of controlled access.
Traps: dates are shifted by patient, so days compare within a patient only; planning CT and PET-CT of one week are two
studies, but masks, tubes and table are the same; TCGA and CPTAC patients are in several collections, which is why all
share the issuer ``TCIA``; a low-dose CT of a PET-CT and its diagnostic CT may be one study.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from training.manifests.adapters import dicom_folder
from training.manifests.adapters.adapter import Adapter, Skipped
from training.manifests.schema import Row

_VOLUMES = frozenset({"CT", "MR"})
_CT = frozenset({"CT"})
# The second field of a TCGA barcode is the tissue source site; Head-Neck-PET-CT names the hospital there.
_SITE = re.compile(r"(?:TCGA|HN)-([A-Z0-9]+)-\w+")


@dataclass(frozen=True, slots=True)
class _Collection:
    """One collection: how its patient identifiers begin, and the modalities of its rows."""

    name: str
    title: str
    prefix: str
    modalities: frozenset[str]
    licence: str = "CC BY"


_COLLECTIONS = (
    _Collection("hcc-tace", "HCC-TACE-Seg: liver CT before and after chemo-embolisation", "HCC_", _VOLUMES),
    _Collection("tcga-kirc", "TCGA-KIRC: kidney CT and MR", "TCGA-", _VOLUMES),
    _Collection("tcga-lihc", "TCGA-LIHC: liver CT and MR", "TCGA-", _VOLUMES),
    _Collection("cptac-luad-ct", "CPTAC-LUAD: chest CT of lung cancer", "C3", _CT),
    _Collection("head-neck-pet-ct", "Head-Neck-PET-CT: CT of PET-CT, four hospitals", "HN-", _CT, "controlled access"),
    _Collection("hnscc", "HNSCC: head and neck CT", "HNSCC-", _CT, "controlled access"),
    _Collection("head-neck-radiomics-hn1", "Head-Neck-Radiomics-HN1: planning CT", "HN1", _CT, "controlled access"),
    _Collection("qin-headneck", "QIN-HEADNECK: PET-CT, several visits", "QIN-HEADNECK-", _CT, "controlled access"),
    _Collection("tcga-hnsc", "TCGA-HNSC: head and neck CT", "TCGA-", _CT, "controlled access"),
)


def _rows(collection: _Collection) -> Callable[[Path, Skipped], Iterator[Row]]:
    def rows(root: Path, skipped: Skipped) -> Iterator[Row]:
        for row in dicom_folder.rows(root, skipped):
            if not row.patient_id.startswith(collection.prefix):
                skipped["OTHER_COLLECTION"] += row.instances
            elif row.modality not in collection.modalities:
                skipped["OTHER_MODALITY"] += row.instances
            else:
                site = _SITE.fullmatch(row.patient_id)
                yield replace(row, issuer="TCIA", site=site.group(1) if site else row.site)

    return rows


ADAPTERS = tuple(
    Adapter(collection.name, collection.title, collection.licence, _rows(collection)) for collection in _COLLECTIONS
)
