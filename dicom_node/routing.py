"""Which encoder gets which series, by rules over the attributes of all of its instances."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config.errors import ConfigError, HeaderError
from config.patterns import compile_pattern, matches
from config.routing import Condition, RoutingFile, Rule, Test, read_routing
from config.settings import RoutingSettings
from inference.imaging.headers import read_header
from inference.types import InstanceHeader, SeriesHeader

NO_RULE = "NO_RULE"

Predicate = Callable[[SeriesHeader], bool]


@dataclass(frozen=True, slots=True)
class Route:
    """Where a series goes. Without encoders, ``reason`` says why; ``rule`` is empty where no rule wanted it.

    As the rules give it, entries may be choices, and ``where_installed`` are encoders that may be missing;
    :meth:`among` says what becomes of it on a node with certain bundles.
    """

    encoders: tuple[str, ...]
    rule: str = ""
    reason: str = ""
    where_installed: tuple[str, ...] = ()

    def among(self, installed: Collection[str]) -> Route:
        """The route with encoders by name: of each choice the first that is installed.

        An encoder that has to be there and is not stays in the route: whoever asks for it says what is missing.
        """
        needed = [chosen(choice, installed) or names_of(choice)[-1] for choice in self.encoders]
        beside = [name for choice in self.where_installed if (name := chosen(choice, installed))]
        encoders = tuple(dict.fromkeys([*needed, *beside]))
        return Route(encoders, self.rule, "" if encoders else self.reason)


def names_of(choice: str) -> list[str]:
    """The encoders of a choice ("better | usual"), the best one first."""
    return [name.strip() for name in choice.split("|")]


def chosen(choice: str, installed: Collection[str]) -> str | None:
    """The first encoder of a choice that is installed; None where none is."""
    return next((name for name in names_of(choice) if name in installed), None)


@dataclass(frozen=True, slots=True)
class DryRunRow:
    """What the rules would do with one series of a folder (or with files that are no DICOM objects)."""

    series_uid: str
    modality: str
    instances: int
    route: Route
    example: Path


def rules_path(settings: RoutingSettings) -> Path | None:
    """The site's rules file; None for the bundled rules."""
    return Path(settings.file) if settings.file else None


class RoutingRules:
    """Compiled rules. Routing is a pure function of the headers."""

    def __init__(self, file: RoutingFile) -> None:
        self.file = file
        self._rules = [(rule, _conjunction(rule.when)) for rule in file.rules]

    @classmethod
    def load(cls, path: Path | None = None) -> RoutingRules:
        """Rules from a file, or the bundled ones.

        Raises
        ------
        ConfigError
            naming what is wrong and where.
        """
        return cls(read_routing(path))

    @property
    def encoders(self) -> frozenset[str]:
        """Every encoder that some rule needs; of a choice all."""
        return frozenset(name for rule in self.file.rules for choice in rule.encoders for name in names_of(choice))

    def missing(self, installed: Collection[str]) -> tuple[str, ...]:
        """What rules need and a node with these bundles has not: of a choice the last one."""
        choices = {choice for rule in self.file.rules for choice in rule.encoders}
        return tuple(sorted({names_of(one)[-1] for one in choices if chosen(one, installed) is None}))

    def route(self, series: SeriesHeader) -> Route:
        """The first rule that holds decides; a series without instances has no route."""
        if series.instances:
            for rule, holds in self._rules:
                if holds(series):
                    return _route(rule)
        return Route((), reason=NO_RULE)


class ReloadingRules:
    """Rules that follow their file. A file that cannot be used changes nothing but :attr:`problem`.

    ``on_refused`` is called once for each bad version of the file, ``on_loaded`` for each good one after the first.

    Raises
    ------
    ConfigError
        when the file is bad at the start: then there are no older rules to keep.
    """

    def __init__(
        self,
        path: Path | None,
        reload_seconds: float,
        *,
        on_refused: Callable[[ConfigError], None] = lambda _: None,
        on_loaded: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path, self._every, self._clock = path, reload_seconds, clock
        self._on_refused, self._on_loaded = on_refused, on_loaded
        self._seen = self._look()
        self._rules = RoutingRules.load(path)
        self._next = clock() + reload_seconds
        self.problem = ""

    @property
    def current(self) -> RoutingRules:
        """The newest usable rules."""
        if self._path is not None and self._clock() >= self._next:
            self._next = self._clock() + self._every
            self._reload()
        return self._rules

    def route(self, series: SeriesHeader) -> Route:
        return self.current.route(series)

    def _reload(self) -> None:
        seen = self._look()
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._rules = RoutingRules.load(self._path)
        except ConfigError as error:
            self.problem = str(error)
            self._on_refused(error)
        else:
            self.problem = ""
            self._on_loaded()

    def _look(self) -> tuple[int, int, int] | None:
        """What changes whenever the file does; editors replace files, so its number is part of it."""
        if self._path is None:
            return None
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns, status.st_size


def dry_run(folder: Path, rules: RoutingRules, on_file: Callable[[Path], None] = lambda _: None) -> list[DryRunRow]:
    """What the rules would do with every file below a folder, series by series. Changes nothing.

    ``on_file`` is called after each file, for a progress bar.
    """
    series: dict[tuple[str, str], list[InstanceHeader]] = {}
    unreadable: dict[str, list[Path]] = {}
    for path in files_below(folder):
        try:
            header = read_header(path)
        except HeaderError as error:
            unreadable.setdefault(error.reason, []).append(path)
        else:
            series.setdefault((header.study_uid, header.series_uid), []).append(header)
        on_file(path)
    rows = [_row(SeriesHeader(study, uid, tuple(found)), rules) for (study, uid), found in series.items()]
    rows += [DryRunRow("", "", len(ps), Route((), reason=why), ps[0]) for why, ps in sorted(unreadable.items())]
    return rows


def files_below(folder: Path) -> Iterator[Path]:
    """Regular files below a folder in a stable order, DICOMDIR and links to elsewhere left out."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink() and path.name.upper() != "DICOMDIR":
            yield path


def _row(series: SeriesHeader, rules: RoutingRules) -> DryRunRow:
    first = series.instances[0]
    return DryRunRow(series.series_uid, series.modality, len(series.instances), rules.route(series), first.path)


def _route(rule: Rule) -> Route:
    return Route(rule.encoders, rule.name, rule.reason or "", rule.where_installed)


def _conjunction(conditions: Sequence[Condition]) -> Predicate:
    predicates = [_condition(condition) for condition in conditions]
    return lambda series: all(predicate(series) for predicate in predicates)


def _condition(condition: Condition) -> Predicate:
    if condition.any_of:
        alternatives = [_condition(one) for one in condition.any_of]
        return lambda series: any(predicate(series) for predicate in alternatives)
    attributes = condition.attributes
    if condition.all is not None:
        passes = _test(condition.all)
        return lambda series: all(passes(values_of(one, attributes)) for one in series.instances)
    if condition.any is not None:
        passes = _test(condition.any)
        return lambda series: any(passes(values_of(one, attributes)) for one in series.instances)
    assert condition.none is not None
    passes = _test(condition.none)
    return lambda series: not any(passes(values_of(one, attributes)) for one in series.instances)


def _test(test: Test) -> Callable[[list[Any]], bool]:
    if test.present is not None:
        return lambda values: bool(values) is test.present
    if test.matches is not None:
        pattern = compile_pattern(test.matches)
        return lambda values: any(matches(pattern, _text(value)) for value in values)
    if test.between is not None:
        low, high = test.between
        return lambda values: any(low <= n <= high for n in map(_number, values) if n is not None)
    wanted = [test.equals] if test.equals is not None else list(test.in_ or ())
    texts = {_fold(value) for value in wanted if isinstance(value, str)}
    numbers = {float(value) for value in wanted if not isinstance(value, str)}
    return lambda values: any(_fold(value) in texts or _number(value) in numbers for value in values)


def values_of(instance: InstanceHeader, attributes: Iterable[str]) -> list[Any]:
    """All values of the attributes, multiple values and sequence items taken apart, empty ones left out."""
    found: list[Any] = []
    for attribute in attributes:
        if attribute == "SOPClassUID":
            found.append(instance.sop_class_uid)
        elif attribute == "TransferSyntaxUID":
            found.append(instance.transfer_syntax_uid)
        else:
            found.extend(_descend(instance.attributes, attribute.split(".")))
    return [value for value in found if value is not None and value != ""]


def _descend(attributes: Mapping[str, Any], path: Sequence[str]) -> Iterator[Any]:
    value = attributes.get(path[0])
    for part in value if isinstance(value, list | tuple) else (value,):
        if len(path) == 1:
            yield part
        elif isinstance(part, Mapping):
            yield from _descend(part, path[1:])


def _text(value: Any) -> str:
    return value if isinstance(value, str) else str(value)


def _fold(value: Any) -> str:
    """Case, padding and runs of blanks or underscores make no difference between code strings."""
    return re.sub(r"[\s_]+", " ", _text(value)[:1024]).strip().upper()


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or value is None:
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
