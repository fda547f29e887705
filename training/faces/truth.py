"""Where the face of a phantom is in the volume that its scan wrote: the truth for landmarks and poses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from inference.imaging.pose import FRONTAL_AXES
from training.cohort.head.frame import Head
from training.cohort.head.landmarks import landmarks
from training.cohort.head.today import head_of
from training.cohort.implicit import Matrix, rotation
from training.cohort.person import Person
from training.cohort.visit import Visit

Kind = Literal["head-ct", "head-mr"]


@dataclass(frozen=True, slots=True)
class FaceTruth:
    """``points`` (5, 3) LPS millimetres in the order of :data:`inference.imaging.head_frame.LANDMARKS`.

    ``axes`` rows are the head's right (the patient's left), up and forwards in LPS: the Frankfurt frame, which no scan
    changes. A point ``h`` of the head's own frame lies at ``turn @ h + shift``.
    """

    points: NDArray[np.float64]
    head: Head
    turn: Matrix
    shift: Matrix

    @property
    def axes(self) -> NDArray[np.float64]:
        return np.asarray(FRONTAL_AXES @ self.turn.T)

    @property
    def centre(self) -> NDArray[np.float64]:
        """LPS position midway between the ear canals."""
        return self.shift


def face_truth(who: Person, when: Visit, kind: Kind) -> FaceTruth:
    """The face of a visit's head CT or head MR, in the coordinates of the volume that is written."""
    if kind == "head-mr":
        scan = when.head_mr
        return _placed(head_of(who, when, scan), rotation(*scan.tilt), np.array(scan.shift))
    ct = when.head_ct
    head = head_of(who, when, ct, down=(0.0, -1.0 if ct.prone else 1.0, 0.0))
    # A tilted gantry turns the volume as a whole: what was turned against it before lies straight again.
    gantry = rotation(ct.gantry, 0.0, 0.0)
    return _placed(head, rotation(*ct.tilt), gantry @ np.array(ct.shift))


def _placed(head: Head, turn: Matrix, shift: Matrix) -> FaceTruth:
    return FaceTruth(landmarks(head) @ turn.T + shift, head, turn, shift)
