"""Reading the tables that come with a data set, and the values in them. Tables are as hostile as any file."""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from itertools import zip_longest
from pathlib import Path, PurePosixPath
from typing import TextIO

from config.errors import CommandError

__all__ = ["age_of", "contained", "days_of", "find", "images_below", "missing", "sex_of", "table"]

PICTURES = frozenset({".png", ".jpg", ".jpeg"})
_EPOCH = date(1970, 1, 1)
_AGE = re.compile(r"(\d{1,3})(?:\.\d+)?([YMWD]?)")
_PER_YEAR = {"": 1.0, "Y": 1.0, "M": 12.0, "W": 365.25 / 7, "D": 365.25}
_OLDEST = 120
_MAX_LINE = 1024 * 1024
# In characters; file systems take names of 255 bytes.
_MAX_PATH = 250


def find(root: Path, *patterns: str) -> Path | None:
    """The first file that one of the glob patterns meets directly below ``root``; of several the last by name."""
    for pattern in patterns:
        if found := sorted(path for path in root.glob(pattern) if path.is_file()):
            return found[-1]
    return None


def missing(root: Path, what: str) -> CommandError:
    """The error for a folder that is not laid out as published."""
    return CommandError(f"{root}: {what} is not there; give the folder that the data set was unpacked into",
                        reason="NOT_FOUND")  # fmt: skip


def table(path: Path, required: Sequence[str]) -> Iterator[dict[str, str]]:
    """Rows of a CSV table (also gzipped, also with semicolons) as text by column, white space taken off.

    Raises
    ------
    CommandError
        ``TABLE`` when a required column is missing or the file is no such table.
    """
    try:
        with _open(path) as file:
            first = file.readline(_MAX_LINE)
            delimiter = ";" if first.count(";") > first.count(",") else ","
            columns = [name.strip() for name in next(csv.reader([first], delimiter=delimiter), [])]
            if absent := [name for name in required if name not in columns]:
                raise _unusable(path, f"it lacks the column {' and '.join(absent)}")
            for record in csv.reader(_bounded(file, path), delimiter=delimiter):
                if record:
                    # Some publishers end a header with a comma and rows without one, or the other way round.
                    values = (value.strip() for value in record[: len(columns)])
                    yield dict(zip_longest(columns, values, fillvalue=""))
    except (csv.Error, UnicodeDecodeError, EOFError, zlib.error, gzip.BadGzipFile):
        raise _unusable(path, "it is damaged, or no table of comma-separated values in UTF-8") from None
    except OSError as error:
        raise _unusable(path, f"it cannot be read ({error.strerror})") from None


def contained(root: Path, path: str) -> Path | None:
    """``root / path`` when it is a short relative path without steps upwards, else None."""
    pure = PurePosixPath(path)
    if not path or len(path) > _MAX_PATH or pure.is_absolute() or ".." in pure.parts or not path.isprintable():
        return None
    return root / pure


def images_below(root: Path, suffixes: Iterable[str] = PICTURES) -> dict[str, Path]:
    """All pictures below a folder by their name in lower case, because publishers and unpackers disagree on case.

    Of several of one name the first counts.
    """
    wanted = frozenset(suffixes)
    found: dict[str, Path] = {}
    for path in sorted(root.rglob("*")):
        if path.suffix.lower() in wanted:
            found.setdefault(path.name.lower(), path)
    return found


def days_of(text: str) -> int | None:
    """Days since 1970 of a date ``YYYYMMDD`` or ``YYYY-MM-DD``; publishers shift dates by whole patients."""
    digits = text.replace("-", "")
    try:
        return (date(int(digits[:4]), int(digits[4:6]), int(digits[6:])) - _EPOCH).days
    except ValueError:
        return None


def age_of(text: str) -> float | None:
    """Years of ``58``, ``58.5`` or a DICOM age ``058Y``, ``006M``; None beyond 120, which in tables are mistakes."""
    match = _AGE.fullmatch(text.strip().upper())
    if not match:
        return None
    number = float(text.strip().upper().rstrip("YMWD"))
    years = number / _PER_YEAR[match.group(2)]
    return years if years <= _OLDEST else None


def sex_of(text: str) -> str:
    """``F`` or ``M`` for a word that begins so, ``O`` for other, else empty."""
    letter = text.strip()[:1].upper()
    return letter if letter in ("F", "M", "O") else ""


def _open(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return io.TextIOWrapper(gzip.open(path), encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _bounded(file: TextIO, path: Path) -> Iterator[str]:
    while line := file.readline(_MAX_LINE):
        if len(line) == _MAX_LINE:
            raise _unusable(path, "a line is too long")
        yield line


def _unusable(path: Path, problem: str) -> CommandError:
    return CommandError(f"table {path.name}: {problem}", reason="TABLE")
