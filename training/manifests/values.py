"""From the text of a record to a checked row: what is refused is named by column, with the remedy."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

from training.manifests.schema import COLUMNS, LABEL_PREFIX, REQUIRED, Role, Row

_MAX_NUMBER = 10**9
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_DATE = re.compile(r"(\d{4})-?(\d{2})-?(\d{2})")
_SEXES = frozenset({"", "F", "M", "O"})
_SIDES = frozenset({"", "L", "R", "B"})


class BadValueError(Exception):
    """What is wrong with a value, and the remedy."""


def is_label(column: str) -> bool:
    return column.startswith(LABEL_PREFIX) and column != LABEL_PREFIX


class RowParser:
    """Turns records of one manifest into rows. Called once for each row of millions: empty cells cost nothing."""

    def __init__(self, columns: Sequence[str]) -> None:
        self._width = len(columns)
        known = [(i, name) for i, name in enumerate(columns) if name in COLUMNS or is_label(name)]
        self._known = known
        self._plain = [(i, name) for i, name in known if name in COLUMNS and name not in _PARSERS]
        self._parsed = [(i, name, _PARSERS[name]) for i, name in known if name in _PARSERS]
        self._labels = [(i, name.removeprefix(LABEL_PREFIX)) for i, name in known if is_label(name)]

    def __call__(self, record: Sequence[str]) -> Row:
        """Raises BadValueError for the first value that is not as the schema wants it."""
        if len(record) != self._width:
            raise BadValueError(
                f"it has {len(record)} values for {self._width} columns; quote values that hold the delimiter"
            )
        if not "".join(record).isprintable():
            self._check_printable(record)
        values: dict[str, Any] = {name: text for i, name in self._plain if (text := record[i].strip())}
        for name in REQUIRED:
            if name not in values:
                raise BadValueError(f"column {name} is empty, and every row needs one")
        for i, name, parse in self._parsed:
            if text := record[i].strip():
                values[name] = parse(name, text)
        values["labels"] = {name: record[i].strip() for i, name in self._labels}
        return Row(**values)

    def _check_printable(self, record: Sequence[str]) -> None:
        for i, name in self._known:
            if _UNPRINTABLE.search(record[i].strip()):
                raise BadValueError(f"column {name} has a control character or undecodable bytes; remove them")


def _integer(name: str, text: str) -> int:
    number = _number(name, text)
    # Tables with gaps are written with decimals by common tools: 12.0 is 12.
    if number != int(number):
        raise BadValueError(f"column {name} is no whole number")
    return int(number)


def _number(name: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not abs(number) <= _MAX_NUMBER:
        raise BadValueError(f"column {name} is no number; leave it empty where it is unknown")
    return number


def _positive(name: str, text: str) -> int:
    number = _integer(name, text)
    if number < 1:
        raise BadValueError(f"column {name} is less than 1")
    return number


def _age(name: str, text: str) -> float:
    number = _number(name, text)
    if not 0 <= number <= 150:
        raise BadValueError(f"column {name} is no age in years; leave it empty where it is unknown")
    return number


def _role(name: str, text: str) -> Role:
    try:
        return Role(text)
    except ValueError:
        raise BadValueError(f"column {name} is none of {', '.join(Role)}") from None


def _date(name: str, text: str) -> str:
    match = _DATE.fullmatch(text)
    if not match:
        raise BadValueError(f"column {name} is no date like 19560228 or 1956-02-28")
    return "".join(match.groups())


def _among(allowed: frozenset[str]) -> Callable[[str, str], str]:
    def parse(name: str, text: str) -> str:
        if text not in allowed:
            raise BadValueError(f"column {name} is none of {', '.join(sorted(allowed - {''}))}, or empty")
        return text

    return parse


_PARSERS: dict[str, Callable[[str, str], Any]] = {
    "instances": _positive,
    "days": _integer,
    "age": _age,
    "role": _role,
    "birth_date": _date,
    "sex": _among(_SEXES),
    "laterality": _among(_SIDES),
}
