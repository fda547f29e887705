"""Character sets: the examples of PS3.5 annexes H, I and J, and what is decided where text does not decode."""

from __future__ import annotations

import pytest

from dicom_node.archives.charsets import CharacterSet

EXAMPLES = [
    (b"ISO_IR 100", b"Buc^J\xe9r\xf4me", "Buc^Jérôme"),
    (b"ISO_IR 144", b"\xbb\xee\xda\x63\x65\xdc\xd1\x79\x70\xd3", "Люкceмбypг"),
    (
        b"\\ISO 2022 IR 87",
        b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
        "Yamada^Tarou=山田^太郎=やまだ^たろう",
    ),
    (
        b"ISO 2022 IR 13\\ISO 2022 IR 87",
        b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J=\x1b$B$d$^$@\x1b(J^\x1b$B$?$m$&\x1b(J",
        "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
    ),
    (
        b"\\ISO 2022 IR 149",
        b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
        "Hong^Gildong=洪^吉洞=홍^길동",
    ),
    (b"ISO_IR 192", "Wang^XiaoDong=王^小東=".encode(), "Wang^XiaoDong=王^小東="),
    (b"GB18030", "Wang^XiaoDong=王^小东=".encode("gb18030"), "Wang^XiaoDong=王^小东="),
]


@pytest.mark.parametrize(("term", "value", "text"), EXAMPLES, ids=[example[0].decode() for example in EXAMPLES])
def test_the_standards_examples_decode(term: bytes, value: bytes, text: str) -> None:
    assert CharacterSet.of(term).decode(value) == text


@pytest.mark.parametrize("term", ["ISO_IR 100", "ISO_IR 144", "\\ISO 2022 IR 87", "ISO_IR 13", "GB18030", "", "WRONG"])
@pytest.mark.parametrize("text", ["Fantomu^0001=幻影", "Фантом", "Phäntom", "ﾔﾏﾀﾞ", "FANTOM~1", "ｱ山"])
def test_what_is_encoded_decodes_to_itself_or_is_declined(term: str, text: str) -> None:
    charset = CharacterSet.of(term.encode())
    encoded = charset.encode(text)
    assert encoded is None or charset.decode(encoded) == text


def test_which_text_needs_utf8() -> None:
    assert CharacterSet.of(b"ISO_IR 100").encode("Phäntom") == b"Ph\xe4ntom"
    assert CharacterSet.of(b"ISO_IR 100").encode("Фантом") is None
    assert CharacterSet.of(None).encode("Phäntom") is None
    assert CharacterSet.of(b"\\ISO 2022 IR 87").encode("幻影") == "幻影".encode("iso2022_jp")
    assert CharacterSet.of(b"ISO_IR 13").encode("幻影") is None


@pytest.mark.parametrize("value", [b"\xff\xfe", b"\x1b$B;", b"\x1b%%\xff", b"\x80\x81\x1b"])
@pytest.mark.parametrize("term", [None, b"ISO_IR 192", b"\\ISO 2022 IR 87", b"GB18030", b"\xff\xff"])
def test_what_does_not_decode_loses_no_byte(term: bytes | None, value: bytes) -> None:
    text = CharacterSet.of(term).decode(value)
    assert text
    if text == value.decode("latin-1"):
        assert text.encode("latin-1") == value
