"""Which route a series takes, with a boneprint installed and without."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.errors import ConfigError
from config.routing import read_routing
from dicom_node.routing import Route, RoutingRules
from inference.types import InstanceHeader
from tests.node.test_routing import AXIAL, CR, CT, SC, instance, series

PLAIN = frozenset({"general", "ct-face"})
WITH = PLAIN | {"boneprint-implicit"}
RENDERED = ["DERIVED", "SECONDARY", "VOLUME"]


@pytest.fixture(scope="module")
def rules() -> RoutingRules:
    return RoutingRules.load()


@pytest.mark.parametrize(
    ("header", "without", "with_it"),
    [
        (instance(CT, BodyPartExamined="CHEST", ImageType=AXIAL), "NO_BONEPRINT_BUNDLE", ["boneprint-implicit"]),
        (instance(CT, SeriesDescription="Thorax nativ 5.0"), "NO_BONEPRINT_BUNDLE", ["boneprint-implicit"]),
        (instance(SC, Modality="CT", ImageType=RENDERED, BodyPartExamined="CHEST"), "NO_BONEPRINT_BUNDLE",
         ["boneprint-implicit"]),
        (instance(CT, StudyDescription="CT Kopf Thorax"), "", ["ct-face", "boneprint-implicit"]),
        (instance(CT, StudyDescription="Polytraumaspirale"), "CT_WITHOUT_HEAD", []),
        (instance(CT, StudyDescription="Polytrauma Spirale"), "", ["ct-face", "boneprint-implicit"]),
        (instance(CT, BodyPartExamined="WHOLEBODY"), "", ["ct-face", "boneprint-implicit"]),
        (instance(CT, BodyPartExamined="HEAD"), "", ["ct-face"]),
        (instance(CR, Modality="CR", BodyPartExamined="CHEST"), "", ["general", "boneprint-implicit"]),
        (instance(CR, Modality="CR", BodyPartExamined="HAND"), "", ["general"]),
        (instance(CT, BodyPartExamined="ABDOMEN"), "CT_WITHOUT_HEAD", []),
        (instance(SC, Modality="CT", ImageType=RENDERED, BodyPartExamined="SKULL"), "SECONDARY_CAPTURE", []),
        (instance(SC, Modality="CT", ImageType=["DERIVED", "SECONDARY"], BodyPartExamined="CHEST"),
         "SECONDARY_CAPTURE", []),
    ],
)  # fmt: skip
def test_the_routes_of_bones(rules: RoutingRules, header: InstanceHeader, without: str, with_it: list[str]) -> None:
    route = rules.route(series(header))
    assert list(route.among(WITH).encoders) == with_it
    plain = route.among(PLAIN)
    assert plain.reason == without
    assert "boneprint-implicit" not in plain.encoders
    assert bool(plain.encoders) is not bool(without)


def test_the_bundled_rules_need_nothing_that_does_not_ship(rules: RoutingRules) -> None:
    assert rules.missing(PLAIN) == ()
    assert rules.missing({"general"}) == ("ct-face",)


NAMES = st.sampled_from(["a", "b", "c", "d"])
CHOICES = st.lists(st.lists(NAMES, min_size=1, max_size=3).map(" | ".join), max_size=3).map(tuple)


@given(needed=CHOICES, beside=CHOICES, installed=st.frozensets(NAMES))
def test_of_a_choice_the_first_that_is_installed_serves(
    needed: tuple[str, ...], beside: tuple[str, ...], installed: frozenset[str]
) -> None:
    route = Route(needed, "rule", "WHY", beside).among(installed)
    for choice in (*needed, *beside):
        there = [name for name in choice.split(" | ") if name in installed]
        assert not there or there[0] in route.encoders
    absent = set(route.encoders) - installed
    assert absent <= {choice.split(" | ")[-1] for choice in needed}, "only what is needed is asked for in vain"
    assert (route.reason == "WHY") is (not route.encoders)
    assert route.among(installed) == route, "what is decided stays so"


RULE = 'version = 1\n[[rules]]\nname = "x"\nwhy = "y"\nwhen = [{ attribute = "Modality", all = { equals = "CT" } }]\n'


@pytest.mark.parametrize(
    "end",
    ['encoders = ["a ||b"]', 'encoders = ["a |"]', 'encoders = ["A"]', 'encoders = []\nwhere_installed = ["a"]',
     'encoders = ["a"]\nwhere_installed = ["b"]\nreason = "NONE"', 'encoders = ["a"]\nwhere_instaled = ["b"]'],
)  # fmt: skip
def test_rules_that_cannot_be_meant_are_refused(tmp_path: Any, end: str) -> None:
    path = tmp_path / "routing.toml"
    path.write_text(RULE + end)
    with pytest.raises(ConfigError, match="rule 'x'"):
        read_routing(path)
