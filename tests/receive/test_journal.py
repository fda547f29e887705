"""The journal: durable frames, torn tails, rotation, readers in other processes."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.errors import JournalError
from dicom_node.journal import Journal, JournalReader, Position, segment_numbers

SMALL = 512
values = st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=20), max_size=3)


def record(number: int) -> dict[str, Any]:
    return {"kind": "count", "name": f"N{number}", "n": number}


def write(folder: Path, numbers: range, segment_bytes: int = SMALL) -> None:
    """Appends and publishes one frame for each number."""
    journal = Journal(folder, segment_bytes)
    for number in numbers:
        journal.append([record(number)])
        journal.publish()
    journal.close()


def read_all(folder: Path, limit: int = 1000) -> list[int]:
    reader, position = JournalReader(folder), Position()
    numbers: list[int] = []
    while True:
        records, position = reader.read(position, limit)
        if not records:
            return numbers
        numbers += [one["n"] for one in records]


def segment_of(folder: Path) -> Path:
    return sorted(folder.glob("*.journal"))[-1]


def used_bytes(folder: Path) -> int:
    return len(segment_of(folder).read_bytes().rstrip(b"\0"))


@settings(max_examples=15, deadline=None)
@given(st.lists(st.lists(values, min_size=1, max_size=4), max_size=8), st.integers(1, 10))
def test_readers_get_what_was_published_in_order(batches: list[list[dict[str, Any]]], limit: int) -> None:
    with TemporaryDirectory() as folder:
        journal = Journal(Path(folder), SMALL)
        for batch in batches:
            journal.append(batch)
            journal.publish()
        reader, position = JournalReader(Path(folder)), Position()
        seen: list[dict[str, Any]] = []
        while True:
            records, after = reader.read(position, limit)
            assert Position.parse(str(after)) == after >= position
            if not records:
                break
            seen += records
            position = after
        journal.close()
    assert seen == [one for batch in batches for one in batch]


def test_what_is_not_published_is_not_seen(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append([record(1)])
    assert read_all(tmp_path) == []
    journal.publish()
    journal.append([record(2)])
    assert read_all(tmp_path) == [1]
    journal.close()


def test_segments_rotate_and_are_trimmed_behind_the_reader(tmp_path: Path) -> None:
    write(tmp_path, range(100))
    numbers = segment_numbers(tmp_path)
    assert len(numbers) > 5
    reader = JournalReader(tmp_path)
    position = Position()
    for _ in range(60):
        _, position = reader.read(position, 1)
    assert reader.trim(position) > 0
    assert segment_numbers(tmp_path)[0] == position.segment
    rest, _ = reader.read(position)
    assert [one["n"] for one in rest] == list(range(60, 100))
    assert reader.read(Position())[0][-len(rest) :] == rest, (
        "a position in a segment that is gone goes on with the oldest"
    )


def test_the_last_segments_are_never_trimmed(tmp_path: Path) -> None:
    write(tmp_path, range(100))
    JournalReader(tmp_path).trim(Position(10**11, 0))
    assert len(segment_numbers(tmp_path)) == 2


def test_a_frame_larger_than_a_segment_gets_one_of_its_own(tmp_path: Path) -> None:
    journal = Journal(tmp_path, SMALL)
    journal.append([record(n) for n in range(50)])
    journal.append([record(50)])
    journal.publish()
    journal.close()
    assert read_all(tmp_path) == list(range(51))


def test_a_tail_torn_at_any_byte_loses_only_the_torn_frame(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    write(whole, range(2), segment_bytes=4096)
    first_two = used_bytes(whole)
    write(whole, range(2, 3), segment_bytes=4096)
    content, end = segment_of(whole).read_bytes(), used_bytes(whole)
    for cut in range(first_two, end):
        folder = tmp_path / str(cut)
        folder.mkdir()
        (folder / segment_of(whole).name).write_bytes(content[:cut].ljust(len(content), b"\0"))
        write(folder, range(9, 10), segment_bytes=4096)
        assert read_all(folder) == [0, 1, 9]


@pytest.mark.parametrize("garbage", [b"\xff" * 300, b"\1\0\0\0", os.urandom(200)])
def test_garbage_after_the_last_frame_is_cut(tmp_path: Path, garbage: bytes) -> None:
    write(tmp_path, range(3), segment_bytes=4096)
    with segment_of(tmp_path).open("r+b") as file:
        file.seek(used_bytes(tmp_path))
        file.write(garbage)
    write(tmp_path, range(3, 4), segment_bytes=4096)
    assert read_all(tmp_path) == [0, 1, 2, 3]


def test_damage_before_the_published_end_is_an_error_for_writer_and_reader(tmp_path: Path) -> None:
    write(tmp_path, range(5), segment_bytes=4096)
    with segment_of(tmp_path).open("r+b") as file:
        file.seek(10)
        file.write(b"\xff")
    with pytest.raises(JournalError, match="damaged"):
        Journal(tmp_path)
    with pytest.raises(JournalError, match="damaged"):
        JournalReader(tmp_path).read(Position())


def test_one_writer_only(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    with pytest.raises(JournalError, match="another receiver"):
        Journal(tmp_path)
    journal.close()
    Journal(tmp_path).close()


def test_a_journal_made_anew_never_repeats_a_position(tmp_path: Path) -> None:
    write(tmp_path / "old", range(3))
    old = JournalReader(tmp_path / "old").read(Position())[1]
    for path in (tmp_path / "old").iterdir():
        path.unlink()
    clock_moved_on = old.segment + 1
    (tmp_path / "old" / f"{clock_moved_on:012d}.journal").write_bytes(bytes(SMALL))
    write(tmp_path / "old", range(3, 5))
    assert [one["n"] for one in JournalReader(tmp_path / "old").read(old)[0]] == [3, 4]


def test_a_reader_beside_a_busy_writer_sees_every_record_once_and_none_torn(tmp_path: Path) -> None:
    journal = Journal(tmp_path, SMALL)
    journal.publish()

    def work() -> None:
        for number in range(400):
            journal.append([record(number)])
            journal.publish()

    writer = threading.Thread(target=work)
    writer.start()
    reader, position = JournalReader(tmp_path), Position()
    seen: list[int] = []
    while len(seen) < 400:
        alive = writer.is_alive()
        records, position = reader.read(position, 7)
        seen += [one["n"] for one in records]
        reader.trim(position)
        assert alive or records or len(seen) == 400
    writer.join()
    journal.close()
    assert seen == list(range(400))


def test_without_a_writer_there_is_nothing_to_read(tmp_path: Path) -> None:
    assert JournalReader(tmp_path).read(Position(5, 5)) == ([], Position(5, 5))


@pytest.mark.parametrize("text", ["1", "a:b", "1:2:3", "-1:0", "1:2\n"])
def test_what_is_no_position_is_refused(text: str) -> None:
    with pytest.raises(JournalError):
        Position.parse(text)


def test_positions_compare_by_segment_then_offset() -> None:
    assert Position() < Position(0, 1) < Position(1, 0) < Position(1, 2)
    assert Position.parse("") == Position()
