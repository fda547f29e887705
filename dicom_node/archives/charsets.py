"""Text under Specific Character Set (0008,0005), decoded and encoded without loss and warnings (PS3.5 section 6.1).

pydicom's tables say which Python codec a defined term or an escape sequence means. Its functions warn and put
replacement characters where a value does not decode; here a value that does not decode as declared is taken
as Latin-1, which maps every byte to a character and back.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# Imported for its codecs too: pydicom registers the ISO-IR ones that Python does not have.
from pydicom.charset import CODES_TO_ENCODINGS, python_encoding

CHARACTER_SET = 0x00080005
UTF8 = "ISO_IR 192"
# PS3.5 table 6.2-1: the VRs that Specific Character Set governs.
TEXT_VRS = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})

_ESCAPE = b"\x1b"
# These codecs consume their own escape sequences.
_STATEFUL = frozenset({"iso2022_jp", "iso2022_jp_2"})
_FRAGMENT = re.compile(rb"^[^\x1b]+|\x1b[^\x1b]*", re.DOTALL)
# A code extension ends at these (PS3.5 section 6.1.2.5.3): what follows is in the first character set again.
_RESET = re.compile(rb"([\\^=\r\n\t\f]+)")


@dataclass(frozen=True, slots=True)
class CharacterSet:
    """The Python codecs of a Specific Character Set; the first one rules where no escape sequence says otherwise."""

    codecs: tuple[str, ...]

    @classmethod
    def of(cls, value: bytes | None) -> CharacterSet:
        """From the bytes of (0008,0005). Absent, empty and unknown terms mean the default repertoire."""
        terms = [term.strip() for term in (value or b"").decode("ascii", "replace").strip(" \0").split("\\")]
        codecs = tuple(python_encoding[term] for term in terms if term in python_encoding)
        if not terms[0] and len(terms) > 1:  # an empty first value is ISO 646, then the extensions
            codecs = ("ascii", *(codec for codec in codecs[1:]))
        elif codecs[:1] == ("iso8859",):
            codecs = ("ascii", *codecs[1:])
        return cls(codecs or ("ascii",))

    def decode(self, value: bytes) -> str:
        """Never fails: what does not decode as declared is taken as Latin-1."""
        try:
            return self._decode(value)
        except UnicodeError:
            return value.decode("latin-1")

    def encode(self, text: str) -> bytes | None:
        """The bytes of ``text``, or None where this character set has no way to write it."""
        if text.isascii():
            return text.encode("ascii")
        for codec in self.codecs if len(self.codecs) == 1 else self._without_escapes():
            try:
                encoded = text.encode(codec)
            except UnicodeError:
                continue
            # Some codecs accept more than they give back (shift_jis has half of its repertoire outside ISO IR 13).
            if self.decode(encoded) == text and (codec != "shift_jis" or _half_width(text)):
                return encoded
        return None

    def _without_escapes(self) -> tuple[str, ...]:
        """With code extensions: the first character set needs no escape, the Japanese codecs write their own."""
        return tuple(codec for codec in self.codecs if codec == self.codecs[0] or codec in _STATEFUL)

    def _decode(self, value: bytes) -> str:
        if _ESCAPE not in value:
            return value.decode(self.codecs[0])
        return "".join(self._fragment(fragment) for fragment in _FRAGMENT.findall(value))

    def _fragment(self, fragment: bytes) -> str:
        if not fragment.startswith(_ESCAPE):
            return fragment.decode(self.codecs[0])
        code = next((code for code in (fragment[:4], fragment[:3]) if code in CODES_TO_ENCODINGS), None)
        if code is None:
            raise UnicodeError("unknown escape sequence")
        codec = CODES_TO_ENCODINGS[code]
        if codec in _STATEFUL:
            return fragment.decode(codec)
        if codec == "iso_ir_58":
            codec = "gb2312"
        # Only the part before a delimiter is in the extension.
        extension, *rest = _RESET.split(fragment[len(code) :])
        decoded = extension.decode("latin-1" if codec == "iso8859" else codec)
        return decoded + b"".join(rest).decode(self.codecs[0])


def _half_width(text: str) -> bool:
    """ISO IR 13 is JIS X 0201: ASCII's place and half-width katakana."""
    return all(character.isascii() or "｡" <= character <= "ﾟ" for character in text)
