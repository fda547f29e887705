"""What a caller may choose about loading."""

from __future__ import annotations

from dataclasses import dataclass, field

DEFAULT_MAX_DECODED_BYTES = 2 * 1024**3


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """``allow`` names the rejections that are switched off; ``max_decoded_bytes`` bounds one object or volume."""

    allow: frozenset[str] = field(default_factory=frozenset)
    max_decoded_bytes: int = DEFAULT_MAX_DECODED_BYTES
