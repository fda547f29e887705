"""Sets of dials by name, and dials from files.

``default`` is what training sees; ``unseen`` has nuisance families that it never does; ``coupled`` ties each person to
one site and its machines; ``clinical`` has full matrices.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from config.errors import CommandError
from training.cohort.visit import Dials

_LARGEST_FILE = 1 << 20


def _every(name: str) -> Dials:
    """The constant ``name`` of every kind's dials that has one."""
    from importlib import import_module

    changed = {}
    for item in fields(Dials):
        own = getattr(Dials(), item.name)
        if is_dataclass(own):
            found = getattr(import_module(type(own).__module__), name, None)
            if found is not None:
                changed[item.name] = found
    return replace(Dials(), **changed)


NUISANCES: Mapping[str, Callable[[], Dials]] = {
    "default": Dials,
    "unseen": lambda: _every("UNSEEN"),
    "coupled": lambda: replace(Dials(), coupled=True),
    "clinical": lambda: _every("CLINICAL"),
}


def dials_of(nuisance: str = "default", file: Path | None = None) -> Dials:
    """The dials of a set, changed by a TOML file of the shape that :func:`to_toml` writes.

    Raises
    ------
    CommandError
        when there is no such set, or the file names an unknown dial or a value that is none.
    """
    if nuisance not in NUISANCES:
        raise CommandError(f"there is no set of dials of that name; choose from {', '.join(NUISANCES)}")
    dials = NUISANCES[nuisance]()
    if file is None:
        return dials
    try:
        if file.stat().st_size > _LARGEST_FILE:
            raise CommandError(f"{file.name} is too large for a file of dials")
        given = tomllib.loads(file.read_text(encoding="utf-8"))
        adapter = TypeAdapter(Dials)
        return adapter.validate_python(_merged(asdict(dials), given), extra="forbid", strict=False)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CommandError(f"{file.name} cannot be read as TOML: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise CommandError(f"{file.name}: {where}: {first['msg']}; see medreid cohort dials") from None


def to_toml(dials: Dials) -> str:
    """The dials as TOML."""
    values = asdict(dials)
    lines = [f"{name} = {_value(value)}" for name, value in values.items() if not isinstance(value, dict)]
    for name, table in values.items():
        if isinstance(table, dict):
            lines += ["", f"[{name}]", *(f"{key} = {_value(value)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    # JSON's numbers, texts, booleans and arrays are TOML's.
    return json.dumps(value)


def _merged(base: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for name, value in given.items():
        own = merged.get(name)
        merged[name] = _merged(own, value) if isinstance(own, dict) and isinstance(value, Mapping) else value
    return merged
