"""Column types that behave the same on SQLite and PostgreSQL, whatever was received."""

from __future__ import annotations

import json
import re
from typing import Any

from sqlalchemy import BigInteger, Dialect, Integer, Text
from sqlalchemy.types import TypeDecorator

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
UNSTORABLE = re.compile("[\x00\ud800-\udfff]")

# SQLite numbers rows by itself only for INTEGER.
BigId = BigInteger().with_variant(Integer(), "sqlite")


def clean_text(text: str) -> str:
    """Replaces what a database cannot hold: NUL (PostgreSQL refuses it) and lone surrogates (no UTF-8)."""
    return UNSTORABLE.sub(REPLACEMENT, text)


class CleanText(TypeDecorator[str]):
    """Text from outside: stored as valid UTF-8 without NUL, compared by the same cleaned form."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else clean_text(value)


class JsonText(TypeDecorator[Any]):
    """JSON as ASCII text with sorted keys: one spelling per value, and nothing received can break the column."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else canonical_json(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        return None if value is None else json.loads(value)


def canonical_json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, default=_plain)


def _plain(value: Any) -> Any:
    """Tuples and mappings of other kinds become plain JSON; anything else is a programming error."""
    if hasattr(value, "items"):
        return dict(value.items())
    if isinstance(value, set | frozenset):
        return sorted(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is no JSON value")
