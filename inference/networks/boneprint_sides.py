"""The two sides on which a boneprint sees a chest; a place in ``SIDES`` is the side's number."""

from __future__ import annotations

from typing import Literal, get_args

Side = Literal["radiograph", "rendering"]
SIDES: tuple[Side, ...] = get_args(Side)
