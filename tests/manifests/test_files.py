"""Manifest files: what is written is read back, what is damaged is named."""

from __future__ import annotations

import io
import os
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.errors import CommandError, DiskFullError
from training.manifests.files import Manifest, ManifestWriter, read_manifest, write_manifest
from training.manifests.schema import Role, Row
from training.manifests.values import BadValueError, RowParser


def manifest_of(folder: Path, text: str | bytes) -> Path:
    path = folder / "manifest.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def refusal_of(folder: Path, text: str | bytes) -> str:
    with pytest.raises(CommandError) as caught:
        list(read_manifest(manifest_of(folder, text)).rows())
    assert caught.value.reason == "MANIFEST"
    return str(caught.value)


# What a manifest can hold: no control characters, no lone surrogates, no white space at the ends.
_words = st.text(st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="\u2028\u2029"), max_size=20).map(
    str.strip
)
_rows = st.builds(
    Row,
    path=_words.filter(bool),
    patient_id=_words.filter(bool),
    study=_words.filter(bool),
    issuer=_words,
    series=_words,
    instance=_words,
    instances=st.integers(1, 10**6),
    modality=_words,
    view=_words,
    laterality=st.sampled_from(["", "L", "R", "B"]),
    days=st.none() | st.integers(-40_000, 40_000),
    site=_words,
    device=_words,
    sex=st.sampled_from(["", "F", "M", "O"]),
    age=st.none() | st.floats(0, 120),
    birth_date=st.sampled_from(["", "19560228"]),
    split=_words,
    role=st.sampled_from(Role),
    labels=st.fixed_dictionaries({"effusion": _words, "nodule; large": _words}),
)


@settings(deadline=None)
@given(st.lists(_rows, min_size=1, max_size=5))
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, rows: list[Row]) -> None:
    path = tmp_path_factory.getbasetemp() / "written.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = ManifestWriter(file, ["effusion", "nodule; large"])
        for row in rows:
            writer.add(row)
    manifest = read_manifest(path)
    assert list(manifest.rows()) == rows
    assert manifest.labels == ("effusion", "nodule; large")


@settings(deadline=None)
@given(
    st.binary(max_size=300)
    | st.text(max_size=300).map(lambda text: b"path,patient_id,study\n" + text.encode(errors="ignore"))
)
def test_bytes_of_any_kind_are_rows_or_a_named_refusal(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = manifest_of(tmp_path_factory.getbasetemp(), data)
    try:
        rows = list(read_manifest(path).rows())
    except CommandError as error:
        assert error.reason == "MANIFEST"
        assert "manifest.csv" in str(error)
    else:
        assert all(row.path and row.patient_id and row.study for row in rows)


def test_three_columns_are_enough(tmp_path: Path) -> None:
    manifest = read_manifest(manifest_of(tmp_path, "study,path,patient_id\nS1,a.png,P1\n"))
    assert list(manifest.rows()) == [Row("a.png", "P1", "S1")]
    assert manifest.count() == 1
    assert manifest.folder == tmp_path


@pytest.mark.parametrize(
    "text",
    [
        b'\xef\xbb\xbfpath,patient_id,study,age\r\n"a, b.png",P1,S1,44.5\r\n',
        b'path;patient_id;study;age\n"a, b.png";P1;S1;44.5\n',
        b"path\tpatient_id\tstudy\tage\na, b.png\tP1\tS1\t44.5\n",
        b'path,patient_id,study,age,remark\n\n"a, b.png" ,P1 ,S1,44.5,"two\nlines"',
    ],
    ids=[
        "byte order mark and CRLF",
        "semicolons",
        "tabs",
        "empty line, spaces, a remark of two lines, no last line end",
    ],
)
def test_spreadsheets_are_understood(tmp_path: Path, text: bytes) -> None:
    text = text.replace(b'b.png" ,', b'b.png",')
    (row,) = read_manifest(manifest_of(tmp_path, text)).rows()
    assert row == Row("a, b.png", "P1", "S1", age=44.5)


def test_whole_numbers_with_decimals_and_dates_with_dashes(tmp_path: Path) -> None:
    text = "path,patient_id,study,days,instances,birth_date\na,P,S,12.0,3.0,1956-02-28\n"
    (row,) = read_manifest(manifest_of(tmp_path, text)).rows()
    assert (row.days, row.instances, row.birth_date) == (12, 3, "19560228")


@pytest.mark.parametrize(
    ("column", "value", "named"),
    [
        ("role", "prober", "none of probe, gallery, both, distractor"),
        ("days", "soon", "no number"),
        ("days", "1.5", "no whole number"),
        ("days", "1e99", "no number"),
        ("instances", "0", "less than 1"),
        ("age", "nan", "no number"),
        ("age", "-1", "no age in years"),
        ("sex", "female", "none of F, M, O"),
        ("laterality", "left", "none of B, L, R"),
        ("birth_date", "28.2.1956", "no date like 19560228"),
        ("site", "a\x1b[31mb", "control character"),
        ("label_effusion", "a\nb", "control character"),
    ],
)
def test_bad_values_are_named_by_line_and_column(tmp_path: Path, column: str, value: str, named: str) -> None:
    message = refusal_of(tmp_path, f'path,patient_id,study,{column}\na,P1,S1,\nb,P1,S2,"{value}"\n')
    assert f"column {column}" in message
    assert named in message
    assert "line 3" in message or "\n" in value
    assert value not in message


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (b"", "no header"),
        (b"path,patient_id,study\n", "no rows"),
        (b"path,patient,study\na,P,S\n", "lacks the column patient_id"),
        (b"a.png,P1,S1\n", "lacks the column path and patient_id and study"),
        (b"path,patient_id,study,view,view\na,P,S,PA,AP\n", "'view' 2 times"),
        (b"path,patient_id,study\na,P,S,PA\n", "line 2: it has 4 values for 3 columns"),
        (b"path,patient_id,study\na,P\n", "line 2: it has 2 values for 3 columns"),
        (b"path,patient_id,study\na,P1,S\nb, ,S\n", "line 3: column patient_id is empty"),
        (b'path,patient_id,study\na,"P1,S\n', "no CSV"),
        (b'path,patient_id,study\na,"P"1,S\n', "no CSV"),
        (b"path,patient_id,study\n\xe4,P1,S\n", "line 2: it is not UTF-8"),
        ("path,patient_id,study\na,P1,S\n".encode("utf-16"), "not UTF-8"),
        (b"path,patient_id,study\n" + b"a" * 140_000 + b",P1,S\n", "no CSV (field larger"),
        (b"path,patient_id,study\n" + b"a,P1,S," * 60_000 + b"\n", "a row is longer than"),
        (b'path,patient_id,study\n"' + b"a\n" * 200_000 + b'",P1,S\n', "line"),
        (b"path,patient_id,study" + b",x" * 5000 + b"\na,P1,S\n", "more than 4096 columns"),
    ],
)
def test_damage_is_named(tmp_path: Path, text: bytes, named: str) -> None:
    assert named in refusal_of(tmp_path, text)


def test_a_manifest_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CommandError) as caught:
        read_manifest(tmp_path / "none.csv")
    assert caught.value.reason == "NOT_FOUND"


def test_paths_stay_inside_unless_the_reader_says_otherwise(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link").symlink_to(tmp_path)
    (tmp_path / "in" / "loop").symlink_to("loop")
    path = manifest_of(tmp_path / "in", "path,patient_id,study\nx,P,S\n")
    manifest, free = read_manifest(path), read_manifest(path, outside=True)
    for inside in ("a.png", "a/../b.png", str(tmp_path / "in" / "a.png")):
        assert manifest.file(Row(inside, "P", "S")).parent.resolve() == tmp_path / "in"
    for outside in ("../a.png", "/etc/passwd", "link/a.png", f"{tmp_path}/in/../a.png"):
        with pytest.raises(CommandError) as caught:
            manifest.file(Row(outside, "P", "S"))
        assert caught.value.reason == "PATH_OUTSIDE"
        assert free.file(Row(outside, "P", "S")) == tmp_path / "in" / outside
    with pytest.raises(CommandError):
        manifest.file(Row("loop/a.png", "P", "S"))


def test_files_of_a_row(tmp_path: Path) -> None:
    (tmp_path / "series").mkdir()
    for name in ("b.dcm", "a.dcm"):
        (tmp_path / "series" / name).touch()
    manifest = Manifest(tmp_path / "manifest.csv", ("path", "patient_id", "study"))
    assert manifest.files(Row("series", "P", "S")) == [tmp_path / "series" / "a.dcm", tmp_path / "series" / "b.dcm"]
    assert manifest.files(Row("series/b.dcm", "P", "S")) == [tmp_path / "series" / "b.dcm"]


@pytest.mark.parametrize(
    "row",
    [Row("a\n", "P\n1", "S"), Row(os.fsdecode(b"\xff.png"), "P", "S"), Row("a", "", "S"), Row("a", "P", "S", sex="X"),
     Row("a", "P", "S", age=float("nan"))],
)  # fmt: skip
def test_rows_that_could_not_be_read_are_not_written(row: Row) -> None:
    with pytest.raises(CommandError, match="cannot be written: column"):
        ManifestWriter(io.StringIO()).add(row)


def test_unknown_labels_are_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="effusion"):
        ManifestWriter(io.StringIO()).add(Row("a", "P", "S", labels={"effusion": "1"}))


def test_a_manifest_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = manifest_of(tmp_path, "old")

    def broken() -> Iterator[Row]:
        yield Row("a", "P", "S")
        raise OSError(28, "No space left on device")

    with pytest.raises(DiskFullError):
        write_manifest(path, broken())
    with pytest.raises(CommandError, match="no images"):
        write_manifest(path, iter(()))
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_memory_does_not_grow_with_the_manifest(tmp_path: Path) -> None:
    write_manifest(tmp_path / "m.csv", (Row(f"{n}.png", f"P{n}", "S") for n in range(20_000)))
    manifest = read_manifest(tmp_path / "m.csv")
    tracemalloc.start()
    try:
        assert manifest.count() == 20_000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 500_000 < (tmp_path / "m.csv").stat().st_size


def test_a_row_parser_is_told_what_is_wrong() -> None:
    with pytest.raises(BadValueError, match="column days is no number"):
        RowParser(["path", "patient_id", "study", "days"])(["a", "P", "S", "x"])
