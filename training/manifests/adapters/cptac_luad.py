"""CPTAC-LUAD slides, as pictures. For the chest CT of the same patients see ``cptac-luad-ct``.

Layout (cancerimagingarchive.net/collection/cptac-luad): slides ``C3L-00001-21.svs``. Whole slides are pyramids of
gigabytes that no encoder takes; export them, or regions of them, as PNG or JPEG under the slide's name: as
``C3L-00001-21.png`` or as pictures in a folder ``C3L-00001-21``.
Licence: CC BY 3.0.
Traps: the case is the patient, what follows is the slide. All slides of a patient come from one resection, mostly one
stain and one scanner batch: each slide counts as a study, and batch and patient are confounded. Tumour and normal
tissue of a patient are different slides. Regions of one slide are never a pair.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from config.errors import CommandError
from training.manifests.adapters.adapter import Adapter, Skipped
from training.manifests.adapters.tables import PICTURES
from training.manifests.schema import Row

_SLIDE = re.compile(r"(C3[LN]-\d{5})-(\d{2})")


def rows(root: Path, skipped: Skipped) -> Iterator[Row]:
    found = False
    for path in sorted(root.rglob("*")):
        if path.suffix.lower() == ".svs":
            skipped["WHOLE_SLIDE"] += 1
        if path.suffix.lower() not in PICTURES:
            continue
        match = _SLIDE.match(path.stem) or _SLIDE.fullmatch(path.parent.name)
        if not match:
            skipped["BAD_PATH"] += 1
            continue
        found = True
        yield Row(
            path=path.relative_to(root).as_posix(),
            patient_id=match.group(1),
            study=match.group(2),
            issuer="TCIA",
            series=match.group(),
            modality="SM",
        )
    if skipped["WHOLE_SLIDE"] and not found:
        raise CommandError(
            f"{root}: there are slides (.svs) and no pictures of them; export them as PNG or JPEG under their names"
        )


ADAPTER = Adapter("cptac-luad", "CPTAC-LUAD: histology of lung cancer, slides as pictures", "CC BY 3.0", rows)
