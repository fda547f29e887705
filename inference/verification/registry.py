"""Which verifiers there are. A verifier's module is imported when it is first asked for."""

from __future__ import annotations

from functools import cache
from importlib import import_module

from config.errors import EncoderError
from inference.types import LoadedSeries
from inference.verification.protocol import Verifier

# Name of the verifier -> module and class. Each takes images of a kind of its own.
VERIFIERS = {
    "volume": ("inference.verification.volume", "VolumeVerifier"),
    "radiograph": ("inference.verification.radiograph", "RadiographVerifier"),
    "fundus": ("inference.verification.fundus", "FundusVerifier"),
}


@cache
def verifiers() -> dict[str, Verifier]:
    """Every verifier by its name; one object each, shared by all callers and threads."""
    return {name: _load(*where) for name, where in VERIFIERS.items()}


def verifier(name: str) -> Verifier:
    """The verifier of that name.

    Raises
    ------
    EncoderError
        ``VERIFIER_UNKNOWN`` when there is none.
    """
    known = verifiers()
    if name not in known:
        raise EncoderError(f"there is no verifier {name!r}; there are: {', '.join(known)}", reason="VERIFIER_UNKNOWN")
    return known[name]


def verifier_for(image: LoadedSeries) -> Verifier | None:
    """The verifier that accepts the image, None where geometry can say nothing of its kind."""
    return next((one for one in verifiers().values() if one.accepts(image)), None)


def _load(module: str, name: str) -> Verifier:
    made: Verifier = getattr(import_module(module), name)()
    return made
