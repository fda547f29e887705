"""Regular expressions from configuration files: accepted only when no input can make them slow.

Python's matcher backtracks. Two shapes make that explode: something of variable length that is repeated
(``(a+)+``), and alternatives that are repeated (``(a|ab)*``). Both are refused, and the number of open-ended
repetitions that can compete for the same text is bounded; what is left is polynomial in an input that callers
bound to :data:`MAX_SUBJECT` characters.
"""

from __future__ import annotations

import re
from re import _constants as codes  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

from config.errors import ConfigError

MAX_PATTERN = 512
MAX_SUBJECT = 128
MAX_OPEN_REPEATS = 3
# A bounded repetition up to this length behaves like a few literals; a longer one like an open-ended one.
SHORT_REPEAT = 16

_REPEATS = frozenset({codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT})
_FORBIDDEN = {
    codes.GROUPREF: "a back reference",
    codes.GROUPREF_EXISTS: "a conditional group",
    codes.ASSERT: "a look-around",
    codes.ASSERT_NOT: "a look-around",
}


def compile_pattern(text: str) -> re.Pattern[str]:
    """A compiled pattern that ignores case.

    Raises
    ------
    ConfigError
        ``PATTERN``, saying what is wrong: no regular expression, too long, or one that may take for ever.
    """
    if len(text) > MAX_PATTERN:
        raise _refused(text, f"is longer than {MAX_PATTERN} characters")
    try:
        tree = parser.parse(text, re.IGNORECASE)
        compiled = re.compile(text, re.IGNORECASE)
    except (re.error, OverflowError, RecursionError) as error:
        raise _refused(text, f"is no regular expression ({error})") from None
    if _open_repeats(tree, text, repeated=False) > MAX_OPEN_REPEATS:
        raise _refused(text, f"has more than {MAX_OPEN_REPEATS} open-ended repetitions that compete for the same text")
    return compiled


def matches(pattern: re.Pattern[str], subject: str) -> bool:
    """Whether the pattern occurs in the first :data:`MAX_SUBJECT` characters."""
    return pattern.search(subject[:MAX_SUBJECT]) is not None


def _open_repeats(tree: Any, text: str, *, repeated: bool) -> int:
    """The largest number of open-ended repetitions on one way through the pattern."""
    total = 0
    for code, argument in tree:
        if code in _FORBIDDEN:
            raise _refused(text, f"has {_FORBIDDEN[code]}, which is not supported here")
        if code in _REPEATS:
            total += _repeat(argument, text, repeated)
        elif code is codes.BRANCH:
            if repeated:
                raise _refused(text, "repeats alternatives; write them out or use a character class")
            total += max(_open_repeats(branch, text, repeated=False) for branch in argument[1])
        elif code is codes.SUBPATTERN:
            total += _open_repeats(argument[-1], text, repeated=repeated)
        elif code is codes.ATOMIC_GROUP:
            total += _open_repeats(argument, text, repeated=repeated)
    return total


def _repeat(argument: Any, text: str, repeated: bool) -> int:
    least, most, inner = argument
    many, variable = most > 1, most != least
    if repeated and variable:
        raise _refused(text, "repeats something of variable length, e.g. (a+)+")
    inside = _open_repeats(inner, text, repeated=repeated or many)
    return inside + (1 if variable and most > SHORT_REPEAT else 0)


def _refused(text: str, why: str) -> ConfigError:
    shown = text if len(text) <= 60 else text[:57] + "..."
    return ConfigError(f"pattern {shown!r} {why}", reason="PATTERN")
