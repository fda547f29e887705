"""Chance without a clock: every draw and every UID follows from a path such as (seed, person, visit, purpose)."""

from __future__ import annotations

import hashlib
from dataclasses import Field, dataclass, fields
from typing import Any

import numpy as np

_DOMAIN = b"medreid phantom 1"


def _digest(path: tuple[object, ...], size: int) -> bytes:
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in path)
    return hashlib.blake2b(text.encode("utf-8"), digest_size=size, person=_DOMAIN[:16]).digest()


def stream(*path: object) -> np.random.Generator:
    """A generator of its own for every path: adding a draw to one never shifts another."""
    return np.random.Generator(np.random.PCG64(int.from_bytes(_digest(path, 16), "big")))


def uid(*path: object) -> str:
    """A DICOM UID under 2.25 (PS3.5 B.2) that only this path has."""
    value = bytearray(_digest(path, 16))
    value[6] = (value[6] & 0x0F) | 0x80  # RFC 9562 version 8: custom content
    value[8] = (value[8] & 0x3F) | 0x80
    return f"2.25.{int.from_bytes(value, 'big')}"


@dataclass(frozen=True, slots=True)
class Norm:
    """How one measure is spread over people.

    A draw is ``mean(sex) + size * s + age * (years - 45) / 10 + sd * z`` with ``s`` the person's own size
    (standard normal, shared by all measures of the person) and ``z`` standard normal, clipped to ``low`` .. ``high``.
    """

    female: float
    male: float
    sd: float
    low: float
    high: float
    size: float = 0.0
    age: float = 0.0

    def draw(self, rng: np.random.Generator, sex: str, years: float, size: float) -> float:
        mean = self.male if sex == "M" else self.female
        value = mean + self.size * size + self.age * (years - 45.0) / 10.0 + self.sd * rng.standard_normal()
        return float(np.clip(value, self.low, self.high))


def norm_of(item: Field[Any]) -> Norm | None:
    """The :class:`Norm` that a dataclass field declares, if it declares one."""
    norm = item.metadata.get("norm")
    return norm if isinstance(norm, Norm) else None


def draw_measures(shape: type[Any], rng: np.random.Generator, sex: str, years: float, size: float) -> dict[str, float]:
    """A value for every field of ``shape`` that declares a :class:`Norm`, in the order of the fields."""
    return {
        item.name: norm.draw(rng, sex, years, size) for item in fields(shape) if (norm := norm_of(item)) is not None
    }
