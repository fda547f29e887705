"""Plain values as TOML text."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

_BARE = re.compile(r"^[A-Za-z0-9_-]+$")


def to_toml(values: Mapping[str, Any], table: tuple[str, ...] = ()) -> str:
    """Numbers, texts, booleans and lists first, then tables; None and empty tables are left out."""
    lines = [f"{_key(name)} = {_value(one)}" for name, one in values.items() if not isinstance(one, Mapping | None)]
    text = "".join(f"{line}\n" for line in lines)
    if table and lines:
        text = f"\n[{'.'.join(map(_key, table))}]\n{text}"
    return text + "".join(to_toml(one, (*table, name)) for name, one in values.items() if isinstance(one, Mapping))


def _key(name: str) -> str:
    return name if _BARE.match(name) else _value(name)


def _value(value: Any) -> str:
    # JSON's numbers, texts, booleans and arrays are TOML's, but for DEL, which TOML wants escaped.
    return json.dumps(value, ensure_ascii=False, allow_nan=False).replace("\x7f", "\\u007F")
