"""Eyes in their orbits, and teeth."""

from __future__ import annotations

from training.cohort.head.frame import Head
from training.cohort.head.tissue import Tissues
from training.cohort.implicit import Chain, Ellipsoid, Field
from training.cohort.sampling import Slab, both


def lay_orbits(slab: Slab, head: Head, image: Field, edge: float, tissue: Tissues) -> None:
    """Orbital fat, globes with lens and wall, eye muscles and optic nerves."""
    s, f = head.shape, head.front
    ex, ey, ez = head.eye
    ow, oh = s.orbit_width - 0.8, s.orbit_height - 0.8
    cone = both(lambda k: Chain([(k * ex, ey - 1, ez), (k * 15, f + 50, ez + 3)], [ow, 3.5], (1, 1, ow / oh)))
    slab.paint(image, *cone, value=tissue.fat, edge=edge)
    for side in (1.0, -1.0):
        for dx, dz in ((10.0, 0.0), (-10.0, 0.0), (0.0, 9.5), (0.0, -9.5)):
            muscle = Chain([(side * (ex + dx), ey + 3, ez + dz), (side * 17, f + 48, ez + 3 + 0.2 * dz)], 1.9)
            slab.paint(image, muscle, value=tissue.muscle, edge=edge)
    slab.paint(
        image,
        *both(lambda k: Chain([(k * ex, ey + 9, ez), (k * 14, f + 54, ez + 4)], 2.2)),
        value=tissue.nerve,
        edge=edge,
    )
    slab.paint(image, *both(lambda k: Ellipsoid((k * ex, ey, ez), (12.2, 12.2, 12.2))), value=tissue.sclera, edge=edge)
    slab.paint(image, *both(lambda k: Ellipsoid((k * ex, ey, ez), (11.0, 11.0, 11.0))), value=tissue.humour, edge=edge)
    slab.paint(image, *both(lambda k: Ellipsoid((k * ex, ey - 7.5, ez), (4.6, 2.2, 4.6))), value=tissue.lens, edge=edge)


def lay_teeth(slab: Slab, head: Head, image: Field, edge: float, tissue: Tissues) -> None:
    """32 places; those missing stay empty. Roots are less dense than crowns, and a pulp runs through each."""
    closed = head.hinge()
    for number, crown, root, wide in head.teeth():
        through = None if number < 16 else closed
        metal = number in head.fillings
        shape = Chain([crown, root], [wide, 1.6])
        slab.paint(image, shape, value=tissue.enamel, edge=edge, through=through)
        middle = [0.6 * a + 0.4 * b for a, b in zip(crown, root, strict=True)]
        slab.paint(image, Chain([middle, root], [0.30 * wide, 0.4]), value=tissue.pulp, edge=edge, through=through)
        if metal:
            slab.paint(image, Ellipsoid(crown, (wide * 0.9, wide * 0.9, wide * 0.8)), value=tissue.metal, edge=edge,
                       through=through)  # fmt: skip
