"""Routing rules: the schema of ``routing.toml``. What rules mean is in :mod:`dicom_node.routing`."""

from __future__ import annotations

import re
import tomllib
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from config.errors import ConfigError
from config.patterns import compile_pattern

MAX_FILE_BYTES = 1024 * 1024

Keyword = Annotated[str, Field(pattern=r"^[A-Z][A-Za-z0-9]*(\.[A-Z][A-Za-z0-9]*)*$")]
Name = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=64)]
Reason = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$", max_length=64)]
# An encoder, or several in order of preference: "better | usual".
Choice = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*( *\| *[a-z0-9]+(-[a-z0-9]+)*)*$", max_length=256)]


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Test(Part):
    """What is asked of one attribute's values. A multi-valued attribute passes when one of its values does."""

    equals: str | int | float | None = None
    in_: tuple[str | int | float, ...] | None = Field(default=None, alias="in", min_length=1)
    matches: str | None = None
    between: tuple[float, float] | None = None
    present: bool | None = None

    @field_validator("matches")
    @classmethod
    def _safe(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            try:
                compile_pattern(pattern)
            except ConfigError as error:
                raise ValueError(str(error)) from None
        return pattern

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(value is not None for value in (self.equals, self.in_, self.matches, self.between, self.present)) != 1:
            raise ValueError("give exactly one of equals, in, matches, between and present")
        if self.between is not None and not self.between[0] <= self.between[1]:
            raise ValueError("between needs the smaller number first")
        return self


class Condition(Part):
    """A test of one attribute, or of any of several, over the instances of a series; or alternatives of such.

    ``all``: every instance passes. ``any``: at least one does. ``none``: not one does.
    """

    attribute: Keyword | tuple[Keyword, ...] | None = None
    all: Test | None = None
    any: Test | None = None
    none: Test | None = None
    any_of: tuple[Condition, ...] = ()

    @property
    def attributes(self) -> tuple[str, ...]:
        return (self.attribute,) if isinstance(self.attribute, str) else self.attribute or ()

    @model_validator(mode="after")
    def _complete(self) -> Self:
        quantified = sum(test is not None for test in (self.all, self.any, self.none))
        if self.any_of:
            if self.attribute is not None or quantified:
                raise ValueError("any_of stands alone: put attribute, all, any and none into its conditions")
        elif not self.attributes or quantified != 1:
            raise ValueError("give attribute and exactly one of all, any and none (or any_of alone)")
        return self


class Rule(Part):
    """A named rule: when all its conditions hold, the series goes to its encoders, or to none for a reason.

    ``encoders`` have to be there; ``where_installed`` are used beside them where they are, and left out where they are
    not. Of a choice ("better | usual") the first that is installed serves.
    """

    name: Name
    why: str = Field(min_length=1)
    when: tuple[Condition, ...] = Field(min_length=1)
    encoders: tuple[Choice, ...]
    where_installed: tuple[Choice, ...] = ()
    reason: Reason | None = None

    @model_validator(mode="after")
    def _reasoned(self) -> Self:
        if bool(self.encoders) == (self.reason is not None):
            raise ValueError("a rule has either encoders, or encoders = [] and a reason")
        return self


class RoutingFile(Part):
    version: Literal[1]
    rules: tuple[Rule, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _unique(self) -> Self:
        names = [rule.name for rule in self.rules]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ValueError(f"rule names must be unique: {', '.join(sorted(twice))}")
        return self


def read_routing(path: Path | None = None) -> RoutingFile:
    """Rules from a file, or the bundled ones.

    Raises
    ------
    ConfigError
        ``ROUTING``, naming the file, the line where it can be told, the rule and the key.
    """
    name = str(path) if path is not None else "config/routing.toml"
    text = _read(path, name)
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"routing rules {name}: not TOML: {error}", reason="ROUTING") from None
    try:
        return RoutingFile.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(_explain(item["loc"], item["msg"], values, text) for item in error.errors()[:5])
        raise ConfigError(f"routing rules {name}: {problems}", reason="ROUTING") from None


def _read(path: Path | None, name: str) -> str:
    if path is None:
        return resources.files("config").joinpath("routing.toml").read_text(encoding="utf-8")
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"routing rules {name}: {error.strerror}; check routing.file", reason="ROUTING") from None
    if len(content) > MAX_FILE_BYTES:
        raise ConfigError(f"routing rules {name}: larger than {MAX_FILE_BYTES} bytes", reason="ROUTING")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise ConfigError(f"routing rules {name}: not UTF-8", reason="ROUTING") from None


def _explain(location: tuple[int | str, ...], message: str, values: dict[str, Any], text: str) -> str:
    """Where something is wrong, in the words and the lines of the file."""
    message = message.removeprefix("Value error, ")
    if message == "Extra inputs are not permitted":
        message = "unknown key"
    shown = ".".join(str(part) for part in location if not str(part).startswith(("constrained-", "tuple[")))
    line = _line(location, text)
    rule = ""
    if len(location) > 1 and location[0] == "rules" and isinstance(location[1], int):
        table = values["rules"][location[1]]
        rule = f" of rule {table['name']!r}" if isinstance(table, dict) and table.get("name") else ""
    return f"{f'line {line}: ' if line else ''}{shown}{rule}: {message}"


def _line(location: tuple[int | str, ...], text: str) -> int | None:
    """The line of a key, or of its rule: TOML's reader does not say, so the headings are counted."""
    lines = text.splitlines()
    start, end = 0, len(lines)
    if len(location) > 1 and location[0] == "rules" and isinstance(location[1], int):
        headings = [n for n, line in enumerate(lines) if re.match(r"\s*\[\[\s*rules\s*\]\]", line)]
        if location[1] >= len(headings):
            return None
        start = headings[location[1]]
        end = headings[location[1] + 1] if location[1] + 1 < len(headings) else len(lines)
    names = [part for part in location if isinstance(part, str) and part != "rules"]
    for name in reversed(names):
        for n in range(start, end):
            if re.search(rf"(^|[\s{{,]){re.escape(name)}\s*=", lines[n]):
                return n + 1
    return start + 1 if start else None
