"""Regular expressions from configuration cannot hang the node, whatever text meets them."""

from __future__ import annotations

import itertools

import pytest

from config.errors import ConfigError
from config.patterns import MAX_PATTERN, MAX_SUBJECT, compile_pattern, matches
from config.settings import Settings

CATASTROPHIC = [
    "(a+)+$",
    "(a*)*b",
    "(a|aa)+$",
    "(a|a?)+$",
    "(?:a+){2,}b",
    "(.*a){20}",
    "(a{1,20}){1,20}b",
    ".*.*.*.*=",
    "a*a*a*a*b",
    "(\\w+\\s?)*$",
    "([a-z]+)*@",
    "((ab)*)*c",
    "(x+x+)+y",
    "(?=(a+))a*b",
    "(a)\\1+",
    "(?P<n>a+)(?P=n)*$",
    "(?:(?:a|b)|[ab])*c",
]


@pytest.mark.parametrize("pattern", CATASTROPHIC)
def test_a_pattern_that_could_explode_is_refused(pattern: str) -> None:
    with pytest.raises(ConfigError) as raised:
        compile_pattern(pattern)
    assert raised.value.reason == "PATTERN"


@pytest.mark.parametrize("pattern", ["(", "[a", "*", "a" * (MAX_PATTERN + 1), "a{99999999999}", "(?P<x>"])
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(ConfigError):
        compile_pattern(pattern)


HARMLESS = [
    ".*",
    "(ANON|TEMP)[-_ ]?.*",
    "(19|20)\\d{2}(0[1-9]|1[0-2])",
    "\\b(head|brain)\\b",
    "ophthal\\w{0,12}",
    "a+b+c+",
    "(a|b)c",
    "(?:ab){2}",
    "[ab]*c",
    "(a|b|c)*",
]


@pytest.mark.parametrize("pattern", HARMLESS)
def test_ordinary_patterns_are_accepted(pattern: str) -> None:
    assert compile_pattern(pattern).pattern == pattern


def test_the_shipped_patterns_are_accepted(settings: Settings) -> None:
    orphans = settings.orphans
    for pattern in itertools.chain(
        orphans.placeholder_id_patterns, orphans.placeholder_issuer_patterns, orphans.placeholder_name_patterns
    ):
        compile_pattern(pattern)


def test_case_never_matters_and_long_subjects_are_cut() -> None:
    pattern = compile_pattern("HeAd")
    assert matches(pattern, "ct head")
    assert not matches(pattern, "x" * MAX_SUBJECT + "head")


def test_the_worst_that_is_accepted_ends() -> None:
    worst = compile_pattern(".*a.*a.*b")
    assert not matches(worst, "a" * 10**6)
