"""Two small sets of chest radiographs that come with a list: ``paediatric-cxr`` and ``adult-cxr-64px``.

Layout: ``manifest.csv`` (path, patient_id, study, view, label) beside ``images``; findings in ``label`` are divided by
``|``. The paediatric set is Kermany et al., Mendeley Data rscbjbr9sj, scaled to 224 x 224; the adult one are 1,000
films of NIH ChestX-ray14 at 64 x 64.
Licence: CC BY 4.0 (paediatric); NIH, free use with acknowledgement (adult).
Traps: every image counts as a study of its own, because no dates or examinations are published, so that two films of
one day may be a pair. Paediatric: every normal film is of a patient with one image, so that disease and having a mate
are confounded, and a few patient numbers may be wrong. The squashed aspect hides the shape of the chest.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from training.manifests.adapters.adapter import Adapter, Rows, Skipped
from training.manifests.adapters.tables import contained, missing, table
from training.manifests.schema import FILE_NAME, Row

_COLUMNS = ("path", "patient_id", "study", "view", "label")


def _rows(issuer: str) -> Rows:
    def rows(root: Path, skipped: Skipped) -> Iterator[Row]:
        listed = root / FILE_NAME
        if not listed.is_file():
            raise missing(root, FILE_NAME)
        for record in table(listed, _COLUMNS):
            path = contained(root, record["path"])
            if path is None:
                skipped["BAD_PATH"] += 1
            elif not path.is_file():
                skipped["MISSING_FILE"] += 1
            else:
                yield Row(
                    path=record["path"],
                    patient_id=record["patient_id"],
                    study=record["study"],
                    issuer=issuer,
                    modality="DX",
                    view=record["view"],
                    labels={"finding": record["label"]},
                )

    return rows


ADAPTERS = (
    Adapter("paediatric-cxr", "Kermany et al.: chest radiographs of children", "CC BY 4.0", _rows("Kermany"),
            ("finding",)),
    Adapter("adult-cxr-64px", "1,000 films of ChestX-ray14 at 64 x 64", "free with acknowledgement", _rows("NIH"),
            ("finding",)),
)  # fmt: skip
