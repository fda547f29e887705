"""Manifest files: read row by row, checked against the schema, refused by name, line and column.

A manifest may come from a spreadsheet: a byte order mark, Windows line ends, quoted fields, and semicolons or tabs
instead of commas are taken. White space around a value means nothing. It may also come from a stranger: sizes are
bounded, and a path that leaves the manifest's folder needs the reader's consent.
"""

from __future__ import annotations

import csv
import errno
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from config.errors import CommandError, DiskFullError, StorageError
from inference.whole_file import whole_file
from training.manifests.schema import COLUMNS, LABEL_PREFIX, REQUIRED, Row
from training.manifests.values import BadValueError, RowParser, is_label

__all__ = ["Manifest", "ManifestWriter", "read_manifest", "write_manifest"]

DELIMITERS = (",", ";", "\t")
# A row of all columns with long paths has some 2 KiB; the csv module itself refuses fields beyond 128 KiB.
MAX_RECORD = 256 * 1024
MAX_COLUMNS = 4096
_SURROGATE = re.compile("[\ud800-\udfff]")
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest file whose header is sound; rows are read as they are asked for, so that its size does not matter.

    ``columns`` are the names in the header, ``outside`` whether rows may name files outside :attr:`folder`.
    """

    path: Path
    columns: tuple[str, ...]
    delimiter: str = ","
    outside: bool = False

    @property
    def folder(self) -> Path:
        return self.path.parent

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the label columns, without their prefix."""
        return tuple(name.removeprefix(LABEL_PREFIX) for name in self.columns if is_label(name))

    def rows(self) -> Iterator[Row]:
        """All rows in order, in constant memory.

        Raises
        ------
        CommandError
            ``MANIFEST`` naming file, line, column and remedy for the first row that is not as the schema wants it.
        """
        parse = RowParser(self.columns)
        with _open(self.path) as file:
            records = _Records(file, self.path.name, self.delimiter)
            next(records)
            for record in records:
                try:
                    yield parse(record)
                except BadValueError as error:
                    raise refusal(self.path.name, str(error), records.line) from None

    def __iter__(self) -> Iterator[Row]:
        return self.rows()

    def count(self) -> int:
        """Number of rows; reads the whole file."""
        return sum(1 for _ in self.rows())

    def file(self, row: Row) -> Path:
        """Where the row's image lies: a file or a folder, which need not be there.

        Raises
        ------
        CommandError
            ``PATH_OUTSIDE`` when the path, with symbolic links followed, leaves the manifest's folder (an absolute
            path that stays inside is good) and the manifest was not read with ``outside=True``.
        """
        path = self.folder / row.path
        if self.outside:
            return path
        try:
            inside = path.resolve().is_relative_to(self.folder.resolve())
        except (OSError, RuntimeError):
            # A loop of links has no end, inside or outside.
            inside = False
        if not inside:
            raise CommandError(
                f"{self.path.name}: a path leaves the manifest's folder; put the manifest beside its images, "
                "or allow paths outside (--outside)",
                reason="PATH_OUTSIDE",
            )
        return path

    def files(self, row: Row) -> list[Path]:
        """The files of a row, in the order of their names: those in its folder, or the one file."""
        path = self.file(row)
        return sorted(item for item in path.iterdir() if item.is_file()) if path.is_dir() else [path]


def read_manifest(path: Path, *, outside: bool = False) -> Manifest:
    """Opens a manifest: checks that it is there, its header, and that it has a row at all.

    Raises
    ------
    CommandError
        ``NOT_FOUND`` when there is no such file; ``MANIFEST`` for text that is not UTF-8, a header without the
        required columns or with a name twice, or a manifest without rows.
    """
    with _open(path) as file:
        start = _first_line(file, path.name)
        delimiter, columns = _header(start, path.name)
        file.seek(0)
        records = _Records(file, path.name, delimiter)
        next(records)
        if next(records, None) is None:
            raise refusal(path.name, "it has a header and no rows; write one row for each image")
    return Manifest(path, columns, delimiter, outside)


class ManifestWriter:
    """Appends rows to an open text file (UTF-8, opened with ``newline=""``); the header is written at once.

    ``labels`` are the label columns, without prefix. What is written can be read: a row that :func:`read_manifest`
    would refuse is refused here.
    """

    def __init__(self, file: TextIO, labels: Sequence[str] = ()) -> None:
        self._labels = tuple(labels)
        columns = (*COLUMNS, *(LABEL_PREFIX + name for name in labels))
        if len(set(columns)) != len(columns) or not all(
            name.isprintable() and name.strip() == name for name in columns
        ):
            raise ValueError("labels have printable names, each once")
        self._check = RowParser(columns)
        self._writer = csv.writer(file, lineterminator="\n")
        self._writer.writerow(columns)

    def add(self, row: Row) -> None:
        """Writes a row.

        Raises
        ------
        CommandError
            naming the column of a value that no manifest can hold.
        ValueError
            for a label that the writer was not told of.
        """
        if unknown := row.labels.keys() - set(self._labels):
            raise ValueError(f"the writer was not told of the labels {sorted(unknown)}")
        values = [_text(getattr(row, name)) for name in COLUMNS]
        values += [row.labels.get(name, "") for name in self._labels]
        try:
            self._check(values)
        except BadValueError as error:
            raise CommandError(f"a row cannot be written: {error}", reason="MANIFEST") from None
        self._writer.writerow(values)


def _text(value: object) -> str:
    if value is None:
        return ""
    return repr(float(value)) if isinstance(value, float) else str(value)


def write_manifest(path: Path, rows: Iterable[Row], labels: Sequence[str] = ()) -> int:
    """Writes a manifest whole or not at all, and returns the number of rows.

    Raises
    ------
    CommandError
        when there are no rows, or a value that no manifest can hold.
    StorageError, DiskFullError
        when the file cannot be written; what stood there before stands.
    """
    count = 0
    try:
        with whole_file(path) as binary:
            text = io.TextIOWrapper(binary, encoding="utf-8", newline="")
            writer = ManifestWriter(text, labels)
            for row in rows:
                writer.add(row)
                count += 1
            if not count:
                raise CommandError(f"{path.name}: no images were found, so there is no manifest to write")
            text.flush()
            text.detach()
    except OSError as error:
        kind = DiskFullError if error.errno in _FULL else StorageError
        raise kind(f"the manifest {path} cannot be written: {error.strerror}") from None
    return count


def refusal(file: str, problem: str, line: int | None = None) -> CommandError:
    """The error for a manifest that cannot be used; values of the file are not quoted, they may be a patient's."""
    where = file if line is None else f"{file}, line {line}"
    return CommandError(f"manifest {where}: {problem}", reason="MANIFEST")


def _open(path: Path) -> TextIO:
    try:
        return path.open(newline="", encoding="utf-8-sig", errors="surrogateescape")
    except FileNotFoundError:
        raise CommandError(f"{path}: no such manifest", reason="NOT_FOUND") from None
    except OSError as error:
        raise CommandError(f"the manifest {path} cannot be read: {error.strerror}", reason="MANIFEST") from None


def _first_line(file: TextIO, name: str) -> str:
    line = file.readline(MAX_RECORD + 1)
    _check_utf8(line, name, 1)
    if not line.strip():
        raise refusal(name, f"it has no header; the first line names the columns, at least {', '.join(REQUIRED)}", 1)
    if len(line) > MAX_RECORD:
        raise refusal(name, f"its header is longer than {MAX_RECORD} characters", 1)
    return line


def _header(line: str, name: str) -> tuple[str, tuple[str, ...]]:
    """The delimiter under which most required columns are there, and the columns."""
    found = {delimiter: columns for delimiter in DELIMITERS if (columns := _split(line, delimiter))}
    if not found:
        raise refusal(name, "the quotation marks of its header do not close", 1)
    delimiter, columns = max(found.items(), key=lambda item: len(set(REQUIRED) & set(item[1])))
    if len(columns) > MAX_COLUMNS:
        raise refusal(name, f"it has more than {MAX_COLUMNS} columns", 1)
    if missing := [column for column in REQUIRED if column not in columns]:
        raise refusal(name, f"it lacks the column {' and '.join(missing)}; names are in lower case", 1)
    for column, number in Counter(columns).items():
        if column and number > 1:
            raise refusal(name, f"it has the column {column!r} {number} times; name each column once", 1)
    return delimiter, columns


def _split(line: str, delimiter: str) -> tuple[str, ...]:
    try:
        return tuple(part.strip() for part in next(csv.reader([line], delimiter=delimiter, strict=True)))
    except csv.Error:
        return ()


def _check_utf8(line: str, name: str, number: int) -> None:
    # Bytes that are no UTF-8 were decoded to lone surrogates, so that the line they stand in can be named.
    if not line.isascii() and _SURROGATE.search(line):
        raise refusal(name, 'it is not UTF-8 text; save it as "CSV UTF-8"', number)


class _Records:
    """Records of a CSV file as lists of text, empty lines left out; a defect is named with its line."""

    def __init__(self, file: TextIO, name: str, delimiter: str) -> None:
        self._file, self._name = file, name
        self._left = MAX_RECORD
        self._reader = csv.reader(self._lines(), delimiter=delimiter, strict=True)

    @property
    def line(self) -> int:
        """The last line of the record that was read last."""
        return self._reader.line_num

    def __iter__(self) -> Iterator[list[str]]:
        return self

    def __next__(self) -> list[str]:
        record: list[str] = []
        while not record:
            self._left = MAX_RECORD
            try:
                record = next(self._reader)
            except csv.Error as error:
                remedy = "check its quotation marks"
                raise refusal(self._name, f"it is no CSV ({error}); {remedy}", self.line) from None
        return record

    def _lines(self) -> Iterator[str]:
        while line := self._file.readline(self._left + 1):
            self._left -= len(line)
            if self._left < 0:
                problem = f"a row is longer than {MAX_RECORD} characters; check its quotation marks"
                raise refusal(self._name, problem, self.line + 1)
            _check_utf8(line, self._name, self.line + 1)
            yield line
