"""Blood where it does not belong: under the dura, or within the brain with swelling around it."""

from __future__ import annotations

import numpy as np

from training.cohort.head.frame import Bleed, Head
from training.cohort.head.tissue import Tissues
from training.cohort.implicit import Ellipsoid, Field, lay
from training.cohort.sampling import Slab


def lay_bleed(
    slab: Slab, head: Head, image: Field, outside: Field, cavity: Field, edge: float, tissue: Tissues
) -> None:
    """Lays the day's haemorrhage over the brain, given the distances to the vault's outside and to its cavity."""
    bleed = head.bleed
    if bleed is None:
        return
    if bleed.subdural:
        _lay_crescent(slab, head, image, (outside, cavity), edge, tissue, bleed)
    else:
        _lay_clot(slab, head, image, cavity, edge, tissue, bleed)


def _lay_crescent(
    slab: Slab, head: Head, image: Field, walls: tuple[Field, Field], edge: float, tissue: Tissues, bleed: Bleed
) -> None:
    """Along the vault, not along the floor."""
    p, (a, b, _), (outside, cavity) = slab.points, bleed.place, walls
    far = np.square((p.y - np.float32(-8.0 + 22.0 * a)) * np.float32(1 / 62.0))
    far += np.square((p.z - np.float32(head.vault_centre_z + 14.0 + 8.0 * b)) * np.float32(1 / 42.0))
    thick = np.float32(4.0 + 10.0 * bleed.severity) * (np.float32(1.0) - far)
    inner = np.maximum(
        -outside - np.float32(head.shape.wall_thickness) - thick, np.float32(4.0) - np.float32(bleed.side) * p.x
    )
    lay(image, np.maximum(np.maximum(inner, cavity + np.float32(0.5)), -thick), tissue.clot, edge)


def _lay_clot(slab: Slab, head: Head, image: Field, cavity: Field, edge: float, tissue: Tissues, bleed: Bleed) -> None:
    a, b, c = bleed.place
    size = 7.0 + 13.0 * bleed.severity
    lobar = c > 0
    centre = (
        bleed.side * (38.0 if lobar else 27.0),
        -8.0 + (36.0 if lobar else 8.0) * a,
        head.vault_centre_z + (22.0 if lobar else 0.0) + 6.0 * b,
    )
    shape = Ellipsoid(centre, (0.8 * size, 1.15 * size, 0.9 * size), (0.0, 20.0 * b, 25.0 * a))
    window = slab.window(shape, 14.0)
    if window is None:
        return
    p, part = slab.points.at(window), image[window]
    ragged = np.sin(p.x * np.float32(0.5) + np.float32(3 * a)) * np.sin(p.y * np.float32(0.43) + np.float32(5 * b))
    d = shape.distance(p) + np.float32(1.8) * ragged * np.sin(p.z * np.float32(0.4))
    keep = cavity[window] + np.float32(2.5)
    lay(part, np.maximum(d - np.float32(2.0 + 5.0 * bleed.severity), keep), tissue.oedema, 5.0)
    lay(part, np.maximum(d, keep), tissue.clot, max(edge, 1.2))
